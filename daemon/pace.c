/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "common/cleanup.h"
#include "daemon/pace.h"
#include "daemon/source/scan.h"

#define DEBOUNCE_USEC (5U * 1000)
#define PROCESSES_USEC (5ULL * 1000 * 1000)
#define ROW_MAX 20U                          /* more looks that follow each other than any single change brings about are a storm */
#define ROW_ENDS_USEC (1000ULL * 1000)
#define STORM_PAUSE_MAX_USEC (500ULL * 1000) /* what comes last shall be seen within a second */
#define RETRY_FIRST_USEC (100U * 1000)
#define RETRY_MAX 8U
#define FAILED_WAIT_MAX 30U /* seconds */
#define FAILED_TELL 3U
#define RECONCILE_USEC (10ULL * 60 * 1000 * 1000)

/* Not so where all that we are for is an answer, and it is waited for. */
static uint64_t earliest(const Pace *p) {
        uint64_t pause = p->took;

        if (!p->passed || (p->awaited && p->answers_only))
                return 0;
        if (p->row > ROW_MAX)
                pause = MAX(pause, MIN(9 * pause, STORM_PAUSE_MAX_USEC));
        return p->ended + pause;
}

void pace_request(Pace *p, uint64_t now, unsigned tables) {
        p->next.tables |= tables;
        if (p->pending)
                return;
        p->pending = true;
        p->at = MAX(now + DEBOUNCE_USEC, earliest(p));
}

void pace_event(Pace *p, uint64_t now, unsigned tables) {
        p->retries = 0;
        pace_request(p, now, tables);
}

void pace_mounts(Pace *p, uint64_t now) {
        bool due = !p->has_devices || now >= p->processes_read + PROCESSES_USEC;

        pace_event(p, now, due ? TABLE_MOUNTS | TABLE_PROCESSES : TABLE_MOUNTS);
}

void pace_unsettled(Pace *p, uint64_t now, bool lasting, unsigned tables) {
        if (p->retries >= RETRY_MAX && !lasting)
                return;
        p->retry_at = now + (RETRY_FIRST_USEC << MIN(p->retries, RETRY_MAX));
        p->retry_tables = tables;
        p->retries += p->retries < RETRY_MAX;
}

void pace_await(Pace *p, uint64_t now) {
        p->awaited = true;
        if (p->pending && p->passed && p->answers_only)
                p->at = MIN(p->at, now);
}

static void begin(Pace *p, uint64_t now) {
        p->row = p->ended > 0 && now < p->ended + ROW_ENDS_USEC ? p->row + 1 : 1;
        p->began = now;
        p->pending = false;
        p->next = (PaceLook) {};
}

/* A time has come, which is no event: there is no swarm to wait for, and to be woken up twice for one look is once too often. But
 * where looks take long it has its turn as an event has. */
static bool time_has_come(Pace *p, uint64_t now) {
        bool come = now >= MIN(p->retry_at, p->reconcile_at);

        if (now >= p->retry_at) {
                p->retry_at = PACE_NEVER;
                p->next.tables |= p->retry_tables;
                p->next.retry = true;
        }
        if (now >= p->reconcile_at) {
                p->reconcile_at = PACE_NEVER;
                p->next.tables |= TABLE_PROCESSES;
                p->next.reconcile = true;
        }
        if (come && !p->pending && now < earliest(p))
                pace_request(p, now, 0);
        return come && !p->pending;
}

bool pace_begin(Pace *p, uint64_t now, PaceLook *ret) {
        if (!time_has_come(p, now) && (!p->pending || now < p->at))
                return false;
        *ret = p->next;
        begin(p, now);
        return true;
}

void pace_begin_all(Pace *p, uint64_t now) {
        begin(p, now);
}

void pace_end(Pace *p, uint64_t now, const PaceOutcome *outcome) {
        if (outcome->failed) {
                p->failures++;
                p->next.tables = TABLE_ALL;
                p->pending = true;
                p->at = p->began + pace_failure_wait(p) * UINT64_C(1000000);
                return;
        }
        p->passed = true;
        p->failures = 0;
        p->ended = now;
        p->took = now > p->began ? now - p->began : 0;
        if (outcome->processes_read)
                p->processes_read = now;
        p->next.tables |= outcome->stale;
        if (outcome->outdated)
                pace_request(p, now, outcome->outdated);
        p->retry_at = PACE_NEVER;
        if (outcome->unsettled || outcome->lasting)
                pace_unsettled(p, now, outcome->lasting, outcome->retry);
        else
                p->retries = 0;
        p->reconcile_at = outcome->open_end ? now + RECONCILE_USEC : PACE_NEVER;
}

uint64_t pace_next(const Pace *p) {
        return MIN(p->pending ? p->at : PACE_NEVER, MIN(p->retry_at, p->reconcile_at));
}

unsigned pace_failure_wait(const Pace *p) {
        return p->failures == 0 ? 0 : MIN(1U << MIN(p->failures - 1, 6U), FAILED_WAIT_MAX);
}

bool pace_has_failed_often(const Pace *p) {
        return p->failures >= FAILED_TELL;
}
