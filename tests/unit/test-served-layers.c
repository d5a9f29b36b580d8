/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "common/text.h"
#include "daemon/world/served-layers.h"
#include "tests/unit/tap.h"

static Graph *graph_of(const char *a, const char *b) {
        _cleanup_graph_changes_ GraphChanges changes = {};
        FactSet *facts = factset_new();
        Graph *g = graph_new();

        CHECK(g && facts);
        for (const char *const *id = (const char *const[]) { a, b, NULL }; *id; id++) {
                NodeFact n = { .id = strdup(*id), .kind = NODE_FILESYSTEM };

                CHECK(factset_add_node(facts, &n) == 0);
        }
        CHECK(graph_replace(g, 0, facts, &changes) == 0);
        return g;
}

/* 'a' and 'b' are the pids that serve the layers of that name; 0 for none. */
static int update(ServedLayers *l, const Graph *g, pid_t a, pid_t b) {
        char *upper_a[] = { (char *) "fs:0:1", NULL }, *upper_b[] = { (char *) "fs:0:2", (char *) "fs:0:2", NULL };
        Served served[] = { { .pid = a, .uppers = upper_a, .n_uppers = 1 }, { .pid = b, .uppers = upper_b, .n_uppers = 2 } };
        const Scan scan = { .served = a > 0 ? served : served + 1, .n_served = (a > 0) + (b > 0) };

        return served_layers_update(l, &scan, g);
}

static void a_server_is_started_anew(void) {
        _cleanup_(graph_freep) Graph *g = graph_of("fs:0:1", "fs:0:2");
        _cleanup_(served_layers_done) ServedLayers l = {};

        CHECK(update(&l, g, 0, 0) == 0 && l.n == 0); /* had none before */
        CHECK(update(&l, g, 10, 11) == 0 && l.n == 2);
        CHECK(update(&l, g, 10, 0) == 1 && l.n == 2);
        CHECK(update(&l, g, 10, 0) == 1 && l.n == 2); /* and for as long as nobody takes over */
        CHECK(update(&l, g, 10, 12) == 0 && l.n == 2);
        CHECK(update(&l, g, 0, 10) == 1); /* of one of its two */
}

/* It keeps descriptors for services that are not there. */
static void the_service_manager_does_not_count(void) {
        _cleanup_(graph_freep) Graph *g = graph_of("fs:0:1", "fs:0:2");
        _cleanup_(served_layers_done) ServedLayers l = {};

        CHECK(update(&l, g, 1, 11) == 0 && l.n == 1);
        CHECK(update(&l, g, 10, 11) == 0 && l.n == 2);
        CHECK(update(&l, g, 1, 11) == 1);
}

static void what_is_gone_is_not_missed(void) {
        _cleanup_(graph_freep) Graph *g = graph_of("fs:0:1", "fs:0:2"), *less = graph_of("fs:0:1", "fs:0:3");
        _cleanup_(served_layers_done) ServedLayers l = {};

        CHECK(update(&l, g, 10, 11) == 0 && l.n == 2);
        CHECK(update(&l, less, 10, 0) == 0 && l.n == 1);
        CHECK(update(&l, g, 10, 0) == 0 && l.n == 1); /* another one of that name */
}

TEST_MAIN(TEST(a_server_is_started_anew), TEST(the_service_manager_does_not_count), TEST(what_is_gone_is_not_missed))
