/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Layers that a process serves, from pass to pass. */

#include "daemon/graph/graph.h"
#include "daemon/source/scan.h"

typedef struct ServedLayers {
        char **ids; /* that had a server when it was last known, and are still there */
        size_t n;
} ServedLayers;

void served_layers_done(ServedLayers *l);

/* Takes what the sources of this pass have found. 1: a layer has lost its last server. Another one may take over, as a target
 * that is started anew does, and no event tells of it. 0: none has. -ENOMEM. */
int served_layers_update(ServedLayers *l, const Scan *scan, const Graph *g);
