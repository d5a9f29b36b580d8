/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* How much memory is reserved for a unit, and whose unit a process is in. */

#include "daemon/graph/state.h"

/* Reservations are a multiple of this: a whole number of pages, however large these are. */
#define RESERVATION_GRANULARITY (UINT64_C(1) << 16)

/* What reclaim must not take from a unit, in bytes: what it uses that reclaim could take or would have to write
 * to swap (memory.stat: anon, shmem, file_mapped, kernel; and what is in swap already), a quarter of that more for each level of depth, and
 * 16 MiB for each level, for what is allocated while I/O of that level is under way; rounded up to whole MiB.
 * Never more than 'cap'. */
uint64_t reservation_size(uint64_t used, unsigned depth, uint64_t cap);

/* Whether a reservation that is in place may stay: it is not made anew for each change of use. It must be made
 * anew for a greater depth. */
bool reservation_fits(uint64_t present, uint64_t used, unsigned depth, uint64_t cap);

/* The unit of the system's service manager that a cgroup belongs to: its name, which the caller frees, and the
 * length of its part of the path. -ENOENT: none that may be changed, and *ret_why, a constant sentence, says
 * why. */
int unit_of_cgroup(const char *path, char **ret_name, size_t *ret_length, const char **ret_why);

/* The name of the slice at the end of a path of slices, within it; NULL if that is none. */
const char *slice_of_cgroup(const char *path);

/* As the kernel prints it: a number of bytes, or "max". */
char *memory_to_string(uint64_t bytes);
int memory_from_string(const char *s, uint64_t *ret);
