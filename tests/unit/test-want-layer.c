/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What policies ask of layers: an ext4 on a loop device on an image on another ext4. */
#include "common/text.h"
#include "daemon/policy/plan.h"
#include "tests/unit/tap.h"

#define LOWER "fs:254:0"
#define UPPER "fs:7:0"

typedef struct World {
        Graph *graph;
        Analysis analysis;
        Policy *policy;
        State state;
        Record records[4];
        RecordView done;
        bool incomplete;
} World;

static void filesystem(FactSet *f, const char *id, const char *mount) {
        NodeFact fact = { .id = strdup(id), .kind = NODE_FILESYSTEM, .type = strdup("ext4"), .device = strdup(id + 3) };
        size_t n = 0;

        CHECK(strv_append(&fact.mounts, &n, mount) == 0 && factset_add_node(f, &fact) == 0);
}

static World world(const char *policy, Certainty certainty) {
        _cleanup_graph_changes_ GraphChanges changes = {};
        _cleanup_remarks_ Remarks remarks = {};
        World w = { .graph = graph_new(), .policy = policy_new() };
        PolicyText text = { "f.policy", policy };
        FactSet *f = factset_new();
        NodeFact loop = { .id = strdup("block:7:0"), .kind = NODE_BLOCK, .type = strdup("loop"), .name = strdup("loop0"), .device = strdup("7:0") };

        filesystem(f, LOWER, "/lower");
        filesystem(f, UPPER, "/upper");
        filesystem(f, "fs:254:9", "/other");
        CHECK(factset_add_node(f, &loop) == 0);
        CHECK(factset_add_edge(f, UPPER, "block:7:0", ROLE_BACKING, CERTAINTY_PROVEN, 0, "test") == 0);
        CHECK(factset_add_edge(f, "block:7:0", LOWER, ROLE_BACKING, certainty, 0, "test") == 0);
        CHECK(graph_replace(w.graph, 0, f, &changes) == 0);
        CHECK(analysis_update(&w.analysis, &changes) == 0);
        CHECK(policy_add_rule(w.policy, &text, 1, &remarks) == 0 && remarks.n == 0);
        return w;
}

static void world_done(World *w) {
        graph_free(w->graph);
        policy_free(w->policy);
        state_done(&w->state);
}
#define _cleanup_world_ _cleanup_(world_done)

static void reading(World *w, const char *node, const char *target, const char *key, const char *value) {
        Reading r = { .node = strdup(node), .target = strdup(target), .key = strdup(key), .value = strdup(value) };

        CHECK(state_add_reading(&w->state, &r) == 0);
}

static void record(World *w, ActionKind kind, const char *target, const char *key, const char *from, const char *to, const char *set) {
        w->records[w->done.n++] = (Record) {
                .kind = kind, .target = (char *) target, .key = (char *) key, .subject = (char *) LOWER, .name = (char *) "x",
                .from = (char *) from, .to = (char *) to, .set = (char *) set,
        };
}

/* Actions as "TARGET KEY: STATE FROM TO", with commas between them. */
static const char *plan(World *w) {
        PlanInput in = {
                .analysis = &w->analysis, .graph = w->graph, .policy = w->policy, .state = &w->state, .done = &w->done,
                .complete = !w->incomplete,
        };
        static char text[1000];
        Plan p = {};
        size_t n = 0;

        text[0] = 0;
        w->done.records = w->records;
        CHECK(plan_make(&p, &in) == 0);
        for (size_t i = 0; i < p.n; i++) {
                const Action *a = &p.actions[i];

                n += (size_t) snprintf(text + n, sizeof(text) - n, "%s%s %s: %s%s %s %s", n > 0 ? ", " : "", a->target, a->key,
                                       a->undo ? "undo " : "", action_state_to_string(a->state), a->from ?: "?", a->to);
        }
        plan_done(&p);
        return text;
}

static void options(void) {
        _cleanup_world_ World w = world("[Match]\nMount=/lower\n[Mount]\nOptions=relatime,commit=30,noatime,weird\n", CERTAINTY_PROVEN);

        reading(&w, LOWER, "mount:30:254:0:9", "atime", "relatime");
        reading(&w, LOWER, "mount:31:254:0:9", "atime", "noatime");
        reading(&w, LOWER, LOWER, "commit", "commit=5");
        /* The last word counts; each mount has its own; what has no way back is refused. */
        CHECK(streq(plan(&w), LOWER " commit: planned commit=5 commit=30, " LOWER " weird: failed ? weird, "
                              "mount:30:254:0:9 atime: planned relatime noatime"));
}

static void only_in_stacks(void) {
        _cleanup_world_ World w = world("[Match]\nFilesystemType=ext4\n[Mount]\nOptions=commit=30\n", CERTAINTY_PROVEN);

        reading(&w, "fs:254:9", "fs:254:9:9", "commit", "commit=5");
        CHECK(streq(plan(&w), ""));
        reading(&w, UPPER, UPPER, "commit", "commit=5");
        CHECK(streq(plan(&w), UPPER " commit: planned commit=5 commit=30"));
}

/* After a start it is not known yet what a loop device is on: no reason to begin, and none to end. */
static void a_guess(void) {
        _cleanup_world_ World w = world("[Match]\nMount=/lower\n[Mount]\nOptions=commit=30\n", CERTAINTY_INFERRED);

        reading(&w, LOWER, LOWER, "commit", "commit=5");
        CHECK(streq(plan(&w), ""));
        w.state.readings[0].value[0] = 'x';
        record(&w, ACTION_MOUNT_OPTION, LOWER, "commit", "commit=5", "commit=30", "commit=30");
        CHECK(streq(plan(&w), ""));
}

static void not_asked_for_any_more(void) {
        _cleanup_world_ World w = world("[Match]\nMount=/nowhere\n[Mount]\nOptions=commit=30\n", CERTAINTY_PROVEN);

        record(&w, ACTION_MOUNT_OPTION, LOWER, "commit", "commit=5", "commit=30", "commit=30");
        CHECK(streq(plan(&w), LOWER " commit: undo planned commit=30 commit=5"));
        w.incomplete = true;
        CHECK(streq(plan(&w), ""));
        w.done.all_held = true;
        CHECK(streq(plan(&w), LOWER " commit: undo planned commit=30 commit=5"));
}

/* What is asked for in bytes is a share when it is read back. */
static void writeback_in_bytes(void) {
        _cleanup_world_ World w = world("[Match]\nMount=/lower\n[Writeback]\nMaxBytes=1M\nStrictLimit=yes\n", CERTAINTY_PROVEN);

        reading(&w, LOWER, "bdi:254:0:5", "max_ratio", "100%");
        reading(&w, LOWER, "bdi:254:0:5", "strict_limit", "1");
        CHECK(streq(plan(&w), "bdi:254:0:5 max_ratio: planned 100% 1048576 bytes"));
        record(&w, ACTION_WRITEBACK_LIMIT, "bdi:254:0:5", "max_ratio", "100%", "1048576 bytes", "0.3111%");
        strcpy(w.state.readings[0].value, "1%");
        CHECK(streq(plan(&w), "bdi:254:0:5 max_ratio: failed 1% 1048576 bytes")); /* someone else's */
        free(w.state.readings[0].value);
        w.state.readings[0].value = strdup("0.3111%");
        CHECK(streq(plan(&w), ""));
        w.records[0].to = (char *) "2097152 bytes"; /* the policy was another */
        CHECK(streq(plan(&w), "bdi:254:0:5 max_ratio: planned 0.3111% 1048576 bytes"));
}

static void direct_io(void) {
        _cleanup_world_ World w = world("[Match]\nLayer=loop\n[Block]\nDirectIO=yes\n", CERTAINTY_PROVEN);

        reading(&w, "block:7:0", "block:7:0:12", "dio", "no");
        CHECK(streq(plan(&w), "block:7:0:12 dio: planned no yes"));
        w.done.held = (char *[]) { (char *) "block:7:0", NULL };
        CHECK(streq(plan(&w), ""));
}

TEST_MAIN(TEST(options), TEST(only_in_stacks), TEST(a_guess), TEST(not_asked_for_any_more), TEST(writeback_in_bytes), TEST(direct_io))
