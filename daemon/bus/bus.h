/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The D-Bus side: what others see (docs in org.stackd1(5)) and may ask for. It reads the graph and lists given
 * here and hands requests on; it changes nothing itself. */

#include <systemd/sd-bus.h>

#include "daemon/analysis/hazard.h"
#include "daemon/graph/gap.h"
#include "daemon/policy/plan.h"

#define BUS_NAME "org.stackd1"
#define BUS_PATH "/org/stackd1"

typedef struct BusView {
        Graph *graph;
        Analysis *analysis;
        const HazardList *hazards;
        const MarkCounts *marks; /* NULL: not told */
        const Gaps *gaps;
} BusView;

/* Calls 'done' once the request is carried out, with the actions concerned (NULL where there are none) or a
 * negative errno. */
typedef void (*RequestDone)(int result, const Plan *actions, void *userdata);

typedef void (*BusReloadDone)(int result, void *userdata);

/* What may be asked of the manager; a non-negative return means that 'done' will be called. */
typedef struct BusRequests {
        void (*rescan)(void *manager); /* read everything anew: some changes have no event */
        void (*look)(void *manager);   /* look again at what is known: some settings change without an event */
        int (*settle)(void *manager, RequestDone done, void *userdata);
        int (*finish)(void *manager, RequestDone done, void *userdata); /* the same, and what is under way has ended */
        int (*plan)(void *manager, char *const *ids, Plan *ret);
        /* What is in force, what has failed, and what is to be done. */
        int (*actions)(void *manager, Plan *ret);
        int (*apply)(void *manager, char *const *ids, RequestDone done, void *userdata);
        int (*revert)(void *manager, char *const *ids, RequestDone done, void *userdata);
        int (*reload)(void *manager, BusReloadDone done, void *userdata);
        /* What is wrong with the configuration; positive where something was not taken for that. */
        int (*remarks)(void *manager, const Remarks **ret);
        /* Without 'secrets' only what everybody may read in the files. */
        int (*configuration)(void *manager, bool secrets, char **ret_json);
        const Policy *(*policy)(void *manager); /* what holds now; valid until the next event */
        bool (*held)(void *manager, const char *id); /* an administrator reverted it: it is left alone */
        const char *(*trouble)(void *manager); /* why the view cannot be trusted at all, or NULL */
} BusRequests;

typedef struct BusServer BusServer;

/* private_fd < 0: the system bus. */
int bus_server_new(
                sd_event *event,
                int private_fd,
                const BusView *view,
                const BusRequests *requests,
                void *manager,
                BusServer **ret);
BusServer *bus_server_free(BusServer *b);
DEFINE_TRIVIAL_CLEANUP_FUNC(BusServer *, bus_server_free);

/* Signals for what a pass changed, hazards included. */
void bus_server_publish(BusServer *b, const GraphChanges *changes);
/* A signal for an action that has ended, well or not. */
void bus_server_publish_action(BusServer *b, const Action *action);
