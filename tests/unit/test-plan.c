/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is done to whom, and what is left alone. */
#include "daemon/policy/plan.h"
#include "tests/unit/tap.h"
#include "common/text.h"

#define ID "process:100:7"

typedef struct World {
        Graph *graph;
        Analysis analysis;
        NodeFact process;
        Certainty certainty;
        EdgeRole role;
        unsigned alternative;
        bool mounted; /* a file system stands above the process */
        Record record;
        RecordView done;
        bool incomplete;
} World;

static World world(void) {
        return (World) {
                .process = { .kind = NODE_PROCESS, .pid = 100, .start = 7, .entitled = true, .threads = 3 },
                .certainty = CERTAINTY_PROVEN,
                .mounted = true,
                .record = { .kind = ACTION_IO_FLUSHER, .pid = 100, .start = 7, .from = (char *) "none" },
        };
}

/* How many actions the plan has; the first one is *ret. */
static size_t make(World *w, Action *ret) {
        _cleanup_(plan_done) Plan plan = {};
        _cleanup_graph_changes_ GraphChanges changes = {};
        FactSet *facts = factset_new();
        NodeFact fs = { .id = strdup("fs:0:9"), .kind = NODE_FILESYSTEM }, process = w->process;
        size_t n;

        w->graph = graph_new();
        CHECK(w->graph && facts);
        process.id = strdup(ID);
        process.comm = strdup("server");
        process.refusal = w->process.refusal ? strdup(w->process.refusal) : NULL;
        CHECK(factset_add_node(facts, &process) == 0);
        if (w->mounted) {
                CHECK(factset_add_node(facts, &fs) == 0);
                CHECK(factset_add_edge(facts, "fs:0:9", ID, w->role, w->certainty, w->alternative, "test") == 0);
        }
        node_fact_done(&fs);
        CHECK(graph_replace(w->graph, 0, facts, &changes) == 0);
        CHECK(analysis_update(&w->analysis, &changes) == 0);
        graph_changes_done(&changes);
        CHECK(plan_make(&plan, &w->analysis, w->graph, NULL, &w->done, !w->incomplete) == 0);
        n = plan.n;
        if (n > 0 && ret) {
                *ret = plan.actions[0];
                plan.actions[0] = (Action) {};
        }
        w->graph = graph_free(w->graph);
        return n;
}

static bool marks(World *w) {
        Action a = {};
        size_t n = make(w, &a);
        bool mark = n == 1 && !a.undo && a.pid == 100 && a.start == 7 && streq(a.target, ID) && streq(a.to, "all");

        CHECK(n == 0 || mark);
        CHECK(n == 0 || (strv_contains(a.path, "fs:0:9") && strv_contains(a.path, ID)));
        action_done(&a);
        return n == 1;
}

static bool undoes(World *w) {
        Action a = {};
        size_t n;
        bool undo;

        w->done.records = &w->record;
        w->done.n = 1;
        w->process.threads_io_flusher = w->process.threads;
        n = make(w, &a);
        undo = n == 1 && a.undo && a.pid == 100 && a.start == 7 && streq(a.to, w->record.from);
        CHECK(n == 0 || undo);
        action_done(&a);
        return n == 1;
}

static void what_is_certainly_below_is_marked(void) {
        World w = world();

        CHECK(marks(&w));
        w.certainty = CERTAINTY_UNIQUE;
        CHECK(marks(&w));
        w.process.threads_io_flusher = 2;
        CHECK(marks(&w));
        w.process.threads_io_flusher = 3;
        CHECK(!marks(&w));
}

static void a_guess_is_not_enough(void) {
        World w = world();

        w.certainty = CERTAINTY_INFERRED;
        CHECK(!marks(&w));
        w.alternative = 1; /* the only one of its group: no way out */
        CHECK(marks(&w));
        w = world();
        w.mounted = false;
        CHECK(!marks(&w));
        w = world();
        w.role = ROLE_ERROR_PATH;
        CHECK(!marks(&w));
}

static void who_is_not_entitled_is_left_alone(void) {
        World w = world();

        w.process.entitled = false;
        CHECK(!marks(&w));
        w = world();
        w.process.refusal = (char *) "no capability";
        CHECK(!marks(&w));
}

static void what_is_not_needed_any_more_is_undone(void) {
        World w = world();

        CHECK(!undoes(&w));
        w.mounted = false;
        CHECK(undoes(&w));
        w = world();
        w.certainty = CERTAINTY_INFERRED; /* neither reason to mark, nor to undo */
        CHECK(!undoes(&w));
        /* nobody knows the process any more */
        w = world();
        w.record.pid = 101;
        w.done = (RecordView) { .records = &w.record, .n = 1 };
        w.process.threads_io_flusher = 3;
        CHECK(make(&w, NULL) == 1);
}

static void what_was_not_seen_is_not_undone(void) {
        World w = world();

        w.mounted = false;
        w.incomplete = true;
        CHECK(!undoes(&w));
        w = world();
        w.incomplete = true;
        CHECK(marks(&w));
}

static void marks_of_its_own_stay(void) {
        World w = world();

        w.mounted = false;
        w.record.from = (char *) "partial";
        CHECK(!undoes(&w));
}

static void held(void) {
        char *ids[] = { (char *) ID, NULL }, *others[] = { (char *) "process:1:1", NULL };
        const struct {
                bool all;
                char **held;
                bool expected;
        } cases[] = {
                { false, NULL, false }, { false, ids, true }, { false, others, false },
                { true, NULL, true },   { true, ids, false }, { true, others, true },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                World w = world();

                w.done = (RecordView) { .held = cases[i].held, .all_held = cases[i].all };
                CHECK(marks(&w) == !cases[i].expected);
                /* What was reverted while something else was under way is reverted now. */
                CHECK(undoes(&w) == cases[i].expected);
                w.incomplete = true;
                w.record.from = (char *) "partial";
                CHECK(undoes(&w) == cases[i].expected);
        }
}

/* What protects comes first, however the pids are ordered. */
static void marks_come_first(void) {
        World w = world();
        Action a = {};

        w.record.pid = 3;
        w.done = (RecordView) { .records = &w.record, .n = 1 };
        CHECK(make(&w, &a) == 2);
        CHECK(!a.undo && a.pid == 100);
        action_done(&a);
}

static void revert(void) {
        char none[] = "none", a[] = "process:100:7", b[] = "process:200:8";
        Record records[] = {
                { .kind = ACTION_IO_FLUSHER, .pid = 200, .start = 8, .from = none },
                { .kind = ACTION_IO_FLUSHER, .pid = 100, .start = 7, .from = none },
        };
        RecordView done = { .records = records, .n = 2 };
        Graph *g = graph_new();
        Plan p = {};

        CHECK(plan_make_revert(&p, g, &done, NULL) == 0);
        CHECK(p.n == 2 && streq(p.actions[0].target, a) && streq(p.actions[1].target, b) && p.actions[0].undo);
        plan_done(&p);
        CHECK(plan_make_revert(&p, g, &done, (char *[]) { b, NULL }) == 0);
        CHECK(p.n == 1 && p.actions[0].pid == 200);
        plan_done(&p);
        CHECK(plan_make_revert(&p, g, &done, (char *[]) { (char *) "process:100:8", NULL }) == 0);
        CHECK(p.n == 0);
        plan_done(&p);
        graph_free(g);
}

TEST_MAIN(TEST(what_is_certainly_below_is_marked),
          TEST(a_guess_is_not_enough),
          TEST(who_is_not_entitled_is_left_alone),
          TEST(what_is_not_needed_any_more_is_undone),
          TEST(what_was_not_seen_is_not_undone),
          TEST(marks_of_its_own_stay),
          TEST(held),
          TEST(marks_come_first),
          TEST(revert))
