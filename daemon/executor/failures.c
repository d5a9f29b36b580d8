/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdlib.h>

#include "common/array.h"
#include "common/text.h"
#include "daemon/executor/failures.h"

#define RETRY_FIRST_USEC (100U * 1000)
#define RETRY_MAX 8U        /* with an alarm; then when something else makes a plan, but not ... */
#define RETRY_DOUBLINGS 13U /* ... more often than every quarter of an hour */
#define HUNG_TRIES 11U      /* one that hung counts for so many */

static Failure *find(Failures *f, const Action *a) {
        for (size_t i = 0; i < f->n; i++)
                if (action_same_object(&f->failures[i].action, a))
                        return &f->failures[i];
        return NULL;
}

void failures_forget(Failures *f, const Action *a) {
        Failure *known = find(f, a);

        if (!known)
                return;
        action_done(&known->action);
        *known = f->failures[--f->n];
}

void failures_forget_all(Failures *f, bool (*condition)(const Action *a, const void *argument), const void *argument) {
        size_t kept = 0;

        for (size_t i = 0; i < f->n; i++)
                if (condition(&f->failures[i].action, argument))
                        action_done(&f->failures[i].action);
                else
                        f->failures[kept++] = f->failures[i];
        f->n = kept;
}

/* One for all: at the earliest of their times. */
static void arm(Failures *f, uint64_t at) {
        if (f->alarm == 0 || at < f->alarm)
                f->alarm = at;
}

void failures_alarmed(Failures *f) {
        f->alarm = 0;
}

void failures_note(Failures *f, const Action *a, bool refused, bool hung, uint64_t now) {
        Failure *known = find(f, a), new = {};

        if (!known) {
                if (action_copy(a, &new.action) < 0)
                        return;
                if (ARRAY_APPEND(f->failures, f->n, f->capacity, new) < 0) {
                        action_done(&new.action);
                        return;
                }
                known = &f->failures[f->n - 1];
        }
        known->refused = refused;
        if (hung)
                known->tries = MAX(known->tries, HUNG_TRIES);
        known->next = now + ((uint64_t) RETRY_FIRST_USEC << MIN(known->tries, RETRY_DOUBLINGS));
        known->tries++;
        if (known->tries < RETRY_MAX && !refused)
                arm(f, known->next);
}

bool failures_block(Failures *f, const Action *a, uint64_t now) {
        Failure *known = find(f, a);

        if (!known)
                return false;
        if (known->action.undo != a->undo || (known->refused && !streq(known->action.subject, a->subject))) {
                failures_forget(f, a); /* that was about something else */
                return false;
        }
        if (known->refused && !streq(known->action.to, a->to))
                known->refused = false; /* but not at once: sizes change with every look */
        if (known->refused)
                return true;
        if (now >= known->next)
                return false;
        if (known->tries < RETRY_MAX)
                arm(f, known->next);
        return true;
}

void failures_done(Failures *f) {
        for (size_t i = 0; i < f->n; i++)
                action_done(&f->failures[i].action);
        free(f->failures);
        *f = (Failures) {};
}
