/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What being stopped does to the system call that a thread sleeps in. */

#include "daemon/actuator/mark/target.h"

/* How a system call that sleeps takes being interrupted and made to carry on. */
typedef enum CallCare {
        CALL_PLAIN,   /* carries on, or is restarted, unnoticed */
        CALL_VISIBLE, /* would end with EINTR, as after SIGSTOP and SIGCONT: rather wait a while for its end */
        CALL_NEVER,   /* would lose something: a partial transfer, an NBD connection, what is left of a time-out */
} CallCare;

CallCare call_care(const ThreadCall *call);

/* A relative time-out at an address of the target: longer than it could begin anew without anybody noticing? One
 * that cannot be looked at, as with a 'tid' of 0, counts as long. */
bool timeout_is_long(pid_t tid, uint64_t address);

/* Calls for which the kernel answers any stop with EINTR, handler or not (signal(7) lists them). They are made to
 * start again, which is exact unless they have a time-out; with a short one it is at most doubled. */
bool call_can_repeat(pid_t tid, long nr, const uint64_t args[6]);
