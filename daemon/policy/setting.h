/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The settings that policy files and [X-Stackd] sections know: their names and values. */

#include "daemon/policy/policy.h"

#define SECTION_OF_UNITS "X-Stackd"

/* Whom the sections of a policy file are about. */
enum {
        SPEAKS_OF_PROCESSES = 1,
        SPEAKS_OF_LAYERS = 2,
        SPEAKS_OF_ALL = 3,
};

/* SPEAKS_OF_...; 0: there is no such section. */
unsigned setting_section(const char *section);

/* By section and key, also of [X-Stackd]; negative: there is none. */
int setting_find(const char *section, const char *key);

/* Replaces *s by 'value', or adds to it where it is a list; the empty value resets it. 0 or -ENOMEM. What cannot be
 * understood leaves *s as it is, and sets *ret_wrong to a constant sentence. */
int setting_assign(Setting *s, SettingKind kind, const char *value, const char *source, const char **ret_wrong);
/* As it stands in a policy file; the section and the key are constant, the value is the caller's. 0 or -ENOMEM. */
int setting_describe(SettingKind kind, const Setting *s, const char **ret_section, const char **ret_key, char **ret_value);
void setting_done(Setting *s);
