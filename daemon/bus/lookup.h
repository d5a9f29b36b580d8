/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* From what a person writes to the ids of nodes. */

#include "daemon/graph/graph.h"

/* 'what' may be an id, a pid, a device ("253:0", "dm-0", "/dev/dm-0", a device-mapper name, also below
 * /dev/mapper), a mount point, the path of a backing file, or a unit. By text alone: nothing is opened or
 * resolved. The ids found, sorted, are the caller's; -ENOENT when there are none. */
int lookup(const Graph *g, const char *what, char ***ret);
