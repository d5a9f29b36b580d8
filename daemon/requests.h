/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What clients ask for, and who of them waits for an answer. */

#include <systemd/sd-event.h>

#include "daemon/bus/bus.h"
#include "daemon/configuration/reload.h"
#include "daemon/executor/executor.h"
#include "daemon/pace.h"
#include "daemon/reader/prober.h"
#include "daemon/world/world.h"

typedef struct Waiter Waiter;

/* All of it is borrowed. */
typedef struct Requests {
        sd_event *event; /* its clock */
        World *world;
        Pace *pace;
        Ledger *ledger;
        Executor *executor;
        Prober *prober;
        Configuration *configuration;
        Reload *reload;      /* NULL: there is nothing to read again */
        const char *trouble; /* why the view cannot be trusted at all */
        bool captured;       /* nothing can be done to it */
        bool marks_nothing;  /* nor asked for */
        Waiter *waiters;
} Requests;

/* For bus_server_new(), with the Requests as its manager. */
extern const BusRequests requests_interface;

/* Those who still wait are not answered. */
void requests_done(Requests *q);

/* Calls 'done' as soon as what is known is settled, or the configured time is over. */
int requests_settle(Requests *q, RequestDone done, void *userdata);
/* Answers who has what he waits for. To be called when something has changed, or requests_next() has come. */
void requests_answer(Requests *q);
/* It is not known what came of what was asked for, or what there is to tell. */
void requests_fail(Requests *q, int error);
/* When somebody's time is over; PACE_NEVER if nobody waits. */
uint64_t requests_next(const Requests *q);

/* What the graph does not hold does not exist, and what no policy asks for is asked for by none. An open question may be about what
 * something stands on. */
bool requests_see_all(const Requests *q);
/* Takes the lock of the one who changes the machine: -EBUSY where another stackd has it, -EROFS of a capture. */
int requests_become_writer(Requests *q);
