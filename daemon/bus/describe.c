/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "common/json-text.h"
#include "common/text.h"
#include "daemon/bus/describe.h"
#include "daemon/policy/setting.h"

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

/* The members of an edge; the object is left open. */
static void put_edge(JsonText *j, const Edge *e) {
        const Claim *c = edge_claim(e);

        json_put_object(j, NULL);
        json_put_string(j, "id", e->lower->id);
        json_put_string(j, "evidence", c->evidence);
        json_put_string(j, "certainty", certainty_to_string(c->certainty));
}

static void put_lower(JsonText *j, const Node *n, bool of_process) {
        _cleanup_free_ Edge **edges = sorted(n->lower, n->n_lower, compare_edges_lower);

        j->failed |= !edges;
        json_put_array(j, "lower");
        for (Edge **e = edges; e && *e; e++) {
                if (!of_process && node_kind((*e)->lower) == NODE_PROCESS)
                        continue;
                put_edge(j, *e);
                json_put_end(j, '}');
        }
        json_put_end(j, ']');
}

static void put_upper(JsonText *j, const char *key, const Node *n) {
        _cleanup_free_ Edge **edges = sorted(n->upper, n->n_upper, compare_edges_upper);

        j->failed |= !edges;
        json_put_array(j, key);
        for (Edge **e = edges; e && *e; e++)
                json_put_string(j, NULL, (*e)->upper->id);
        json_put_end(j, ']');
}

static void put_servers(JsonText *j, const Node *n) {
        _cleanup_free_ Edge **edges = sorted(n->lower, n->n_lower, compare_edges_lower);

        j->failed |= !edges;
        json_put_array(j, "processes");
        for (Edge **e = edges; e && *e; e++) {
                const Node *p = (*e)->lower;

                if (node_kind(p) != NODE_PROCESS)
                        continue;
                put_edge(j, *e);
                json_put_signed(j, "pid", p->fact->pid);
                json_put_unsigned(j, "start", p->fact->start);
                json_put_string(j, "role", edge_role_to_string(edge_claim(*e)->role));
                json_put_end(j, '}');
        }
        json_put_end(j, ']');
}

static void put_layer(JsonText *j, const Node *n) {
        static const NodeFact nothing = {};
        const NodeFact *f = n->fact ?: &nothing;

        json_put_object(j, NULL);
        json_put_string(j, "id", n->id);
        json_put_string(j, "kind", node_kind_to_string(node_kind(n)));
        json_put_string(j, "type", f->type);
        json_put_string(j, "name", f->name);
        json_put_string(j, "label", f->label);
        json_put_string(j, "device", f->device);
        json_put_strings(j, "mounts", f->mounts);
        json_put_string(j, "path", f->path);
        json_put_unsigned(j, "size", f->size);
        json_put_unsigned(j, "depth", n->analysis.depth);
        json_put_unsigned(j, "depth_certain", n->analysis.depth_certain);
        json_put_unsigned(j, "height", n->analysis.height);
        put_lower(j, n, false);
        put_upper(j, "upper", n);
        put_servers(j, n);
        json_put_string(j, "incomplete", n->fact ? f->incomplete : "no source describes it");
        json_put_end(j, '}');
}

static void put_process(JsonText *j, const Node *n) {
        const NodeFact *f = n->fact;

        json_put_object(j, NULL);
        json_put_string(j, "id", n->id);
        json_put_signed(j, "pid", f->pid);
        json_put_unsigned(j, "start", f->start);
        json_put_string(j, "comm", f->comm);
        json_put_string(j, "exe", f->exe);
        json_put_unsigned(j, "uid", f->uid);
        json_put_string(j, "unit", f->unit);
        json_put_string(j, "cgroup", f->cgroup);
        json_put_unsigned(j, "depth", n->analysis.depth);
        json_put_unsigned(j, "depth_certain", n->analysis.depth_certain);
        json_put_unsigned(j, "threads", f->threads);
        json_put_unsigned(j, "threads_io_flusher", f->threads_io_flusher);
        json_put_string(j, "io_flusher", io_flusher_to_string(f));
        json_put_unsigned(j, "memory_min", f->memory_min);
        json_put_unsigned(j, "memory_min_effective", f->memory_min_effective);
        json_put_string(j, "swap_max", f->swap_max);
        json_put_signed(j, "oom_score_adj", f->oom_score_adj);
        json_put_string(j, "role", edge_role_to_string(node_is_backing(n) ? ROLE_BACKING : ROLE_ERROR_PATH));
        json_put_bool(j, "entitled", node_is_entitled(n));
        json_put_bool(j, "protected", f->threads > 0 && f->threads_io_flusher == f->threads && f->memory_min_effective > 0);
        json_put_string(j, "refusal", f->refusal);
        put_upper(j, "serves", n);
        put_lower(j, n, true);
        json_put_string(j, "incomplete", f->incomplete);
        json_put_end(j, '}');
}

static void put_hazard(JsonText *j, const Hazard *h) {
        json_put_object(j, NULL);
        json_put_string(j, "id", hazard_kind_to_string(h->kind));
        json_put_string(j, "severity", hazard_severity(h->kind));
        if (h->pid > 0)
                json_put_signed(j, "pid", h->pid);
        else
                json_put_null(j, "pid");
        json_put_string(j, "process", h->process);
        json_put_string(j, "layer", h->layer);
        json_put_strings(j, "path", h->path);
        json_put_string(j, "message", h->message);
        json_put_string(j, "cure", h->cure);
        json_put_end(j, '}');
}

static void put_marking(JsonText *j, const BusView *v) {
        if (!v->marks)
                return;
        json_put_object(j, "marking");
        json_put_unsigned(j, "marks", v->marks->marks);
        json_put_unsigned(j, "calls_cut", v->marks->cut);
        json_put_end(j, '}');
}

static void put_action(JsonText *j, const Action *a) {
        json_put_object(j, NULL);
        json_put_string(j, "kind", action_kind_to_string(a->kind));
        json_put_string(j, "target", a->target);
        json_put_string(j, "key", a->key[0] ? a->key : NULL);
        json_put_string(j, "subject", a->subject[0] ? a->subject : NULL);
        json_put_signed(j, "pid", a->pid);
        json_put_string(j, "comm", a->name);
        json_put_string(j, "from", a->from);
        json_put_string(j, "to", a->to);
        json_put_string(j, "state", action_state_to_string(a->state));
        json_put_string(j, "rule", a->rule);
        json_put_string(j, "reason", a->reason);
        json_put_strings(j, "path", a->path);
        json_put_string(j, "error", a->error);
        if (a->kind == ACTION_IO_FLUSHER)
                json_put_unsigned(j, "calls_cut", a->cut);
        if (a->when > 0)
                json_put_unsigned(j, "when", a->when);
        else
                json_put_null(j, "when");
        json_put_end(j, '}');
}

int describe_hazard_text(const Hazard *h, char **ret) {
        _cleanup_json_text_ JsonText j = {};

        put_hazard(&j, h);
        return json_text_take(&j, ret);
}

int describe_action_text(const Action *a, char **ret) {
        _cleanup_json_text_ JsonText j = {};

        put_action(&j, a);
        return json_text_take(&j, ret);
}

/* What could not be seen of the machine, whatever was asked for. */
static void put_gaps(JsonText *j, const Gaps *gaps) {
        const GapText *text;
        Gap gap;

        json_put_array(j, "gaps");
        for (unsigned i = 0; (text = gap_text(i, &gap)); i++) {
                if (!(gaps->set & gap))
                        continue;
                json_put_object(j, NULL);
                json_put_string(j, "id", text->id);
                json_put_string(j, "message", text->message);
                json_put_string(j, "cure", gaps->captured ? text->capture : text->cure);
                json_put_end(j, '}');
        }
        json_put_end(j, ']');
}

int describe_actions(const BusView *v, const Plan *actions, char **ret) {
        _cleanup_json_text_ JsonText j = {};

        json_put_object(&j, NULL);
        json_put_unsigned(&j, "version", 1);
        json_put_array(&j, "actions");
        for (size_t i = 0; actions && i < actions->n; i++)
                put_action(&j, &actions->actions[i]);
        json_put_end(&j, ']');
        put_gaps(&j, v->gaps);
        json_put_end(&j, '}');
        return json_text_take(&j, ret);
}

/* ---- reasons ---- */

static int put_path(JsonText *j, const char *key, const BusView *v, Node *n, bool certain) {
        _cleanup_free_ Node **path = NULL;
        size_t n_path;
        int r;

        r = analysis_path(v->analysis, n, certain, &path, &n_path);
        if (r < 0)
                return r;
        json_put_array(j, key);
        for (size_t i = 0; i < n_path; i++)
                json_put_string(j, NULL, path[i]->id);
        json_put_end(j, ']');
        return 0;
}

static int put_setting(JsonText *j, SettingKind kind, const Setting *setting) {
        _cleanup_free_ char *value = NULL;
        const char *section, *key;
        int r;

        r = setting_describe(kind, setting, &section, &key, &value);
        if (r < 0)
                return r;
        json_put_object(j, NULL);
        json_put_string(j, "section", section);
        json_put_string(j, "key", key);
        json_put_string(j, "value", value);
        json_put_string(j, "source", setting->source);
        json_put_end(j, '}');
        return 0;
}

static int put_settings(JsonText *j, const Policy *policy, const Node *n) {
        const Setting *settings[_SETTING_KIND_MAX] = {};
        int r = 0;

        if (n->fact)
                policy_decide(policy, n, settings);
        json_put_array(j, "settings");
        for (SettingKind kind = 0; r >= 0 && kind < _SETTING_KIND_MAX; kind++)
                if (settings[kind] && settings[kind]->mode != SETTING_UNSET)
                        r = put_setting(j, kind, settings[kind]);
        json_put_end(j, ']');
        return r;
}

static int put_reason(JsonText *j, const BusView *v, const BusRequests *requests, void *manager, Node *n) {
        int r;

        json_put_object(j, NULL);
        json_put_string(j, "id", n->id);
        r = put_path(j, "path", v, n, false);
        if (r >= 0)
                r = put_path(j, "path_certain", v, n, true);
        if (r >= 0)
                r = put_settings(j, requests->policy(manager), n);
        json_put_bool(j, "held", requests->held(manager, n->id));
        json_put_end(j, '}');
        return r;
}

int describe_reasons(const BusView *v, const BusRequests *requests, void *manager, char *const *ids, char **ret) {
        _cleanup_json_text_ JsonText j = {};
        size_t position = 0;
        Node *n;
        int r = 0;

        json_put_object(&j, NULL);
        json_put_unsigned(&j, "version", 1);
        json_put_array(&j, "objects");
        while (!ids && r >= 0 && (n = graph_next(v->graph, &position)))
                r = put_reason(&j, v, requests, manager, n);
        for (char *const *id = ids; r >= 0 && id && *id; id++) {
                n = graph_find(v->graph, *id); /* it may have gone */
                r = n ? put_reason(&j, v, requests, manager, n) : 0;
        }
        json_put_end(&j, ']');
        put_gaps(&j, v->gaps);
        json_put_end(&j, '}');
        return r < 0 ? r : json_text_take(&j, ret);
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

static int mark_seed(Node ***nodes, size_t *n, size_t *capacity, Node *node, unsigned epoch) {
        if (!node || node->mark == epoch)
                return 0;
        node->mark = epoch;
        return ARRAY_APPEND(*nodes, *n, *capacity, node);
}

/* All stacks, from top to bottom, that hold a process, a reclaim layer below another, or what a hazard is about. */
static int choose_nested(const BusView *v, const Plan *done, Node ***ret, size_t *ret_n) {
        _cleanup_free_ Node **nodes = NULL;
        size_t n = 0, capacity = 0, position = 0;
        unsigned epoch = ++v->analysis->epoch;
        Node *node;
        int r = 0;

        while (r >= 0 && (node = graph_next(v->graph, &position)))
                if (node_kind(node) == NODE_PROCESS || (node_is_reclaim(node) && node->analysis.depth > 0))
                        r = mark_seed(&nodes, &n, &capacity, node, epoch);
        for (size_t i = 0; r >= 0 && i < v->hazards->n; i++)
                for (char **id = v->hazards->hazards[i].path; r >= 0 && id && *id; id++)
                        r = mark_seed(&nodes, &n, &capacity, graph_find(v->graph, *id), epoch);
        for (size_t i = 0; r >= 0 && done && i < done->n; i++)
                r = mark_seed(&nodes, &n, &capacity, graph_find(v->graph, done->actions[i].subject), epoch);
        if (r >= 0)
                r = spread(&nodes, &n, &capacity, 0, true, epoch);
        if (r >= 0)
                r = spread(&nodes, &n, &capacity, 0, false, epoch);
        if (r < 0)
                return r;
        if (n > 1)
                qsort(nodes, n, sizeof(Node *), compare_nodes);
        *ret = TAKE_PTR(nodes);
        *ret_n = n;
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

static bool chosen(const BusView *v, const char *id) {
        const Node *n = id ? graph_find(v->graph, id) : NULL;

        return n && n->mark == v->analysis->epoch;
}

static bool is_layer(const Node *n) {
        return !startswith(n->id, "process:");
}

/* The document up to its hazards. */
static void put_nodes(JsonText *j, Node *const *nodes, size_t n) {
        json_put_object(j, NULL);
        json_put_unsigned(j, "version", 1);
        json_put_array(j, "layers");
        for (size_t i = 0; i < n; i++)
                if (is_layer(nodes[i]))
                        put_layer(j, nodes[i]);
        json_put_end(j, ']');
        json_put_array(j, "processes");
        for (size_t i = 0; i < n; i++)
                if (node_kind(nodes[i]) == NODE_PROCESS) /* and not one that is named but gone already */
                        put_process(j, nodes[i]);
        json_put_end(j, ']');
}

int describe_view(const BusView *v, char *const *ids, const Plan *done, char **ret) {
        _cleanup_json_text_ JsonText j = {};
        _cleanup_free_ Node **nodes = NULL;
        size_t n;
        int r;

        r = choose(v, ids, &nodes, &n);
        if (r < 0)
                return r;
        put_nodes(&j, nodes, n);
        json_put_array(&j, "hazards");
        for (size_t i = 0; i < v->hazards->n; i++) {
                const Hazard *h = &v->hazards->hazards[i];

                if (!ids || chosen(v, h->process) || chosen(v, h->layer))
                        put_hazard(&j, h);
        }
        json_put_end(&j, ']');
        json_put_array(&j, "actions");
        for (size_t i = 0; done && i < done->n; i++)
                if (!ids || chosen(v, done->actions[i].subject))
                        put_action(&j, &done->actions[i]);
        json_put_end(&j, ']');
        put_marking(&j, v);
        put_gaps(&j, v->gaps);
        json_put_end(&j, '}');
        return json_text_take(&j, ret);
}

int describe_nested(const BusView *v, const Plan *done, char **ret) {
        _cleanup_json_text_ JsonText j = {};
        _cleanup_free_ Node **nodes = NULL;
        size_t n, folded = 0, position = 0;
        Node *node;
        int r;

        r = choose_nested(v, done, &nodes, &n);
        if (r < 0)
                return r;
        while ((node = graph_next(v->graph, &position)))
                folded += is_layer(node) && node->mark != v->analysis->epoch;
        put_nodes(&j, nodes, n);
        json_put_array(&j, "hazards");
        for (size_t i = 0; i < v->hazards->n; i++)
                put_hazard(&j, &v->hazards->hazards[i]);
        json_put_end(&j, ']');
        json_put_array(&j, "actions");
        for (size_t i = 0; done && i < done->n; i++)
                put_action(&j, &done->actions[i]);
        json_put_end(&j, ']');
        put_marking(&j, v);
        json_put_unsigned(&j, "folded", folded);
        put_gaps(&j, v->gaps);
        json_put_end(&j, '}');
        return json_text_take(&j, ret);
}
