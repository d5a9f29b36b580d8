/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* When to look at the machine, and at what: an automaton that is told what happens and what time it is, and touches nothing.
 *
 * Events are hints, and come in swarms: the first of a swarm starts a short delay, the others belong to the same look. Looks take at
 * most half of the time, and where many follow each other a tenth of it; but no event waits longer than half a second for that. A
 * look that failed is repeated, less and less often. Some changes have no event: after a look that found something open there is
 * another one soon, and while something is in force, or missed, there is one now and then.
 *
 * Times are microseconds of a clock that only goes forward. */

#include <stdbool.h>
#include <stdint.h>

#define PACE_NEVER UINT64_MAX

/* What the next look is to do. */
typedef struct PaceLook {
        unsigned tables; /* to read anew (enum Table) */
        bool retry;      /* what did not answer is to be asked again */
        bool reconcile;  /* what changes without an event is to be asked again */
} PaceLook;

/* What came of it. */
typedef struct PaceOutcome {
        bool failed;         /* nothing was learned */
        bool processes_read;
        unsigned stale;      /* tables that lack something: for the next look, whenever that is */
        unsigned outdated;   /* tables that are older than what was seen: a reason to look again */
        bool unsettled;      /* something is on its way, or could not be read just now: look again a few times */
        bool lasting;        /* and as long as that is so */
        unsigned retry;      /* tables to read then */
        bool open_end;       /* something is in force, or missed: memory grows, settings change and servers come back without an event */
} PaceOutcome;

typedef struct Pace {
        bool answers_only; /* all that this process is for is an answer */
        bool awaited;      /* and somebody waits for it */
        bool has_devices;  /* events of devices come, too */
        bool passed;       /* a look has succeeded */
        bool pending;      /* a look is to be at 'at' */
        uint64_t at, retry_at, reconcile_at;
        PaceLook next;
        unsigned retry_tables;
        uint64_t began, ended, took, processes_read;
        unsigned row;      /* looks with less than a second between each two */
        unsigned failures; /* since the last look that succeeded */
        unsigned retries;
} Pace;

#define PACE_NULL { .retry_at = PACE_NEVER, .reconcile_at = PACE_NEVER }

/* There is a reason to look, and to read these tables (0: none of them). */
void pace_request(Pace *p, uint64_t now, unsigned tables);
/* The same for an event of the machine: what was open may be settled, or open anew. */
void pace_event(Pace *p, uint64_t now, unsigned tables);
/* The mount table has changed: processes are read with the mounts that some of them serve. That a descriptor goes from one process to
 * another has no event, and is seen when something else happens: but not at each mount of a storm. */
void pace_mounts(Pace *p, uint64_t now);
/* Something is open, as after a look that says so. */
void pace_unsettled(Pace *p, uint64_t now, bool lasting, unsigned tables);
/* Somebody waits for an answer. */
void pace_await(Pace *p, uint64_t now);

/* Whether a look is to be made now, and which; then pace_end() follows. */
bool pace_begin(Pace *p, uint64_t now, PaceLook *ret);
/* A look that nobody asked for: the first, or one for a capture. It reads everything. */
void pace_begin_all(Pace *p, uint64_t now);
void pace_end(Pace *p, uint64_t now, const PaceOutcome *outcome);

/* When pace_begin() is to be called next. */
uint64_t pace_next(const Pace *p);
/* Seconds from the beginning of a look that failed to the next one; 0 if the last one did not. */
unsigned pace_failure_wait(const Pace *p);
/* So many have failed in a row that who waits is to be told. */
bool pace_has_failed_often(const Pace *p);
