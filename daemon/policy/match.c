/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fnmatch.h>
#include <stdio.h>
#include <string.h>

#include "common/text.h"
#include "common/value.h"
#include "daemon/policy/rule.h"

static void patterns_done(Patterns *p) {
        strv_free(p->patterns);
        *p = (Patterns) {};
}

void match_done(Match *m) {
        patterns_done(&m->layer);
        patterns_done(&m->type);
        patterns_done(&m->device);
        patterns_done(&m->mount);
        patterns_done(&m->process);
        patterns_done(&m->unit);
        patterns_done(&m->user);
        free(m->depths);
        *m = (Match) {};
}

/* ---- making one ---- */

/* A '!' at the beginning is of all words of the line, as in .link and .network files. */
static int assign_patterns(Patterns *p, const char *value, const char **ret_wrong) {
        _cleanup_strv_free_ char **words = NULL;
        bool not = *value == '!';
        size_t n = 0;
        int r;

        if (!*value) {
                patterns_done(p);
                return 0;
        }
        value += not;
        for (;;) {
                _cleanup_free_ char *word = NULL, *pattern = NULL;

                r = value_next_word(&value, &word);
                if (r == -EINVAL) {
                        *ret_wrong = "has a quote that is not closed";
                        return 0;
                }
                if (r <= 0)
                        break;
                pattern = text_format("%s%s", not ? "!" : "", word);
                if (!pattern)
                        return -ENOMEM;
                r = strv_append(&words, &n, pattern);
                if (r < 0)
                        return r;
        }
        if (n == 0)
                *ret_wrong = "names nothing";
        for (size_t i = 0; r >= 0 && i < n; i++)
                r = strv_append(&p->patterns, &p->n, words[i]);
        return r;
}

/* "1", "2-", "1-3", "-2". */
static int parse_range(const char *s, DepthRange *ret) {
        _cleanup_free_ char *copy = strdup(s);
        DepthRange range = { .to = UINT32_MAX };
        uint64_t from = 0, to = UINT32_MAX;
        char *dash;

        if (!copy)
                return -ENOMEM;
        dash = strchr(copy, '-');
        if (dash)
                *dash++ = 0;
        if (streq(s, "-") || (!(dash && !copy[0]) && text_to_u64(copy, 10, &from) < 0) ||
            (dash && *dash && text_to_u64(dash, 10, &to) < 0))
                return -EINVAL;
        if (!dash)
                to = from;
        if (from > to || from > UINT32_MAX || to > UINT32_MAX)
                return -EINVAL;
        range.from = (unsigned) from;
        range.to = (unsigned) to;
        *ret = range;
        return 0;
}

static int assign_depths(Match *m, const char *value, const char **ret_wrong) {
        bool not = *value == '!';
        int r;

        if (!*value) {
                free(m->depths);
                m->depths = NULL;
                m->n_depths = m->depths_capacity = 0;
                return 0;
        }
        value += not;
        for (;;) {
                _cleanup_free_ char *word = NULL;
                DepthRange range;

                r = value_next_word(&value, &word);
                if (r == 0)
                        return 0;
                if (r > 0)
                        r = parse_range(word, &range);
                if (r == -EINVAL) {
                        *ret_wrong = "takes depths: 1, 2-, 1-3";
                        return 0;
                }
                range.not = not;
                if (r >= 0)
                        r = ARRAY_APPEND(m->depths, m->n_depths, m->depths_capacity, range);
                if (r < 0)
                        return r;
        }
}

int match_assign(Match *m, const char *key, const char *value, const char **ret_wrong) {
        const struct {
                const char *key;
                Patterns *patterns;
        } keys[] = {
                { "Layer", &m->layer },   { "FilesystemType", &m->type }, { "Device", &m->device }, { "Mount", &m->mount },
                { "Process", &m->process }, { "Unit", &m->unit },         { "User", &m->user },
        };

        for (size_t i = 0; i < ELEMENTSOF(keys); i++)
                if (streq(key, keys[i].key))
                        return assign_patterns(keys[i].patterns, value, ret_wrong);
        return streq(key, "Depth") ? assign_depths(m, value, ret_wrong) : -ENOENT;
}

bool match_is_empty(const Match *m) {
        return m->layer.n + m->type.n + m->device.n + m->mount.n + m->process.n + m->unit.n + m->user.n + m->n_depths == 0;
}

static bool has_positive(const Patterns *p) {
        for (size_t i = 0; i < p->n; i++)
                if (p->patterns[i][0] != '!')
                        return true;
        return false;
}

bool match_names_trusted(const Match *m) {
        return has_positive(&m->user) || has_positive(&m->unit);
}

/* ---- asking it ---- */

/* What is known under several names matches when one of them does. */
typedef struct Verdict {
        bool wanted, found, excluded;
} Verdict;

static void consider(Verdict *v, const Patterns *p, const char *text) {
        for (size_t i = 0; text && i < p->n; i++) {
                const char *pattern = p->patterns[i];
                bool not = *pattern == '!';

                if (fnmatch(pattern + not, text, 0) != 0)
                        continue;
                v->found |= !not;
                v->excluded |= not;
        }
}

static bool holds(const Verdict *v, const Patterns *p) {
        return !v->excluded && (v->found || !has_positive(p));
}

static void consider_base_name(Verdict *v, const Patterns *p, const char *path) {
        const char *slash = path ? strrchr(path, '/') : NULL;

        if (slash)
                consider(v, p, slash + 1);
}

static bool matches_device(const Patterns *p, const NodeFact *f) {
        char path[512];
        Verdict v = {};

        if (p->n == 0)
                return true;
        consider(&v, p, f->device);
        consider(&v, p, f->name);
        consider(&v, p, f->label);
        if (f->kind == NODE_BLOCK && f->name && snprintf(path, sizeof(path), "/dev/%s", f->name) < (int) sizeof(path))
                consider(&v, p, path);
        if (f->kind == NODE_BLOCK && f->label && snprintf(path, sizeof(path), "/dev/mapper/%s", f->label) < (int) sizeof(path))
                consider(&v, p, path);
        return holds(&v, p);
}

static bool matches_layer(const Match *m, const Node *n) {
        const NodeFact *f = n->fact;
        Verdict layer = {}, type = {}, mount = {};

        if (!f || f->kind == NODE_PROCESS)
                return false;
        consider(&layer, &m->layer, node_kind_to_string(f->kind));
        consider(&layer, &m->layer, f->type);
        consider(&layer, &m->layer, f->id);
        consider(&type, &m->type, f->kind == NODE_FILESYSTEM ? f->type : NULL);
        for (char **path = f->mounts; m->mount.n > 0 && path && *path; path++)
                consider(&mount, &m->mount, *path);
        return holds(&layer, &m->layer) && holds(&type, &m->type) && holds(&mount, &m->mount) && matches_device(&m->device, f);
}

/* A layer that it serves for which all of it holds. */
static bool matches_served(const Match *m, const Node *n) {
        if (m->layer.n + m->type.n + m->device.n + m->mount.n == 0)
                return true;
        for (size_t i = 0; i < n->n_upper; i++)
                if (matches_layer(m, n->upper[i]->upper))
                        return true;
        return false;
}

/* "/usr/bin/sshfs (deleted)" after an upgrade is still that program. */
static bool matches_process(const Patterns *p, const NodeFact *f) {
        _cleanup_free_ char *exe = f->exe && p->n > 0 ? strdup(f->exe) : NULL;
        Verdict v = {};

        if (exe && endswith(exe, " (deleted)"))
                exe[strlen(exe) - strlen(" (deleted)")] = 0;
        consider(&v, p, f->comm);
        consider(&v, p, exe);
        consider_base_name(&v, p, exe);
        return holds(&v, p);
}

/* A user may call units of his own manager as he likes, and so those do not count. */
static bool matches_unit(const Patterns *p, const NodeFact *f) {
        bool own = !f->entitled && (!f->cgroup || path_is_below(f->cgroup, "/user.slice"));
        Verdict v = {};

        consider(&v, p, own ? NULL : f->unit);
        return holds(&v, p);
}

static bool matches_user(const Patterns *p, const Policy *policy, const NodeFact *f) {
        char number[16];
        Verdict v = {};

        if (p->n == 0)
                return true;
        snprintf(number, sizeof(number), "%u", f->uid);
        consider(&v, p, number);
        for (size_t i = 0; i < policy->n_users; i++)
                if (policy->users[i].uid == f->uid)
                        consider(&v, p, policy->users[i].name);
        return holds(&v, p);
}

static bool matches_depth(const Match *m, unsigned depth) {
        bool wanted = false, found = false;

        for (size_t i = 0; i < m->n_depths; i++) {
                const DepthRange *range = &m->depths[i];
                bool within = depth >= range->from && depth <= range->to;

                if (range->not && within)
                        return false;
                wanted |= !range->not;
                found |= !range->not && within;
        }
        return found || !wanted;
}

bool match_node(const Match *m, const Policy *p, const Node *n) {
        const NodeFact *f = n->fact;

        if (!f || !matches_depth(m, n->analysis.depth_certain))
                return false;
        if (f->kind != NODE_PROCESS) /* which is no process, unit or user */
                return !has_positive(&m->process) && !has_positive(&m->unit) && !has_positive(&m->user) && matches_layer(m, n);
        return matches_process(&m->process, f) && matches_unit(&m->unit, f) && matches_user(&m->user, p, f) && matches_served(m, n);
}
