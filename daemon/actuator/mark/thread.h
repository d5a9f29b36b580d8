/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Marking one thread; runs in the worker, which is the tracer. */

#include "daemon/actuator/mark/arch.h"
#include "daemon/actuator/mark/mark-protocol.h"

typedef struct ThreadReport {
        pid_t tid;
        MarkResult result;
        int error;           /* MARK_FAILED: a positive errno */
        bool again;          /* worth another try soon */
        uint64_t stopped_ns; /* 0 when it was never stopped */
} ThreadReport;

typedef struct MarkJob {
        const Target *target;
        bool set;
        bool late; /* time is getting short: interrupt also what would rather not be */
        MemoryMap map;
        ArchGadgets gadgets;
        MemoryPin memory; /* what the map was read of; pinned before that */
        uint64_t nonce;   /* nobody else's */
} MarkJob;

/* 0, or 1 when the thread is still attached and only our exit lets it go. */
int thread_mark(const MarkJob *job, pid_t tid, ThreadReport *ret);

/* CLOCK_MONOTONIC in nanoseconds. */
uint64_t now_ns(void);
