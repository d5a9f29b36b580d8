/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What memory control groups have reserved and use. */

#include "daemon/graph/state.h"
#include "daemon/sysroot.h"

/* Adds a cgroup and all above it, but for the root, with what shares the ancestors' reservations with it. Nothing
 * where there is no memory controller. 0 or -ENOMEM: what vanishes meanwhile is left out. */
int cgroup_state_read(const Sysroot *s, const char *path, State *state);

/* What of the ancestors' reservations reaches a cgroup that has none itself: with memory_recursiveprot they hand
 * down what no child claims. 0 where nothing does. */
uint64_t cgroup_inherited_min(const Sysroot *s, const char *path);
