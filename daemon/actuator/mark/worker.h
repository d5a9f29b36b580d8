/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Disposable tracers. What can hang (procfs of a process stuck in a fault, a thread that does not stop) hangs in
 * one, and its end detaches whatever it holds. */

#include "daemon/actuator/mark/thread.h"

typedef struct WorkerTask {
        const Target *target;
        bool set;
        uint64_t patience_ns; /* for one thread that works */
        uint64_t deadline_ns; /* CLOCK_MONOTONIC */
        const pid_t *tids;
        size_t n;
        const ThreadReport *(*previous)(pid_t tid, void *userdata); /* the last report of a thread, or NULL */
        int (*on_report)(const ThreadReport *report, void *userdata);
        void *userdata;
} WorkerTask;

/* Marks the threads one after the other; each is reported once unless time is over. 0, or what on_report()
 * returned, or what kept a worker from being started. */
int worker_run(const WorkerTask *task);
