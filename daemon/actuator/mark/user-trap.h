/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Stops a thread that runs, at an instant when it runs code of its own: never inside a system call.
 *
 * PTRACE_INTERRUPT cannot do that: it ends whatever call the thread is in. So a clock of the thread's own processor
 * time (perf_event_open(2), PERF_COUNT_SW_CPU_CLOCK without exclude_kernel's part) raises a signal from an interrupt
 * that has met the thread in user mode, and only then. The thread is traced, so the signal stops it and is dropped.
 * The signal is one that does nothing to a thread without a tracer, should we die in that instant. */

#include "daemon/actuator/mark/target.h"

typedef struct UserTrap {
        int fd; /* owned; -1 while it is not armed */
        int signal;
} UserTrap;

#define USER_TRAP_NONE ((UserTrap) { .fd = -1 })

/* The same clock tells ourselves instead, by a SIGURG that has to be blocked, when the thread runs code of its own. That thread
 * need not be attached, and notices nothing. 0, or -EOPNOTSUPP. */
int user_watch_arm(pid_t tid, UserTrap *ret);
/* Arms it for a thread that is attached. 'used' are the signals that it handles or blocks: 0, or -EOPNOTSUPP where each that would
 * do is among them, or where the kernel has no such clock for us. */
int user_trap_arm(pid_t tid, uint64_t used, UserTrap *ret);
/* In a stop for 'signal': whether it is the trap's own and not one that was sent to the thread. */
bool user_trap_is_reason(const UserTrap *t, pid_t tid, int signal);
void user_trap_disarm(UserTrap *t);
