/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Graph and depth beside a brute-force oracle: random facts of several origins, with cycles, replaced one
 * origin at a time, and after each step every node's incremental result compared with one computed from
 * nothing but the facts, by another method (transitive closure instead of Tarjan). */
#include <string.h>

#include "common/text.h"
#include "daemon/analysis/depth.h"
#include "tests/unit/tap.h"

#define N 14
#define ORIGINS 3

typedef struct Model {
        bool defined[ORIGINS][N];
        NodeKind kind[N];
        /* 0 = none, else certainty + 1 */
        int edge[ORIGINS][N][N];
        int alternative[ORIGINS][N][N];
} Model;

static void name(int i, char *buffer) {
        sprintf(buffer, "n:%d", i);
}

static FactSet *facts_of(const Model *m, int origin) {
        FactSet *f = factset_new();
        char a[16], b[16];

        CHECK(f);
        for (int i = 0; i < N; i++) {
                name(i, a);
                if (m->defined[origin][i]) {
                        NodeFact n = { .id = strdup(a), .kind = m->kind[i] };

                        CHECK(factset_add_node(f, &n) == 0);
                }
                for (int j = 0; j < N; j++) {
                        name(j, b);
                        if (m->edge[origin][i][j])
                                CHECK(factset_add_edge(f, a, b, ROLE_BACKING, m->edge[origin][i][j] - 1,
                                                       m->alternative[origin][i][j], "test") == 0);
                }
        }
        return f;
}

static bool is_reclaim(const Model *m, int i) {
        for (int o = 0; o < ORIGINS; o++)
                if (m->defined[o][i])
                        return node_kind_is_reclaim(m->kind[i]);
        return false;
}

/* Depth of all nodes over the given edges. */
static void oracle(const Model *m, bool edge[N][N], unsigned ret[N], bool ret_cycle[N]) {
        bool reach[N][N];
        unsigned in[N] = {};
        bool changed = true;

        memcpy(reach, edge, sizeof(reach));
        for (int k = 0; k < N; k++)
                for (int i = 0; i < N; i++)
                        for (int j = 0; j < N; j++)
                                reach[i][j] |= reach[i][k] && reach[k][j];
        /* Relax to the fixed point over the condensed graph; it has no cycles, so this ends. */
        while (changed) {
                changed = false;
                for (int v = 0; v < N; v++)
                        for (int u = 0; u < N; u++) {
                                unsigned value;

                                if (!edge[u][v] || (reach[v][u] && reach[u][v]) || u == v)
                                        continue;
                                value = in[u];
                                for (int k = 0; k < N; k++)
                                        value += (k == u || (reach[u][k] && reach[k][u])) && is_reclaim(m, k);
                                /* all members of v's component share it */
                                for (int k = 0; k < N; k++)
                                        if ((k == v || (reach[v][k] && reach[k][v])) && in[k] < value) {
                                                in[k] = value;
                                                changed = true;
                                        }
                        }
        }
        for (int v = 0; v < N; v++) {
                ret[v] = in[v];
                for (int k = 0; k < N; k++)
                        ret[v] += k != v && reach[v][k] && reach[k][v] && is_reclaim(m, k);
                ret_cycle[v] = reach[v][v];
        }
}

static void edges_of(const Model *m, int least, bool reverse, bool ret[N][N]) {
        for (int i = 0; i < N; i++)
                for (int j = 0; j < N; j++) {
                        bool e = false;

                        for (int o = 0; o < ORIGINS; o++)
                                e |= m->edge[o][i][j] > least;
                        ret[reverse ? j : i][reverse ? i : j] = e;
                }
}

static void compare(const Model *m, Graph *g) {
        unsigned depth[N], certain[N], height[N];
        bool edge[N][N], cycle[N], unused[N];
        char id[16];

        edges_of(m, 0, false, edge);
        oracle(m, edge, depth, cycle);
        edges_of(m, CERTAINTY_UNIQUE, false, edge);
        oracle(m, edge, certain, unused);
        edges_of(m, 0, true, edge);
        oracle(m, edge, height, unused);
        for (int i = 0; i < N; i++) {
                Node *n;
                bool there = false;

                name(i, id);
                n = graph_find(g, id);
                for (int o = 0; o < ORIGINS; o++) {
                        there |= m->defined[o][i];
                        for (int j = 0; j < N; j++)
                                there |= m->edge[o][i][j] || m->edge[o][j][i];
                }
                CHECK(there == !!n);
                if (!n)
                        continue;
                CHECK(n->analysis.depth == depth[i]);
                CHECK(n->analysis.depth_certain == certain[i]);
                CHECK(n->analysis.height == height[i]);
                CHECK((n->analysis.component > 0) == cycle[i]);
        }
}

static void mutate(Model *m, int origin, int strength) {
        for (int k = 0; k < strength; k++) {
                int i = random() % N, j = random() % N;

                switch (random() % 4) {
                case 0:
                        m->defined[origin][i] = !m->defined[origin][i];
                        break;
                case 1:
                        m->edge[origin][i][j] = 0;
                        break;
                default:
                        m->edge[origin][i][j] = 1 + random() % _CERTAINTY_MAX;
                }
        }
}

static void test_random_against_oracle(void) {
        for (unsigned seed = 0; seed < 300; seed++) {
                _cleanup_(graph_freep) Graph *g = graph_new();
                Analysis a = {};
                Model m = {};

                CHECK(g);
                srandom(seed);
                for (int i = 0; i < N; i++)
                        m.kind[i] = random() % 3 == 0 ? NODE_BLOCK : random() % 2 ? NODE_FILESYSTEM : NODE_PROCESS;
                for (int step = 0; step < 60; step++) {
                        _cleanup_graph_changes_ GraphChanges c = {};
                        int origin = random() % ORIGINS;

                        if (random() % 15 == 0) {
                                memset(m.edge[origin], 0, sizeof(m.edge[origin]));
                                memset(m.defined[origin], 0, sizeof(m.defined[origin]));
                        }
                        mutate(&m, origin, 1 + random() % 6);
                        CHECK(graph_replace(g, origin, facts_of(&m, origin), &c) == 0);
                        CHECK(analysis_update(&a, &c) == 0);
                        compare(&m, g);
                }
        }
}

/* Without cycles: the certain depth is the least over all ways in which the alternatives can hold. */
static void test_alternatives_against_all_assignments(void) {
        for (unsigned seed = 0; seed < 2000; seed++) {
                _cleanup_(graph_freep) Graph *g = graph_new();
                _cleanup_graph_changes_ GraphChanges c = {};
                unsigned least[N], groups = 0, combinations = 1;
                int size[8] = {}, member[8][N], below[8];
                Analysis a = {};
                Model m = {};

                srandom(seed);
                for (int i = 0; i < N; i++) {
                        m.kind[i] = random() % 2 ? NODE_FILESYSTEM : NODE_PROCESS;
                        m.defined[0][i] = true;
                        least[i] = 1000;
                }
                for (int k = 0; k < 12; k++) {
                        int i = random() % (N - 1), j = i + 1 + random() % (N - 1 - i);

                        m.edge[0][i][j] = 1 + CERTAINTY_PROVEN;
                }
                for (unsigned k = 0; k < 4; k++) {
                        int j = 2 + random() % (N - 2);

                        below[groups] = j;
                        for (int i = 0; i < j && size[groups] < 3; i++)
                                if (!m.edge[0][i][j] && random() % 2) {
                                        m.edge[0][i][j] = 1 + CERTAINTY_INFERRED;
                                        m.alternative[0][i][j] = groups + 1;
                                        member[groups][size[groups]++] = i;
                                }
                        if (size[groups] > 0)
                                combinations *= size[groups++];
                }
                for (unsigned k = 0; k < combinations; k++) {
                        unsigned depth[N], rest = k;
                        bool edge[N][N], unused[N];

                        edges_of(&m, CERTAINTY_UNIQUE, false, edge);
                        for (unsigned x = 0; x < groups; x++) {
                                edge[member[x][rest % size[x]]][below[x]] = true;
                                rest /= size[x];
                        }
                        oracle(&m, edge, depth, unused);
                        for (int i = 0; i < N; i++)
                                least[i] = MIN(least[i], depth[i]);
                }
                CHECK(graph_replace(g, 0, facts_of(&m, 0), &c) == 0);
                CHECK(analysis_update(&a, &c) == 0);
                for (int i = 0; i < N; i++) {
                        char id[16];

                        name(i, id);
                        CHECK(graph_find(g, id)->analysis.depth_certain == least[i]);
                }
        }
}

static void add(FactSet *f, const char *id, NodeKind kind) {
        NodeFact n = { .id = strdup(id), .kind = kind };

        CHECK(factset_add_node(f, &n) == 0);
}

static void link_nodes(FactSet *f, const char *upper, const char *lower) {
        CHECK(factset_add_edge(f, upper, lower, ROLE_BACKING, CERTAINTY_PROVEN, 0, "test") == 0);
}

/* The stack on which the deadlock was reported. */
static void test_thread_stack(void) {
        static const char *const ids[] = { "fs:inner", "block:loop", "file:i", "fs:xfs", "block:dm", "block:sda",
                                           "process:tcmu", "file:z", "fs:lower", "block:vdb" };
        static const unsigned want[] = { 0, 1, 1, 1, 2, 2, 2, 2, 2, 3 };
        _cleanup_(graph_freep) Graph *g = graph_new();
        _cleanup_graph_changes_ GraphChanges c = {};
        _cleanup_free_ Node **path = NULL;
        FactSet *f = factset_new();
        Analysis a = {};
        size_t n;

        for (size_t i = 0; i < ELEMENTSOF(ids); i++) {
                add(f, ids[i], startswith(ids[i], "fs:") ? NODE_FILESYSTEM
                            : startswith(ids[i], "process:") ? NODE_PROCESS : NODE_BLOCK);
                if (i > 0)
                        link_nodes(f, ids[i - 1], ids[i]);
        }
        CHECK(graph_replace(g, 0, f, &c) == 0);
        CHECK(analysis_update(&a, &c) == 0);
        for (size_t i = 0; i < ELEMENTSOF(ids); i++)
                CHECK(graph_find(g, ids[i])->analysis.depth == want[i]);
        CHECK(graph_find(g, "fs:inner")->analysis.height == 2);
        CHECK(analysis_path(&a, graph_find(g, "process:tcmu"), true, &path, &n) == 0);
        CHECK(n == 7);
        for (size_t i = 0; i < n; i++)
                CHECK(streq(path[i]->id, ids[i]));
}

static void guess(FactSet *f, const char *upper, const char *lower) {
        CHECK(factset_add_edge(f, upper, lower, ROLE_BACKING, CERTAINTY_INFERRED, 0, "test") == 0);
}

/* A file of bindfs on a loop device: "fs:srv" is below "fs:inner" by what the kernel says, and by guesses whose ids sort first.
 * 'guessed_above': so is something that only a guess puts on top. */
static void test_path_prefers_certain_edges(void) {
        static const char *const ids[] = { "fs:inner", "block:loop", "file:image", "fs:served", "process:9:9", "fs:srv" };
        static const NodeKind kinds[] = { NODE_FILESYSTEM, NODE_BLOCK, NODE_FILE, NODE_FILESYSTEM, NODE_PROCESS, NODE_FILESYSTEM };

        for (unsigned guessed_above = 0; guessed_above <= 1; guessed_above++) {
                _cleanup_(graph_freep) Graph *g = graph_new();
                _cleanup_graph_changes_ GraphChanges c = {};
                _cleanup_free_ Node **path = NULL;
                FactSet *f = factset_new();
                Analysis a = {};
                size_t n;

                for (size_t i = 0; i < ELEMENTSOF(ids); i++) {
                        add(f, ids[i], kinds[i]);
                        if (i > 0)
                                link_nodes(f, ids[i - 1], ids[i]);
                }
                add(f, "file:guessed", NODE_FILE);
                guess(f, "process:9:9", "file:guessed");
                link_nodes(f, "file:guessed", "fs:srv");
                add(f, "process:1:1", NODE_PROCESS);
                guess(f, "fs:served", "process:1:1");
                link_nodes(f, "process:1:1", "fs:srv");
                add(f, "fs:above", NODE_FILESYSTEM);
                if (guessed_above)
                        guess(f, "fs:above", "fs:inner");
                CHECK(graph_replace(g, 0, f, &c) == 0);
                CHECK(analysis_update(&a, &c) == 0);
                CHECK(graph_find(g, "fs:srv")->analysis.depth == 2 + guessed_above);
                CHECK(graph_find(g, "fs:srv")->analysis.depth_certain == 2);
                CHECK(analysis_path(&a, graph_find(g, "fs:srv"), false, &path, &n) == 0);
                CHECK(n == ELEMENTSOF(ids) + guessed_above);
                for (size_t i = 0; i < ELEMENTSOF(ids); i++)
                        CHECK(streq(path[guessed_above + i]->id, ids[i]));
        }
}

/* A FUSE daemon that keeps its log on its own mount: below its file system all the same. */
static void test_cycle(void) {
        _cleanup_(graph_freep) Graph *g = graph_new();
        _cleanup_graph_changes_ GraphChanges c = {}, c2 = {};
        _cleanup_free_ Node **cycle = NULL;
        FactSet *f = factset_new();
        Analysis a = {};
        size_t n;

        add(f, "fs:fuse", NODE_FILESYSTEM);
        add(f, "process:1:1", NODE_PROCESS);
        add(f, "fs:below", NODE_FILESYSTEM);
        link_nodes(f, "fs:fuse", "process:1:1");
        link_nodes(f, "process:1:1", "fs:fuse");
        link_nodes(f, "process:1:1", "fs:below");
        CHECK(graph_replace(g, 0, f, &c) == 0);
        CHECK(analysis_update(&a, &c) == 0);
        CHECK(graph_find(g, "fs:fuse")->analysis.depth == 0);
        CHECK(graph_find(g, "process:1:1")->analysis.depth == 1);
        CHECK(graph_find(g, "fs:below")->analysis.depth == 1);
        CHECK(analysis_cycle(&a, graph_find(g, "fs:fuse"), &cycle, &n) == 0);
        CHECK(n == 3 && streq(cycle[0]->id, "fs:fuse") && streq(cycle[1]->id, "process:1:1") && cycle[2] == cycle[0]);

        graph_changes_done(&c);
        CHECK(graph_replace(g, 0, NULL, &c2) == 0);
        CHECK(graph_size(g) == 0 && c2.n_removed == 3 && c2.n_touched == 0);
}

/* A change reports what it touched and nothing else. */
static void test_changes_are_minimal(void) {
        _cleanup_(graph_freep) Graph *g = graph_new();
        _cleanup_graph_changes_ GraphChanges c = {}, again = {}, more = {};
        Analysis a = {};
        FactSet *f;

        for (int round = 0; round < 2; round++) {
                f = factset_new();
                add(f, "fs:a", NODE_FILESYSTEM);
                add(f, "block:b", NODE_BLOCK);
                add(f, "fs:other", NODE_FILESYSTEM);
                link_nodes(f, "fs:a", "block:b");
                CHECK(graph_replace(g, 0, f, round ? &again : &c) == 0);
                CHECK(analysis_update(&a, round ? &again : &c) == 0);
                CHECK((round ? &again : &c)->n_touched == (round ? 0 : 3));
                if (round == 0)
                        graph_changes_done(&c);
        }
        f = factset_new();
        add(f, "fs:top", NODE_FILESYSTEM);
        link_nodes(f, "fs:top", "fs:a");
        CHECK(graph_replace(g, 1, f, &more) == 0);
        CHECK(analysis_update(&a, &more) == 0);
        CHECK(more.n_touched == 3); /* top, a, and b, which is now deeper */
        CHECK(!graph_find(g, "fs:other")->touched);
}

/* Two origins claim one edge: it stays until both have withdrawn, with the better certainty of those left. */
static void test_claims_of_two_origins(void) {
        _cleanup_(graph_freep) Graph *g = graph_new();
        _cleanup_graph_changes_ GraphChanges c = {};
        FactSet *f;

        f = factset_new();
        CHECK(factset_add_edge(f, "a", "b", ROLE_BACKING, CERTAINTY_INFERRED, 0, "guess") == 0);
        CHECK(graph_replace(g, 0, f, &c) == 0);
        f = factset_new();
        CHECK(factset_add_edge(f, "a", "b", ROLE_BACKING, CERTAINTY_PROVEN, 0, "kernel") == 0);
        CHECK(graph_replace(g, 1, f, &c) == 0);
        CHECK(graph_find(g, "a")->n_lower == 1);
        CHECK(edge_claim(graph_find(g, "a")->lower[0])->certainty == CERTAINTY_PROVEN);
        CHECK(graph_replace(g, 1, NULL, &c) == 0);
        CHECK(edge_claim(graph_find(g, "a")->lower[0])->certainty == CERTAINTY_INFERRED);
        CHECK(node_kind(graph_find(g, "a")) == NODE_UNKNOWN);
        CHECK(graph_replace(g, 0, NULL, &c) == 0);
        CHECK(graph_size(g) == 0);
}

/* A file that a process has open a thousand times is one claim, and stays one as long as one of them is left. */
static void test_one_claim_for_many_descriptors(void) {
        _cleanup_(graph_freep) Graph *g = graph_new();
        _cleanup_graph_changes_ GraphChanges c = {};

        for (int n = 1000; n > 0; n /= 10) {
                FactSet *f = factset_new();
                char evidence[32];

                add(f, "a", NODE_FILESYSTEM);
                add(f, "b", NODE_FILE);
                for (int i = 0; i < n; i++) {
                        snprintf(evidence, sizeof(evidence), "fd/%d", i + 1000 - n);
                        CHECK(factset_add_edge(f, "a", "b", ROLE_BACKING, CERTAINTY_PROVEN, 0, evidence) == 0);
                        CHECK(factset_add_edge(f, "a", "b", ROLE_BACKING, CERTAINTY_INFERRED, 0, evidence) == 0);
                }
                CHECK(graph_replace(g, 0, f, &c) == 0);
                CHECK(graph_find(g, "a")->n_lower == 1 && graph_find(g, "b")->n_upper == 1);
                CHECK(graph_find(g, "a")->lower[0]->n_claims == 2);
                CHECK(edge_claim(graph_find(g, "a")->lower[0])->certainty == CERTAINTY_PROVEN);
        }
        CHECK(graph_replace(g, 0, NULL, &c) == 0);
        CHECK(graph_size(g) == 0);
}

/* What the first source says of a node holds, whoever spoke first. */
static void test_definitions_of_three_origins(void) {
        static const NodeKind kinds[] = { NODE_FILESYSTEM, NODE_BLOCK, NODE_FILE };
        static const unsigned orders[][3] = { { 0, 1, 2 }, { 2, 1, 0 }, { 1, 2, 0 }, { 2, 0, 1 } };

        for (size_t i = 0; i < ELEMENTSOF(orders); i++) {
                _cleanup_(graph_freep) Graph *g = graph_new();
                _cleanup_graph_changes_ GraphChanges c = {};

                for (size_t k = 0; k < 3; k++) {
                        FactSet *f = factset_new();

                        add(f, "a", kinds[orders[i][k]]);
                        CHECK(graph_replace(g, orders[i][k], f, &c) == 0);
                }
                for (unsigned first = 0; first < 3; first++) {
                        CHECK(node_kind(graph_find(g, "a")) == kinds[first]);
                        CHECK(graph_replace(g, first, NULL, &c) == 0);
                }
        }
}

TEST_MAIN(
        TEST(test_definitions_of_three_origins),
        TEST(test_one_claim_for_many_descriptors),
        TEST(test_random_against_oracle),
        TEST(test_alternatives_against_all_assignments),
        TEST(test_thread_stack),
        TEST(test_path_prefers_certain_edges),
        TEST(test_cycle),
        TEST(test_changes_are_minimal),
        TEST(test_claims_of_two_origins))
