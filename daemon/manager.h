/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Wiring: events make tables dirty; a pass reads them, derives facts, updates the graph, its analysis and the
 * hazards, tells the bus what changed, and carries the plan out. */

#include <systemd/sd-event.h>

#include "daemon/bus/bus.h"

typedef struct ManagerOptions {
        const char *root;     /* of a captured machine, or NULL */
        int private_fd;       /* serve one client at this descriptor, and act only when it asks; -1: system bus */
        int capture_fd;       /* write what discovery reads there as an archive, and end; -1: do not */
        bool capture_all;     /* without replacing serial numbers and UUIDs */
        const char *marker;   /* path of the program that marks threads */
        const char *marker_socket; /* where it is asked as a service; NULL: started as a child */
        bool debug;           /* whatever the configuration says of messages */
        bool flags_unknown;   /* this kernel's task flags are not what we know: mark nothing */
} ManagerOptions;

typedef struct Manager Manager;

int manager_new(sd_event *event, const ManagerOptions *options, Manager **ret);
Manager *manager_free(Manager *m);
/* Ends its connections and children; of what is left after that, memory and descriptors, the end of the process takes care. */
void manager_stop(Manager *m);
DEFINE_TRIVIAL_CLEANUP_FUNC(Manager *, manager_free);

/* Opens everything, makes the first pass, and begins to serve. */
int manager_start(Manager *m);
