/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <json-c/json.h>
#include <string.h>

#include "common/text.h"
#include "daemon/bus/describe.h"

/* json-c frees what is added; a NULL from it means that memory has run out, which shows as a null. */
static void put(json_object *o, const char *key, json_object *value) {
        (void) json_object_object_add(o, key, value);
}

static json_object *text(const char *s) {
        _cleanup_free_ char *safe = s ? text_to_utf8(s) : NULL;

        return safe ? json_object_new_string(safe) : NULL;
}

static json_object *texts(char *const *l) {
        json_object *array = json_object_new_array();

        for (; array && l && *l; l++)
                json_object_array_add(array, text(*l));
        return array;
}

static json_object *number(uint64_t n) {
        return json_object_new_uint64(n);
}

static int compare_edges_lower(const void *a, const void *b) {
        return strcmp((*(Edge *const *) a)->lower->id, (*(Edge *const *) b)->lower->id);
}

static int compare_edges_upper(const void *a, const void *b) {
        return strcmp((*(Edge *const *) a)->upper->id, (*(Edge *const *) b)->upper->id);
}

/* The order within the graph is of chance. */
static Edge **sorted(Edge *const *edges, size_t n, int (*compare)(const void *, const void *)) {
        Edge **copy = malloc((n + 1) * sizeof(Edge *));

        if (!copy)
                return NULL;
        if (n > 0) {
                memcpy(copy, edges, n * sizeof(Edge *));
                qsort(copy, n, sizeof(Edge *), compare);
        }
        copy[n] = NULL;
        return copy;
}

static json_object *describe_edge(const Edge *e) {
        json_object *o = json_object_new_object();
        const Claim *c = edge_claim(e);

        put(o, "id", text(e->lower->id));
        put(o, "evidence", text(c->evidence));
        put(o, "certainty", text(certainty_to_string(c->certainty)));
        return o;
}

static json_object *describe_lower(const Node *n, bool of_process) {
        _cleanup_free_ Edge **edges = sorted(n->lower, n->n_lower, compare_edges_lower);
        json_object *array = json_object_new_array();

        for (Edge **e = edges; e && *e; e++)
                if (of_process || node_kind((*e)->lower) != NODE_PROCESS)
                        json_object_array_add(array, describe_edge(*e));
        return array;
}

static json_object *describe_upper(const Node *n) {
        _cleanup_free_ Edge **edges = sorted(n->upper, n->n_upper, compare_edges_upper);
        json_object *array = json_object_new_array();

        for (Edge **e = edges; e && *e; e++)
                json_object_array_add(array, text((*e)->upper->id));
        return array;
}

static json_object *describe_servers(const Node *n) {
        _cleanup_free_ Edge **edges = sorted(n->lower, n->n_lower, compare_edges_lower);
        json_object *array = json_object_new_array();

        for (Edge **e = edges; e && *e; e++) {
                const Node *p = (*e)->lower;
                json_object *o;

                if (node_kind(p) != NODE_PROCESS)
                        continue;
                o = describe_edge(*e);
                put(o, "pid", json_object_new_int(p->fact->pid));
                put(o, "start", number(p->fact->start));
                put(o, "role", text(edge_role_to_string(edge_claim(*e)->role)));
                json_object_array_add(array, o);
        }
        return array;
}

static json_object *describe_layer(const Node *n) {
        static const NodeFact nothing = {};
        const NodeFact *f = n->fact ?: &nothing;
        json_object *o = json_object_new_object();

        put(o, "id", text(n->id));
        put(o, "kind", text(node_kind_to_string(node_kind(n))));
        put(o, "type", text(f->type));
        put(o, "name", text(f->name));
        put(o, "label", text(f->label));
        put(o, "device", text(f->device));
        put(o, "mounts", texts(f->mounts));
        put(o, "path", text(f->path));
        put(o, "size", number(f->size));
        put(o, "depth", number(n->analysis.depth));
        put(o, "depth_certain", number(n->analysis.depth_certain));
        put(o, "height", number(n->analysis.height));
        put(o, "lower", describe_lower(n, false));
        put(o, "upper", describe_upper(n));
        put(o, "processes", describe_servers(n));
        put(o, "incomplete", text(n->fact ? f->incomplete : "no source describes it"));
        return o;
}

static json_object *describe_process(const Node *n) {
        json_object *o = json_object_new_object();
        const NodeFact *f = n->fact;
        const char *flags = f->threads_io_flusher == 0 ? "none" : f->threads_io_flusher == f->threads ? "all" : "partial";

        put(o, "id", text(n->id));
        put(o, "pid", json_object_new_int(f->pid));
        put(o, "start", number(f->start));
        put(o, "comm", text(f->comm));
        put(o, "exe", text(f->exe));
        put(o, "uid", number(f->uid));
        put(o, "unit", text(f->unit));
        put(o, "cgroup", text(f->cgroup));
        put(o, "depth", number(n->analysis.depth));
        put(o, "depth_certain", number(n->analysis.depth_certain));
        put(o, "threads", number(f->threads));
        put(o, "threads_io_flusher", number(f->threads_io_flusher));
        put(o, "io_flusher", text(flags));
        put(o, "memory_min", number(f->memory_min));
        put(o, "memory_min_effective", number(f->memory_min_effective));
        put(o, "swap_max", text(f->swap_max));
        put(o, "oom_score_adj", json_object_new_int(f->oom_score_adj));
        put(o, "role", text(edge_role_to_string(node_is_backing(n) ? ROLE_BACKING : ROLE_ERROR_PATH)));
        put(o, "entitled", json_object_new_boolean(node_is_entitled(n)));
        put(o, "protected", json_object_new_boolean(f->threads > 0 && f->threads_io_flusher == f->threads &&
                                                    f->memory_min_effective > 0));
        put(o, "refusal", text(f->refusal));
        put(o, "serves", describe_upper(n));
        put(o, "lower", describe_lower(n, true));
        put(o, "incomplete", text(f->incomplete));
        return o;
}

static json_object *describe_hazard(const Hazard *h) {
        json_object *o = json_object_new_object();

        put(o, "id", text(hazard_kind_to_string(h->kind)));
        put(o, "severity", text(hazard_severity(h->kind)));
        put(o, "pid", h->pid > 0 ? json_object_new_int(h->pid) : NULL);
        put(o, "process", text(h->process));
        put(o, "layer", text(h->layer));
        put(o, "path", texts(h->path));
        put(o, "message", text(h->message));
        put(o, "cure", text(h->cure));
        return o;
}

static json_object *describe_action(const Action *a) {
        json_object *o = json_object_new_object();

        put(o, "kind", text(action_kind_to_string(a->kind)));
        put(o, "target", text(a->target));
        put(o, "key", text(a->key[0] ? a->key : NULL));
        put(o, "subject", text(a->subject[0] ? a->subject : NULL));
        put(o, "pid", json_object_new_int(a->pid));
        put(o, "comm", text(a->name));
        put(o, "from", text(a->from));
        put(o, "to", text(a->to));
        put(o, "state", text(action_state_to_string(a->state)));
        put(o, "rule", text(a->rule));
        put(o, "reason", text(a->reason));
        put(o, "path", texts(a->path));
        put(o, "error", text(a->error));
        return o;
}

static int render(json_object *o, char **ret) {
        const char *s = json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
        char *copy = s ? strdup(s) : NULL;

        json_object_put(o);
        if (!copy)
                return -ENOMEM;
        *ret = copy;
        return 0;
}

int describe_hazard_text(const Hazard *h, char **ret) {
        return render(describe_hazard(h), ret);
}

int describe_action_text(const Action *a, char **ret) {
        return render(describe_action(a), ret);
}

int describe_actions(const Plan *actions, char **ret) {
        json_object *o = json_object_new_object(), *array = json_object_new_array();

        for (size_t i = 0; actions && i < actions->n; i++)
                json_object_array_add(array, describe_action(&actions->actions[i]));
        put(o, "version", json_object_new_int(1));
        put(o, "actions", array);
        return render(o, ret);
}

static int compare_nodes(const void *a, const void *b) {
        return strverscmp((*(Node *const *) a)->id, (*(Node *const *) b)->id);
}

/* Adds what is above (or below) all nodes from 'begin' on; mark tells what is in the list. */
static int spread(Node ***nodes, size_t *n, size_t *capacity, size_t begin, bool upwards, unsigned epoch) {
        for (size_t i = begin; i < *n; i++) {
                Node *from = (*nodes)[i];
                size_t count = upwards ? from->n_upper : from->n_lower;

                for (size_t k = 0; k < count; k++) {
                        Node *next = upwards ? from->upper[k]->upper : from->lower[k]->lower;

                        if (next->mark == epoch)
                                continue;
                        next->mark = epoch;
                        if (ARRAY_APPEND(*nodes, *n, *capacity, next) < 0)
                                return -ENOMEM;
                }
        }
        return 0;
}

/* The nodes to show, sorted by id: all, or the given ones with everything above and below them. */
static int choose(const BusView *v, char *const *ids, Node ***ret, size_t *ret_n) {
        _cleanup_free_ Node **nodes = NULL, **below = NULL;
        size_t n = 0, capacity = 0, position = 0, n_below = 0, below_capacity = 0;
        unsigned epoch = ++v->analysis->epoch;
        int r;
        Node *node;

        while (!ids && (node = graph_next(v->graph, &position)))
                if (ARRAY_APPEND(nodes, n, capacity, node) < 0)
                        return -ENOMEM;
        for (char *const *id = ids; id && *id; id++) {
                node = graph_find(v->graph, *id);
                if (!node || node->mark == epoch)
                        continue;
                node->mark = epoch;
                if (ARRAY_APPEND(nodes, n, capacity, node) < 0 || ARRAY_APPEND(below, n_below, below_capacity, node) < 0)
                        return -ENOMEM;
        }
        if (ids) {
                size_t direct = n_below;

                r = spread(&nodes, &n, &capacity, 0, true, epoch);
                if (r >= 0)
                        r = spread(&below, &n_below, &below_capacity, 0, false, epoch);
                for (size_t i = direct; r >= 0 && i < n_below; i++)
                        r = ARRAY_APPEND(nodes, n, capacity, below[i]);
                if (r < 0)
                        return r;
        }
        if (n > 1)
                qsort(nodes, n, sizeof(Node *), compare_nodes);
        *ret = TAKE_PTR(nodes);
        *ret_n = n;
        return 0;
}

static bool chosen(Node *const *nodes, size_t n, const char *id) {
        for (size_t i = 0; id && i < n; i++)
                if (streq(nodes[i]->id, id))
                        return true;
        return false;
}

int describe_view(const BusView *v, char *const *ids, const Plan *done, char **ret) {
        json_object *o, *layers, *processes, *hazards, *actions;
        _cleanup_free_ Node **nodes = NULL;
        size_t n;
        int r;

        r = choose(v, ids, &nodes, &n);
        if (r < 0)
                return r;
        o = json_object_new_object();
        layers = json_object_new_array();
        processes = json_object_new_array();
        hazards = json_object_new_array();
        actions = json_object_new_array();
        for (size_t i = 0; i < n; i++)
                if (node_kind(nodes[i]) == NODE_PROCESS)
                        json_object_array_add(processes, describe_process(nodes[i]));
                else if (!startswith(nodes[i]->id, "process:")) /* one that is named but gone already */
                        json_object_array_add(layers, describe_layer(nodes[i]));
        for (size_t i = 0; i < v->hazards->n; i++) {
                const Hazard *h = &v->hazards->hazards[i];

                if (!ids || chosen(nodes, n, h->process) || chosen(nodes, n, h->layer))
                        json_object_array_add(hazards, describe_hazard(h));
        }
        for (size_t i = 0; done && i < done->n; i++)
                if (!ids || chosen(nodes, n, done->actions[i].subject))
                        json_object_array_add(actions, describe_action(&done->actions[i]));
        put(o, "version", json_object_new_int(1));
        put(o, "layers", layers);
        put(o, "processes", processes);
        put(o, "hazards", hazards);
        put(o, "actions", actions);
        return render(o, ret);
}
