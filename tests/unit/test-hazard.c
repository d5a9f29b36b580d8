/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "common/text.h"
#include "daemon/analysis/hazard.h"
#include "tests/unit/tap.h"

typedef struct World {
        NodeFact process;
        bool mounted, cycle;
        const char *file; /* path of a backing file below the process */
} World;

static World world(void) {
        return (World) { .process = { .pid = 100, .start = 7, .entitled = true, .threads = 3, .uid = 5 }, .mounted = true };
}

static void node(FactSet *facts, const char *id, NodeKind kind, const char *path) {
        NodeFact n = { .id = strdup(id), .kind = kind, .path = path ? strdup(path) : NULL };

        CHECK(factset_add_node(facts, &n) == 0);
}

/* "KIND PROCESS LAYER" of each hazard, separated by blanks. */
static bool hazards_are(const World *w, const char *expected) {
        _cleanup_graph_changes_ GraphChanges changes = {};
        _cleanup_(graph_freep) Graph *g = graph_new();
        FactSet *facts = factset_new();
        NodeFact process = w->process;
        char text[256] = "";
        Analysis a = {};
        HazardList l = {};
        bool equal;

        process.id = strdup("process:100:7");
        process.kind = NODE_PROCESS;
        process.comm = strdup("server");
        process.refusal = w->process.refusal ? strdup(w->process.refusal) : NULL;
        CHECK(factset_add_node(facts, &process) == 0);
        if (w->mounted) {
                node(facts, "fs:0:9", NODE_FILESYSTEM, NULL);
                CHECK(factset_add_edge(facts, "fs:0:9", "process:100:7", ROLE_BACKING, CERTAINTY_PROVEN, 0, "test") == 0);
        }
        if (w->cycle)
                CHECK(factset_add_edge(facts, "process:100:7", "fs:0:9", ROLE_BACKING, CERTAINTY_PROVEN, 0, "test") == 0);
        if (w->file) {
                node(facts, "file:8:1:7", NODE_FILE, w->file);
                CHECK(factset_add_edge(facts, "process:100:7", "file:8:1:7", ROLE_BACKING, CERTAINTY_PROVEN, 0, "test") == 0);
        }
        CHECK(graph_replace(g, 0, facts, &changes) == 0 && analysis_update(&a, &changes) == 0);
        graph_changes_done(&changes);
        CHECK(hazard_list_find(&l, &a, g) == 0);
        CHECK(hazard_list_find(&l, &a, g) == 0); /* replaces */
        for (size_t i = 0; i < l.n; i++) {
                const Hazard *h = &l.hazards[i];

                CHECK(h->message && h->cure && h->path && h->path[0]);
                snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%s %s %s", i ? " " : "", hazard_kind_to_string(h->kind),
                         h->process ?: "-", h->layer ?: "-");
        }
        equal = streq(text, expected);
        if (!equal)
                printf("# %s\n", text);
        hazard_list_done(&l);
        return equal;
}

static void flags(void) {
        World w = world();

        CHECK(hazards_are(&w, "nofs-missing process:100:7 fs:0:9"));
        w.process.threads_io_flusher = 2;
        CHECK(hazards_are(&w, "nofs-partial process:100:7 fs:0:9"));
        w.process.refusal = (char *) "no capability";
        CHECK(hazards_are(&w, "nofs-denied process:100:7 fs:0:9"));
        w.process.entitled = false;
        CHECK(hazards_are(&w, "foreign-user process:100:7 fs:0:9"));
        w.process.threads_io_flusher = 3;
        CHECK(hazards_are(&w, ""));
        w = world();
        w.mounted = false;
        CHECK(hazards_are(&w, ""));
}

static void cycles(void) {
        World w = world();

        w.cycle = true;
        w.process.threads_io_flusher = 3;
        CHECK(hazards_are(&w, "cycle - fs:0:9"));
        w.process.threads_io_flusher = 0;
        CHECK(hazards_are(&w, "nofs-missing process:100:7 fs:0:9 cycle - fs:0:9"));
}

static void deleted_files(void) {
        World w = world();

        w.process.threads_io_flusher = 3;
        w.file = "/srv/image (deleted)";
        CHECK(hazards_are(&w, "backing-deleted - file:8:1:7"));
        w.file = "/srv/image";
        CHECK(hazards_are(&w, ""));
        w.mounted = false;
        w.file = "/srv/image (deleted)";
        CHECK(hazards_are(&w, ""));
}

TEST_MAIN(TEST(flags), TEST(cycles), TEST(deleted_files))
