/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* How a thread is scheduled, in words: "other", "batch", "idle", "deadline", "fifo:PRIORITY", "rr:PRIORITY" (sched(7)). */

#include <stdint.h>

#define SCHEDULING_TEXT_SIZE 24
/* Of the threads of a process, where they differ. */
#define SCHEDULING_MIXED "mixed"

/* 'buffer' is returned; policies of later kernels are "policy-N". */
const char *scheduling_to_string(uint64_t policy, uint64_t priority, char buffer[static SCHEDULING_TEXT_SIZE]);
/* Of what sched_setscheduler(2) can set: 0, or -EINVAL. */
int scheduling_from_string(const char *s, int *ret_policy, int *ret_priority);
