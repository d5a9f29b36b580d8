/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Facts about the machine that can stop a stack from making progress. */

#include "daemon/analysis/depth.h"

typedef enum HazardKind { /* worst first */
        HAZARD_NOFS_MISSING,
        HAZARD_NOFS_PARTIAL,
        HAZARD_NOFS_DENIED,
        HAZARD_CYCLE,
        HAZARD_BACKING_DELETED,
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
const char *hazard_severity(HazardKind kind); /* "error", "warning" or "notice" */

/* All hazards of the graph, worst first; replaces what the list held. */
int hazard_list_find(HazardList *l, Analysis *a, Graph *g);
void hazard_list_done(HazardList *l);
