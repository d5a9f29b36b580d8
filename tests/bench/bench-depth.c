/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Depth in a random graph of 100,000 nodes: of all of it, and after one edge has come. */
#include <stdio.h>
#include <time.h>

#include "common/text.h"
#include "daemon/analysis/depth.h"

enum {
        NODES = 100000,
        ROUNDS = 5,
        EDGES_EACH = 2,
        SPAN = 200, /* how far down an edge leads: stacks are deep, but not that deep */
};

static double now(void) {
        struct timespec ts;

        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
        return (double) ts.tv_sec * 1000 + (double) ts.tv_nsec / 1e6;
}

static void must(int r) {
        if (r < 0)
                abort();
}

static char *name(unsigned i) {
        char *s = text_format("fs:%u:%u", i / 1000, i % 1000);

        if (!s)
                abort();
        return s;
}

static unsigned next_random(unsigned *state) {
        return (*state = *state * 1103515245 + 12345) >> 8;
}

/* Stacks of SPAN nodes each, within which edges lead downwards. */
static FactSet *make_facts(void) {
        FactSet *f = factset_new();
        unsigned state = 1;

        for (unsigned i = 0; i < NODES; i++) {
                NodeFact n = { .kind = i % 3 ? NODE_BLOCK : NODE_FILESYSTEM, .id = name(i) };

                must(f ? factset_add_node(f, &n) : -1);
                for (unsigned k = 0; k < EDGES_EACH; k++) {
                        unsigned to = i + 1 + next_random(&state) % 20;
                        _cleanup_free_ char *upper = name(i), *lower = name(to);

                        if (to / SPAN == i / SPAN && to < NODES)
                                must(factset_add_edge(f, upper, lower, ROLE_BACKING, CERTAINTY_PROVEN, 0, "bench"));
                }
        }
        return f;
}

int main(void) {
        double whole = 1e9, one = 1e9, replace = 1e9;
        size_t touched = 0;

        for (unsigned i = 0; i < ROUNDS; i++) {
                _cleanup_(graph_freep) Graph *g = graph_new();
                GraphChanges changes = {};
                Analysis a = {};
                FactSet *more = factset_new();
                double started = now();

                must(g && more ? graph_replace(g, 0, make_facts(), &changes) : -1);
                replace = MIN(replace, now() - started);
                started = now();
                must(analysis_update(&a, &changes));
                whole = MIN(whole, now() - started);
                graph_changes_done(&changes);

                must(factset_add_edge(more, "fs:50:0", "fs:50:30", ROLE_BACKING, CERTAINTY_PROVEN, 0, "bench"));
                started = now();
                must(graph_replace(g, 1, more, &changes));
                must(analysis_update(&a, &changes));
                one = MIN(one, now() - started);
                touched = changes.n_touched;
                graph_changes_done(&changes);
        }
        printf("| depth of a random graph of %d nodes (%.0f ms to make it) | %.1f ms |  |  | 20 | %s |\n", NODES, replace, whole, whole <= 20 ? "yes" : "no");
        printf("| after one edge more, %zu nodes differ | %.3f ms | all of it %.1f ms | %.3g |  |  |\n", touched, one, whole, one / whole);
        return 0;
}
