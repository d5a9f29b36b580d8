/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The JSON document, version 1 (docs in stackctl(1)): the one rendering that every client gets. */

#include "daemon/bus/bus.h"

/* Names in JSON and on the bus are exact but for bytes that are no UTF-8, which appear as \xNN. */

/* The whole document, or only the stacks that the nodes of 'ids' are part of. Text owned by the caller. */
int describe_view(const BusView *v, char *const *ids, const Plan *done, char **ret);
/* Only what is nested: the stacks in which a process serves something, or one reclaim layer stands on another, and
 * whatever hazards and actions are about; "folded" counts the layers that were left out. Of a machine with thousands of
 * mounts that is little. */
int describe_nested(const BusView *v, const Plan *done, char **ret);
/* {"version": 1, "actions": [...], "gaps": [...]} */
int describe_actions(const BusView *v, const Plan *actions, char **ret);
/* {"version": 1, "objects": [...], "gaps": [...]}: for each id what gives it its depth, and what policy says of it. NULL means all. */
int describe_reasons(const BusView *v, const BusRequests *requests, void *manager, char *const *ids, char **ret);
/* One element of "hazards", and one of "actions". */
int describe_hazard_text(const Hazard *h, char **ret);
int describe_action_text(const Action *a, char **ret);
