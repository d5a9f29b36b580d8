/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <limits.h>
#include <string.h>

#include "daemon/analysis/depth.h"

typedef enum View {
        VIEW_DEPTH,   /* all edges, downwards */
        VIEW_CERTAIN, /* certain edges and alternatives, downwards */
        VIEW_HEIGHT,  /* all edges, upwards */
} View;

typedef struct NodeList {
        Node **nodes;
        size_t n, capacity;
} NodeList;

static void node_list_done(NodeList *l) {
        free(l->nodes);
}
#define _cleanup_node_list_ _cleanup_(node_list_done)

static bool edge_counts(const Edge *e, View view) {
        const Claim *c = edge_claim(e);

        return view != VIEW_CERTAIN || c->certainty >= CERTAINTY_UNIQUE || c->alternative > 0;
}

/* The node's edges in the direction in which the value flows, and against it. */
static Edge **edges_onward(const Node *n, View view, size_t *ret_n) {
        *ret_n = view == VIEW_HEIGHT ? n->n_upper : n->n_lower;
        return view == VIEW_HEIGHT ? n->upper : n->lower;
}

static Edge **edges_back(const Node *n, View view, size_t *ret_n) {
        *ret_n = view == VIEW_HEIGHT ? n->n_lower : n->n_upper;
        return view == VIEW_HEIGHT ? n->lower : n->upper;
}

static Node *edge_end(const Edge *e, View view) {
        return view == VIEW_HEIGHT ? e->upper : e->lower;
}

static Node *edge_start(const Edge *e, View view) {
        return view == VIEW_HEIGHT ? e->lower : e->upper;
}

static unsigned *value_of(Node *n, View view) {
        return view == VIEW_DEPTH ? &n->analysis.depth
                : view == VIEW_CERTAIN ? &n->analysis.depth_certain
                                       : &n->analysis.height;
}

/* What a node passes on to the next outside its own component. */
static unsigned value_onward(Node *n, View view) {
        return *value_of(n, view) + node_is_reclaim(n);
}

/* All nodes that a change of 'seeds' can influence. */
static int closure(Analysis *a, Node **seeds, size_t n_seeds, View view, NodeList *l) {
        int r;

        a->epoch++;
        for (size_t i = 0; i < n_seeds; i++) {
                if (seeds[i]->mark == a->epoch)
                        continue;
                seeds[i]->mark = a->epoch;
                r = ARRAY_APPEND(l->nodes, l->n, l->capacity, seeds[i]);
                if (r < 0)
                        return r;
        }
        for (size_t done = 0; done < l->n; done++) {
                size_t n;
                /* Every edge, also those that do not count now: they may have counted before. */
                Edge **edges = edges_onward(l->nodes[done], view, &n);

                for (size_t i = 0; i < n; i++) {
                        Node *next = edge_end(edges[i], view);

                        if (next->mark == a->epoch)
                                continue;
                        next->mark = a->epoch;
                        r = ARRAY_APPEND(l->nodes, l->n, l->capacity, next);
                        if (r < 0)
                                return r;
                }
        }
        return 0;
}

typedef struct Frame {
        Node *node;
        size_t edge;
} Frame;

/* Tarjan's strongly connected components without recursion (stacks are as deep as users make them). All
 * nodes of 'l' come out in 'order', component by component, the one into which others flow first; the
 * components' ends are marked by link == 1 on the last node of each. The closure of changed nodes is closed
 * onward, so every component that touches it lies in it wholly. */
static int components(NodeList *l, View view, NodeList *order) {
        _cleanup_free_ Frame *frames = NULL;
        _cleanup_free_ Node **open = NULL;
        size_t n_frames = 0, n_open = 0;
        unsigned counter = 0;

        /* scratch: 0 = unseen, UINT_MAX = component done, else the visiting number */
        frames = calloc(l->n, sizeof(Frame));
        open = calloc(l->n, sizeof(Node *));
        order->nodes = calloc(l->n, sizeof(Node *));
        if (!frames || !open || !order->nodes)
                return l->n > 0 ? -ENOMEM : 0;
        for (size_t i = 0; i < l->n; i++)
                l->nodes[i]->scratch = 0;
        for (size_t i = 0; i < l->n; i++) {
                if (l->nodes[i]->scratch != 0)
                        continue;
                frames[n_frames++] = (Frame) { .node = l->nodes[i] };
                while (n_frames > 0) {
                        Frame *f = &frames[n_frames - 1];
                        Node *n = f->node;
                        size_t n_edges;
                        Edge **edges = edges_onward(n, view, &n_edges);

                        if (n->scratch == 0) {
                                n->scratch = n->link = ++counter;
                                open[n_open++] = n;
                        }
                        if (f->edge < n_edges) {
                                Edge *e = edges[f->edge++];
                                Node *next = edge_end(e, view);

                                if (!edge_counts(e, view) || next->scratch == UINT_MAX)
                                        continue;
                                if (next->scratch == 0)
                                        frames[n_frames++] = (Frame) { .node = next };
                                else
                                        n->link = MIN(n->link, next->scratch);
                                continue;
                        }
                        n_frames--;
                        if (n_frames > 0) {
                                Node *parent = frames[n_frames - 1].node;

                                parent->link = MIN(parent->link, n->link);
                        }
                        if (n->link == n->scratch) {
                                Node *m;

                                do {
                                        m = open[--n_open];
                                        m->scratch = UINT_MAX;
                                        m->link = m == n;
                                        order->nodes[order->n++] = m;
                                } while (m != n);
                        }
                }
        }
        return 0;
}

/* Whether a node is of the component that is being computed, whose members carry 'number'. */
static bool is_member(const Analysis *a, const Node *n, unsigned number) {
        return n->mark == a->epoch && n->scratch == number;
}

/* At least one edge of a group of alternatives holds: the smallest of them is certain. One from within the component may
 * be all that holds, and brings nothing from outside. */
static unsigned alternatives_value(const Analysis *a, Edge **edges, size_t n, size_t first, unsigned number) {
        unsigned group = edge_claim(edges[first])->alternative, least = UINT_MAX;

        for (size_t i = 0; i < n; i++) {
                const Claim *c = edge_claim(edges[i]);

                if (c->alternative != group)
                        continue;
                if (i < first) /* done with the first of the group */
                        return 0;
                if (is_member(a, edges[i]->upper, number))
                        return 0;
                least = MIN(least, value_onward(edges[i]->upper, VIEW_CERTAIN));
        }
        return least;
}

/* The largest value that flows into n from outside its component, whose members carry 'number'. */
static unsigned value_from_outside(Analysis *a, Node *n, View view, unsigned number, bool *ret_self) {
        size_t n_edges;
        Edge **edges = edges_back(n, view, &n_edges);
        unsigned value = 0;

        for (size_t i = 0; i < n_edges; i++) {
                Node *from = edge_start(edges[i], view);
                const Claim *c = edge_claim(edges[i]);

                if (!edge_counts(edges[i], view))
                        continue;
                if (from == n)
                        *ret_self = true;
                else if (is_member(a, from, number))
                        continue;
                else if (view == VIEW_CERTAIN && c->certainty < CERTAINTY_UNIQUE)
                        value = MAX(value, alternatives_value(a, edges, n_edges, i, number));
                else
                        value = MAX(value, value_onward(from, view));
        }
        return value;
}

static int component_compute(Analysis *a, Node **members, size_t n, View view, unsigned number, GraphChanges *changes) {
        unsigned outside = 0, reclaim = 0, component = 0;
        bool self = false;
        int r;

        for (size_t i = 0; i < n; i++)
                members[i]->scratch = number;
        for (size_t i = 0; i < n; i++) {
                outside = MAX(outside, value_from_outside(a, members[i], view, number, &self));
                reclaim += node_is_reclaim(members[i]);
        }
        if (view == VIEW_DEPTH && (n > 1 || self))
                component = ++a->next_component;
        for (size_t i = 0; i < n; i++) {
                Node *m = members[i];
                unsigned value = n == 1 ? outside : outside + reclaim - node_is_reclaim(m);
                bool cycle_changed = view == VIEW_DEPTH && (m->analysis.component > 0) != (component > 0);

                if (*value_of(m, view) != value || cycle_changed) {
                        r = graph_changes_touch(changes, m);
                        if (r < 0)
                                return r;
                }
                *value_of(m, view) = value;
                if (view == VIEW_DEPTH)
                        m->analysis.component = component;
        }
        return 0;
}

static int update_view(Analysis *a, Node **seeds, size_t n_seeds, View view, GraphChanges *changes) {
        _cleanup_node_list_ NodeList affected = {}, order = {};
        unsigned number = 0;
        int r;

        r = closure(a, seeds, n_seeds, view, &affected);
        if (r < 0)
                return r;
        r = components(&affected, view, &order);
        if (r < 0)
                return r;
        /* Backwards: what others get their value from comes first. */
        for (size_t end = order.n; end > 0;) {
                size_t begin = end - 1;

                while (begin > 0 && order.nodes[begin - 1]->link != 1)
                        begin--;
                r = component_compute(a, order.nodes + begin, end - begin, view, ++number, changes);
                if (r < 0)
                        return r;
                end = begin;
        }
        return 0;
}

int analysis_update(Analysis *a, GraphChanges *changes) {
        static const View views[] = { VIEW_DEPTH, VIEW_CERTAIN, VIEW_HEIGHT };
        _cleanup_free_ Node **seeds = NULL;
        size_t n = changes->n_touched;
        int r;

        if (n == 0)
                return 0;
        /* A copy: the record grows by the nodes whose result differs. */
        seeds = malloc(n * sizeof(Node *));
        if (!seeds)
                return -ENOMEM;
        memcpy(seeds, changes->touched, n * sizeof(Node *));
        for (size_t i = 0; i < ELEMENTSOF(views); i++) {
                r = update_view(a, seeds, n, views[i], changes);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* The edge from above that gives n its value, not leading to nodes already on the path. */
static Node *path_step(Analysis *a, Node *n, View view) {
        Node *best = NULL;

        for (size_t i = 0; i < n->n_upper; i++) {
                Node *u = n->upper[i]->upper;

                if (!edge_counts(n->upper[i], view) || u->mark == a->epoch)
                        continue;
                if (!best || value_onward(u, view) > value_onward(best, view) ||
                    (value_onward(u, view) == value_onward(best, view) && strcmp(u->id, best->id) < 0))
                        best = u;
        }
        return best;
}

int analysis_path(Analysis *a, Graph *g _unused_, Node *n, bool certain, Node ***ret, size_t *ret_n) {
        View view = certain ? VIEW_CERTAIN : VIEW_DEPTH;
        _cleanup_free_ Node **path = NULL;
        size_t k = 0, capacity = 0;
        int r = 0;

        a->epoch++;
        for (Node *m = n; r >= 0 && m; m = path_step(a, m, view)) {
                m->mark = a->epoch;
                r = ARRAY_APPEND(path, k, capacity, m);
        }
        if (r < 0)
                return r;
        for (size_t i = 0; i < k / 2; i++) {
                Node *t = path[i];

                path[i] = path[k - 1 - i];
                path[k - 1 - i] = t;
        }
        *ret = TAKE_PTR(path);
        *ret_n = k;
        return 0;
}

static bool edge_carries(const Edge *e, bool certain) {
        return edge_claim(e)->role == ROLE_BACKING && edge_counts(e, certain ? VIEW_CERTAIN : VIEW_DEPTH);
}

int analysis_above(Analysis *a, Node *n, bool certain, Node ***ret, size_t *ret_n) {
        _cleanup_node_list_ NodeList above = {};
        Node *m = n;
        int r;

        n->mark = ++a->epoch;
        for (size_t done = 0;; m = above.nodes[done++]) {
                for (size_t i = 0; i < m->n_upper; i++) {
                        Node *next = m->upper[i]->upper;

                        if (!edge_carries(m->upper[i], certain) || next->mark == a->epoch)
                                continue;
                        next->mark = a->epoch;
                        r = ARRAY_APPEND(above.nodes, above.n, above.capacity, next);
                        if (r < 0)
                                return r;
                }
                if (done == above.n)
                        break;
        }
        *ret = TAKE_PTR(above.nodes);
        *ret_n = above.n;
        return 0;
}

/* Upwards from the lower end, so that each node knows by its link how far down the chain it is. */
int analysis_route(Analysis *a, Node *upper, Node *lower, Node ***ret, size_t *ret_n) {
        _cleanup_node_list_ NodeList queue = {}, route = {};
        int r;

        lower->mark = ++a->epoch;
        lower->link = 1;
        r = ARRAY_APPEND(queue.nodes, queue.n, queue.capacity, lower);
        for (size_t done = 0; r >= 0 && done < queue.n && upper->mark != a->epoch; done++)
                for (size_t i = 0; r >= 0 && i < queue.nodes[done]->n_upper; i++) {
                        Node *next = queue.nodes[done]->upper[i]->upper;

                        if (!edge_carries(queue.nodes[done]->upper[i], true) || next->mark == a->epoch)
                                continue;
                        next->mark = a->epoch;
                        next->link = queue.nodes[done]->link + 1;
                        r = ARRAY_APPEND(queue.nodes, queue.n, queue.capacity, next);
                }
        if (r < 0)
                return r;
        if (upper->mark != a->epoch)
                return -ENOENT;
        r = ARRAY_APPEND(route.nodes, route.n, route.capacity, upper);
        for (Node *m = upper; r >= 0 && m != lower; m = route.nodes[route.n - 1])
                for (size_t i = 0; i < m->n_lower; i++) {
                        Node *next = m->lower[i]->lower;

                        if (!edge_carries(m->lower[i], true) || next->mark != a->epoch || next->link + 1 != m->link)
                                continue;
                        r = ARRAY_APPEND(route.nodes, route.n, route.capacity, next);
                        break;
                }
        if (r < 0)
                return r;
        *ret = TAKE_PTR(route.nodes);
        *ret_n = route.n;
        return 0;
}

int analysis_cycle(Analysis *a, Node *n, Node ***ret, size_t *ret_n) {
        _cleanup_node_list_ NodeList queue = {};
        _cleanup_free_ size_t *parents = NULL;
        size_t parents_capacity = 0, n_parents = 0, last = SIZE_MAX, length = 1;
        int r;

        a->epoch++;
        r = ARRAY_APPEND(queue.nodes, queue.n, queue.capacity, n);
        if (r >= 0)
                r = ARRAY_APPEND(parents, n_parents, parents_capacity, SIZE_MAX);
        for (size_t done = 0; r >= 0 && last == SIZE_MAX && done < queue.n; done++) {
                Node *m = queue.nodes[done];

                for (size_t i = 0; i < m->n_lower && last == SIZE_MAX; i++) {
                        Node *next = m->lower[i]->lower;

                        if (next == n) {
                                last = done;
                                break;
                        }
                        if (next->mark == a->epoch || next->analysis.component != n->analysis.component)
                                continue;
                        next->mark = a->epoch;
                        r = ARRAY_APPEND(queue.nodes, queue.n, queue.capacity, next);
                        if (r >= 0)
                                r = ARRAY_APPEND(parents, n_parents, parents_capacity, done);
                        if (r < 0)
                                break;
                }
        }
        if (r < 0)
                return r;
        if (last == SIZE_MAX)
                return -ENOENT;
        for (size_t i = last; i != SIZE_MAX; i = parents[i])
                length++;
        Node **path = malloc(length * sizeof(Node *));
        if (!path)
                return -ENOMEM;
        path[length - 1] = n;
        for (size_t i = last, k = length - 1; i != SIZE_MAX; i = parents[i])
                path[--k] = queue.nodes[i];
        *ret = path;
        *ret_n = length;
        return 0;
}
