/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A machine in memory in place of daemon/sysroot/sysroot.c, whose functions memory-root.c has all: no system call is made, and
 * the daemon's own readers do the rest. The input is text:
 *
 *     @proc/1/mountinfo              a file; its content is the lines up to the next '@'
 *     @proc/7/fd/3 -> /dev/fuse      a link
 *     @proc/7/status !13             reading it fails with that errno
 *
 * Directories are there by what is in them. Links are not followed: what is read through one stands under the path
 * by which it is asked for. */

#include "daemon/sysroot/sysroot.h"

/* The text is taken apart in place, and must live as long. */
Sysroot *memory_root_new(char *text);
