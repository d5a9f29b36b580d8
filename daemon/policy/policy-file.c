/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* From the text of files to rules. */
#include <errno.h>
#include <string.h>

#include "common/ini.h"
#include "common/text.h"
#include "daemon/policy/rule.h"

static int assign_setting(Setting settings[_SETTING_KIND_MAX], const Ini *i, const char *path, Remarks *remarks) {
        _cleanup_free_ char *source = text_format("%s:%u", path, i->line);
        const char *wrong = NULL;
        int kind, r;

        if (!source)
                return -ENOMEM;
        kind = setting_find(i->section, i->key);
        if (kind < 0) {
                remark(remarks, false, path, i->line, "[%s] has no setting '%s': ignored", i->section, i->key);
                return 0;
        }
        r = setting_assign(&settings[kind], (SettingKind) kind, i->value, source, &wrong);
        if (wrong)
                remark(remarks, true, path, i->line, "%s=%s: %s; ignored", i->key, i->value, wrong);
        return r;
}

/* With a condition less it would hold for more than is meant. */
static int assign_match(Rule *rule, const Ini *i, const char *path, Remarks *remarks) {
        const char *wrong = NULL;
        int r;

        r = match_assign(&rule->match, i->key, i->value, &wrong);
        if (r == -ENOENT) {
                wrong = "there is no such condition";
                r = 0;
        }
        if (!wrong)
                return r;
        remark(remarks, true, path, i->line, "%s=%s in [Match]: %s; none of this policy is used", i->key, i->value, wrong);
        rule->match_wrong = true;
        return r;
}

static bool is_left_to_others(const char *section) {
        return streq(section, "") || startswith(section, "X-");
}

static int read_rule_line(Rule *rule, const Ini *i, IniKind kind, const char *path, Remarks *remarks) {
        unsigned speaks_of;

        if (kind == INI_ERROR) {
                bool match = !i->section || !i->section[0] || streq(i->section, "Match"); /* or may be one */

                remark(remarks, true, path, i->line, "%s%s", i->error, match ? "; none of this policy is used" : "");
                rule->match_wrong |= match;
                return 0;
        }
        speaks_of = setting_section(i->section);
        if (kind == INI_SECTION) {
                rule->speaks_of |= speaks_of;
                if (!speaks_of && !streq(i->section, "Match") && !is_left_to_others(i->section))
                        remark(remarks, false, path, i->line, "unknown section [%s]: ignored", i->section);
                return 0;
        }
        if (streq(i->section, "Match"))
                return assign_match(rule, i, path, remarks);
        return speaks_of ? assign_setting(rule->settings, i, path, remarks) : 0;
}

static int read_rule_text(Rule *rule, const PolicyText *text, Remarks *remarks) {
        _cleanup_ini_ Ini i = INI_BEGIN(text->text);
        int kind, r = 0;

        remarks_begin_file(remarks);
        while (r >= 0 && (kind = ini_next(&i)) != INI_END)
                r = kind < 0 ? kind : read_rule_line(rule, &i, (IniKind) kind, text->path, remarks);
        return r;
}

/* Names of processes and places of mounts are chosen by their users: with them alone, who wants to be entitled
 * could make it so. */
static void check_grant(Rule *rule, Remarks *remarks) {
        Setting *s = &rule->settings[SETTING_ENTITLED];

        if (s->mode != SETTING_VALUE || s->number == 0 || match_names_trusted(&rule->match))
                return;
        remark(remarks, true, s->source, 0, "Entitled= needs User= or Unit= in [Match], for users call processes as they like; ignored");
        setting_done(s);
}

static void rule_done(Rule *rule) {
        match_done(&rule->match);
        for (SettingKind k = 0; k < _SETTING_KIND_MAX; k++)
                setting_done(&rule->settings[k]);
}

int policy_check_text(const PolicyText *text, Remarks *remarks) {
        _cleanup_(rule_done) Rule rule = {};

        return read_rule_text(&rule, text, remarks);
}

int policy_add_rule(Policy *p, const PolicyText *texts, size_t n, Remarks *remarks) {
        _cleanup_(rule_done) Rule rule = {};
        int r = 0;

        for (size_t i = 0; r >= 0 && i < n; i++)
                r = read_rule_text(&rule, &texts[i], remarks);
        if (r < 0 || n == 0)
                return r;
        if (rule.match_wrong)
                return 0;
        if (match_is_empty(&rule.match)) {
                remark(remarks, false, texts[0].path, 0, "nothing in [Match]: it holds for nothing; for all write 'Depth=0-'");
                return 0;
        }
        /* One that asks for nothing says: leave these alone. */
        if (rule.speaks_of == 0)
                rule.speaks_of = SPEAKS_OF_ALL;
        check_grant(&rule, remarks);
        r = ARRAY_APPEND(p->rules, p->n_rules, p->rules_capacity, rule);
        if (r >= 0)
                rule = (Rule) {};
        return r;
}

/* ---- services ---- */

static int read_unit_line(UnitText *u, const Ini *i, IniKind kind, const char *path, Remarks *remarks) {
        /* All else in it is systemd's. */
        if (!i->section || !streq(i->section, SECTION_OF_UNITS) || kind == INI_SECTION)
                return 0;
        if (kind == INI_ERROR) {
                remark(remarks, true, path, i->line, "%s", i->error);
                return 0;
        }
        return assign_setting(u->settings, i, path, remarks);
}

static void unit_text_done(UnitText *u) {
        free(u->name);
        free(u->drop_in);
        for (SettingKind k = 0; k < _SETTING_KIND_MAX; k++)
                setting_done(&u->settings[k]);
}

static int insert_unit(Policy *p, UnitText *u) {
        size_t at = 0;
        int r;

        for (; at < p->n_units; at++) {
                int order = strcmp(p->units[at].drop_in ?: "", u->drop_in ?: "");

                if (order > 0)
                        break;
                if (order == 0 && streq(p->units[at].name, u->name))
                        return 0;
        }
        r = array_reserve((void **) &p->units, &p->units_capacity, p->n_units + 1, sizeof(UnitText));
        if (r < 0)
                return r;
        memmove(p->units + at + 1, p->units + at, (p->n_units - at) * sizeof(UnitText));
        p->units[at] = *u;
        p->n_units++;
        *u = (UnitText) {};
        return 0;
}

int policy_add_unit(Policy *p, const char *name, const char *drop_in, const PolicyText *text, Remarks *remarks) {
        _cleanup_(unit_text_done) UnitText u = { .name = strdup(name), .drop_in = drop_in ? strdup(drop_in) : NULL };
        _cleanup_ini_ Ini i = INI_BEGIN(text->text);
        int kind, r = 0;

        if (!u.name || (drop_in && !u.drop_in))
                return -ENOMEM;
        remarks_begin_file(remarks);
        while (r >= 0 && (kind = ini_next(&i)) != INI_END)
                r = kind < 0 ? kind : read_unit_line(&u, &i, (IniKind) kind, text->path, remarks);
        return r < 0 ? r : insert_unit(p, &u);
}

int policy_add_users(Policy *p, const char *passwd) {
        for (const char *line = passwd; *line; line += *line == '\n') {
                size_t n = strcspn(line, "\n"), n_name = strcspn(line, ":\n");
                _cleanup_free_ char *copy = strndup(line, n), *name = strndup(line, n_name);
                char *number, *state = NULL;
                User user = {};
                uint64_t uid;
                int r;

                if (!copy || !name)
                        return -ENOMEM;
                line += n;
                number = n_name < n && n_name > 0 ? strchr(copy + n_name + 1, ':') : NULL;
                number = number ? strtok_r(number, ":", &state) : NULL;
                if (!number || text_to_u64(number, 10, &uid) < 0 || uid >= UINT32_MAX)
                        continue;
                user.uid = (uid_t) uid;
                user.name = name;
                r = ARRAY_APPEND(p->users, p->n_users, p->users_capacity, user);
                if (r < 0)
                        return r;
                TAKE_PTR(name);
        }
        return 0;
}
