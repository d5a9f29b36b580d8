/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The daemon's JSON document as a graph of nodes. Strings are borrowed from the document, which the model
 * holds; all of them are untrusted. Unknown keys are left alone, added ones may be missing. */

#include <json-c/json_object.h>
#include <stdbool.h>
#include <stdint.h>
#include <stddef.h>

#include "common/cleanup.h"
#include "common/hashmap.h"

typedef enum NodeKind {
        NODE_FILESYSTEM,
        NODE_SWAP,
        NODE_BLOCK,
        NODE_FILE,
        NODE_ENDPOINT,
        NODE_OTHER, /* a kind of a later version */
        NODE_PROCESS,
} NodeKind;

typedef struct Node Node;

/* From a node to one below it. */
typedef struct Edge {
        char *id;   /* of the lower node; owned */
        Node *node; /* NULL: the document does not describe it */
        const char *evidence, *certainty; /* may be NULL */
        bool inferred, error_path;
        bool redundant; /* says no more than another edge of the same process does, to the same file system */
} Edge;

struct Node {
        json_object *json; /* borrowed */
        char *id;
        NodeKind kind;
        size_t index; /* in Model.nodes */
        const char *type, *name, *label, *path, *incomplete; /* may be NULL; label: a second name */
        int64_t depth, depth_certain;
        Edge *lower; /* processes first */
        size_t n_lower, lower_capacity;
        size_t n_upper;

        /* of processes only */
        int64_t pid, uid, threads, threads_marked, memory_min_effective; /* -1: not told */
        const char *comm, *unit, *refusal; /* refusal: why it cannot be marked */
        bool entitled, protected;
        bool recovery_only; /* on nothing's path but the error path's: left alone */
};

typedef enum Severity {
        SEVERITY_ERROR,
        SEVERITY_WARNING,
        SEVERITY_NOTICE,
        _SEVERITY_MAX,
} Severity;

typedef struct Hazard {
        json_object *json;
        Severity severity;
        size_t index;
        const char *id, *message, *cure;
        const Node *process, *layer; /* may be NULL */
} Hazard;

typedef struct Model {
        json_object *document;
        Node *nodes; /* layers, then processes */
        size_t n_layers, n_nodes;
        size_t n_folded; /* layers that the document leaves out */
        Hazard *hazards; /* worst first */
        size_t n_hazards;
        Hashmap *by_id;
} Model;

/* Takes a reference to the document. Complains about one that it cannot read. */
int model_new(json_object *document, Model **ret);
Model *model_free(Model *m);
DEFINE_TRIVIAL_CLEANUP_FUNC(Model *, model_free);

/* A node by itself, of an element of "layers" or "processes"; the text is borrowed from it, the id is owned. */
int node_init(Node *n, json_object *o, bool layer);

Node *model_node(const Model *m, const char *id);             /* id may be NULL */
Node *model_process_by_pid(const Model *m, int64_t pid);
const char *severity_to_string(Severity s);

bool node_is_reclaim(const Node *n);
/* All threads that are known of carry the flags. */
bool node_is_marked(const Node *n);
/* What a human calls it, escaped; owned by the caller, NULL when out of memory. */
char *node_label(const Node *n, bool utf8);
/* The same for an id, which is its own label if nothing is known under it. */
char *model_label(const Model *m, const char *id, bool utf8);

/* "from" or "to" of an action, as a human reads it; untrusted, owned by the caller, NULL when out of memory. */
char *action_setting(json_object *action, const char *key);

/* Members of JSON objects, of the right type or as if absent. */
const char *json_text(json_object *o, const char *key);
int64_t json_int(json_object *o, const char *key, int64_t fallback);
bool json_flag(json_object *o, const char *key);
/* The array, or NULL. */
json_object *json_array(json_object *o, const char *key);
size_t json_length(json_object *array); /* 0 of what is none */
/* An element that is a text, or else "". */
const char *json_text_at(json_object *array, size_t i);

DEFINE_TRIVIAL_CLEANUP_FUNC(json_object *, json_object_put);

/* Complains unless the document has a version that is understood. */
int json_check_version(json_object *document);
