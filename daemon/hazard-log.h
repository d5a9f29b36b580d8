/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Hazards in the journal: each once when it comes, and once when it is gone. */

#include "daemon/analysis/hazard.h"

typedef struct HazardLog {
        char **keys; /* of those that were told */
        size_t n;
} HazardLog;

void hazard_log_done(HazardLog *l);
/* Tells what is new since the last time. */
void hazard_log_update(HazardLog *l, const HazardList *hazards, const Graph *g);
