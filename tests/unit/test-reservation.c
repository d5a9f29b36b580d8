/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How much is reserved for whom, and what the slices above carry. */
#include "common/text.h"
#include "daemon/policy/plan.h"
#include "daemon/policy/reservation.h"
#include "tests/unit/tap.h"

#define MIB (UINT64_C(1) << 20)

static void sizes(void) {
        CHECK(reservation_size(0, 1, UINT64_MAX) == 16 * MIB);
        CHECK(reservation_size(100 * MIB, 1, UINT64_MAX) == 141 * MIB);
        CHECK(reservation_size(100 * MIB, 2, UINT64_MAX) == 182 * MIB);
        CHECK(reservation_size(1, 1, UINT64_MAX) == 17 * MIB);
        /* never more than what it may have, and whole pages of any size */
        CHECK(reservation_size(100 * MIB, 1, 50 * MIB + 1) == 50 * MIB);
}

/* It is not made anew for each breath, but for each level. */
static void hysteresis(void) {
        for (uint64_t used = 0; used < 4096 * MIB; used = used * 3 / 2 + MIB / 3)
                for (unsigned depth = 1; depth < 8; depth++) {
                        uint64_t present = reservation_size(used, depth, UINT64_MAX);

                        CHECK(reservation_fits(present, used, depth, UINT64_MAX));
                        CHECK(reservation_fits(present, used + used / 32, depth, UINT64_MAX));
                        CHECK(reservation_fits(present, used - used / 8, depth, UINT64_MAX));
                        CHECK(!reservation_fits(present, used, depth + 1, UINT64_MAX));
                        CHECK(!reservation_fits(present, 2 * used + 20 * MIB, depth, UINT64_MAX));
                        CHECK(!reservation_fits(present * 2, used, depth, UINT64_MAX));
                }
}

static bool is_unit(const char *path, const char *expected, size_t length) {
        _cleanup_free_ char *name = NULL;
        const char *why = NULL;
        size_t n = 0;
        int r;

        r = unit_of_cgroup(path, &name, &n, &why);
        if (!expected)
                return r == -ENOENT && !name && why;
        return r == 0 && streq(name, expected) && n == length;
}

static void units(void) {
        CHECK(is_unit("/system.slice/a.service", "a.service", 23));
        CHECK(is_unit("/system.slice/a.service/inner/b.service", "a.service", 23));
        CHECK(is_unit("/system.slice/system-x.slice/x@1.service", "x@1.service", 40));
        CHECK(is_unit("/system.slice/_cpu.service", "cpu.service", 26));
        CHECK(is_unit("/machine.slice/docker-1.scope", "docker-1.scope", 29));
        CHECK(is_unit("/system.slice/mnt.mount", "mnt.mount", 23));
        CHECK(is_unit("/user.slice/user-0.slice/session-1.scope", NULL, 0));
        /* "foo.service" of a user is not that of the system */
        CHECK(is_unit("/user.slice/user-0.slice/user@0.service/app.slice/foo.service", NULL, 0));
        CHECK(is_unit("/init.scope", NULL, 0));
        CHECK(is_unit("/docker/0123", NULL, 0));
        CHECK(is_unit("/", NULL, 0));
        CHECK(is_unit("", NULL, 0));
        CHECK(is_unit("/system.slice", NULL, 0));
}

/* A machine: processes with their cgroups, each serving a file system of its own. */
typedef struct World {
        Graph *graph;
        Analysis analysis;
        FactSet *facts;
        State state;
        Record records[8];
        RecordView done;
        bool incomplete;
        char ids[8][40];
        unsigned n;
} World;

static World world(void) {
        return (World) { .graph = graph_new(), .facts = factset_new(), .state = { .recursive_protection = true } };
}

static void world_done(World *w) {
        graph_free(w->graph);
        state_done(&w->state);
}
#define _cleanup_world_ _cleanup_(world_done)

static void process(World *w, pid_t pid, const char *cgroup, bool mounted) {
        NodeFact fact = {
                .kind = NODE_PROCESS, .id = process_id(pid, 1), .pid = pid, .start = 1, .comm = strdup("server"), .entitled = true,
                .threads = 1, .threads_io_flusher = 1, .cgroup = strdup(cgroup), .oom_score_adj = -1000,
        };
        NodeFact fs = { .kind = NODE_FILESYSTEM, .id = text_format("fs:0:%d", pid) };

        if (mounted) {
                CHECK(factset_add_edge(w->facts, fs.id, fact.id, ROLE_BACKING, CERTAINTY_PROVEN, 0, "test") == 0);
                CHECK(factset_add_node(w->facts, &fs) == 0);
        }
        CHECK(factset_add_node(w->facts, &fact) == 0);
        node_fact_done(&fs);
}

static void cgroup(World *w, const char *path, uint64_t min, uint64_t used) {
        CgroupState c = {
                .path = strdup(path), .described = true, .min = min, .max = UINT64_MAX, .high = UINT64_MAX, .used = used, .processes = 1,
                .has_swap_max = true, .swap_max = UINT64_MAX, .preference = strdup("omit"),
        };

        CHECK(state_add_cgroup(&w->state, &c) == 0);
}

static void record(World *w, const char *target, const char *from, const char *set, const char *subject) {
        w->records[w->n++] = (Record) {
                .kind = ACTION_MEMORY_MIN, .target = (char *) target, .key = (char *) "", .subject = (char *) subject, .name = (char *) "x",
                .from = (char *) from, .to = (char *) set, .set = (char *) set,
        };
        w->done.records = w->records;
        w->done.n = w->n;
}

static Plan make(World *w) {
        _cleanup_graph_changes_ GraphChanges changes = {};
        PlanInput in = { .analysis = &w->analysis, .graph = w->graph, .state = &w->state, .done = &w->done, .complete = !w->incomplete };
        Plan p = {};

        CHECK(graph_replace(w->graph, 0, TAKE_PTR(w->facts), &changes) == 0);
        CHECK(analysis_update(&w->analysis, &changes) == 0);
        CHECK(plan_make(&p, &in) == 0);
        return p;
}

/* The one action on a target, as "STATE FROM TO", with "undo" before it where it is one; "" when there is none. */
static const char *on(const Plan *p, ActionKind kind, const char *target) {
        static char text[200];
        unsigned n = 0;

        text[0] = 0;
        for (size_t i = 0; i < p->n; i++) {
                const Action *a = &p->actions[i];

                if (a->kind != kind || !streq(a->target, target))
                        continue;
                snprintf(text, sizeof(text), "%s%s %s %s", a->undo ? "undo " : "", action_state_to_string(a->state), a->from ?: "?", a->to);
                n++;
        }
        CHECK(n <= 1);
        return text;
}

#define MEMORY(p, target) on(p, ACTION_MEMORY_MIN, target)

/* 16 MiB for the level and what it uses: 17 MiB. The slices carry it, and what a neighbour has. */
static void ancestors_carry_it(void) {
        _cleanup_world_ World w = world();

        process(&w, 10, "/system.slice/system-a.slice/a.service", true);
        cgroup(&w, "/system.slice", 0, 0);
        cgroup(&w, "/system.slice/system-a.slice", 0, 0);
        cgroup(&w, "/system.slice/system-a.slice/a.service", 0, 1000);
        cgroup(&w, "/system.slice/neighbour.service", 3 * MIB, 1000);
        Plan p = make(&w);
        CHECK(streq(MEMORY(&p, "unit:a.service"), "planned 0 17825792"));
        CHECK(streq(MEMORY(&p, "unit:system-a.slice"), "planned 0 17825792"));
        CHECK(streq(MEMORY(&p, "unit:system.slice"), "planned 0 20971520"));
        CHECK(streq(MEMORY(&p, "unit:neighbour.service"), ""));
        plan_done(&p);
}

/* However much all of them use, and whatever a neighbour asks for: half of the machine stays free to be reclaimed. */
static void a_slice_carries_half_of_the_machine(void) {
        _cleanup_world_ World w = world();

        w.state.memory_total = 1024 * MIB;
        process(&w, 10, "/system.slice/a.service", true);
        process(&w, 11, "/system.slice/b.service", true);
        cgroup(&w, "/system.slice", 0, 0);
        cgroup(&w, "/system.slice/a.service", 0, 900 * MIB);
        cgroup(&w, "/system.slice/b.service", 0, 900 * MIB);
        cgroup(&w, "/system.slice/neighbour.service", UINT64_MAX, 1000);
        Plan p = make(&w);
        CHECK(streq(MEMORY(&p, "unit:a.service"), "planned 0 268435456") && streq(MEMORY(&p, "unit:b.service"), "planned 0 268435456"));
        CHECK(streq(MEMORY(&p, "unit:system.slice"), "planned 0 536870912"));
        plan_done(&p);
}

static void what_is_enough_stays(void) {
        _cleanup_world_ World w = world();

        process(&w, 10, "/system.slice/a.service", true);
        cgroup(&w, "/system.slice", UINT64_MAX, 0);
        cgroup(&w, "/system.slice/a.service", 100 * MIB, 1000);
        Plan p = make(&w);
        CHECK(p.n == 0);
        plan_done(&p);
}

/* The unit's own file reserves enough; the slice above it does not carry it. */
static void a_reservation_of_its_own_is_carried(void) {
        _cleanup_world_ World w = world();

        process(&w, 10, "/system.slice/a.service", true);
        cgroup(&w, "/system.slice", 0, 0);
        cgroup(&w, "/system.slice/a.service", 64 * MIB, 1000);
        Plan p = make(&w);
        CHECK(streq(MEMORY(&p, "unit:a.service"), "") && streq(MEMORY(&p, "unit:system.slice"), "planned 0 67108864"));
        plan_done(&p);
}

static void applied_again_changes_nothing(void) {
        _cleanup_world_ World w = world();

        process(&w, 10, "/system.slice/a.service", true);
        cgroup(&w, "/system.slice", 17825792, 0);
        cgroup(&w, "/system.slice/a.service", 17825792, 1000);
        record(&w, "unit:a.service", "0", "17825792", "process:10:1");
        record(&w, "unit:system.slice", "0", "17825792", "");
        Plan p = make(&w);
        CHECK(p.n == 0);
        plan_done(&p);
}

/* One of two goes: the slice is lowered by what it had. */
static void a_slice_is_lowered_by_what_goes(void) {
        _cleanup_world_ World w = world();

        process(&w, 10, "/system.slice/a.service", true);
        process(&w, 11, "/system.slice/b.service", false);
        cgroup(&w, "/system.slice", 1000 + 2 * 17825792, 0);
        cgroup(&w, "/system.slice/a.service", 17825792, 1000);
        cgroup(&w, "/system.slice/b.service", 17825792, 1000);
        record(&w, "unit:a.service", "0", "17825792", "process:10:1");
        record(&w, "unit:b.service", "4096", "17825792", "process:11:1");
        record(&w, "unit:system.slice", "1000", "35652584", "");
        Plan p = make(&w);
        CHECK(streq(MEMORY(&p, "unit:b.service"), "undo planned 17825792 4096"));
        CHECK(streq(MEMORY(&p, "unit:system.slice"), "planned 35652584 17829888"));
        CHECK(streq(MEMORY(&p, "unit:a.service"), ""));
        plan_done(&p);
}

static void the_last_one_undoes_the_slice(void) {
        _cleanup_world_ World w = world();

        process(&w, 10, "/system.slice/a.service", false);
        cgroup(&w, "/system.slice", 17825792, 0);
        cgroup(&w, "/system.slice/a.service", 17825792, 1000);
        record(&w, "unit:a.service", "0", "17825792", "process:10:1");
        record(&w, "unit:system.slice", "1000", "17825792", "");
        Plan p = make(&w);
        CHECK(streq(MEMORY(&p, "unit:a.service"), "undo planned 17825792 0"));
        CHECK(streq(MEMORY(&p, "unit:system.slice"), "undo planned 17825792 1000"));
        plan_done(&p);
}

/* What could not be seen may still be there. */
static void nothing_is_undone_blindly(void) {
        _cleanup_world_ World w = world();

        w.incomplete = true;
        cgroup(&w, "/system.slice", 17825792, 0);
        cgroup(&w, "/system.slice/a.service", 17825792, 1000);
        record(&w, "unit:a.service", "0", "17825792", "process:10:1");
        record(&w, "unit:system.slice", "1000", "17825792", "");
        Plan p = make(&w);
        CHECK(p.n == 0);
        plan_done(&p);
        w.facts = factset_new();
        w.done.all_held = true;
        p = make(&w);
        CHECK(p.n == 2 && p.actions[0].undo && p.actions[1].undo);
        plan_done(&p);
}

static void told(World *w, const char *value) {
        CgroupState *c = state_find_cgroup(&w->state, "/system.slice/a.service");

        free(c->told[UNIT_MEMORY_MIN]);
        c->told[UNIT_MEMORY_MIN] = value ? strdup(value) : NULL;
}

static void someone_elses_change_is_left(void) {
        _cleanup_world_ World w = world();

        process(&w, 10, "/system.slice/a.service", true);
        cgroup(&w, "/system.slice", 17825792, 0);
        cgroup(&w, "/system.slice/a.service", 4096, 1000);
        record(&w, "unit:a.service", "0", "17825792", "process:10:1");
        record(&w, "unit:system.slice", "0", "17825792", "");
        Plan p = make(&w);
        CHECK(streq(MEMORY(&p, "unit:a.service"), "failed 4096 17825792") && p.n == 1);
        plan_done(&p);
        /* more than what is needed is no failure */
        w.facts = factset_new();
        process(&w, 10, "/system.slice/a.service", true);
        state_find_cgroup(&w.state, "/system.slice/a.service")->min = 50 * MIB;
        p = make(&w);
        CHECK(streq(MEMORY(&p, "unit:a.service"), ""));
        plan_done(&p);
        /* put back to what it was: that is a decision too */
        w.facts = factset_new();
        process(&w, 10, "/system.slice/a.service", true);
        state_find_cgroup(&w.state, "/system.slice/a.service")->min = 0;
        told(&w, "0");
        p = make(&w);
        CHECK(streq(MEMORY(&p, "unit:a.service"), "failed 0 17825792"));
        plan_done(&p);
        /* but not where the unit has been made anew, without what was set for the earlier one */
        w.facts = factset_new();
        process(&w, 10, "/system.slice/a.service", true);
        told(&w, NULL);
        p = make(&w);
        CHECK(streq(MEMORY(&p, "unit:a.service"), "planned 0 17825792"));
        plan_done(&p);
        /* nor where systemd itself put back what an administrator's file says */
        w.facts = factset_new();
        process(&w, 10, "/system.slice/a.service", true);
        told(&w, "17825792");
        p = make(&w);
        CHECK(streq(MEMORY(&p, "unit:a.service"), "planned 0 17825792"));
        plan_done(&p);
}

/* stackd ended between writing the record and reading the value back. */
static void half_done(void) {
        for (uint64_t present = 0; present <= 17825792; present += 17825792) {
                _cleanup_world_ World w = world();

                process(&w, 10, "/system.slice/a.service", true);
                cgroup(&w, "/system.slice", 17825792, 0);
                cgroup(&w, "/system.slice/a.service", present, 1000);
                record(&w, "unit:a.service", "0", "17825792", "process:10:1");
                w.records[0].set = NULL;
                Plan p = make(&w);
                CHECK(strstr(MEMORY(&p, "unit:a.service"), "planned") && endswith(MEMORY(&p, "unit:a.service"), " 17825792"));
                plan_done(&p);
        }
}

static void who_is_in_no_service_is_refused(void) {
        static const char *const paths[] = { "/user.slice/user-0.slice/session-1.scope", "/docker/1", "/system.slice/a.service/inner" };

        for (size_t i = 0; i < ELEMENTSOF(paths); i++) {
                _cleanup_world_ World w = world();

                w.state.recursive_protection = false;
                process(&w, 10, paths[i], true);
                cgroup(&w, paths[i], 0, 1000);
                cgroup(&w, "/system.slice/a.service", 0, 1000);
                Plan p = make(&w);
                CHECK(streq(MEMORY(&p, "process:10:1"), "failed 0 auto") && p.n == 1 && p.actions[0].error);
                plan_done(&p);
        }
}

static void swap_that_it_serves(void) {
        for (int above = 0; above <= 1; above++) {
                _cleanup_world_ World w = world();
                NodeFact swap = { .kind = NODE_SWAP, .id = strdup("swap:253:1") };

                process(&w, 10, "/system.slice/a.service", true);
                if (above)
                        CHECK(factset_add_edge(w.facts, swap.id, "fs:0:10", ROLE_BACKING, CERTAINTY_PROVEN, 0, "test") == 0);
                CHECK(factset_add_node(w.facts, &swap) == 0);
                cgroup(&w, "/system.slice", UINT64_MAX, 0);
                cgroup(&w, "/system.slice/a.service", 100 * MIB, 1000);
                Plan p = make(&w);
                CHECK(streq(on(&p, ACTION_SWAP_MAX, "unit:a.service"), above ? "planned max 0" : ""));
                plan_done(&p);
        }
}

/* A guess is no reason to begin with it, nor to end it; one of several servers, each below a swap area, is below one for certain. */
static void swap_that_it_perhaps_serves(void) {
        for (unsigned i = 0; i < 4; i++) {
                bool recorded = i & 1, alternative = i & 2;
                _cleanup_world_ World w = world();

                for (pid_t pid = 10; pid < 12; pid++) {
                        NodeFact swap = { .kind = NODE_SWAP, .id = text_format("swap:253:%d", pid) };

                        process(&w, pid, pid == 10 ? "/system.slice/a.service" : "/system.slice/b.service", true);
                        for (pid_t server = 10; server < 12; server++) {
                                _cleanup_free_ char *other = process_id(server, 1);

                                if (server == pid || alternative)
                                        CHECK(factset_add_edge(w.facts, swap.id, other, ROLE_BACKING, CERTAINTY_INFERRED, alternative ? (unsigned) server : 0, "test") == 0);
                        }
                        CHECK(factset_add_node(w.facts, &swap) == 0);
                }
                cgroup(&w, "/system.slice", UINT64_MAX, 0);
                cgroup(&w, "/system.slice/a.service", 100 * MIB, 1000);
                cgroup(&w, "/system.slice/b.service", 100 * MIB, 1000);
                if (recorded) {
                        record(&w, "unit:a.service", "max", "0", "process:10:1");
                        w.records[0].kind = ACTION_SWAP_MAX;
                        state_find_cgroup(&w.state, "/system.slice/a.service")->swap_max = 0;
                }
                Plan p = make(&w);
                CHECK(streq(on(&p, ACTION_SWAP_MAX, "unit:a.service"), alternative && !recorded ? "planned max 0" : ""));
                plan_done(&p);
        }
}

/* The OOM score of a process in a group with a limit of its own, which is less than the machine. */
static void a_limited_group(void) {
        static const uint64_t limits[] = { UINT64_MAX, 1000 * MIB, 10 * MIB };
        static const char *const expected[] = { "planned 0 -900", "planned 0 -900", "failed 0 -900" };

        for (size_t i = 0; i < ELEMENTSOF(limits); i++) {
                _cleanup_world_ World w = world();

                w.state.memory_total = 1000 * MIB;
                process(&w, 10, "/system.slice/a.service", true);
                w.facts->nodes[w.facts->n_nodes - 1].oom_score_adj = 0;
                cgroup(&w, "/system.slice", UINT64_MAX, 0);
                cgroup(&w, "/system.slice/a.service", 100 * MIB, 1000);
                state_find_cgroup(&w.state, "/system.slice")->max = limits[i];
                Plan p = make(&w);
                CHECK(streq(on(&p, ACTION_OOM_SCORE, "process:10:1"), expected[i]));
                plan_done(&p);
        }
}

/* Who else has part of what is reserved is said. */
static void a_shared_unit(void) {
        static const char *const expected[] = { "uses 0 KiB", "with 1 other process in it, which shares", "with 2 other processes in it, which share" };

        for (unsigned others = 0; others < ELEMENTSOF(expected); others++) {
                _cleanup_world_ World w = world();
                bool said = false;

                process(&w, 10, "/system.slice/a.service", true);
                cgroup(&w, "/system.slice", UINT64_MAX, 0);
                cgroup(&w, "/system.slice/a.service", 0, 1000);
                state_find_cgroup(&w.state, "/system.slice/a.service")->processes = 1 + others;
                Plan p = make(&w);
                for (size_t i = 0; i < p.n; i++)
                        said |= streq(p.actions[i].target, "unit:a.service") && strstr(p.actions[i].reason, expected[others]) &&
                                !strstr(p.actions[i].reason, "other") == !others;
                CHECK(said);
                plan_done(&p);
        }
}

/* Each process has its own, and those of one unit have the unit's once. */
static void several_processes(void) {
        static const char *const cgroups[] = { "/system.slice/a.service", "/system.slice/b.service", "/system.slice/b.service", "/system.slice/a.service" };
        _cleanup_world_ World w = world();

        w.state.oomd = true;
        for (size_t i = 0; i < ELEMENTSOF(cgroups); i++) {
                process(&w, 10 + (pid_t) i, cgroups[i], true);
                w.facts->nodes[w.facts->n_nodes - 1].threads_io_flusher = 0;
                w.facts->nodes[w.facts->n_nodes - 1].oom_score_adj = 0;
        }
        for (size_t i = 0; i < 2; i++) {
                cgroup(&w, cgroups[i], 0, 1000);
                strcpy(state_find_cgroup(&w.state, cgroups[i])->preference, "none");
        }
        cgroup(&w, "/system.slice", UINT64_MAX, 0);
        Plan p = make(&w);
        for (pid_t pid = 10; pid < 14; pid++) {
                _cleanup_free_ char *id = process_id(pid, 1);

                CHECK(streq(on(&p, ACTION_IO_FLUSHER, id), "planned none all"));
                CHECK(streq(on(&p, ACTION_OOM_SCORE, id), "planned 0 -900"));
        }
        CHECK(streq(on(&p, ACTION_OOMD_PREFERENCE, "unit:a.service"), "planned none omit"));
        CHECK(streq(on(&p, ACTION_OOMD_PREFERENCE, "unit:b.service"), "planned none omit"));
        CHECK(streq(MEMORY(&p, "unit:a.service"), "planned 0 17825792") && streq(MEMORY(&p, "unit:b.service"), "planned 0 17825792"));
        plan_done(&p);
}

TEST_MAIN(TEST(sizes), TEST(hysteresis), TEST(units), TEST(ancestors_carry_it), TEST(a_slice_carries_half_of_the_machine),
          TEST(what_is_enough_stays),
          TEST(a_reservation_of_its_own_is_carried), TEST(applied_again_changes_nothing), TEST(a_slice_is_lowered_by_what_goes),
          TEST(the_last_one_undoes_the_slice), TEST(nothing_is_undone_blindly), TEST(someone_elses_change_is_left), TEST(half_done),
          TEST(who_is_in_no_service_is_refused), TEST(swap_that_it_serves), TEST(swap_that_it_perhaps_serves), TEST(a_limited_group), TEST(a_shared_unit), TEST(several_processes))
