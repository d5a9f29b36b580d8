/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <assert.h>
#include <string.h>

#include "common/text.h"
#include "daemon/graph/graph.h"

struct Graph {
        Hashmap *nodes;
        FactSet *origins[GRAPH_ORIGINS_MAX];
};

static Edge *edge_free(Edge *e) {
        for (size_t i = 0; i < e->n_claims; i++)
                free(e->claims[i].evidence);
        free(e->claims);
        free(e);
        return NULL;
}

static Node *node_free(Node *n) {
        if (!n)
                return NULL;
        free(n->id);
        free(n->definitions);
        free(n->upper);
        free(n->lower);
        free(n);
        return NULL;
}
DEFINE_TRIVIAL_CLEANUP_FUNC(Node *, node_free);

void graph_changes_done(GraphChanges *c) {
        for (size_t i = 0; i < c->n_touched; i++)
                c->touched[i]->touched = c->touched[i]->fresh = false;
        free(c->touched);
        strv_free(c->removed);
        *c = (GraphChanges) {};
}

Graph *graph_new(void) {
        Graph *g = calloc(1, sizeof(Graph));

        if (!g)
                return NULL;
        g->nodes = hashmap_new();
        if (!g->nodes)
                return graph_free(g);
        return g;
}

Graph *graph_free(Graph *g) {
        size_t position = 0;
        Node *n;

        if (!g)
                return NULL;
        while (g->nodes && (n = hashmap_next(g->nodes, &position))) {
                for (size_t i = 0; i < n->n_lower; i++)
                        edge_free(n->lower[i]);
                node_free(n);
        }
        hashmap_free(g->nodes);
        for (unsigned i = 0; i < GRAPH_ORIGINS_MAX; i++)
                factset_free(g->origins[i]);
        free(g);
        return NULL;
}

Node *graph_find(const Graph *g, const char *id) {
        return hashmap_get(g->nodes, id);
}

size_t graph_size(const Graph *g) {
        return hashmap_size(g->nodes);
}

Node *graph_next(const Graph *g, size_t *position) {
        return hashmap_next(g->nodes, position);
}

int graph_changes_touch(GraphChanges *c, Node *n) {
        int r;

        if (n->touched)
                return 0;
        r = ARRAY_APPEND(c->touched, c->n_touched, c->touched_capacity, n);
        if (r < 0)
                return r;
        n->touched = true;
        return 0;
}

const char *node_label(const Node *n) {
        const NodeFact *f = n->fact;

        if (!f)
                return n->id;
        return f->mounts && f->mounts[0] ? f->mounts[0] : f->name ?: f->comm ?: f->path ?: n->id;
}

bool node_is_backing(const Node *n) {
        for (size_t i = 0; i < n->n_upper; i++)
                if (edge_claim(n->upper[i])->role == ROLE_BACKING)
                        return true;
        return false;
}

bool node_is_exposing(const Node *n) {
        return node_kind(n) == NODE_PROCESS && node_is_backing(n) && n->analysis.depth_certain > 0 &&
                n->fact->threads_io_flusher < n->fact->threads && (n->fact->refusal || !node_is_entitled(n));
}

static int node_get(Graph *g, const char *id, GraphChanges *c, Node **ret) {
        _cleanup_(node_freep) Node *n = NULL;
        Node *found = graph_find(g, id);
        int r;

        if (found) {
                *ret = found;
                return 0;
        }
        n = calloc(1, sizeof(Node));
        if (!n)
                return -ENOMEM;
        n->id = strdup(id);
        if (!n->id)
                return -ENOMEM;
        r = graph_changes_touch(c, n);
        if (r < 0)
                return r;
        r = hashmap_put(g->nodes, n->id, n);
        if (r < 0) {
                c->n_touched--;
                return r;
        }
        n->fresh = true;
        *ret = TAKE_PTR(n);
        return 0;
}

static Edge *edge_find(const Node *upper, const Node *lower) {
        if (upper->n_lower <= lower->n_upper) {
                for (size_t i = 0; i < upper->n_lower; i++)
                        if (upper->lower[i]->lower == lower)
                                return upper->lower[i];
        } else
                for (size_t i = 0; i < lower->n_upper; i++)
                        if (lower->upper[i]->upper == upper)
                                return lower->upper[i];
        return NULL;
}

static int edge_get(Node *upper, Node *lower, Edge **ret) {
        Edge *e = edge_find(upper, lower);
        int r;

        if (e) {
                *ret = e;
                return 0;
        }
        r = array_reserve((void **) &upper->lower, &upper->lower_capacity, upper->n_lower + 1, sizeof(Edge *));
        if (r < 0)
                return r;
        r = array_reserve((void **) &lower->upper, &lower->upper_capacity, lower->n_upper + 1, sizeof(Edge *));
        if (r < 0)
                return r;
        e = calloc(1, sizeof(Edge));
        if (!e)
                return -ENOMEM;
        e->upper = upper;
        e->lower = lower;
        e->in_upper = upper->n_lower;
        e->in_lower = lower->n_upper;
        upper->lower[upper->n_lower++] = e;
        lower->upper[lower->n_upper++] = e;
        *ret = e;
        return 0;
}

/* The last one takes its place. */
static void edge_unlink(Edge *e) {
        Edge *last = e->upper->lower[--e->upper->n_lower];

        e->upper->lower[e->in_upper] = last;
        last->in_upper = e->in_upper;
        last = e->lower->upper[--e->lower->n_upper];
        e->lower->upper[e->in_lower] = last;
        last->in_lower = e->in_lower;
        edge_free(e);
}

/* By all that a claim says, so that it does not matter which of two was said first. */
static int claim_compare(const Claim *a, const Claim *b) {
        if (a->role != b->role)
                return a->role < b->role ? -1 : 1;
        if (a->certainty != b->certainty)
                return a->certainty > b->certainty ? -1 : 1;
        if (a->alternative != b->alternative) /* to be one of several is to be known better */
                return a->alternative > 0 && (b->alternative == 0 || a->alternative < b->alternative) ? -1 : 1;
        if (a->origin != b->origin)
                return a->origin < b->origin ? -1 : 1;
        return strcmp(a->evidence, b->evidence);
}

/* Keeps the best claim first; the order of the others does not matter. */
static void edge_sort(Edge *e) {
        for (size_t i = 1; i < e->n_claims; i++)
                if (claim_compare(&e->claims[i], &e->claims[0]) < 0) {
                        Claim t = e->claims[0];

                        e->claims[0] = e->claims[i];
                        e->claims[i] = t;
                }
}

static unsigned alternative_key(unsigned origin, unsigned alternative) {
        return alternative == 0 ? 0 : alternative * GRAPH_ORIGINS_MAX + origin;
}

static bool claim_says(const Claim *k, unsigned origin, const EdgeFact *f) {
        return k->origin == origin && k->role == f->role && k->certainty == f->certainty &&
                k->alternative == alternative_key(origin, f->alternative) && streq(k->evidence, f->evidence);
}

static int claim_add(Graph *g, unsigned origin, const EdgeFact *f, GraphChanges *c) {
        Node *upper, *lower;
        Claim claim;
        Edge *e;
        int r;

        r = node_get(g, f->upper, c, &upper);
        if (r < 0)
                return r;
        r = node_get(g, f->lower, c, &lower);
        if (r < 0)
                return r;
        r = graph_changes_touch(c, upper);
        if (r < 0)
                return r;
        r = graph_changes_touch(c, lower);
        if (r < 0)
                return r;
        claim = (Claim) {
                .origin = origin,
                .alternative = alternative_key(origin, f->alternative),
                .role = f->role,
                .certainty = f->certainty,
                .evidence = strdup(f->evidence),
        };
        if (!claim.evidence)
                return -ENOMEM;
        r = edge_get(upper, lower, &e);
        if (r >= 0) {
                r = ARRAY_APPEND(e->claims, e->n_claims, e->claims_capacity, claim);
                if (r < 0 && e->n_claims == 0)
                        edge_unlink(e);
        }
        if (r < 0) {
                free(claim.evidence);
                return r;
        }
        edge_sort(e);
        return 0;
}

static void claim_drop(Graph *g, unsigned origin, const EdgeFact *f, GraphChanges *c) {
        Node *upper = graph_find(g, f->upper), *lower = graph_find(g, f->lower);
        Edge *e = upper && lower ? edge_find(upper, lower) : NULL;

        for (size_t i = 0; e && i < e->n_claims; i++) {
                if (!claim_says(&e->claims[i], origin, f))
                        continue;
                (void) graph_changes_touch(c, upper);
                (void) graph_changes_touch(c, lower);
                free(e->claims[i].evidence);
                e->claims[i] = e->claims[--e->n_claims];
                if (e->n_claims == 0)
                        edge_unlink(e);
                else
                        edge_sort(e);
                return;
        }
}

static void node_choose_fact(Node *n) {
        size_t best = 0;

        for (size_t i = 1; i < n->n_definitions; i++)
                if (n->definitions[i].origin < n->definitions[best].origin)
                        best = i;
        n->fact = n->n_definitions > 0 ? n->definitions[best].fact : NULL;
}

static int definition_add(Graph *g, unsigned origin, const NodeFact *f, GraphChanges *c) {
        Node *n;
        int r;

        r = node_get(g, f->id, c, &n);
        if (r < 0)
                return r;
        r = graph_changes_touch(c, n);
        if (r < 0)
                return r;
        r = ARRAY_APPEND(n->definitions, n->n_definitions, n->definitions_capacity,
                         ((Definition) { .origin = origin, .fact = f }));
        if (r < 0)
                return r;
        node_choose_fact(n);
        return 0;
}

static void definition_drop(Graph *g, unsigned origin, const NodeFact *f, GraphChanges *c) {
        Node *n = graph_find(g, f->id);

        for (size_t i = 0; n && i < n->n_definitions; i++)
                if (n->definitions[i].origin == origin && n->definitions[i].fact == f) {
                        (void) graph_changes_touch(c, n);
                        n->definitions[i] = n->definitions[--n->n_definitions];
                        node_choose_fact(n);
                        return;
                }
}

/* The node's definition moves to an equal fact of the new set. */
static void definition_move(Node *n, unsigned origin, const NodeFact *old, const NodeFact *new) {
        for (size_t i = 0; i < n->n_definitions; i++)
                if (n->definitions[i].origin == origin && n->definitions[i].fact == old)
                        n->definitions[i].fact = new;
        if (n->fact == old)
                n->fact = new;
}

/* Nodes that nobody defines and nothing refers to are taken out. */
static int graph_sweep(Graph *g, GraphChanges *c) {
        size_t kept = 0;
        int r = 0;

        for (size_t i = 0; i < c->n_touched; i++) {
                Node *n = c->touched[i];

                if (n->n_definitions > 0 || n->n_upper > 0 || n->n_lower > 0) {
                        c->touched[kept++] = n;
                        continue;
                }
                hashmap_remove(g->nodes, n->id);
                if (!n->fresh) {
                        int k = strv_append(&c->removed, &c->n_removed, n->id);

                        if (k < 0)
                                r = k;
                }
                node_free(n);
        }
        c->n_touched = kept;
        return r;
}

/* By all but the evidence. */
static int compare_links(const EdgeFact *x, const EdgeFact *y) {
        int r;

        r = strcmp(x->upper, y->upper);
        if (r == 0)
                r = strcmp(x->lower, y->lower);
        if (r == 0)
                r = (int) x->role - (int) y->role;
        if (r == 0)
                r = (int) x->certainty - (int) y->certainty;
        if (r == 0)
                r = (x->alternative > y->alternative) - (x->alternative < y->alternative);
        return r;
}

static int compare_edges(const void *a, const void *b) {
        const EdgeFact *x = a, *y = b;

        return compare_links(x, y) ?: strcmp(x->evidence, y->evidence);
}

static int compare_nodes(const void *a, const void *b) {
        return strcmp(((const NodeFact *) a)->id, ((const NodeFact *) b)->id);
}

/* Walks two sorted lists at once. */
static int diff_nodes(Graph *g, unsigned origin, const FactSet *old, const FactSet *new, GraphChanges *c) {
        size_t i = 0, j = 0;
        int r;

        while (i < old->n_nodes || j < new->n_nodes) {
                const NodeFact *a = i < old->n_nodes ? &old->nodes[i] : NULL;
                const NodeFact *b = j < new->n_nodes ? &new->nodes[j] : NULL;
                int k = !a ? 1 : !b ? -1 : strcmp(a->id, b->id);

                if (k == 0 && node_fact_equal(a, b)) {
                        definition_move(graph_find(g, a->id), origin, a, b);
                        i++, j++;
                        continue;
                }
                if (k >= 0) {
                        r = definition_add(g, origin, b, c);
                        if (r < 0)
                                return r;
                        j++;
                }
                if (k <= 0) {
                        definition_drop(g, origin, a, c);
                        i++;
                }
        }
        return 0;
}

static int diff_edges(Graph *g, unsigned origin, const FactSet *old, const FactSet *new, GraphChanges *c) {
        size_t i = 0, j = 0;
        int r;

        while (i < old->n_edges || j < new->n_edges) {
                const EdgeFact *a = i < old->n_edges ? &old->edges[i] : NULL;
                const EdgeFact *b = j < new->n_edges ? &new->edges[j] : NULL;
                int k = !a ? 1 : !b ? -1 : compare_edges(a, b);

                if (k > 0) {
                        r = claim_add(g, origin, b, c);
                        if (r < 0)
                                return r;
                        j++;
                } else if (k < 0) {
                        claim_drop(g, origin, a, c);
                        i++;
                } else
                        i++, j++;
        }
        return 0;
}

/* A source may come by the same node twice, and prove the same edge by as many descriptors as a process cares to have: one says all. */
static void factset_sort(FactSet *f) {
        size_t kept = 0;

        if (f->n_nodes > 1)
                qsort(f->nodes, f->n_nodes, sizeof(NodeFact), compare_nodes);
        if (f->n_edges > 1)
                qsort(f->edges, f->n_edges, sizeof(EdgeFact), compare_edges);
        for (size_t i = 0; i < f->n_nodes; i++) {
                if (kept > 0 && streq(f->nodes[kept - 1].id, f->nodes[i].id)) {
                        node_fact_done(&f->nodes[i]);
                        continue;
                }
                if (kept != i) {
                        f->nodes[kept] = f->nodes[i];
                        f->nodes[i] = (NodeFact) {};
                }
                kept++;
        }
        f->n_nodes = kept;
        kept = 0;
        for (size_t i = 0; i < f->n_edges; i++) {
                if (kept > 0 && compare_links(&f->edges[kept - 1], &f->edges[i]) == 0) {
                        edge_fact_done(&f->edges[i]);
                        continue;
                }
                if (kept != i) {
                        f->edges[kept] = f->edges[i];
                        f->edges[i] = (EdgeFact) {};
                }
                kept++;
        }
        f->n_edges = kept;
}

/* Out of memory half-way: what the graph holds of this origin is neither old nor new. Nothing is better
 * than something wrong; the caller scans again. */
static void origin_purge(Graph *g, unsigned origin, GraphChanges *c) {
        size_t position = 0;
        Node *n;

        while ((n = graph_next(g, &position))) {
                for (size_t i = n->n_definitions; i-- > 0;)
                        if (n->definitions[i].origin == origin) {
                                (void) graph_changes_touch(c, n);
                                n->definitions[i] = n->definitions[--n->n_definitions];
                        }
                node_choose_fact(n);
                for (size_t i = n->n_lower; i-- > 0;) {
                        Edge *e = n->lower[i];

                        for (size_t k = e->n_claims; k-- > 0;)
                                if (e->claims[k].origin == origin) {
                                        free(e->claims[k].evidence);
                                        e->claims[k] = e->claims[--e->n_claims];
                                        (void) graph_changes_touch(c, n);
                                        (void) graph_changes_touch(c, e->lower);
                                }
                        if (e->n_claims == 0)
                                edge_unlink(e);
                        else
                                edge_sort(e);
                }
        }
}

int graph_replace(Graph *g, unsigned origin, FactSet *facts, GraphChanges *changes) {
        static const FactSet nothing = {};
        _cleanup_(factset_freep) FactSet *new = facts, *old = NULL;
        int r, k;

        assert(origin < GRAPH_ORIGINS_MAX);
        if (new)
                factset_sort(new);
        old = TAKE_PTR(g->origins[origin]);
        r = diff_nodes(g, origin, old ?: &nothing, new ?: &nothing, changes);
        if (r >= 0)
                r = diff_edges(g, origin, old ?: &nothing, new ?: &nothing, changes);
        if (r < 0)
                origin_purge(g, origin, changes);
        else
                g->origins[origin] = TAKE_PTR(new);
        k = graph_sweep(g, changes);
        return r < 0 ? r : k;
}
