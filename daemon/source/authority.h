/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Whose word counts: whether the holder of a device or of a socket is the server of what is behind it. Every source asks here, and
 * concludes nothing from a name, from a descriptor or from a connection by itself.
 *
 * - A descriptor is a server's if it is the device itself (the number of its node is that in sysfs: anybody may give a file any
 *   name), and if it is open for writing. O_PATH and a look at it need no permission.
 * - A socket is the kernel's if no process has it open, and root made it. A user's own socket may be open nowhere, too: it is on its way
 *   to another process, or registered with io_uring.
 * - The process of an ordinary user speaks for layers of that user. It neither adds to nor takes from what is known of others'. */

#include "daemon/source/mount-table.h"
#include "daemon/sysroot/sysroot.h"

typedef struct FilesPlace FilesPlace;
typedef struct Holder Holder;
typedef struct OpenFile OpenFile;
typedef struct Scan Scan;
typedef struct Socket Socket;

/* Ordered: more is more. From AUTHORITY_SERVICE on a process is entitled: policy may give it privileges, and sources go by what it
 * holds. */
typedef enum Authority {
        AUTHORITY_USER,
        AUTHORITY_SERVICE, /* of a service of the system's, as whatever user */
        AUTHORITY_ROOT,    /* root's by all its ids */
} Authority;

/* 'cgroup' may be NULL. 'login': somebody who is not root logged in to start it. */
Authority authority_of(bool root, const char *cgroup, bool login);

/* What an open file that is called as a device is. */
typedef enum NodeVerdict {
        NODE_IS_OTHER,    /* not that device, or not open so that one could serve through it */
        NODE_IS_UNPROVEN, /* its number cannot be read without waiting, or is not in the capture: holder_is_authentic() */
        NODE_IS_DEVICE,
} NodeVerdict;

/* 'm': the mount of the file, or NULL. Records what a capture needs to come to the same result. */
NodeVerdict authority_check_node(
                const Sysroot *s, const Mount *m, int pid, const FilesPlace *place, const OpenFile *file, const char *path, const char *device);

/* Whether the holder may be taken for the server of its device. */
bool holder_is_authentic(Scan *s, const Holder *h);

/* Whether it is the kernel's own end of a connection. Where a capture does not say who made it, it may be. */
bool socket_is_kernels(const Scan *s, const Socket *socket);
/* The same of a connection that a process of root's may keep open beside the kernel (iscsid). */
bool socket_is_roots(const Socket *socket);

/* Of sockets that processes have open: leaves those of entitled processes if there are any, else all of them. -ENOMEM. */
int authority_choose(Scan *s, const Socket **ends, size_t *n);
