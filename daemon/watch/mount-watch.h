/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Tells of mounts that come and go in other mount namespaces than pid 1's, by fanotify(7): from Linux 6.15 on. Before,
 * nothing tells of them that would not keep the namespace alive, as polling its mountinfo does: its file systems
 * would be unmounted by whoever closes that last, and wait for them.
 *
 * Nor does anything tell of a new namespace: it is watched from the first time that its table is read. */

#include <systemd/sd-event.h>

#include "daemon/source/mount-table.h"

typedef struct MountWatch MountWatch;

typedef void (*MountEvent)(void *userdata);

/* The root is borrowed. -EINVAL: this kernel cannot. */
int mount_watch_new(sd_event *event, const Sysroot *root, MountEvent handler, void *userdata, MountWatch **ret);
MountWatch *mount_watch_free(MountWatch *w);

/* Watches all namespaces of the table; what is watched already stays so, and ends with its namespace. */
void mount_watch_update(MountWatch *w, const MountTable *t);
