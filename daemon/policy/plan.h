/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What is to be done: desired against actual, as data. Printing a plan and carrying it out use the same. */

#include "daemon/analysis/depth.h"
#include "daemon/policy/policy.h"

typedef enum ActionKind {
        ACTION_IO_FLUSHER,
        _ACTION_KIND_MAX,
} ActionKind;

typedef enum ActionState {
        ACTION_PLANNED,
        ACTION_APPLIED,
        ACTION_FAILED,
        ACTION_REVERTED,
        _ACTION_STATE_MAX,
} ActionState;

typedef struct Action {
        ActionKind kind;
        ActionState state;
        bool undo;     /* takes back what was done before */
        char *target;  /* id of the process */
        pid_t pid;
        uint64_t start;
        char *name;    /* comm, for messages */
        char *from, *to; /* "none", "partial", "all" */
        char *rule;    /* FILE:LINE of the policy that asks for it */
        char *reason;  /* a sentence */
        char **path;   /* ids, from above, that justify it */
        char *error;   /* a sentence, when failed */
} Action;

typedef struct Plan {
        Action *actions;
        size_t n, capacity;
} Plan;

/* What was done to a process and not yet undone, as the ledger keeps it. */
typedef struct Record {
        ActionKind kind;
        pid_t pid;
        uint64_t start;
        char *from; /* value found before the first change; owned */
} Record;

/* A read-only view of the ledger. */
typedef struct RecordView {
        const Record *records;
        size_t n;
        /* What an administrator reverted is left alone until it is applied again: the ids in 'held', or
         * everything but them where all_held. */
        char *const *held;
        bool all_held;
} RecordView;

const char *action_kind_to_string(ActionKind kind);
const char *action_state_to_string(ActionState state);

/* The actions that lead from the state in the graph to the desired one: first what protects, then what is
 * to be undone. 'complete': everything could be read, so that what the graph does not hold does not exist;
 * else nothing is undone but what an administrator holds. */
int plan_make(Plan *ret, Analysis *a, Graph *g, const Policy *policy, const RecordView *done, bool complete);
/* The actions that undo everything recorded of the given ids; ids NULL means all. */
int plan_make_revert(Plan *ret, Graph *g, const RecordView *done, char *const *ids);

/* What was done and is as it should be, with the reasons that hold for it now. */
int plan_make_in_force(Plan *ret, Analysis *a, Graph *g, const Policy *policy, const RecordView *done);
int plan_append_copy(Plan *p, const Action *a);

int action_copy(const Action *a, Action *ret);
void action_done(Action *a);
void plan_done(Plan *p);
