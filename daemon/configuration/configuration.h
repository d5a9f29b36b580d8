/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What holds of all that was read: of files with the same name the one in the directory of most precedence, drop-ins
 * in the order of their names, and of a file that has become unusable what it said before. */

#include "daemon/configuration/daemon-settings.h"
#include "daemon/configuration/hierarchy.h"
#include "daemon/policy/policy.h"

typedef enum ConfigKind {
        CONFIG_USERS,
        CONFIG_DAEMON,
        CONFIG_POLICY,
        CONFIG_UNIT,
        _CONFIG_KIND_MAX,
} ConfigKind;

typedef struct ConfigFile {
        ConfigKind kind;
        char *name;     /* of the policy or unit */
        char *drop_in;  /* file name, or NULL for the file itself */
        unsigned place; /* a smaller number takes precedence */
        FoundState state;
        char *path;
        char *text;     /* of FOUND_TEXT; of FOUND_TROUBLE what that is */
        unsigned line;
        bool faulty;    /* some of the text does not parse */
        bool kept;      /* the text is an earlier one */
        bool holds;     /* no other file hides it */
        bool secret;    /* not everybody may read it */
} ConfigFile;

typedef struct Configuration {
        ConfigFile *files; /* in the order in which they hold */
        size_t n, capacity;
        Policy *policy;    /* NULL until the first update */
        DaemonSettings settings;
        Remarks remarks;   /* on the files as they are now */
        bool refused;      /* something was not taken, and what was before stays */
        bool unread;       /* the last reading did not come to its end, which the last remark says */
        bool complete;     /* all of it has been read: else what is not there may be all the same */
} Configuration;

#define CONFIGURATION_NULL (Configuration) { .settings = DAEMON_SETTINGS_DEFAULT }
void configuration_done(Configuration *c);

/* Takes what a child has read. 'complete': it came to its end; else nothing is taken, unless there has been nothing
 * so far. 0, or -ENOMEM, when all stays as it was. */
int configuration_update(Configuration *c, const char *output, bool complete);

/* What holds, line by line, and what is wrong with it, as JSON; owned by the caller. Without 'secrets' nothing that
 * is in files which not everybody may read. */
int configuration_describe(const Configuration *c, bool secrets, char **ret);
