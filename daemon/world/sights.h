/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What only hazards need to know of processes and layers in stacks: read where that cannot wait, asked otherwise. */

#include "daemon/analysis/depth.h"
#include "daemon/graph/state.h"
#include "daemon/source/scan.h"

/* After observe(), to which it adds. 0 or -ENOMEM: what cannot be read is left out, and what is being asked comes with
 * another pass. */
int sights_add(const Scan *scan, Analysis *a, Graph *g, State *s);
/* What may have changed without an event is asked again. */
void sights_refresh(ProbeCache *probes);
