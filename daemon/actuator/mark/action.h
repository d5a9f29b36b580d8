/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The one call that a thread is made to make, and how its effect is read back. Tests link another one. */

#include "daemon/actuator/mark/target.h"

/* The arguments of prctl(). */
void action_arguments(bool set, uint64_t ret[5]);
/* 1 when the thread is in the wanted state already, 0 when not; 'stat' was just read. */
int action_is_in_state(const Target *t, pid_t tid, const ThreadStat *stat, bool set);
/* Whether the kernel would let this thread do it: 1, 0. */
int action_is_permitted(const Target *t, pid_t tid, const ThreadStatus *status);
/* Does it to the calling thread. */
int action_apply_self(void);
