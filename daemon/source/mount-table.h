/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* All mounts of all mount namespaces, as /proc/PID/mountinfo tells them (proc_pid_mountinfo(5)); and the file systems
 * that are mounted nowhere (any more) and live all the same, each as one entry (daemon/source/unmounted.h). */

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/array.h"
#include "daemon/sysroot/sysroot.h"

#define SPACE_NONE UINT_MAX

typedef struct Mount {
        char *line; /* in which the texts from 'root' to 'options' stand; NULL where each has memory of its own */
        int id, parent; /* -1 where it is mounted nowhere */
        dev_t device;   /* of the superblock; 0 where nobody tells */
        unsigned space; /* number of the mount namespace; 0 is that of pid 1; SPACE_NONE: mounted nowhere */
        bool foreign;   /* whose user namespace is not that of pid 1 */
        char *root;     /* the mount's root within the superblock */
        char *target; /* "" where it is mounted nowhere */
        char *type;
        char *source;
        char *uuid;        /* of a btrfs, where it is known */
        char *flags;       /* options of this mount alone */
        char *options;     /* of the superblock */
        char *raw_options; /* the same with the kernel's escapes; of overlays only, where they matter */
} Mount;

typedef struct MountTable {
        Mount *mounts; /* in the order of the kernel, namespace 0 first; then what is mounted nowhere */
        size_t n, n_mounted, capacity;
        size_t *by_id; /* indices sorted by mount id */
        size_t *by_device;
        size_t *by_place; /* by namespace, parent and mount point */
        size_t *roots;    /* of the namespaces; SIZE_MAX for none */
        unsigned n_spaces;
        pid_t *space_pids; /* whose mountinfo was read; 0 where that is our own */
        unsigned gaps;      /* some namespace could not be read (enum Gap) */
} MountTable;

int mount_table_read(const Sysroot *s, MountTable *ret);
void mount_table_done(MountTable *t);
/* Replaces what is mounted nowhere, and takes over what the array's members point to, also on failure, after which the
 * table is empty. */
int mount_table_set_unmounted(MountTable *t, const Mount *mounts, size_t n);
void mount_done(Mount *m);

/* NULL when there is none. Mount ids are unique over all namespaces. */
const Mount *mount_table_find_id(const MountTable *t, int id);
/* The first mount of a superblock. */
const Mount *mount_table_find_device(const MountTable *t, dev_t device);
/* All mounts of a superblock stand side by side in by_device: first index and number. */
size_t mount_table_device_range(const MountTable *t, dev_t device, size_t *ret_n);
/* The mount that an absolute path leads to in a namespace, from the table alone: nothing is touched. */
const Mount *mount_table_resolve(const MountTable *t, unsigned space, const char *path);

/* Whether they are of one superblock. */
bool mount_same_filesystem(const Mount *a, const Mount *b);

/* Served through /dev/fuse, and on a block device that its server uses; it may say "fuseblk.SUBTYPE". */
bool type_is_fuseblk(const char *type);
/* Served through /dev/fuse; "fusectl", which tells of those, is not. */
bool mount_is_fuse(const Mount *m);

/* A kernel-internal file system that holds nobody's data and cannot be part of a stack (proc, sysfs ...). */
bool mount_is_pseudo(const Mount *m);
