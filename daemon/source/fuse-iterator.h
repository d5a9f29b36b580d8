/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Asks the kernel which process holds which FUSE connection, through a BPF iterator (Linux 5.8, with BTF).
 * Only memory of the kernel is read, no server can make it wait; but loading takes time: not for the
 * main loop. */

#include "daemon/source/fuse-servers.h"

/* All descriptors of /dev/fuse. -EOPNOTSUPP: built without, or in a container, where the numbers that the
 * kernel gives are others; else whatever loading failed with. */
int fuse_iterator_read(FuseServers *ret);
