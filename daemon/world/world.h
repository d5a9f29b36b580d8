/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* One look at the machine: what is read of it, what follows from that, and what is to be done. A function of tables, answers,
 * policy and records: no event loop, no clock, and nothing is changed outside of it. The service, the private mode, captures and
 * tests make it look. */

#include "daemon/analysis/hazard.h"
#include "daemon/capture/recorder.h"
#include "daemon/graph/gap.h"
#include "daemon/policy/plan.h"
#include "daemon/source/scan.h"
#include "daemon/world/served-layers.h"

typedef struct World {
        Sysroot *root;
        Scan scan;         /* tables */
        ProbeCache probes; /* answers of devices, and what they are to be asked */
        Graph *graph;
        GraphChanges changes; /* of looks that were not published yet, also of those that failed half-way */
        Analysis analysis;
        State state;
        ServedLayers served;
        bool lost; /* a layer has lost its server, and no other one has taken over */
        HazardList hazards;
        Plan plan; /* where the look was told to make one */
        Gaps gaps; /* with those that the capture tells of */
        unsigned captured_gaps;
        unsigned stale; /* tables that lack something, for the next look */
        bool looked;    /* a look has succeeded */
        char *damaged;  /* the file that was told last to be unreadable, as long as one is */
} World;

/* What somebody else knows, for world_judge(). */
typedef struct WorldInput {
        const Policy *policy;
        RecordView done;
        bool acts;     /* make a plan */
        bool marks;    /* which may mark */
        bool complete; /* world_is_complete(), and nothing else is missing */
        /* The same action, if it was tried last and failed; NULL if not. */
        const Action *(*failed)(void *userdata, const Action *a);
        void *userdata;
} WorldInput;

/* Everything is empty afterwards, also on failure. A world stays where it is: its parts know each other. */
int world_init(World *w);
void world_done(World *w);
/* What there is to look at: this machine (NULL), or the capture at that path with what it tells of devices and of what could not be
 * seen. A capture that cannot be opened is no failure: *ret_trouble says why, and is the caller's. */
int world_open(World *w, const char *path, char **ret_trouble);

/* Reads these tables, and derives facts, graph, analysis and readings. What devices are to be asked is in 'probes' afterwards. On
 * failure (nothing could be read, or too little memory or descriptors) what was known stays. */
int world_look(World *w, unsigned tables, const Policy *policy);
/* What is to be done, and what is wrong. 0 or -ENOMEM. */
int world_judge(World *w, const WorldInput *in);

/* What the graph does not hold does not exist. */
bool world_is_complete(const World *w);
/* For policy/plan.h; 'done' is borrowed. */
PlanInput world_plan_input(World *w, const Policy *policy, const RecordView *done, bool complete);

/* For a capture that is being recorded: what devices answered, and what could not be seen. */
int world_record(const World *w, Recorder *recorder);
