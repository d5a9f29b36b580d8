/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Hazards where an ordinary user has started many daemons, each of which keeps its files on the file system of the one before:
 * four times as many may take eight times as long, for the caches of a processor. */
#include <stdio.h>
#include <time.h>

#include "common/text.h"
#include "daemon/analysis/hazard.h"

enum {
        FEW = 8000,
        MANY = 32000,
        ROUNDS = 5,
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

static void add_daemon(FactSet *facts, State *state, unsigned i) {
        NodeFact process = { .id = text_format("process:%u:7", i + 100), .kind = NODE_PROCESS, .pid = (pid_t) i + 100, .start = 7,
                             .comm = strdup("daemon"), .threads = 2, .uid = 1000 };
        NodeFact fs = { .id = text_format("fs:0:%u", i + 100), .kind = NODE_FILESYSTEM, .type = strdup("fuse.daemon") };
        char *below = text_format("fs:0:%u", i + 99);

        if (!process.id || !fs.id || !below)
                abort();
        must(factset_add_edge(facts, fs.id, process.id, ROLE_BACKING, CERTAINTY_PROVEN, 0, "bench"));
        if (i > 0)
                must(factset_add_edge(facts, process.id, below, ROLE_BACKING, CERTAINTY_PROVEN, 0, "bench"));
        for (unsigned k = 0; k < 2; k++) { /* what the shipped policies have read of each */
                Reading r = { .node = strdup(fs.id), .target = strdup("bdi"), .key = strdup(k == 0 ? "strict_limit" : "max_ratio"),
                              .value = strdup(k == 0 ? "1" : "1%") };

                must(state_add_reading(state, &r));
        }
        must(factset_add_node(facts, &process));
        must(factset_add_node(facts, &fs));
        free(below);
}

static double milliseconds(unsigned n) {
        FactSet *facts = factset_new();
        Graph *g = graph_new();
        GraphChanges changes = {};
        HazardList hazards = {};
        Analysis a = {};
        State state = {};
        double least = 1e9;

        if (!g || !facts)
                abort();
        for (unsigned i = 0; i < n; i++)
                add_daemon(facts, &state, i);
        must(state_sort_readings(&state));
        must(graph_replace(g, 0, facts, &changes));
        must(analysis_update(&a, &changes));
        for (unsigned i = 0; i < ROUNDS; i++) {
                const double started = now();

                must(hazard_list_find(&hazards, &a, g, &state));
                least = MIN(least, now() - started);
        }
        if (hazards.n < n - 1)
                abort();
        hazard_list_done(&hazards);
        graph_changes_done(&changes);
        state_done(&state);
        graph_free(g);
        return least;
}

int main(void) {
        const double few = milliseconds(FEW), many = milliseconds(MANY), ratio = many / few;

        printf("| hazards of %d daemons of a user, each above the one before | %.1f ms | of %d: %.2f ms | %.1f | 8 | %s |\n", MANY, many, FEW,
               few, ratio, ratio <= 8 ? "yes" : "no");
        return ratio > 8;
}
