/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The inside of a policy: rules and what services say of themselves. */

#include "daemon/policy/setting.h"

/* Globs of which one must match; of those with a '!' before them, none may. */
typedef struct Patterns {
        char **patterns;
        size_t n;
} Patterns;

typedef struct DepthRange {
        unsigned from, to;
        bool not;
} DepthRange;

typedef struct Match {
        Patterns layer, type, device, mount; /* of a layer: of itself, or the one that a process serves */
        Patterns process, unit, user;        /* of a process */
        DepthRange *depths;
        size_t n_depths, depths_capacity;
} Match;

typedef struct Rule {
        Match match;
        bool match_wrong; /* some of it could not be understood */
        unsigned speaks_of;
        Setting settings[_SETTING_KIND_MAX];
} Rule;

/* One file that speaks for services. */
typedef struct UnitText {
        char *name;    /* of the unit, the template, the prefix, or "service" */
        char *drop_in; /* the file's name in NAME.d; NULL: the unit's own file */
        Setting settings[_SETTING_KIND_MAX];
} UnitText;

typedef struct User {
        uid_t uid;
        char *name;
} User;

struct Policy {
        Rule *rules;
        size_t n_rules, rules_capacity;
        UnitText *units; /* unit files first, then drop-ins by their names */
        size_t n_units, units_capacity;
        User *users;
        size_t n_users, users_capacity;
};

void match_done(Match *m);

/* One assignment of [Match]: 0 or -ENOMEM. *ret_wrong as setting_assign() has it; -ENOENT for an unknown key. */
int match_assign(Match *m, const char *key, const char *value, const char **ret_wrong);
bool match_is_empty(const Match *m);
/* Has a positive User= or Unit=: what others than root cannot make match as they like. */
bool match_names_trusted(const Match *m);
bool match_node(const Match *m, const Policy *p, const Node *n);
