/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Marking one thread; runs in the worker, which is the tracer. */

#include "daemon/actuator/mark/arch.h"
#include "daemon/actuator/mark/mark-protocol.h"

/* Where a thread sleeps, and since when nothing has moved. */
typedef struct ThreadSleep {
        ThreadCall call;
        uint64_t switches, since_ns;
} ThreadSleep;

typedef struct ThreadReport {
        pid_t tid;
        MarkResult result;
        int error;           /* MARK_FAILED: a positive errno */
        bool again;          /* worth another try soon */
        bool cut;            /* the stop has ended a call that would have gone on */
        uint64_t stopped_ns; /* 0 when it was never stopped */
        ThreadSleep sleep;
        unsigned foreign_stops; /* stops in which it was not on its own stack */
} ThreadReport;

typedef struct MarkJob {
        const Target *target;
        bool set;
        uint64_t patience_ns; /* how long to wait for one thread that works */
        MemoryMap map;
        ArchGadgets gadgets;
        MemoryPin memory; /* what the map was read of; pinned before that */
        uint64_t nonce;   /* nobody else's */
} MarkJob;

/* 0, or 1 when the thread is still attached and only our exit lets it go. 'previous' is the report of the last try, or NULL. */
int thread_mark(const MarkJob *job, pid_t tid, const ThreadReport *previous, ThreadReport *ret);
