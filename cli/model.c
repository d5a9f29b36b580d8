/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "cli/complain.h"
#include "cli/escape.h"
#include "cli/model.h"
#include "common/array.h"
#include "common/text.h"

const char *json_text(json_object *o, const char *key) {
        json_object *v;

        if (!json_object_object_get_ex(o, key, &v) || !json_object_is_type(v, json_type_string))
                return NULL;
        return json_object_get_string(v);
}

int64_t json_int(json_object *o, const char *key, int64_t fallback) {
        json_object *v;

        if (!json_object_object_get_ex(o, key, &v) || !json_object_is_type(v, json_type_int))
                return fallback;
        return json_object_get_int64(v);
}

bool json_flag(json_object *o, const char *key) {
        json_object *v;

        return json_object_object_get_ex(o, key, &v) && json_object_is_type(v, json_type_boolean) &&
               json_object_get_boolean(v);
}

json_object *json_array(json_object *o, const char *key) {
        json_object *v;

        if (!json_object_object_get_ex(o, key, &v) || !json_object_is_type(v, json_type_array))
                return NULL;
        return v;
}

const char *json_text_at(json_object *array, size_t i) {
        json_object *v = json_object_array_get_idx(array, i);

        return json_object_is_type(v, json_type_string) ? json_object_get_string(v) : "";
}

size_t json_length(json_object *array) {
        return json_object_is_type(array, json_type_array) ? json_object_array_length(array) : 0;
}

int json_check_version(json_object *document) {
        int64_t version = json_int(document, "version", -1);

        if (version < 0)
                return complain("stackd's answer lacks its version. Please report it.");
        if (version != 1)
                return complain("stackd answers in version %lli of its format; this stackctl understands version 1. "
                                "Update it.", (long long) version);
        return 0;
}

static NodeKind kind_from_string(const char *s) {
        static const char *const names[] = {
                [NODE_FILESYSTEM] = "filesystem", [NODE_SWAP] = "swap", [NODE_BLOCK] = "block",
                [NODE_FILE] = "file", [NODE_ENDPOINT] = "endpoint",
        };

        for (size_t i = 0; s && i < ELEMENTSOF(names); i++)
                if (streq(s, names[i]))
                        return (NodeKind) i;
        return NODE_OTHER;
}

static Severity severity_from_string(const char *s) {
        for (Severity i = 0; s && i < _SEVERITY_MAX; i++)
                if (streq(s, severity_to_string(i)))
                        return i;
        return SEVERITY_WARNING; /* of a later version: not to be overlooked */
}

const char *severity_to_string(Severity s) {
        static const char *const names[_SEVERITY_MAX] = { "error", "warning", "notice" };

        return names[s];
}

static char *process_id(json_object *o) {
        const char *id = json_text(o, "id");

        if (id)
                return strdup(id);
        return text_format("process:%lli:%lli", (long long) json_int(o, "pid", -1),
                           (long long) json_int(o, "start", -1));
}

static int node_init_layer(Node *n, json_object *o) {
        const char *id = json_text(o, "id");

        if (!id)
                return complain("stackd's answer has a layer without an id. Please report it.");
        n->id = strdup(id);
        n->kind = kind_from_string(json_text(o, "kind"));
        n->type = json_text(o, "type");
        n->name = json_text(o, "name");
        n->label = json_text(o, "label");
        n->path = json_text(o, "path");
        return n->id ? 0 : -ENOMEM;
}

static int node_init_process(Node *n, json_object *o) {
        n->pid = json_int(o, "pid", -1);
        if (n->pid <= 0)
                return complain("stackd's answer has a process without a pid. Please report it.");
        n->id = process_id(o);
        n->kind = NODE_PROCESS;
        n->uid = json_int(o, "uid", -1);
        n->comm = json_text(o, "comm");
        n->unit = json_text(o, "unit");
        n->refusal = json_text(o, "refusal");
        n->threads = json_int(o, "threads", -1);
        n->threads_marked = json_int(o, "threads_io_flusher", -1);
        n->memory_min_effective = json_int(o, "memory_min_effective", -1);
        n->entitled = json_flag(o, "entitled");
        n->recovery_only = streq_ptr(json_text(o, "role"), "error-path");
        n->protected = json_flag(o, "protected");
        return n->id ? 0 : -ENOMEM;
}

int node_init(Node *n, json_object *o, bool layer) {
        if (!json_object_is_type(o, json_type_object))
                return complain("stackd's answer has a %s that is no object. Please report it.", layer ? "layer" : "process");
        n->json = o;
        n->incomplete = json_text(o, "incomplete");
        n->depth = json_int(o, "depth", 0);
        n->depth_certain = json_int(o, "depth_certain", n->depth);
        return layer ? node_init_layer(n, o) : node_init_process(n, o);
}

static int model_add_node(Model *m, json_object *o, bool layer) {
        Node *n = m->nodes + m->n_nodes;
        int r;

        n->index = m->n_nodes++;
        r = node_init(n, o, layer);
        if (r < 0)
                return r;
        r = hashmap_put(m->by_id, n->id, n);
        return r == -EEXIST ? complain("stackd's answer has '%s' twice. Please report it.", n->id) : r;
}

Node *model_node(const Model *m, const char *id) {
        return id ? hashmap_get(m->by_id, id) : NULL;
}

Node *model_process_by_pid(const Model *m, int64_t pid) {
        for (size_t i = m->n_layers; i < m->n_nodes; i++)
                if (m->nodes[i].pid == pid)
                        return m->nodes + i;
        return NULL;
}

/* An edge from an object of "lower" or of "processes". */
static int model_add_edge(Model *m, Node *upper, json_object *o, bool process) {
        const char *certainty = json_text(o, "certainty"), *id = json_text(o, "id");
        Edge e = {
                .evidence = json_text(o, "evidence"),
                .certainty = certainty,
                .inferred = certainty && !streq(certainty, "proven") && !streq(certainty, "unique"),
                .error_path = streq_ptr(json_text(o, "role"), "error-path"),
        };
        int r;

        if (!json_object_is_type(o, json_type_object) || (!process && !id))
                return complain("stackd's answer has an edge below '%s' that leads nowhere. Please report it.", upper->id);
        e.node = model_node(m, id);
        if (!e.node && process)
                e.node = model_process_by_pid(m, json_int(o, "pid", -1));
        e.id = e.node ? strdup(e.node->id) : process ? process_id(o) : strdup(id);
        if (!e.id)
                return -ENOMEM;
        for (size_t i = 0; i < upper->n_lower; i++)
                if (streq(upper->lower[i].id, e.id)) {
                        free(e.id);
                        return 0;
                }
        r = ARRAY_APPEND(upper->lower, upper->n_lower, upper->lower_capacity, e);
        if (r < 0) {
                free(e.id);
                return r;
        }
        if (e.node)
                e.node->n_upper++;
        return 0;
}

static int model_add_edges(Model *m, Node *n) {
        static const char *const keys[] = { "processes", "lower" };

        for (size_t k = 0; k < ELEMENTSOF(keys); k++) {
                json_object *edges = json_array(n->json, keys[k]);

                for (size_t i = 0; i < json_length(edges); i++) {
                        int r = model_add_edge(m, n, json_object_array_get_idx(edges, i), k == 0);

                        if (r < 0)
                                return r;
                }
        }
        return 0;
}

/* The file system that an edge of a process ends on: itself, or that of its file. */
static const Node *edge_filesystem(const Edge *e) {
        const Node *n = e->node;

        if (n && n->kind == NODE_FILE)
                n = n->n_lower == 1 ? n->lower[0].node : NULL;
        return n && n->kind == NODE_FILESYSTEM ? n : NULL;
}

/* Whether 'other' tells all that 'e' does, and more: a guess yields to what is known, and the file system as such
 * to a file that is named. What is known is never left out for a guess. */
static bool edge_covers(const Edge *other, const Edge *e) {
        if (other->inferred != e->inferred)
                return e->inferred;
        return other->node->kind == NODE_FILE && e->node->kind != NODE_FILE;
}

/* A server holds its directory open as well as files in it, and its mount names the file system once more: one
 * of these is enough to look at. All of them are kept for who asks for the evidence. */
static void model_find_redundant(Node *process) {
        for (size_t i = 0; i < process->n_lower; i++) {
                Edge *e = process->lower + i;
                const Node *filesystem = edge_filesystem(e);

                for (size_t k = 0; filesystem && !e->redundant && k < process->n_lower; k++)
                        e->redundant = k != i && edge_filesystem(process->lower + k) == filesystem &&
                                       edge_covers(process->lower + k, e);
        }
}

static int hazard_compare(const void *a, const void *b) {
        const Hazard *x = a, *y = b;

        if (x->severity != y->severity)
                return (int) x->severity - (int) y->severity;
        return x->index < y->index ? -1 : 1;
}

static int model_add_hazards(Model *m, json_object *hazards) {
        m->hazards = calloc(json_length(hazards) + 1, sizeof(Hazard));
        if (!m->hazards)
                return -ENOMEM;
        for (size_t i = 0; i < json_length(hazards); i++) {
                json_object *o = json_object_array_get_idx(hazards, i);

                if (!json_object_is_type(o, json_type_object) || !json_text(o, "id"))
                        return complain("stackd's answer has a hazard without an id. Please report it.");
                m->hazards[m->n_hazards++] = (Hazard) {
                        .json = o,
                        .index = i,
                        .severity = severity_from_string(json_text(o, "severity")),
                        .id = json_text(o, "id"),
                        .message = json_text(o, "message"),
                        .cure = json_text(o, "cure"),
                        .layer = model_node(m, json_text(o, "layer")),
                        .process = model_node(m, json_text(o, "process")) ?: model_process_by_pid(m, json_int(o, "pid", -1)),
                };
        }
        qsort(m->hazards, m->n_hazards, sizeof(Hazard), hazard_compare);
        return 0;
}

static int model_fill(Model *m, json_object *layers, json_object *processes, json_object *hazards) {
        int r;

        m->by_id = hashmap_new();
        m->nodes = calloc(json_length(layers) + json_length(processes) + 1, sizeof(Node));
        if (!m->by_id || !m->nodes)
                return -ENOMEM;
        for (size_t i = 0; i < json_length(layers); i++) {
                r = model_add_node(m, json_object_array_get_idx(layers, i), true);
                if (r < 0)
                        return r;
        }
        m->n_layers = m->n_nodes;
        for (size_t i = 0; i < json_length(processes); i++) {
                r = model_add_node(m, json_object_array_get_idx(processes, i), false);
                if (r < 0)
                        return r;
        }
        for (size_t i = 0; i < m->n_nodes; i++) {
                r = model_add_edges(m, m->nodes + i);
                if (r < 0)
                        return r;
        }
        for (size_t i = m->n_layers; i < m->n_nodes; i++)
                model_find_redundant(m->nodes + i);
        return model_add_hazards(m, hazards);
}

int model_new(json_object *document, Model **ret) {
        static const char *const keys[] = { "layers", "processes", "hazards" };
        _cleanup_(model_freep) Model *m = NULL;
        int r;

        r = json_check_version(document);
        if (r < 0)
                return r;
        for (size_t i = 0; i < ELEMENTSOF(keys); i++)
                if (!json_array(document, keys[i]))
                        return complain("stackd's answer lacks its %s. Please report it.", keys[i]);
        m = calloc(1, sizeof(*m));
        if (!m)
                return -ENOMEM;
        m->document = json_object_get(document);
        m->n_folded = (size_t) MAX(json_int(document, "folded", 0), 0);
        r = model_fill(m, json_array(document, "layers"), json_array(document, "processes"),
                       json_array(document, "hazards"));
        if (r < 0)
                return r;
        *ret = TAKE_PTR(m);
        return 0;
}

Model *model_free(Model *m) {
        if (!m)
                return NULL;
        for (size_t i = 0; i < m->n_nodes; i++) {
                for (size_t k = 0; k < m->nodes[i].n_lower; k++)
                        free(m->nodes[i].lower[k].id);
                free(m->nodes[i].lower);
                free(m->nodes[i].id);
        }
        free(m->nodes);
        free(m->hazards);
        hashmap_free(m->by_id);
        json_object_put(m->document);
        free(m);
        return NULL;
}

bool node_is_reclaim(const Node *n) {
        return n->kind == NODE_FILESYSTEM || n->kind == NODE_SWAP;
}

bool node_is_marked(const Node *n) {
        return n->threads > 0 && n->threads_marked >= n->threads;
}

static char *label_filesystem(const Node *n) {
        json_object *mounts = json_array(n->json, "mounts");
        size_t k = json_length(mounts);
        const char *type = n->type ?: "filesystem", *first;

        if (k == 0)
                return text_format("%s %s (mounted nowhere in sight)", type, n->name ?: n->id);
        first = json_text_at(mounts, 0);
        if (k == 1)
                return text_format("%s %s", type, first);
        return text_format("%s %s (and %zu more mount%s)", type, first, k - 1, k == 2 ? "" : "s");
}

static char *label_block(const Node *n) {
        const char *name = n->name ?: n->id, *alias = n->label, *type = n->type;

        if (alias && (!*alias || streq(alias, name)))
                alias = NULL;
        /* A type says something where the name does not: "sda (tcm_loop)", but not "loop0 (loop)". */
        if (type && startswith(name, "dm-"))
                type = startswith(type, "dm-") ?: type;
        if (type && (startswith(name, type) || streq(type, "disk") || streq(type, "partition")))
                type = NULL;
        return text_format("%s%s%s%s%s%s", name, alias ? " " : "", alias ?: "", type ? " (" : "", type ?: "",
                           type ? ")" : "");
}

static char *label_raw(const Node *n) {
        switch (n->kind) {
        case NODE_PROCESS:
                return text_format("%s[%lli]%s%s", n->comm ?: "?", (long long) n->pid, n->unit ? " " : "",
                                   n->unit ?: "");
        case NODE_FILESYSTEM:
                return label_filesystem(n);
        case NODE_BLOCK:
                return label_block(n);
        case NODE_FILE:
                return strdup(n->path ?: n->name ?: n->id);
        case NODE_SWAP:
                return text_format("swap %s", n->path ?: n->name ?: n->id);
        default:
                return text_format("%s%s%s", n->type ?: "", n->type ? " " : "", n->path ?: n->name ?: n->id);
        }
}

char *node_label(const Node *n, bool utf8) {
        _cleanup_free_ char *raw = label_raw(n);

        return raw ? escape_text(raw, utf8) : NULL;
}

char *model_label(const Model *m, const char *id, bool utf8) {
        const Node *n = model_node(m, id);

        return n ? node_label(n, utf8) : escape_text(id, utf8);
}

/* The document says memory in bytes. */
static bool is_bytes(json_object *action) {
        const char *kind = json_text(action, "kind");

        return streq_ptr(kind, "memory-min") || streq_ptr(kind, "memory-low") || streq_ptr(kind, "swap-max");
}

char *action_setting(json_object *action, const char *key) {
        json_object *v;
        uint64_t bytes;

        if (!json_object_object_get_ex(action, key, &v) || !v)
                return strdup("unset");
        if (is_bytes(action) && text_to_u64(json_object_get_string(v), 10, &bytes) >= 0 && bytes >= 1 << 20)
                return text_format(bytes < 1000 << 20 ? "%.4g MiB" : "%.0f MiB", (double) bytes / (1 << 20));
        return strdup(json_object_get_string(v));
}
