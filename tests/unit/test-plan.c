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
        ActionKind kind; /* that is looked at */
} World;

static Record mark_record(pid_t pid, uint64_t start, const char *from) {
        static char ids[2][32];
        char *id = ids[pid % 2];

        snprintf(id, sizeof(ids[0]), "process:%d:%llu", pid, (unsigned long long) start);
        return (Record) {
                .kind = ACTION_IO_FLUSHER,
                .target = id,
                .key = (char *) "",
                .subject = id,
                .name = (char *) "?",
                .pid = pid,
                .start = start,
                .from = (char *) from,
                .to = (char *) "all",
        };
}

static PlanInput input(World *w) {
        static const State state;

        return (PlanInput) { .analysis = &w->analysis, .graph = w->graph, .state = &state, .done = &w->done, .complete = !w->incomplete };
}

/* What else the built-in policy wants is looked at elsewhere. */
static bool is_of_kind(const Action *a, const void *kind) {
        return a->kind == *(const ActionKind *) kind;
}

static World world(void) {
        return (World) {
                .process = { .kind = NODE_PROCESS, .pid = 100, .start = 7, .entitled = true, .threads = 3 },
                .certainty = CERTAINTY_PROVEN,
                .mounted = true,
                .record = mark_record(100, 7, "none"),
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
        process.cgroup = w->process.cgroup ? strdup(w->process.cgroup) : NULL;
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
        PlanInput in = input(w);
        CHECK(plan_make(&plan, &in) == 0);
        plan_keep(&plan, is_of_kind, &w->kind);
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
        w.record = mark_record(101, 7, "none");
        w.done = (RecordView) { .records = &w.record, .n = 1 };
        w.process.threads_io_flusher = 3;
        CHECK(make(&w, NULL) == 1);
}

/* An administrator has taken the entitlement back. */
static void who_is_not_entitled_any_more_is_undone(void) {
        World w = world();
        Action a = {};

        w.process.threads_io_flusher = 3;
        w.process.entitled = false;
        w.done = (RecordView) { .records = &w.record, .n = 1 };
        CHECK(make(&w, &a) == 1 && a.undo);
        action_done(&a);
        w.incomplete = true;
        CHECK(make(&w, NULL) == 0);
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

        w.record = mark_record(3, 7, "none");
        w.done = (RecordView) { .records = &w.record, .n = 1 };
        CHECK(make(&w, &a) == 2);
        CHECK(!a.undo && a.pid == 100);
        action_done(&a);
}

static void revert(void) {
        char a[] = "process:101:7", b[] = "process:200:8";
        Record records[] = { mark_record(200, 8, "none"), mark_record(101, 7, "none") };
        char *held[] = { b, NULL };
        World w = { .graph = graph_new() };
        Plan p = {};

        w.done = (RecordView) { .records = records, .n = 2, .all_held = true };
        PlanInput in = input(&w);
        CHECK(plan_make_revert(&p, &in, NULL) == 0);
        CHECK(p.n == 2 && streq(p.actions[0].target, a) && streq(p.actions[1].target, b) && p.actions[0].undo);
        plan_done(&p);
        w.done = (RecordView) { .records = records, .n = 2, .held = held };
        CHECK(plan_make_revert(&p, &in, held) == 0);
        CHECK(p.n == 1 && p.actions[0].pid == 200);
        plan_done(&p);
        CHECK(plan_make_revert(&p, &in, (char *[]) { (char *) "process:100:8", NULL }) == 0);
        CHECK(p.n == 0);
        plan_done(&p);
        graph_free(w.graph);
}

/* The writeback actions for a file system above a server, with what its bdi says now, as "KEY=TO ...". */
static char *writeback(const char *refusal, unsigned marked, const char *ratio, const char *strict) {
        static const char text[] = "[Match]\nLayer=*\n[Writeback]\nMaxRatio=auto\nStrictLimit=auto\n";
        _cleanup_(policy_freep) Policy *policy = policy_new();
        _cleanup_(graph_freep) Graph *g = graph_new();
        _cleanup_graph_changes_ GraphChanges changes = {}; /* goes before the graph */
        _cleanup_(plan_done) Plan plan = {};
        FactSet *facts = factset_new();
        NodeFact fs = { .id = strdup("fs:0:9"), .kind = NODE_FILESYSTEM, .type = strdup("nfs4") };
        NodeFact process = { .id = strdup(ID), .kind = NODE_PROCESS, .pid = 100, .start = 7, .entitled = true, .threads = 3,
                             .threads_io_flusher = marked, .comm = strdup("server"), .refusal = refusal ? strdup(refusal) : NULL };
        Reading readings[] = {
                { .node = (char *) "fs:0:9", .target = (char *) "bdi:0:9:5", .key = (char *) "max_ratio", .value = (char *) ratio },
                { .node = (char *) "fs:0:9", .target = (char *) "bdi:0:9:5", .key = (char *) "strict_limit", .value = (char *) strict },
        };
        State state = { .readings = readings, .n_readings = 2 };
        Remarks remarks = {};
        Analysis analysis = {};
        RecordView done = {};
        char *result = strdup("");

        CHECK(policy && g && facts && result);
        CHECK(policy_add_rule(policy, &(PolicyText) { "95-writeback.policy", text }, 1, &remarks) == 0 && remarks.n == 0);
        CHECK(factset_add_node(facts, &process) == 0 && factset_add_node(facts, &fs) == 0);
        /* It is above a device on the middle one of three. */
        for (int i = 6; i <= 8; i++) {
                NodeFact other = { .id = text_format("fs:0:%d", i), .kind = NODE_FILESYSTEM };

                CHECK(factset_add_edge(facts, other.id, ID, ROLE_BACKING, CERTAINTY_PROVEN, 0, "test") == 0);
                CHECK(factset_add_node(facts, &other) == 0);
                node_fact_done(&other);
        }
        CHECK(factset_add_edge(facts, "fs:0:9", "block:7:0", ROLE_BACKING, CERTAINTY_PROVEN, 0, "test") == 0);
        CHECK(factset_add_edge(facts, "block:7:0", "fs:0:7", ROLE_BACKING, CERTAINTY_PROVEN, 0, "test") == 0);
        CHECK(graph_replace(g, 0, facts, &changes) == 0 && analysis_update(&analysis, &changes) == 0);
        CHECK(plan_make(&plan, &(PlanInput) { .analysis = &analysis, .graph = g, .state = &state, .policy = policy, .done = &done,
                                              .complete = true }) == 0);
        for (size_t i = 0; i < plan.n; i++) {
                char *longer;

                if (plan.actions[i].kind != ACTION_WRITEBACK_LIMIT)
                        continue;
                CHECK(endswith(plan.actions[i].rule, streq(plan.actions[i].key, "max_ratio") ? ":4" : ":5") && strstr(plan.actions[i].reason, "server[100]"));
                longer = text_format("%s%s=%s ", result, plan.actions[i].key, plan.actions[i].to);
                free(result);
                result = longer;
        }
        return result;
}

/* Dirty pages are limited above a server that cannot be marked, and only there. */
static void above_unmarked_servers(void) {
        static const struct {
                const char *refusal;
                unsigned marked;
                const char *ratio, *strict, *want;
        } cases[] = {
                { "no capability", 0, "100%", "0", "max_ratio=10% strict_limit=1 " },
                { "no capability", 2, "100%", "0", "max_ratio=10% strict_limit=1 " },
                { "no capability", 3, "100%", "0", "" }, /* it marks itself */
                { NULL, 0, "100%", "0", "" },
                { "no capability", 0, "1%", "1", "" }, /* as FUSE has it */
                { "no capability", 0, "1%", "0", "strict_limit=1 " },
                { "no capability", 0, "10%", "0", "strict_limit=1 " },
                { "no capability", 0, "10.5%", "0", "max_ratio=10% strict_limit=1 " },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_free_ char *have = writeback(cases[i].refusal, cases[i].marked, cases[i].ratio, cases[i].strict);

                if (!streq(have, cases[i].want))
                        printf("# case %zu: have '%s', want '%s'\n", i, have, cases[i].want);
                CHECK(streq(have, cases[i].want));
        }
}

/* A reservation that policy wants and that cannot be made is in the plan, with the reason. */
static void a_reservation_without_controller_is_refused(void) {
        static const char *const cgroups[] = { "/", "/system.slice/a.service" };

        for (size_t i = 0; i < ELEMENTSOF(cgroups); i++) {
                World w = world();
                Action a = {};

                w.process.cgroup = (char *) cgroups[i];
                w.kind = ACTION_MEMORY_MIN;
                CHECK(make(&w, &a) == 1 && a.state == ACTION_FAILED && strstr(a.error, "memory controller is not available"));
                action_done(&a);
                w.certainty = CERTAINTY_INFERRED;
                CHECK(make(&w, NULL) == 0);
        }
}

TEST_MAIN(TEST(what_is_certainly_below_is_marked),
          TEST(a_reservation_without_controller_is_refused),
          TEST(a_guess_is_not_enough),
          TEST(who_is_not_entitled_is_left_alone),
          TEST(what_is_not_needed_any_more_is_undone),
          TEST(who_is_not_entitled_any_more_is_undone),
          TEST(what_was_not_seen_is_not_undone),
          TEST(marks_of_its_own_stay),
          TEST(held),
          TEST(marks_come_first),
          TEST(revert),
          TEST(above_unmarked_servers))
