/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* One try at one thread: what its parts (thread-stop.c, thread-stack.c, thread.c) share. */

#include "daemon/actuator/mark/arch.h"
#include "daemon/actuator/mark/interruption.h"
#include "daemon/actuator/mark/thread.h"

/* The part of the thread's stack that was looked at, and read, before it is stopped. */
typedef struct StackView {
        const Mapping *mapping;
        uint64_t low, high;
} StackView;

typedef struct Visit {
        const MarkJob *job;
        pid_t tid;
        StackView stack;
        ThreadStatus status;
        ThreadCall seen; /* what it slept in just before it was asked to stop; running: not known */
        uint64_t args[6];
        ArchState state;
        ArchCall call; /* what the stop has interrupted */
        ArchFrame frame;
        ThreadReport *report;
        uint64_t stop_began;
        uint64_t blocked; /* signals, in any look */
        bool mask_known;  /* one of these looks told its own mask */
        uint64_t run_sleeps; /* how often it had slept when it was last seen running */
        unsigned run_met;    /* looks since that sleep before which it had run code of its own */
        unsigned moves;   /* different sleeps that were seen */
} Visit;

/* How a part of the visit ended. */
typedef enum Next {
        NEXT_GO_ON,
        NEXT_OVER,    /* detached, or never attached; the report is filled in */
        NEXT_LOOK,    /* detached; look at the stack first and come again */
        NEXT_RETURN,  /* detached; come again when it sleeps again */
        NEXT_ABANDON, /* attached, and only our exit changes that; the report is filled in */
} Next;

/* What a thread in a ptrace stop is there for. */
typedef enum StopKind {
        STOP_GONE,
        STOP_OURS,  /* as we asked */
        STOP_CALL,  /* at the entry or end of a system call */
        STOP_GROUP, /* the process is being stopped */
        STOP_SIGNAL,
} StopKind;

Next report_as(Visit *v, MarkResult result, bool again);
Next report_error(Visit *v, int error);
/* Of a stack that cannot be used, as stack_look() and stack_check() say. */
Next report_stack(Visit *v, int error);

/* Looks at the stack around sp and makes resident what may be written to. It stops nobody: 0, -EAGAIN, or -EOPNOTSUPP
 * where sp is not on a stack that the C library has made for this thread. */
int stack_look(Visit *v, uint64_t sp);
/* In a stop, whether sp is in the part that was looked at. */
bool stack_is_known(const Visit *v);
/* In a stop: 0, or -EOPNOTSUPP unless the stack is the thread's own. */
int stack_check(const Visit *v);
/* Whether the C library knows the thread, and not only a runtime that makes threads of its own. */
bool thread_has_library(const Visit *v);

/* Waits for a stop of the thread: 0, -ETIMEDOUT, or -ESRCH. */
int tracee_wait(pid_t tid, unsigned timeout_usec, int *ret_status);
StopKind stop_kind(int status, int *ret_signal);
/* From a stop until the thread runs again: should we be kept from our work meanwhile, by a page of the thread's memory that is
 * being read back for example, SIGALRM ends us, and so the stop. */
void stop_watch(bool on);
/* Attaches, waits until the thread is where it may be stopped, and stops it. */
Next visit_stop(Visit *v);
void thread_detach(Visit *v, int sig);
/* Back to the interrupted state from any stop but that at the entry of our call. */
void thread_restore(Visit *v, int sig);
