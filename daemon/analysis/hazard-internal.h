/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the files that find hazards share; no one else includes it. Each function adds what it finds, and returns 0 or
 * a negative errno. */

#include "daemon/analysis/hazard.h"

typedef struct HazardSearch {
        HazardList *list;
        Analysis *analysis;
        Graph *graph;
        const State *state;
        bool unbounded; /* there are layers for which reading_is_unbounded() */
} HazardSearch;

typedef struct HazardText {
        char *message, *cure; /* taken over; NULL when memory has run out */
} HazardText;

/* 'process' and 'layer' may be NULL. The path is copied. */
int hazard_add(HazardSearch *s, HazardKind kind, const Node *process, const Node *layer, Node *const *path, size_t n_path, HazardText text);
/* By the route from the layer down to 'lower'. Where there is none the one has nothing to do with the other, and it is no hazard. */
int hazard_add_on_route(HazardSearch *s, HazardKind kind, const Node *process, Node *layer, Node *lower, HazardText text);

/* Of a process without which layers above it cannot go on, that is certain, and that may be protected. */
int hazards_of_memory(HazardSearch *s, Node *n);   /* reservation, swap, limits, the OOM killer */
int hazards_of_service(HazardSearch *s, Node *n);  /* what it runs from, and when it is stopped or frozen */
/* As many pages of the layer may be dirty as of the whole machine. */
bool reading_is_unbounded(const Reading *r);
/* Of all that is above a process that cannot be marked. */
int hazards_above_exposed(HazardSearch *s, Node *n);
/* Of a loop device. */
int hazards_of_loop(HazardSearch *s, Node *n);
