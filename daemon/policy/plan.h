/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What is to be done: desired against actual, as data. Printing a plan and carrying it out use the same. */

#include "daemon/analysis/depth.h"
#include "daemon/graph/state.h"
#include "daemon/policy/action-record.h"
#include "daemon/policy/policy.h"

typedef struct PlanInput {
        Analysis *analysis;
        Graph *graph;
        const Policy *policy; /* NULL: the built-in one */
        const State *state;
        const RecordView *done;
        /* Everything could be read, so that what the graph does not hold does not exist; else nothing is undone but
         * what an administrator holds. */
        bool complete;
} PlanInput;

/* The actions that lead from the actual state to the desired one: first what protects, then what is to be
 * undone. What is wanted and cannot be done is in it too, as failed, with the reason. */
int plan_make(Plan *ret, const PlanInput *in);
/* Of these, what undoes something that was done for the given ids, or for what they share; NULL means all. */
int plan_make_revert(Plan *ret, const PlanInput *in, char *const *ids);
/* What was done and is as it should be, with the reasons that hold for it now. */
int plan_make_in_force(Plan *ret, const PlanInput *in);
