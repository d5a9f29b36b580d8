/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Hazards in the journal: each once when it comes, and once when it is gone. */

#include "common/hashmap.h"
#include "daemon/analysis/hazard.h"

typedef struct HazardLog {
        char **keys; /* of those that were told */
        size_t n;
        Hashmap *told; /* by key */
        uint64_t foreign_since; /* since when those of ordinary users' processes are counted, and how many there were */
        unsigned n_foreign;
} HazardLog;

void hazard_log_done(HazardLog *l);
/* Tells what is new since the last time. 'now_usec' is of a clock that only goes forward. */
void hazard_log_update(HazardLog *l, const HazardList *hazards, const Graph *g, uint64_t now_usec);
