/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What memory control groups have reserved and use. */

#include "common/cleanup.h"
#include "daemon/graph/state.h"
#include "daemon/sysroot/sysroot.h"

/* Adds a cgroup and all above it, but for the root, with what shares the ancestors' reservations with it. Nothing
 * where there is no memory controller. 0 or -ENOMEM: what vanishes meanwhile is left out. */
int cgroup_state_read(const Sysroot *s, const char *path, State *state);

/* The processes in a cgroup and below it, at most 'most' of them: 0, or -ENOMEM. */
int cgroup_list_processes(const Sysroot *s, const char *path, size_t most, pid_t **ret, size_t *ret_n);

/* What is reserved and used, as it was when it was first asked for. */
typedef struct CgroupUses CgroupUses;

CgroupUses *cgroup_uses_new(void);
CgroupUses *cgroup_uses_free(CgroupUses *u);
DEFINE_TRIVIAL_CLEANUP_FUNC(CgroupUses *, cgroup_uses_free);

/* How much of a cgroup's memory reclaim leaves to it, by the kernel's own formula, when it uses all that it has
 * reserved and its neighbours what they use now: where they have reserved, and use, more than an ancestor has, each gets
 * its share. For one that has reserved nothing, what of the ancestors' reservations reaches it ('recursive': cgroup2
 * is mounted with memory_recursiveprot, and hands down what no child claims). 0; -ENOENT where that cannot be told. */
int cgroup_effective_min(const Sysroot *s, CgroupUses *u, const char *path, bool recursive, uint64_t *ret);
