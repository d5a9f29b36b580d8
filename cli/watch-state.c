/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <json-c/json.h>
#include <string.h>

#include "cli/escape.h"
#include "cli/watch-state.h"
#include "common/array.h"
#include "common/text.h"

typedef struct Known {
        char *id; /* of a node; of a hazard what identifies it */
        json_object *object;
        bool seen; /* in the document that is being taken */
} Known;

typedef struct KnownSet {
        Known **items;
        size_t n, capacity;
        Hashmap *by_id;
} KnownSet;

struct WatchState {
        KnownSet nodes, hazards;
        WatchEventHandler handler;
        void *userdata;
        bool quiet;
};

/* What is worth an event, in the order in which it is told. */
static const char *const watched_keys[] = {
        "type", "name", "label", "mounts", "path", "depth", "depth_certain", "comm", "unit", "uid", "threads", "threads_io_flusher",
        "entitled", "refusal", "incomplete",
};

static Known *known_free(Known *k) {
        if (!k)
                return NULL;
        free(k->id);
        json_object_put(k->object);
        free(k);
        return NULL;
}
DEFINE_TRIVIAL_CLEANUP_FUNC(Known *, known_free);

static void set_clear(KnownSet *s) {
        for (size_t i = 0; i < s->n; i++)
                known_free(s->items[i]);
        free(s->items);
        hashmap_free(s->by_id);
}

/* Takes a reference to the object. */
static int set_add(KnownSet *s, const char *id, json_object *object, Known **ret) {
        _cleanup_(known_freep) Known *k = calloc(1, sizeof(Known));
        int r;

        if (!k)
                return -ENOMEM;
        k->id = strdup(id);
        k->object = json_object_get(object);
        if (!k->id)
                return -ENOMEM;
        r = array_reserve((void **) &s->items, &s->capacity, s->n + 1, sizeof(Known *));
        if (r >= 0)
                r = hashmap_put(s->by_id, k->id, k);
        if (r < 0)
                return r;
        s->items[s->n++] = *ret = TAKE_PTR(k);
        return 0;
}

static void set_remove(KnownSet *s, Known *k) {
        (void) hashmap_remove(s->by_id, k->id);
        for (size_t i = 0; i < s->n; i++)
                if (s->items[i] == k) {
                        s->items[i] = s->items[--s->n];
                        break;
                }
        known_free(k);
}

int watch_state_new(WatchEventHandler handler, void *userdata, WatchState **ret) {
        _cleanup_(watch_state_freep) WatchState *w = calloc(1, sizeof(WatchState));

        if (!w)
                return -ENOMEM;
        *w = (WatchState) { .handler = handler, .userdata = userdata };
        w->nodes.by_id = hashmap_new();
        w->hazards.by_id = hashmap_new();
        if (!w->nodes.by_id || !w->hazards.by_id)
                return -ENOMEM;
        *ret = TAKE_PTR(w);
        return 0;
}

WatchState *watch_state_free(WatchState *w) {
        if (!w)
                return NULL;
        set_clear(&w->nodes);
        set_clear(&w->hazards);
        free(w);
        return NULL;
}

static bool is_process(const char *id) {
        return startswith(id, "process:");
}

static int tell(WatchState *w, const char *what, const char *id, json_object *object, json_object *changes) {
        WatchEvent event = { .what = what, .id = id, .object = object, .changes = changes };

        return w->quiet ? 0 : w->handler(w, &event, w->userdata);
}

/* An empty text, an empty list and none are the same. */
static json_object *member(json_object *o, const char *key) {
        json_object *v = NULL;

        if (!json_object_object_get_ex(o, key, &v))
                return NULL;
        if (json_object_is_type(v, json_type_string) && !*json_object_get_string(v))
                return NULL;
        if (json_object_is_type(v, json_type_array) && json_object_array_length(v) == 0)
                return NULL;
        return v;
}

/* Whether 'now' says the key at all: what it leaves out stays as it was. */
static bool has_member(json_object *o, const char *key) {
        return json_object_object_get_ex(o, key, NULL);
}

static int add_change(json_object *changes, const char *key, json_object *before, json_object *now) {
        _cleanup_(json_object_putp) json_object *pair = json_object_new_array();

        if (!pair)
                return -ENOMEM;
        if (json_object_array_add(pair, json_object_get(before)) < 0 || json_object_array_add(pair, json_object_get(now)) < 0)
                return -ENOMEM;
        return json_object_object_add(changes, key, TAKE_PTR(pair)) < 0 ? -ENOMEM : 0;
}

static int find_changes(json_object *before, json_object *now, json_object **ret) {
        _cleanup_(json_object_putp) json_object *changes = json_object_new_object();

        if (!changes)
                return -ENOMEM;
        for (size_t i = 0; i < ELEMENTSOF(watched_keys); i++) {
                json_object *a = member(before, watched_keys[i]), *b = member(now, watched_keys[i]);
                int r;

                if (!has_member(now, watched_keys[i]) || json_object_equal(a, b))
                        continue;
                r = add_change(changes, watched_keys[i], a, b);
                if (r < 0)
                        return r;
        }
        *ret = TAKE_PTR(changes);
        return 0;
}

/* 'now' with what only 'before' says. */
static int merge(json_object *now, json_object *before) {
        json_object_object_foreach(before, key, value)
                if (!has_member(now, key) && json_object_object_add(now, key, json_object_get(value)) < 0)
                        return -ENOMEM;
        return 0;
}

int watch_state_node(WatchState *w, const char *id, json_object *object) {
        Known *k = hashmap_get(w->nodes.by_id, id);
        _cleanup_(json_object_putp) json_object *changes = NULL;
        int r;

        if (!has_member(object, "id") && json_object_object_add(object, "id", json_object_new_string(id)) < 0)
                return -ENOMEM;
        if (!k) {
                r = set_add(&w->nodes, id, object, &k);
                if (r < 0)
                        return r;
                k->seen = true;
                return tell(w, is_process(id) ? "process-appeared" : "layer-appeared", id, object, NULL);
        }
        k->seen = true;
        r = find_changes(k->object, object, &changes);
        if (r >= 0)
                r = merge(object, k->object);
        if (r < 0)
                return r;
        json_object_put(k->object);
        k->object = json_object_get(object);
        if (json_object_object_length(changes) == 0)
                return 0;
        return tell(w, is_process(id) ? "process-changed" : "layer-changed", id, object, changes);
}

static int known_node_gone(WatchState *w, Known *k) {
        int r;

        r = tell(w, is_process(k->id) ? "process-gone" : "layer-gone", k->id, k->object, NULL);
        set_remove(&w->nodes, k);
        return r;
}

int watch_state_node_gone(WatchState *w, const char *id) {
        Known *k = hashmap_get(w->nodes.by_id, id);

        return k ? known_node_gone(w, k) : 0;
}

/* As the daemon tells hazards apart. */
static char *hazard_key(json_object *hazard) {
        const char *process = json_text(hazard, "process"), *layer = json_text(hazard, "layer");

        return text_format("%s %s %s", json_text(hazard, "id") ?: "?", process ?: "-", layer ?: "-");
}

int watch_state_hazard(WatchState *w, json_object *hazard, bool gone) {
        _cleanup_free_ char *key = hazard_key(hazard);
        Known *k = key ? hashmap_get(w->hazards.by_id, key) : NULL;
        const char *id = json_text(hazard, "process") ?: json_text(hazard, "layer");
        int r;

        if (!key)
                return -ENOMEM;
        if (gone && k)
                set_remove(&w->hazards, k);
        if (gone)
                return k ? tell(w, "hazard-gone", id, hazard, NULL) : 0;
        if (k) {
                k->seen = true;
                return 0;
        }
        r = set_add(&w->hazards, key, hazard, &k);
        if (r < 0)
                return r;
        k->seen = true;
        return tell(w, "hazard-appeared", id, hazard, NULL);
}

int watch_state_action(WatchState *w, json_object *action) {
        const char *state = json_text(action, "state");
        _cleanup_free_ char *what = text_format("action-%s", state ?: "done");

        return what ? tell(w, what, json_text(action, "subject") ?: json_text(action, "target"), action, NULL) : -ENOMEM;
}

static int take_nodes(WatchState *w, json_object *array, bool layers) {
        for (size_t i = 0; i < json_length(array); i++) {
                json_object *o = json_object_array_get_idx(array, i);
                const char *id = json_object_is_type(o, json_type_object) ? json_text(o, "id") : NULL;
                int r;

                if (!id || is_process(id) == layers)
                        continue;
                r = watch_state_node(w, id, o);
                if (r != 0)
                        return r;
        }
        return 0;
}

/* Takes out what was not seen; from the end, since the last takes the place of what is taken out. */
static int drop_unseen_nodes(WatchState *w) {
        for (size_t i = w->nodes.n; i-- > 0;) {
                int r = w->nodes.items[i]->seen ? 0 : known_node_gone(w, w->nodes.items[i]);

                if (r != 0)
                        return r;
        }
        return 0;
}

static int drop_unseen_hazards(WatchState *w) {
        for (size_t i = w->hazards.n; i-- > 0;) {
                Known *k = w->hazards.items[i];
                _cleanup_(json_object_putp) json_object *hazard = k->seen ? NULL : json_object_get(k->object);
                int r = hazard ? watch_state_hazard(w, hazard, true) : 0;

                if (r != 0)
                        return r;
        }
        return 0;
}

static void forget_seen(KnownSet *s) {
        for (size_t i = 0; i < s->n; i++)
                s->items[i]->seen = false;
}

int watch_state_replace(WatchState *w, json_object *document, bool quietly) {
        json_object *hazards = json_array(document, "hazards");
        int r;

        w->quiet = quietly;
        forget_seen(&w->nodes);
        forget_seen(&w->hazards);
        r = take_nodes(w, json_array(document, "layers"), true);
        if (r == 0)
                r = take_nodes(w, json_array(document, "processes"), false);
        for (size_t i = 0; r == 0 && i < json_length(hazards); i++) {
                json_object *o = json_object_array_get_idx(hazards, i);

                r = json_object_is_type(o, json_type_object) ? watch_state_hazard(w, o, false) : 0;
        }
        if (r == 0)
                r = drop_unseen_hazards(w);
        if (r == 0)
                r = drop_unseen_nodes(w);
        w->quiet = false;
        return r;
}

char *watch_state_label(const WatchState *w, const char *id, bool utf8) {
        const Known *k = id ? hashmap_get(w->nodes.by_id, id) : NULL;
        Node n = {};
        char *label;

        if (!k || node_init(&n, k->object, !is_process(id)) < 0)
                return escape_text(id ?: "?", utf8);
        label = node_label(&n, utf8);
        free(n.id);
        return label;
}
