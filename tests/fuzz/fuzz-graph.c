/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The graph over a history: operations that change what origins say, and after each of them what must hold. The same
 * facts put into a new graph give the same; depth is what a brute-force oracle finds; edges are known at both ends. */
#include "common/text.h"
#include "daemon/analysis/hazard.h"
#include "tests/fuzz/fuzz.h"

#define N 8
#define ORIGINS 3
#define EDGES_MAX 40
#define STEPS_MAX 24

typedef struct Said {
        uint8_t upper, lower, role, certainty, alternative, evidence;
} Said;

/* What an origin says: as bytes, so that it can be said once more. */
typedef struct Origin {
        bool there;
        uint8_t defined[N]; /* 0, or kind + 1 */
        Said edges[EDGES_MAX];
        size_t n_edges;
} Origin;

typedef struct History {
        Origin origins[ORIGINS];
        Graph *graph;
        Analysis analysis;
} History;

static const char *id_of(unsigned i) {
        static const char *const ids[N] = { "fs:0:1", "fs:0:2", "block:7:0", "process:1:1", "process:2:2", "file:0:1:5", "swap:x", "fs:0:3" };

        return ids[i % N];
}

static void add_node(FactSet *f, unsigned i, NodeKind kind) {
        NodeFact n = { .id = strdup(id_of(i)), .kind = kind, .threads = 2, .threads_io_flusher = i % 3, .pid = (pid_t) i + 1, .entitled = i % 2 };

        if (kind == NODE_PROCESS)
                n.comm = strdup("x");
        MUST(factset_add_node(f, &n) >= 0);
}

static FactSet *facts_of(const Origin *o) {
        FactSet *f = o->there ? factset_new() : NULL;

        for (unsigned i = 0; f && i < N; i++)
                if (o->defined[i])
                        add_node(f, i, o->defined[i] - 1);
        for (size_t i = 0; f && i < o->n_edges; i++) {
                const Said *e = &o->edges[i];

                MUST(factset_add_edge(f, id_of(e->upper), id_of(e->lower), e->role % _ROLE_MAX, e->certainty % _CERTAINTY_MAX,
                                      e->certainty % _CERTAINTY_MAX == CERTAINTY_INFERRED ? e->alternative % 4 : 0,
                                      e->evidence % 2 ? "a" : "b") >= 0);
        }
        return f;
}

static void check_mirror(const Graph *g) {
        size_t position = 0, down = 0, up = 0;
        Node *n;

        while ((n = graph_next(g, &position))) {
                MUST(graph_find(g, n->id) == n && !n->touched && !n->fresh);
                MUST(n->n_definitions > 0 || n->n_upper > 0 || n->n_lower > 0);
                MUST((n->n_definitions > 0) == (n->fact != NULL) && (!n->fact || streq(n->fact->id, n->id)));
                up += n->n_upper;
                down += n->n_lower;
                for (size_t i = 0; i < n->n_lower; i++) {
                        const Edge *e = n->lower[i];
                        bool mirrored = false;

                        MUST(e->upper == n && e->n_claims > 0 && graph_find(g, e->lower->id) == e->lower);
                        for (size_t k = 0; k < e->lower->n_upper; k++)
                                mirrored |= e->lower->upper[k] == e;
                        MUST(mirrored);
                        for (size_t k = 0; k < i; k++)
                                MUST(n->lower[k]->lower != e->lower);
                }
        }
        MUST(up == down);
}

static void check_same(const Graph *a, const Graph *b) {
        size_t position = 0;
        Node *n;

        MUST(graph_size(a) == graph_size(b));
        while ((n = graph_next(a, &position))) {
                const Node *m = graph_find(b, n->id);

                MUST(m && node_kind(m) == node_kind(n) && m->n_lower == n->n_lower && m->n_upper == n->n_upper);
                MUST(m->analysis.depth == n->analysis.depth && m->analysis.depth_certain == n->analysis.depth_certain);
                MUST(m->analysis.height == n->analysis.height && !m->analysis.component == !n->analysis.component);
                MUST(n->analysis.depth_certain <= n->analysis.depth);
                for (size_t i = 0; i < n->n_lower; i++)
                        for (size_t k = 0; k < m->n_lower; k++) {
                                const Claim *c = edge_claim(n->lower[i]), *d = edge_claim(m->lower[k]);

                                if (streq(n->lower[i]->lower->id, m->lower[k]->lower->id))
                                        MUST(c->role == d->role && c->certainty == d->certainty && c->alternative == d->alternative &&
                                             streq(c->evidence, d->evidence) && n->lower[i]->n_claims == m->lower[k]->n_claims);
                        }
        }
}

/* Depth once more, by transitive closure: the most reclaim layers on any path, cycles taken for one node. */
static void check_depth(const Graph *g) {
        bool edge[N][N] = {}, reach[N][N] = {}, reclaim[N] = {}, changed = true;
        unsigned in[N] = {};

        for (unsigned i = 0; i < N; i++) {
                const Node *n = graph_find(g, id_of(i));

                reclaim[i] = n && node_is_reclaim(n);
                for (unsigned k = 0; n && k < N; k++)
                        for (size_t e = 0; e < n->n_lower; e++)
                                edge[i][k] |= streq(n->lower[e]->lower->id, id_of(k));
        }
        memcpy(reach, edge, sizeof(reach));
        for (unsigned k = 0; k < N; k++)
                for (unsigned i = 0; i < N; i++)
                        for (unsigned j = 0; j < N; j++)
                                reach[i][j] |= reach[i][k] && reach[k][j];
        while (changed) {
                changed = false;
                for (unsigned u = 0; u < N; u++)
                        for (unsigned v = 0; v < N; v++) {
                                unsigned value = in[u];

                                if (!edge[u][v] || u == v || (reach[u][v] && reach[v][u]))
                                        continue;
                                for (unsigned k = 0; k < N; k++)
                                        value += reclaim[k] && (k == u || (reach[u][k] && reach[k][u]));
                                for (unsigned k = 0; k < N; k++)
                                        if ((k == v || (reach[v][k] && reach[k][v])) && in[k] < value) {
                                                in[k] = value;
                                                changed = true;
                                        }
                        }
        }
        for (unsigned v = 0; v < N; v++) {
                const Node *n = graph_find(g, id_of(v));

                for (unsigned k = 0; k < N; k++)
                        in[v] += k != v && reclaim[k] && reach[v][k] && reach[k][v];
                MUST(!n || (n->analysis.depth == in[v] && !n->analysis.component == !reach[v][v]));
        }
}

static void check_answers(History *h) {
        _cleanup_(hazard_list_done) HazardList hazards = {};
        size_t position = 0;
        Node *n;

        MUST(hazard_list_find(&hazards, &h->analysis, h->graph, &(State) {}) >= 0);
        while ((n = graph_next(h->graph, &position))) {
                _cleanup_free_ Node **path = NULL, **cycle = NULL;
                size_t n_path, n_cycle;

                MUST(analysis_path(&h->analysis, n, false, &path, &n_path) >= 0 && n_path > 0 && path[n_path - 1] == n);
                if (n->analysis.component > 0)
                        MUST(analysis_cycle(&h->analysis, n, &cycle, &n_cycle) >= 0 && n_cycle > 1 && cycle[0] == n && cycle[n_cycle - 1] == n);
        }
}

static void check(History *h) {
        _cleanup_(graph_freep) Graph *fresh = graph_new();
        _cleanup_graph_changes_ GraphChanges c = {};
        Analysis a = {};

        MUST(fresh);
        /* The other way round: what came first must not matter. */
        for (unsigned o = ORIGINS; o-- > 0;)
                MUST(graph_replace(fresh, o, facts_of(&h->origins[o]), &c) >= 0);
        MUST(analysis_update(&a, &c) >= 0);
        check_mirror(h->graph);
        check_same(h->graph, fresh);
        check_depth(h->graph);
        check_answers(h);
}

static void change(Origin *o, FuzzInput *in) {
        uint8_t what = fuzz_byte(in);

        o->there = true;
        switch (what % 4) {
        case 0:
                o->defined[fuzz_byte(in) % N] = fuzz_byte(in) % (_NODE_KIND_MAX + 1);
                break;
        case 1:
                if (o->n_edges > 0)
                        o->edges[fuzz_byte(in) % o->n_edges] = o->edges[o->n_edges - 1], o->n_edges--;
                break;
        default:
                if (o->n_edges < EDGES_MAX) {
                        uint8_t ends = fuzz_byte(in), how = fuzz_byte(in);

                        o->edges[o->n_edges++] = (Said) { .upper = ends % N, .lower = ends / N % N, .role = what / 4, .certainty = how,
                                                          .alternative = how / 4, .evidence = how / 16 };
                }
        }
}

/* Some changes of one origin or more, which become known together. */
static void step(History *h, FuzzInput *in) {
        _cleanup_graph_changes_ GraphChanges c = {};
        uint8_t head = fuzz_byte(in);

        for (unsigned i = 0; i <= head / 64U; i++) {
                unsigned origin = (head + i) % ORIGINS;

                if (head % 16 == 15)
                        h->origins[origin] = (Origin) {};
                else
                        for (unsigned k = 0; k <= head / 4 % 4U; k++)
                                change(&h->origins[origin], in);
                MUST(graph_replace(h->graph, origin, facts_of(&h->origins[origin]), &c) >= 0);
        }
        MUST(analysis_update(&h->analysis, &c) >= 0);
        for (char **id = c.removed; id && *id; id++)
                MUST(!graph_find(h->graph, *id) || graph_find(h->graph, *id)->fresh);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_(graph_freep) Graph *g = graph_new();
        FuzzInput in = { data, size };
        History h = { .graph = g };

        MUST(g);
        for (unsigned i = 0; in.left > 0 && i < STEPS_MAX; i++) {
                step(&h, &in);
                check(&h);
        }
        for (unsigned o = 0; o < ORIGINS; o++) {
                _cleanup_graph_changes_ GraphChanges c = {};

                MUST(graph_replace(g, o, NULL, &c) >= 0 && analysis_update(&h.analysis, &c) >= 0);
        }
        MUST(graph_size(g) == 0);
        return 0;
}
