/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "common/array.h"
#include "common/text.h"
#include "daemon/configuration/configuration.h"

#define BUILT_IN_NAME "90-default.policy"
#define BUILT_IN_PATH "built-in/" BUILT_IN_NAME

/* conf/policy/90-default.policy, for where nothing is installed: a build tree, a capture. */
static const char built_in[] =
#include "default-policy.inc"
        ;

static void config_file_done(ConfigFile *f) {
        free(f->name);
        free(f->drop_in);
        free(f->path);
        free(f->text);
        *f = (ConfigFile) {};
}

void configuration_done(Configuration *c) {
        for (size_t i = 0; i < c->n; i++)
                config_file_done(&c->files[i]);
        free(c->files);
        policy_free(c->policy);
        remarks_done(&c->remarks);
        *c = CONFIGURATION_NULL;
}

/* ---- which file is what ---- */

static int name_file(ConfigFile *f, ConfigKind kind, const char *name, size_t n_name, const char *drop_in) {
        f->kind = kind;
        f->name = strndup(name, n_name);
        f->drop_in = drop_in ? strdup(drop_in) : NULL;
        return f->name && (!drop_in || f->drop_in) ? 1 : -ENOMEM;
}

/* 1, or 0 where it is none of ours. */
static int classify_in(ConfigFile *f, ConfigKind kind, const char *name) {
        const char *slash = strchr(name, '/');

        if (!slash)
                return name_file(f, kind, name, strlen(name), NULL);
        if (slash - name <= 2)
                return 0;
        return name_file(f, kind, name, (size_t) (slash - name) - 2, slash + 1); /* without ".d" */
}

static int classify_below(ConfigFile *f, const char *rest) {
        const char *name;

        if (streq(rest, "passwd"))
                return name_file(f, CONFIG_USERS, rest, strlen(rest), NULL);
        if (streq(rest, "stackd/stackd.conf"))
                return name_file(f, CONFIG_DAEMON, "stackd.conf", strlen("stackd.conf"), NULL);
        name = startswith(rest, "stackd/stackd.conf.d/");
        if (name)
                return name_file(f, CONFIG_DAEMON, "stackd.conf", strlen("stackd.conf"), name);
        name = startswith(rest, "stackd/policy/");
        return name ? classify_in(f, CONFIG_POLICY, name) : 0;
}

static int classify(ConfigFile *f) {
        for (unsigned i = 0; hierarchy_unit_directories[i]; i++) {
                const char *rest = startswith(f->path + 1, hierarchy_unit_directories[i]);

                if (!rest || *rest != '/')
                        continue;
                f->place = i;
                return classify_in(f, CONFIG_UNIT, rest + 1);
        }
        for (unsigned i = 0; hierarchy_places[i]; i++) {
                const char *rest = startswith(f->path + 1, hierarchy_places[i]);

                if (!rest || *rest != '/')
                        continue;
                f->place = i;
                return classify_below(f, rest + 1);
        }
        return 0;
}

static int compare_texts(const char *a, const char *b) {
        return a && b ? strcmp(a, b) : !!a - !!b;
}

static int compare_files(const void *a, const void *b) {
        const ConfigFile *x = a, *y = b;
        int order = (int) x->kind - (int) y->kind;

        order = order ?: strcmp(x->name, y->name);
        order = order ?: compare_texts(x->drop_in, y->drop_in);
        return order ?: (int) x->place - (int) y->place;
}

/* ---- taking them ---- */

static int check_text(ConfigFile *f, Remarks *remarks) {
        _cleanup_(policy_freep) Policy *scratch = NULL;
        PolicyText text = { f->path, f->text };
        DaemonSettings settings = DAEMON_SETTINGS_DEFAULT;

        switch (f->kind) {
        case CONFIG_DAEMON:
                return daemon_settings_read(&settings, f->path, f->text, remarks);
        case CONFIG_POLICY:
                return policy_check_text(&text, remarks);
        case CONFIG_UNIT:
                scratch = policy_new();
                return scratch ? policy_add_unit(scratch, f->name, f->drop_in, &text, remarks) : -ENOMEM;
        default:
                return 0;
        }
}

static const ConfigFile *find_path(const Configuration *c, const char *path) {
        for (size_t i = 0; i < c->n; i++)
                if (streq(c->files[i].path, path))
                        return &c->files[i];
        return NULL;
}

static int keep_text(ConfigFile *f, const ConfigFile *old) {
        char *text = strdup(old->text);

        if (!text)
                return -ENOMEM;
        free(f->text);
        f->text = text;
        f->state = FOUND_TEXT;
        f->kept = true;
        f->secret |= old->secret;
        return 0;
}

/* A file that cannot be used any more (it is being written, or damaged) stays what it was. */
static int prefer_old(Configuration *fresh, ConfigFile *f, const Configuration *before) {
        const ConfigFile *old = find_path(before, f->path);
        _cleanup_remarks_ Remarks remarks = {};
        bool keep;
        int r = 0;

        if (f->state == FOUND_TEXT)
                r = check_text(f, &remarks);
        if (r < 0)
                return r;
        f->faulty = remarks.errors > 0;
        keep = old && old->state == FOUND_TEXT && !old->faulty && (f->state == FOUND_TROUBLE || f->faulty);
        if (!keep)
                return 0;
        remarks_begin_file(&remarks);
        if (f->state == FOUND_TROUBLE)
                remark(&remarks, true, f->path, f->line, "%s", f->text);
        remark(&remarks, true, f->path, 0, "so it is not taken, and what it said before stays in force");
        remarks_add(&fresh->remarks, &remarks);
        fresh->refused = true;
        f->faulty = false;
        return keep_text(f, old);
}

static int take_found(Configuration *fresh, const Found *found, const Configuration *before) {
        ConfigFile f = {
                .state = found->state, .line = found->line, .secret = found->secret, .path = strdup(found->path),
                .text = strdup(found->text),
        };
        int r = -ENOMEM;

        if (f.path && f.text)
                r = classify(&f);
        if (r > 0)
                r = prefer_old(fresh, &f, before);
        else if (r == 0) {
                config_file_done(&f);
                return 0;
        }
        if (r >= 0)
                r = ARRAY_APPEND(fresh->files, fresh->n, fresh->capacity, f);
        if (r < 0)
                config_file_done(&f);
        return r;
}

/* A directory that cannot be listed has, as far as is known, what it had. */
static int take_directory(Configuration *fresh, const Found *found, const Configuration *before) {
        remark(&fresh->remarks, true, found->path, found->line, "%s", found->text);
        for (size_t i = 0; i < before->n; i++) {
                const ConfigFile *old = &before->files[i];
                Found again = { .state = old->state, .line = old->line, .secret = old->secret, .path = old->path, .text = old->text };
                int r;

                if (!path_is_below(old->path, found->path) || find_path(fresh, old->path))
                        continue;
                fresh->refused = true;
                r = take_found(fresh, &again, before);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int take_built_in(Configuration *fresh) {
        ConfigFile f = { .place = UINT32_MAX >> 1, .path = strdup(BUILT_IN_PATH), .text = strdup(built_in) };
        int r;

        r = name_file(&f, CONFIG_POLICY, BUILT_IN_NAME, strlen(BUILT_IN_NAME), NULL);
        if (r >= 0 && (!f.path || !f.text))
                r = -ENOMEM;
        if (r >= 0)
                r = ARRAY_APPEND(fresh->files, fresh->n, fresh->capacity, f);
        if (r < 0)
                config_file_done(&f);
        return r;
}

/* ---- what holds ---- */

static bool same_name(const ConfigFile *a, const ConfigFile *b) {
        return a->kind == b->kind && streq(a->name, b->name) && streq_ptr(a->drop_in, b->drop_in);
}

/* Of those of the same name the first that can be used; a mask among them ends it. */
static void choose(Configuration *c) {
        for (size_t i = 0, next; i < c->n; i = next) {
                bool chosen = false;

                for (next = i; next < c->n && same_name(&c->files[i], &c->files[next]); next++) {
                        ConfigFile *f = &c->files[next];

                        f->holds = !chosen && f->state == FOUND_TEXT;
                        if (!chosen && f->state == FOUND_TROUBLE) {
                                remarks_begin_file(&c->remarks);
                                remark(&c->remarks, true, f->path, f->line, "%s; it is not used", f->text);
                        }
                        chosen |= f->state != FOUND_TROUBLE;
                }
        }
}

/* Drop-ins of a file that is not there, or masked, speak of nothing. */
static int build_policy(Configuration *c, size_t begin, size_t end) {
        _cleanup_free_ PolicyText *texts = calloc(end - begin, sizeof(PolicyText));
        bool main = false;
        size_t n = 0;

        if (!texts)
                return -ENOMEM;
        for (size_t i = begin; i < end; i++) {
                const ConfigFile *f = &c->files[i];

                main |= f->holds && !f->drop_in;
                if (f->holds)
                        texts[n++] = (PolicyText) { f->path, f->text };
        }
        return main ? policy_add_rule(c->policy, texts, n, &c->remarks) : 0;
}

static int build_other(Configuration *c, const ConfigFile *f) {
        PolicyText text = { f->path, f->text };

        switch (f->kind) {
        case CONFIG_USERS:
                return policy_add_users(c->policy, f->text);
        case CONFIG_DAEMON:
                return daemon_settings_read(&c->settings, f->path, f->text, &c->remarks);
        case CONFIG_UNIT:
                return policy_add_unit(c->policy, f->name, f->drop_in, &text, &c->remarks);
        default:
                return 0;
        }
}

/* A unit's file without a word for us still takes the place of its template. */
static bool is_of_use(const ConfigFile *f) {
        const char *at = f->kind == CONFIG_UNIT && !f->drop_in ? strchr(f->name, '@') : NULL;

        return f->holds && (f->text[0] || (at && at[1] != '.'));
}

static int build(Configuration *c) {
        c->policy = policy_new();
        if (!c->policy)
                return -ENOMEM;
        for (size_t i = 0, next; i < c->n; i = next) {
                const ConfigFile *f = &c->files[i];
                int r = 0;

                next = i + 1;
                if (f->kind != CONFIG_POLICY) {
                        if (is_of_use(f))
                                r = build_other(c, f);
                } else {
                        while (next < c->n && c->files[next].kind == CONFIG_POLICY && streq(c->files[next].name, f->name))
                                next++;
                        r = build_policy(c, i, next);
                }
                if (r < 0)
                        return r;
        }
        return 0;
}

static int take_all(Configuration *fresh, const FoundList *list, const Configuration *before) {
        int r = 0;

        for (size_t i = 0; r >= 0 && i < list->n; i++)
                if (list->found[i].state != FOUND_DIRECTORY)
                        r = take_found(fresh, &list->found[i], before);
        for (size_t i = 0; r >= 0 && i < list->n; i++)
                if (list->found[i].state == FOUND_DIRECTORY)
                        r = take_directory(fresh, &list->found[i], before);
        return r < 0 ? r : take_built_in(fresh);
}

int configuration_update(Configuration *c, const char *output, bool complete) {
        _cleanup_(configuration_done) Configuration fresh = CONFIGURATION_NULL;
        _cleanup_(found_list_done) FoundList list = {};
        int r;

        if (!complete && c->policy) {
                remarks_begin_file(&c->remarks);
                if (!c->unread)
                        remark(&c->remarks, true, "configuration", 0, "it could not be read to its end; all that was before stays in force");
                c->unread = c->refused = true;
                return 0;
        }
        if (!complete)
                remark(&fresh.remarks, true, "configuration", 0, "it could not be read to its end; it is read again");
        fresh.complete = complete;
        r = found_parse(output, &list);
        if (r >= 0)
                r = take_all(&fresh, &list, c);
        if (r < 0)
                return r;
        qsort(fresh.files, fresh.n, sizeof(ConfigFile), compare_files);
        choose(&fresh);
        r = build(&fresh);
        if (r < 0)
                return r;
        configuration_done(c);
        *c = fresh;
        fresh = CONFIGURATION_NULL;
        return 0;
}
