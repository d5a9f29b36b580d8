/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Actions that failed are tried again, less and less often; what was refused is not, until something else is asked for. Times are
 * microseconds of a clock that only goes forward. */

#include "daemon/policy/action-record.h"

typedef struct Failure {
        Action action; /* the one that failed last */
        bool refused;
        unsigned tries;
        uint64_t next;
} Failure;

typedef struct Failures {
        Failure *failures;
        size_t n, capacity;
        uint64_t alarm; /* when something may be tried again that nothing else would remind of; 0: nothing */
} Failures;

void failures_done(Failures *f);

/* 'hung': the try was given up. It may have left a child that cannot be killed, so the next one is far away. */
void failures_note(Failures *f, const Action *a, bool refused, bool hung, uint64_t now);
/* Whether it is too early for another try. */
bool failures_block(Failures *f, const Action *a, uint64_t now);
void failures_forget(Failures *f, const Action *a);
/* Those for which that is so. */
void failures_forget_all(Failures *f, bool (*condition)(const Action *a, const void *argument), const void *argument);

/* The alarm is over. */
void failures_alarmed(Failures *f);
