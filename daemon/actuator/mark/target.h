/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The process to be marked, as seen in procfs. Everything is read beneath one directory descriptor, which the
 * kernel ties to this very process: when it ends, reads fail with ESRCH, also after its number was given away. */

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "common/cleanup.h"

#define TASK_EXITING 0x4U /* of zombies too */
#define TASK_IO_WORKER 0x10U
#define TASK_USER_WORKER 0x4000U
#define TASK_KERNEL_THREAD 0x200000U

typedef struct Target {
        pid_t pid;
        uint64_t start; /* clock ticks since boot, field 22 of stat */
        int pidfd;      /* borrowed */
        int proc_fd;    /* owned: the process's directory in procfs */
} Target;

typedef struct ThreadStat {
        char state; /* R, S, D, T, t, Z, X, I */
        unsigned flags;
        uint64_t start;
} ThreadStat;

typedef struct ThreadStatus {
        pid_t tracer;
        unsigned seccomp;
        uint64_t capabilities; /* effective */
        uint64_t blocked, ignored, caught; /* signals: bit 0 is signal 1 */
        uint64_t sleeps, switches; /* how often it has gone to sleep, and has left the processor at all */
        bool shadow_stack;
} ThreadStatus;

/* The system call in which a thread sleeps. */
typedef struct ThreadCall {
        bool running; /* it does not sleep: nothing else is known */
        long nr;      /* -1: sleeps outside of a system call */
        long continued; /* of restart_syscall(): the call that it continues, or -1 */
        uint64_t args[6];
        uint64_t sp, ip;
} ThreadCall;

/* More about where a thread sleeps. */
typedef struct ThreadWait {
        char where[64]; /* the kernel's function (/proc/PID/task/TID/wchan); empty where the kernel does not name it */
        char file[32];  /* the beginning of what descriptor args[0] is, for calls that read from one; else empty */
} ThreadWait;

/* CLOCK_MONOTONIC in nanoseconds. */
uint64_t now_ns(void);

/* Opens and checks the identity: 0, or -ESRCH where the process is not, or no longer, the one meant. */
int target_open(pid_t pid, uint64_t start, int pidfd, Target *ret);
void target_done(Target *t);
int target_check(const Target *t);

/* The threads' numbers, an array owned by the caller. -ESRCH when there is none left. */
int target_threads(const Target *t, pid_t **ret, size_t *ret_n);
/* An upper bound of the whole file. */
int target_read(const Target *t, const char *path, size_t max, char **ret);

/* All of these return -ESRCH for a thread that is gone. For the first one a thread that is ending is: it loses its memory first,
 * then more, and its entry in procfs last, and what is met on the way says nothing of it. */
int thread_stat_read(const Target *t, pid_t tid, ThreadStat *ret);
int thread_status_read(const Target *t, pid_t tid, ThreadStatus *ret);
int thread_call_read(const Target *t, pid_t tid, ThreadCall *ret);
int thread_wait_read(const Target *t, pid_t tid, const ThreadCall *call, ThreadWait *ret);
/* Frozen by the cgroup freezer: 1, 0. A group that cannot be read counts as not frozen. */
int thread_is_frozen(const Target *t, pid_t tid);
/* 1 when the thread's capabilities count in the initial user namespace, else 0. */
int thread_in_initial_user_ns(const Target *t, pid_t tid);

static inline _unused_ const char *thread_path(pid_t tid, const char *name, char buffer[static 64]) {
        snprintf(buffer, 64, "task/%d/%s", (int) tid, name);
        return buffer;
}
