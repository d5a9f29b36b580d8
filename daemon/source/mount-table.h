/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* All mounts of all mount namespaces, as /proc/PID/mountinfo tells them, parsed by libmount. */

#include <stdbool.h>
#include <sys/types.h>

#include "common/array.h"
#include "daemon/sysroot.h"

typedef struct Mount {
        int id, parent;
        dev_t device;   /* of the superblock */
        unsigned space; /* number of the mount namespace; 0 is that of pid 1 */
        char *root;     /* the mount's root within the superblock */
        char *target;
        char *type;
        char *source;
        char *flags;       /* options of this mount alone */
        char *options;     /* of the superblock */
        char *raw_options; /* the same with the kernel's escapes; of overlays only, where they matter */
} Mount;

typedef struct MountTable {
        Mount *mounts; /* in the order of the kernel, namespace 0 first */
        size_t n, capacity;
        size_t *by_id; /* indices sorted by mount id */
        size_t *by_device;
        unsigned n_spaces;
        bool incomplete; /* some namespace could not be read */
} MountTable;

int mount_table_read(const Sysroot *s, MountTable *ret);
void mount_table_done(MountTable *t);

/* NULL when there is none. Mount ids are unique over all namespaces. */
const Mount *mount_table_find_id(const MountTable *t, int id);
/* The first mount of a superblock. */
const Mount *mount_table_find_device(const MountTable *t, dev_t device);
/* All mounts of a superblock stand side by side in by_device: first index and number. */
size_t mount_table_device_range(const MountTable *t, dev_t device, size_t *ret_n);
/* The mount that an absolute path leads to in a namespace, from the table alone: nothing is touched. */
const Mount *mount_table_resolve(const MountTable *t, unsigned space, const char *path);

/* A kernel-internal file system that holds nobody's data and cannot be part of a stack (proc, sysfs ...). */
bool mount_is_pseudo(const Mount *m);
