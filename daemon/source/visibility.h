/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What of a machine can be seen at all. */

#include <sys/types.h>

#include "daemon/graph/gap.h"
#include "daemon/sysroot/sysroot.h"

/* What 'r', with which the kernel refused a file of a process, means: it also denies access to files of one that has just ended
 * (fs/proc/: proc_ns_readlink(), proc_fd_access_allowed()), and its descriptors are root's from when it has given its memory up
 * (task_dump_owner()) until it is reaped. Then the answer is -ESRCH. */
int process_error(const Sysroot *s, pid_t pid, int r);

/* Gaps that show although nothing failed. Captures do not tell: what was seen when one was made is written down in it. */
unsigned visibility_gaps(const Sysroot *s);
