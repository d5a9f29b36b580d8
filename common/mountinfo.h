/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Lines of /proc/PID/mountinfo (proc_pid_mountinfo(5), fs/proc_namespace.c). */

#include <stdbool.h>

/* Texts point into the line. */
typedef struct MountLine {
        int id, parent;
        char *device; /* "MAJ:MIN" */
        char *root, *target;
        char *flags;   /* options of this mount alone */
        char *type;
        char *source;  /* may be empty */
        char *options; /* of the superblock, with the kernel's escapes */
} MountLine;

/* "ID PARENT MAJ:MIN ROOT TARGET FLAGS [FIELD...] - TYPE SOURCE OPTIONS", which is taken apart in place. False where it is something
 * else. */
bool mount_line_parse(char *line, MountLine *ret);
