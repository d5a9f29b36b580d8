/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which action has which hazard gone. */
#include "common/text.h"
#include "daemon/policy/cure.h"
#include "tests/unit/tap.h"

static Graph *machine(void) {
        _cleanup_graph_changes_ GraphChanges changes = {};
        NodeFact n = { .id = strdup("process:100:7"), .kind = NODE_PROCESS, .pid = 100, .start = 7, .cgroup = strdup("/a.slice/b.service") };
        FactSet *facts = factset_new();
        Graph *g = graph_new();

        CHECK(g && factset_add_node(facts, &n) == 0 && graph_replace(g, 0, facts, &changes) == 0);
        return g;
}

static bool cures(ActionKind action, const char *target, const char *place, bool undo, HazardKind hazard) {
        _cleanup_(graph_freep) Graph *g = machine();
        const Action a = { .kind = action, .target = (char *) target, .place = (char *) place, .subject = (char *) "fs:7:0", .undo = undo };
        const Hazard h = { .kind = hazard, .pid = 100, .process = (char *) "process:100:7", .layer = (char *) "fs:7:0" };

        return action_cures(&a, &h, g);
}

static void of_processes(void) {
        CHECK(cures(ACTION_IO_FLUSHER, "process:100:7", NULL, false, HAZARD_NOFS_MISSING));
        CHECK(cures(ACTION_IO_FLUSHER, "process:100:7", NULL, false, HAZARD_NOFS_PARTIAL));
        CHECK(!cures(ACTION_IO_FLUSHER, "process:100:7", NULL, true, HAZARD_NOFS_MISSING));
        CHECK(!cures(ACTION_IO_FLUSHER, "process:100:8", NULL, false, HAZARD_NOFS_MISSING));
        CHECK(!cures(ACTION_IO_FLUSHER, "process:100:7", NULL, false, HAZARD_NOFS_DENIED));
        CHECK(!cures(ACTION_OOM_SCORE, "process:100:7", NULL, false, HAZARD_NOFS_MISSING));
        CHECK(cures(ACTION_OOM_SCORE, "process:100:7", NULL, false, HAZARD_OOM_KILLABLE));
}

/* Also when another process of the unit asked for it, and for the slice, which carries it. */
static void of_units(void) {
        CHECK(cures(ACTION_MEMORY_MIN, "unit:b.service", "/a.slice/b.service", false, HAZARD_RESERVATION_MISSING));
        CHECK(cures(ACTION_MEMORY_MIN, "unit:a.slice", "/a.slice", false, HAZARD_RESERVATION_INEFFECTIVE));
        CHECK(!cures(ACTION_MEMORY_MIN, "unit:c.service", "/a.slice/c.service", false, HAZARD_RESERVATION_INEFFECTIVE));
        CHECK(!cures(ACTION_MEMORY_MIN, "process:100:7", NULL, false, HAZARD_RESERVATION_MISSING)); /* refused */
        CHECK(!cures(ACTION_MEMORY_LOW, "unit:b.service", "/a.slice/b.service", false, HAZARD_RESERVATION_MISSING));
        CHECK(cures(ACTION_SWAP_MAX, "unit:b.service", "/a.slice/b.service", false, HAZARD_SWAP_ON_SELF));
}

static void of_layers(void) {
        CHECK(cures(ACTION_WRITEBACK_LIMIT, "bdi:7:0:1", NULL, false, HAZARD_UNBOUNDED_WRITEBACK));
        CHECK(cures(ACTION_DIRECT_IO, "block:7:0:1", NULL, false, HAZARD_DOUBLE_CACHE));
        for (HazardKind h = 0; h < _HAZARD_KIND_MAX; h++) {
                CHECK(!cures(ACTION_MOUNT_OPTION, "fs:7:0", NULL, false, h));
                CHECK(cures(ACTION_IO_FLUSHER, "process:100:7", NULL, false, h) == (h == HAZARD_NOFS_MISSING || h == HAZARD_NOFS_PARTIAL));
        }
}

TEST_MAIN(TEST(of_processes), TEST(of_units), TEST(of_layers))
