/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Carries plans out: writes the ledger, starts the child that does the work (stackd-mark, or an actuator), keeps
 * what came of it, and holds back what failed for a while. One action at a time for each setting of an object;
 * objects do not wait for one another. */

#include <systemd/sd-event.h>

#include "daemon/actuator/ledger.h"
#include "daemon/policy/plan.h"

typedef struct Executor Executor;

/* Called when an action has ended, and (action NULL) when there is nothing to tell of it, or one that failed may
 * be tried again. */
typedef void (*ExecutorChanged)(const Action *action, void *userdata);

/* The ledger and the root are borrowed. 'marker' is the path of stackd-mark, 'marker_socket' where its service is asked, or
 * NULL to start it ourselves. */
int executor_new(
                sd_event *event,
                const char *marker,
                const char *marker_socket,
                const Sysroot *root,
                Ledger *ledger,
                ExecutorChanged changed,
                void *userdata,
                Executor **ret);
/* Actions under way are given up; the ledger knows them. Returns NULL. */
Executor *executor_free(Executor *x);
DEFINE_TRIVIAL_CLEANUP_FUNC(Executor *, executor_free);

/* Starts what is planned and not under way. What failed before has to wait unless 'at_once'; if not,
 * the plan is all there is to do. What could not even be begun is ACTION_FAILED there afterwards. */
void executor_run(Executor *x, Plan *plan, bool at_once);
bool executor_is_busy(const Executor *x);

/* The last that was done to the same setting of the same object, or NULL; valid until the next action ends. */
const Action *executor_last(const Executor *x, const Action *a);
/* The same if it was the same thing, and failed. */
const Action *executor_failed(const Executor *x, const Action *a);

/* What marking has done since the start; valid as long as the executor. */
const MarkCounts *executor_mark_counts(const Executor *x);
