/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "common/text.h"
#include "daemon/analysis/hazard.h"
#include "tests/unit/tap.h"

#define SERVER "process:100:7"
#define MIB (UINT64_C(1) << 20)

typedef struct World {
        NodeFact process; /* its texts are copied */
        bool mounted, cycle;
        const char *type; /* of what is mounted */
        bool above;       /* a file system on a file of it */
        const char *file; /* path of a backing file below the process */
        bool swap;        /* on a device that the process serves */
        bool loop;        /* on a file of fs:8:1 */
        CgroupState cgroups[2];
        const Reading *readings;
        size_t n_readings;
        const Sight *sights;
        size_t n_sights;
        bool suspends;
        bool memory_controller;
} World;

/* A server that is protected in every way. */
static World world(void) {
        return (World) {
                .process = {
                        .pid = 100, .start = 7, .entitled = true, .threads = 3, .uid = 5, .oom_score_adj = -900,
                        .cgroup = (char *) "/a.slice/b.service", .unit = (char *) "b.service",
                        .memory_min = 40 * MIB, .memory_min_effective = 40 * MIB,
                },
                .cgroups = {
                        { .path = (char *) "/a.slice", .described = true, .min = 40 * MIB, .max = MEMORY_UNLIMITED, .high = MEMORY_UNLIMITED },
                        { .path = (char *) "/a.slice/b.service", .described = true, .min = 40 * MIB, .max = MEMORY_UNLIMITED,
                          .high = MEMORY_UNLIMITED, .used = 30 * MIB, .has_swap_max = true, .swap_max = MEMORY_UNLIMITED },
                },
                .mounted = true,
        };
}

static World marked(void) {
        World w = world();

        w.process.threads_io_flusher = 3;
        return w;
}

static void node(FactSet *facts, const char *id, NodeKind kind, const char *path) {
        NodeFact n = { .id = strdup(id), .kind = kind, .path = path ? strdup(path) : NULL };

        CHECK(factset_add_node(facts, &n) == 0);
}

static void edge(FactSet *facts, const char *upper, const char *lower) {
        CHECK(factset_add_edge(facts, upper, lower, ROLE_BACKING, CERTAINTY_PROVEN, 0, "test") == 0);
}

static char *copy(const char *s) {
        return s ? strdup(s) : NULL;
}

static FactSet *facts_of(const World *w) {
        FactSet *facts = factset_new();
        NodeFact process = w->process;

        process.id = strdup(SERVER);
        process.kind = NODE_PROCESS;
        process.comm = strdup("server");
        process.refusal = copy(w->process.refusal);
        process.cgroup = copy(w->process.cgroup);
        process.unit = copy(w->process.unit);
        CHECK(factset_add_node(facts, &process) == 0);
        if (w->mounted) {
                NodeFact mounted = { .id = strdup("fs:0:9"), .kind = NODE_FILESYSTEM, .type = copy(w->type) };

                CHECK(factset_add_node(facts, &mounted) == 0);
                edge(facts, "fs:0:9", SERVER);
        }
        if (w->above) {
                node(facts, "fs:7:5", NODE_FILESYSTEM, NULL);
                node(facts, "file:0:9:3", NODE_FILE, "/image");
                edge(facts, "fs:7:5", "file:0:9:3");
                edge(facts, "file:0:9:3", "fs:0:9");
        }
        if (w->cycle)
                edge(facts, SERVER, "fs:0:9");
        if (w->file) {
                node(facts, "file:8:1:7", NODE_FILE, w->file);
                edge(facts, SERVER, "file:8:1:7");
        }
        if (w->swap) {
                node(facts, "swap:43:0", NODE_SWAP, NULL);
                node(facts, "block:43:0", NODE_BLOCK, NULL);
                edge(facts, "swap:43:0", "block:43:0");
                edge(facts, "block:43:0", SERVER);
        }
        if (w->loop) {
                node(facts, "fs:8:1", NODE_FILESYSTEM, NULL);
                node(facts, "file:8:1:9", NODE_FILE, "/image");
                node(facts, "block:7:0", NODE_BLOCK, NULL);
                edge(facts, "block:7:0", "file:8:1:9");
                edge(facts, "file:8:1:9", "fs:8:1");
        }
        return facts;
}

static void state_of(const World *w, State *s) {
        *s = (State) { .memory_total = 1000 * MIB, .dirty_limit = 200 * MIB, .suspends = w->suspends, .memory_controller = w->memory_controller };
        for (size_t i = 0; i < ELEMENTSOF(w->cgroups); i++) {
                CgroupState c = w->cgroups[i];

                c.path = copy(c.path);
                if (c.path)
                        CHECK(state_add_cgroup(s, &c) == 0);
        }
        for (size_t i = 0; i < w->n_readings; i++) {
                const Reading *r = &w->readings[i];
                Reading mine = { .node = copy(r->node), .target = copy("bdi:0:9:1"), .key = copy(r->key), .value = copy(r->value) };

                CHECK(state_add_reading(s, &mine) == 0);
        }
        CHECK(state_sort_readings(s) == 0);
        for (size_t i = 0; i < w->n_sights; i++)
                CHECK(state_add_sight(s, w->sights[i].kind, w->sights[i].node, w->sights[i].other, w->sights[i].what) == 0);
}

static char first_cure[400]; /* of the hazards that were found last */

/* "KIND PROCESS LAYER" of each hazard, separated by blanks. */
static bool hazards_are(const World *w, const char *expected) {
        _cleanup_graph_changes_ GraphChanges changes = {};
        _cleanup_(graph_freep) Graph *g = graph_new();
        _cleanup_(state_done) State state = {};
        char text[256] = "";
        Analysis a = {};
        HazardList l = {};
        bool equal;

        state_of(w, &state);
        CHECK(graph_replace(g, 0, facts_of(w), &changes) == 0 && analysis_update(&a, &changes) == 0);
        graph_changes_done(&changes);
        CHECK(hazard_list_find(&l, &a, g, &state) == 0);
        CHECK(hazard_list_find(&l, &a, g, &state) == 0); /* replaces */
        snprintf(first_cure, sizeof(first_cure), "%s", l.n > 0 ? l.hazards[0].cure : "");
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

        CHECK(hazards_are(&w, "nofs-missing " SERVER " fs:0:9"));
        w.process.threads_io_flusher = 2;
        CHECK(hazards_are(&w, "nofs-partial " SERVER " fs:0:9"));
        w.process.refusal = (char *) "no capability";
        CHECK(hazards_are(&w, "nofs-denied " SERVER " fs:0:9") && strstr(first_cure, "start it already marked"));
        w.process.unit = (char *) "x.service";
        w.process.cgroup = (char *) "/system.slice/x.service";
        CHECK(hazards_are(&w, "nofs-denied " SERVER " fs:0:9 reservation-missing " SERVER " fs:0:9") && strncmp(first_cure, "stackctl adopt x.service", 24) == 0);
        w.process.in_user_namespace = true; /* adopt refuses it */
        CHECK(hazards_are(&w, "nofs-denied " SERVER " fs:0:9 reservation-missing " SERVER " fs:0:9") && strstr(first_cure, "PrivateUsers=no for x.service"));
        w.process.unit = w.process.cgroup = NULL;
        w.process.entitled = false;
        CHECK(hazards_are(&w, "foreign-user " SERVER " fs:0:9"));
        w.process.threads_io_flusher = 3;
        CHECK(hazards_are(&w, ""));
        /* a portal of a desktop, say: what it serves is its user's own affair, until something stands on it */
        w.process.threads_io_flusher = 0;
        w.type = "fuse.portal";
        CHECK(hazards_are(&w, ""));
        w.above = true;
        CHECK(hazards_are(&w, "foreign-user " SERVER " fs:7:5"));
        w = world();
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
        CHECK(hazards_are(&w, "nofs-missing " SERVER " fs:0:9 cycle - fs:0:9"));
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

static void reservations(void) {
        World w = marked();

        w.process.memory_min = w.process.memory_min_effective = 0;
        CHECK(hazards_are(&w, "reservation-missing " SERVER " fs:0:9"));
        w.process.memory_min_effective = 20 * MIB; /* handed down by the slice */
        CHECK(hazards_are(&w, ""));
        w.cgroups[1].described = false;
        w.process.memory_min_effective = 0;
        w.memory_controller = true; /* the control group is gone */
        CHECK(hazards_are(&w, ""));
        w.cgroups[1].uncontrolled = true;
        CHECK(hazards_are(&w, "reservation-missing " SERVER " fs:0:9"));
        w.process.cgroup = (char *) "/";
        CHECK(hazards_are(&w, "reservation-missing " SERVER " fs:0:9"));
        w.memory_controller = false; /* cgroup v1 only */
        CHECK(hazards_are(&w, "reservation-missing " SERVER " fs:0:9"));
        w.process.cgroup = NULL;
        CHECK(hazards_are(&w, "reservation-missing " SERVER " fs:0:9"));
        w = marked();
        w.cgroups[0].min = w.process.memory_min_effective = 0;
        CHECK(hazards_are(&w, "reservation-ineffective " SERVER " fs:0:9"));
        w.process.memory_min_effective = 30 * MIB; /* all that it needs */
        CHECK(hazards_are(&w, ""));
        w.process.memory_min = UINT64_MAX;
        CHECK(hazards_are(&w, ""));
        w.process.memory_min_effective--;
        CHECK(hazards_are(&w, "reservation-ineffective " SERVER " fs:0:9"));
        w.process.entitled = false; /* it was marked by someone else: then it is nobody's business */
        CHECK(hazards_are(&w, ""));
}

static void swapping(void) {
        World w = marked();

        w.swap = true;
        CHECK(hazards_are(&w, "swap-on-self " SERVER " swap:43:0 swap-priority " SERVER " swap:43:0"));
        w.process.threads_realtime = 2;
        CHECK(hazards_are(&w, "swap-on-self " SERVER " swap:43:0 swap-priority " SERVER " swap:43:0"));
        w.process.threads_realtime = 3;
        CHECK(hazards_are(&w, "swap-on-self " SERVER " swap:43:0"));
        w.process.locked = true;
        CHECK(hazards_are(&w, ""));
        w.process.locked = false;
        w.cgroups[1].swap_max = 4096;
        CHECK(hazards_are(&w, "swap-on-self " SERVER " swap:43:0"));
        w.cgroups[0].has_swap_max = true; /* 0, of the slice */
        CHECK(hazards_are(&w, ""));
        w.process.threads_realtime = 0;
        CHECK(hazards_are(&w, "swap-priority " SERVER " swap:43:0"));
        w = marked();
        w.process.cgroup = NULL;
        w.process.threads_realtime = 3;
        w.swap = true;
        CHECK(hazards_are(&w, "swap-on-self " SERVER " swap:43:0 reservation-missing " SERVER " swap:43:0"));
}

static void limits(void) {
        static const Sight writer = { SIGHT_WRITER, (char *) SERVER, (char *) "fs:0:9", (char *) "dd[5]" };
        World w = marked();

        w.sights = &writer;
        w.n_sights = 1;
        CHECK(hazards_are(&w, ""));
        w.cgroups[0].max = 100 * MIB;
        CHECK(hazards_are(&w, "limit-in-path " SERVER " fs:0:9"));
        w.cgroups[0].max = 200 * MIB; /* as much as may be dirty */
        CHECK(hazards_are(&w, ""));
        w.cgroups[1].high = 100 * MIB;
        CHECK(hazards_are(&w, "limit-in-path " SERVER " fs:0:9"));
        w.n_sights = 0; /* all for itself */
        CHECK(hazards_are(&w, ""));
}

static void killing(void) {
        World w = marked();

        w.process.oom_score_adj = 0;
        CHECK(hazards_are(&w, "oom-killable " SERVER " fs:0:9"));
        w.process.oom_score_adj = -1;
        CHECK(hazards_are(&w, ""));
}

static void grounds(void) {
        static const Sight sights[] = {
                { SIGHT_GROUND, (char *) SERVER, (char *) "fs:0:9", (char *) "/mnt/lib.so" },
                { SIGHT_GROUND, (char *) SERVER, (char *) "fs:0:9", (char *) "its working directory" },
        };
        static const Sight elsewhere = { SIGHT_GROUND, (char *) SERVER, (char *) "fs:8:1", (char *) "/usr/lib.so" };
        World w = marked();

        w.sights = sights;
        w.n_sights = 2;
        CHECK(hazards_are(&w, "self-hosted " SERVER " fs:0:9"));
        w.sights = &elsewhere;
        w.n_sights = 1;
        w.loop = true;
        CHECK(hazards_are(&w, ""));
}

static void stopping(void) {
        static const Sight sight = { SIGHT_UNORDERED, (char *) SERVER, (char *) "fs:0:9", (char *) "mnt.mount" };
        World w = marked();

        w.sights = &sight;
        w.n_sights = 1;
        CHECK(hazards_are(&w, "stop-order " SERVER " fs:0:9"));
        w.process.threads_io_flusher = 0;
        CHECK(hazards_are(&w, "nofs-missing " SERVER " fs:0:9 stop-order " SERVER " fs:0:9"));
}

static void freezing(void) {
        World w = marked();

        w.cgroups[1].frozen = true;
        CHECK(hazards_are(&w, "freezable " SERVER " fs:0:9"));
        w = marked();
        w.suspends = true;
        CHECK(hazards_are(&w, ""));
        w.process.cgroup = w.cgroups[1].path = (char *) "/user.slice/user-0.slice/session-1.scope";
        CHECK(hazards_are(&w, "freezable " SERVER " fs:0:9"));
        w.suspends = false;
        CHECK(hazards_are(&w, ""));
}

static void writeback(void) {
        static const Reading unbounded[] = { { .node = (char *) "fs:0:9", .key = (char *) "max_ratio", .value = (char *) "100%" },
                                             { .node = (char *) "fs:0:9", .key = (char *) "strict_limit", .value = (char *) "0" } };
        World w = marked();

        w.readings = unbounded;
        w.n_readings = 2;
        CHECK(hazards_are(&w, ""));
        w.process.threads_io_flusher = 2; /* can be marked: that is all the matter */
        CHECK(hazards_are(&w, "nofs-partial " SERVER " fs:0:9"));
        w.process.refusal = (char *) "no capability";
        CHECK(hazards_are(&w, "nofs-denied " SERVER " fs:0:9 unbounded-writeback " SERVER " fs:0:9"));
        {
                static const Reading others[] = { { .node = (char *) "fs:9:9", .key = (char *) "strict_limit", .value = (char *) "0" },
                                                  { .node = (char *) "fs:0:9", .key = (char *) "strict_limit", .value = (char *) "1" },
                                                  { .node = (char *) "fs:0:1", .key = (char *) "strict_limit", .value = (char *) "0" },
                                                  { .node = (char *) "fs:0:9", .key = (char *) "max_ratio", .value = (char *) "100%" } };

                w.readings = others; /* of other layers, in no order */
                w.n_readings = 4;
                CHECK(hazards_are(&w, "nofs-denied " SERVER " fs:0:9"));
                w.readings = unbounded;
        }
        w.n_readings = 1; /* a kernel without strict_limit */
        CHECK(hazards_are(&w, "nofs-denied " SERVER " fs:0:9"));
}

static void caching(void) {
        static const Sight sight = { SIGHT_CACHED, (char *) "block:7:0", (char *) "fs:8:1", (char *) "/image" };
        World w = marked();

        w.loop = true;
        CHECK(hazards_are(&w, ""));
        w.sights = &sight;
        w.n_sights = 1;
        CHECK(hazards_are(&w, "double-cache - block:7:0"));
}

static bool is_about_swap(const Hazard *h, void *userdata) {
        return h->kind == *(const HazardKind *) userdata;
}

static void dropping(void) {
        _cleanup_(graph_freep) Graph *g = graph_new();
        _cleanup_graph_changes_ GraphChanges changes = {}; /* goes before the graph */
        HazardKind kind = HAZARD_SWAP_ON_SELF;
        State state = { .memory_controller = true };
        Analysis a = {};
        HazardList l = {};
        World w = world();

        w.swap = true;
        w.process.oom_score_adj = 0;
        CHECK(graph_replace(g, 0, facts_of(&w), &changes) == 0 && analysis_update(&a, &changes) == 0);
        CHECK(hazard_list_find(&l, &a, g, &state) == 0 && l.n == 4);
        hazard_list_drop(&l, is_about_swap, &kind);
        CHECK(l.n == 3 && l.hazards[0].kind == HAZARD_NOFS_MISSING && l.hazards[1].kind == HAZARD_SWAP_PRIORITY &&
              l.hazards[2].kind == HAZARD_OOM_KILLABLE);
        hazard_list_done(&l);
}

TEST_MAIN(TEST(flags), TEST(cycles), TEST(deleted_files), TEST(reservations), TEST(swapping), TEST(limits), TEST(killing), TEST(grounds),
          TEST(stopping), TEST(freezing), TEST(writeback), TEST(caching), TEST(dropping))
