/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Mount options that can be changed by remount and changed back. Each is a setting with a value for every state
 * that it may be in, and a value is the word that leads there: "noatime" and "relatime" are values of "atime",
 * "commit=30" one of "commit". An option whose way back is not known is refused. */

#include <stdbool.h>

typedef enum MountScope {
        MOUNT_SCOPE_MOUNT,      /* of one mount (mount_setattr(2)): bind mounts may differ */
        MOUNT_SCOPE_SUPERBLOCK, /* of the file system, by a flag of the VFS or an option of its type */
} MountScope;

typedef struct MountOption {
        MountScope scope;
        const char *key; /* constant */
} MountOption;

/* What an option word is about: 0, or -EOPNOTSUPP. */
int mount_option_find(const char *type, const char *word, MountOption *ret);

/* The value that it has according to the option lists that mountinfo shows, which the caller frees; NULL when
 * memory has run out. */
char *mount_option_value(const char *type, const MountOption *option, const char *mount_options, const char *super_options);

/* The value that 'word' asks for: the same word, written as mount_option_value() would. */
char *mount_option_wanted(const char *type, const MountOption *option, const char *word);

/* Splits a list at its commas: the caller frees it. NULL when memory has run out. */
char **mount_options_split(const char *list);
