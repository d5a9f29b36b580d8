/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What is known of the machine while it is watched. Whoever learns something hands it over here, and gets an event for
 * each difference. */

#include "cli/model.h"

typedef struct WatchState WatchState;

typedef struct WatchEvent {
        const char *what;   /* "layer-appeared", "process-changed", "hazard-gone", "action-done" ... */
        const char *id;     /* of the layer or process; may be NULL */
        json_object *object; /* as it is now, or was last */
        json_object *changes; /* of a change: key -> [before, now] */
} WatchEvent;

/* 0, or what ends the watch. */
typedef int (*WatchEventHandler)(const WatchState *w, const WatchEvent *event, void *userdata);

int watch_state_new(WatchEventHandler handler, void *userdata, WatchState **ret);
WatchState *watch_state_free(WatchState *w);
DEFINE_TRIVIAL_CLEANUP_FUNC(WatchState *, watch_state_free);

/* Takes the whole document: what is not in it is gone. 'quietly': without events, to begin with. */
int watch_state_replace(WatchState *w, json_object *document, bool quietly);
/* A layer or process: new keys replace old ones, others stay. */
int watch_state_node(WatchState *w, const char *id, json_object *object);
int watch_state_node_gone(WatchState *w, const char *id);
int watch_state_hazard(WatchState *w, json_object *hazard, bool gone);
int watch_state_action(WatchState *w, json_object *action);

/* What a human calls it, escaped; the id where nothing is known. Owned by the caller. */
char *watch_state_label(const WatchState *w, const char *id, bool utf8);
