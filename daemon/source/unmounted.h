/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* File systems that no mount table shows, and that live all the same: unmounted lazily and still in use; being
 * unmounted, which is when the last of what is dirty is written; mounted in a namespace that cannot be read. They
 * become entries of the mount table that are mounted nowhere, and every btrfs there gets its uuid.
 *
 * Some drivers list their file systems in sysfs by the device (ext4, XFS, f2fs) or by the uuid (btrfs); FUSE and NFS have a bdi
 * (backing device information) named by the file system's own device number. Others list theirs nowhere: of those
 * only users tell (a loop device, a descriptor). */

#include "daemon/source/block-table.h"
#include "daemon/source/mount-table.h"

int unmounted_find(const Sysroot *s, const BlockTable *blocks, MountTable *t);

/* Whether an event tells when it is gone: the end of its bdi. */
bool unmounted_has_event(const Mount *m);
