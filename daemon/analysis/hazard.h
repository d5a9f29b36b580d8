/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Facts about the machine that can stop a stack from making progress. */

#include "daemon/analysis/depth.h"
#include "daemon/graph/state.h"

typedef enum HazardKind { /* worst first */
        HAZARD_NOFS_MISSING,
        HAZARD_NOFS_PARTIAL,
        HAZARD_NOFS_DENIED,
        HAZARD_SWAP_ON_SELF,
        HAZARD_SWAP_PRIORITY,
        HAZARD_SELF_HOSTED,
        HAZARD_CYCLE,
        HAZARD_LIMIT_IN_PATH,
        HAZARD_UNBOUNDED_WRITEBACK,
        HAZARD_RESERVATION_INEFFECTIVE,
        HAZARD_FREEZABLE,
        HAZARD_STOP_ORDER,
        HAZARD_BACKING_DELETED,
        HAZARD_OOM_KILLABLE,
        HAZARD_RESERVATION_MISSING,
        HAZARD_DOUBLE_CACHE,
        HAZARD_FOREIGN_USER,
        _HAZARD_KIND_MAX,
} HazardKind;

typedef struct Hazard {
        HazardKind kind;
        pid_t pid;     /* 0 = concerns no process */
        char *process; /* its id, or NULL */
        char *layer;   /* id, or NULL */
        char **path;   /* ids from above that prove it */
        char *message;
        char *cure;
} Hazard;

typedef struct HazardList {
        Hazard *hazards;
        size_t n, capacity;
} HazardList;

const char *hazard_kind_to_string(HazardKind kind);
/* What makes it the same hazard: numbers in its message may change meanwhile. The caller's; NULL when out of memory. */
char *hazard_key(const Hazard *h);
const char *hazard_severity(HazardKind kind); /* "error", "warning" or "notice" */

/* All hazards of the graph, worst first; replaces what the list held. */
int hazard_list_find(HazardList *l, Analysis *a, Graph *g, const State *s);
/* Leaves those out for which that is so. */
void hazard_list_drop(HazardList *l, bool (*condition)(const Hazard *h, void *userdata), void *userdata);
/* The mark was tried and cannot be made while the process runs: says why, and what helps instead. 0 or -ENOMEM. */
int hazard_note_refusal(Hazard *h, const NodeFact *process, const char *why);
void hazard_list_done(HazardList *l);
