/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "common/text.h"
#include "daemon/policy/rule.h"

static void settings_done(Setting settings[_SETTING_KIND_MAX]) {
        for (SettingKind k = 0; k < _SETTING_KIND_MAX; k++)
                setting_done(&settings[k]);
}

Policy *policy_new(void) {
        return calloc(1, sizeof(Policy));
}

Policy *policy_free(Policy *p) {
        if (!p)
                return NULL;
        for (size_t i = 0; i < p->n_rules; i++) {
                match_done(&p->rules[i].match);
                settings_done(p->rules[i].settings);
        }
        for (size_t i = 0; i < p->n_units; i++) {
                free(p->units[i].name);
                free(p->units[i].drop_in);
                settings_done(p->units[i].settings);
        }
        for (size_t i = 0; i < p->n_users; i++)
                free(p->users[i].name);
        free(p->rules);
        free(p->units);
        free(p->users);
        free(p);
        return NULL;
}

/* ---- services ---- */

/* How closely the names of a unit file or of a directory of drop-ins fit a unit: 0 not at all; the closest is the
 * greatest (systemd.unit(5): "foo-bar.service" has drop-ins in foo-bar.service.d, foo-.service.d and service.d; an
 * instance those of its template too). */
static size_t unit_fit(const UnitText *u, const char *unit) {
        const char *at = strchr(unit, '@'), *suffix = strrchr(unit, '.');
        size_t n = strlen(u->name);

        if (!suffix)
                return 0;
        if (streq(u->name, unit))
                return SIZE_MAX;
        if (at && n == (size_t) (at + 1 - unit) + strlen(suffix) && strncmp(u->name, unit, (size_t) (at + 1 - unit)) == 0 &&
            streq(u->name + (at + 1 - unit), suffix))
                return SIZE_MAX - 1;
        if (!u->drop_in)
                return 0;
        if (streq(u->name, suffix + 1))
                return 1;
        if (n > strlen(suffix) && endswith(u->name, suffix) && u->name[n - strlen(suffix) - 1] == '-' &&
            strncmp(u->name, unit, n - strlen(suffix)) == 0)
                return n;
        return 0;
}

/* Of files with the same name the closest counts, and then what they say in the order of their names. */
static void decide_unit(const Policy *p, const char *unit, const Setting *ret[_SETTING_KIND_MAX]) {
        for (size_t i = 0, next; i < p->n_units; i = next) {
                const UnitText *best = NULL;
                size_t fit = 0;

                for (next = i; next < p->n_units && streq_ptr(p->units[next].drop_in, p->units[i].drop_in); next++) {
                        size_t k = unit_fit(&p->units[next], unit);

                        if (k > fit) {
                                fit = k;
                                best = &p->units[next];
                        }
                }
                for (SettingKind k = 0; best && k < _SETTING_KIND_MAX; k++)
                        if (best->settings[k].source)
                                ret[k] = &best->settings[k];
        }
}

/* ---- deciding ---- */

/* conf/policy/90-default.policy, for who has no policy. */
static void decide_by_default(const Node *n, const Setting *ret[_SETTING_KIND_MAX]) {
        static const Setting yes = { .mode = SETTING_VALUE, .number = 1, .source = (char *) "built-in" };
        static const Setting automatic = { .mode = SETTING_AUTO, .source = (char *) "built-in" };
        static const Setting late = { .mode = SETTING_VALUE, .number = -900, .source = (char *) "built-in" };
        static const Setting omit = { .mode = SETTING_VALUE, .text = (char *) "omit", .source = (char *) "built-in" };

        if (node_kind(n) != NODE_PROCESS)
                return;
        ret[SETTING_IO_FLUSHER] = &yes;
        ret[SETTING_MEMORY_MIN] = ret[SETTING_SWAP_MAX] = &automatic;
        ret[SETTING_OOM_SCORE_ADJUST] = &late;
        ret[SETTING_OOMD_PREFERENCE] = &omit;
}

static const Rule *find_rule(const Policy *p, const Node *n) {
        unsigned what = node_kind(n) == NODE_PROCESS ? SPEAKS_OF_PROCESSES : SPEAKS_OF_LAYERS;

        for (size_t i = 0; i < p->n_rules; i++)
                if (p->rules[i].speaks_of & what && match_node(&p->rules[i].match, p, n))
                        return &p->rules[i];
        return NULL;
}

/* A service of the system, and not one that a user's manager calls the same. */
static bool has_system_unit(const NodeFact *f) {
        return f->kind == NODE_PROCESS && f->unit && f->entitled && !(f->cgroup && path_is_below(f->cgroup, "/user.slice"));
}

void policy_decide(const Policy *p, const Node *n, const Setting *ret[_SETTING_KIND_MAX]) {
        const Rule *rule;

        for (SettingKind k = 0; k < _SETTING_KIND_MAX; k++)
                ret[k] = NULL;
        if (!n->fact)
                return;
        if (!p) {
                decide_by_default(n, ret);
                return;
        }
        if (has_system_unit(n->fact))
                decide_unit(p, n->fact->unit, ret);
        rule = find_rule(p, n);
        for (SettingKind k = 0; k < _SETTING_KIND_MAX; k++) {
                if (ret[k] && ret[k]->mode == SETTING_UNSET) /* taken back there */
                        ret[k] = NULL;
                if (!ret[k] && rule && rule->settings[k].mode != SETTING_UNSET)
                        ret[k] = &rule->settings[k];
        }
}

int policy_grant(const Policy *p, Graph *g, GraphChanges *changes) {
        const Setting *settings[_SETTING_KIND_MAX];
        size_t position = 0;
        Node *n;

        while ((n = graph_next(g, &position))) {
                bool granted;
                int r;

                if (node_kind(n) != NODE_PROCESS)
                        continue;
                policy_decide(p, n, settings);
                granted = settings[SETTING_ENTITLED] && settings[SETTING_ENTITLED]->number > 0;
                if (granted == n->granted)
                        continue;
                r = graph_changes_touch(changes, n);
                if (r < 0)
                        return r;
                n->granted = granted;
        }
        return 0;
}
