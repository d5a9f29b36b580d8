/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What a stop does to the system call that a thread sleeps in. A stop wakes the thread as a signal does (signal(7),
 * "Interruption of system calls and library functions by signal handlers" and "by stop signals"). */

#include "daemon/actuator/mark/target.h"

typedef enum CallCare {
        CALL_PLAIN, /* continues or begins again, and its caller sees no difference */
        CALL_LONG,  /* may have transferred a part; if it has slept for long, probably nothing */
        CALL_NEVER, /* would return early: a part of a transfer, EINTR, an NBD device that goes down */
} CallCare;

/* A call that is not known to be plain is CALL_NEVER. */
CallCare call_care(const ThreadCall *call, const ThreadWait *wait);

/* Whether the thread may have another signal mask while it sleeps in this call. */
bool call_changes_mask(const ThreadCall *call);

/* Calls that a stop ends with -EINTR only if they have done nothing yet. The caller makes them begin again. That is
 * exact, except that a relative timeout begins again too. */
bool call_can_repeat(long nr);

/* io_uring_enter() has submitted its requests and returns their number instead of waiting for completions: it can
 * wait again with nothing to submit. 'result' is what the kernel wants to return. */
bool call_has_rest(long nr, const uint64_t args[6], int64_t result);

/* Whether the stop itself may have ended a call that would have gone on. 'result' is what the kernel returns, and
 * 'restarts' says that the kernel begins the call again instead. */
bool call_was_cut(long nr, const uint64_t args[6], int64_t result, bool restarts);

/* The call that restart_syscall() continues, known by where it sleeps: its number, or -1. All arguments are still those
 * of the first call. */
long call_continued(const ThreadCall *call, const ThreadWait *wait);
