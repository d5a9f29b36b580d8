/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How long a plan takes for so many services, each below a file system of its own: nothing done yet, and all of it in
 * force. With twice as many it must take about twice as long: fails when eight times as many take more than 24
 * times as long. */
#include <stdio.h>
#include <time.h>

#include "common/text.h"
#include "daemon/policy/plan.h"
#include "daemon/policy/reservation.h"
#include "tests/unit/tap.h"

#define SMALL 500U
#define TIMES 8U
#define ROUNDS 15

typedef struct World {
        Graph *graph;
        Analysis analysis;
        State state;
        Record *records;
        RecordView done;
} World;

/* Aborts where memory has run out. */
static char *format(const char *prefix, unsigned i, const char *suffix) {
        char *text = text_format("%s%u%s", prefix, i, suffix);

        if (!text)
                abort();
        return text;
}

static void add_service(FactSet *facts, State *s, unsigned i) {
        NodeFact process = {
                .kind = NODE_PROCESS, .id = process_id((pid_t) i + 2, 1), .pid = (pid_t) i + 2, .start = 1, .comm = strdup("server"),
                .entitled = true, .threads = 1, .cgroup = format("/system.slice/system-s.slice/s", i, ".service"),
        };
        NodeFact fs = { .kind = NODE_FILESYSTEM, .id = format("fs:0:", i, "") };
        CgroupState c = {
                .path = strdup(process.cgroup), .described = true, .max = UINT64_MAX, .high = UINT64_MAX, .used = 1000, .processes = 1,
                .has_swap_max = true, .swap_max = UINT64_MAX, .preference = strdup("none"),
        };

        CHECK(factset_add_edge(facts, fs.id, process.id, ROLE_BACKING, CERTAINTY_PROVEN, 0, "bench") == 0);
        CHECK(factset_add_node(facts, &fs) == 0 && factset_add_node(facts, &process) == 0);
        CHECK(state_add_cgroup(s, &c) == 0);
}

static World world(unsigned n) {
        static const char *const slices[] = { "/system.slice", "/system.slice/system-s.slice" };
        _cleanup_graph_changes_ GraphChanges changes = {};
        World w = { .graph = graph_new(), .state = { .recursive_protection = true, .oomd = true } };
        FactSet *facts = factset_new();

        for (unsigned i = 0; i < n; i++)
                add_service(facts, &w.state, i);
        for (size_t i = 0; i < ELEMENTSOF(slices); i++) {
                CgroupState c = { .path = strdup(slices[i]), .described = true, .max = UINT64_MAX, .high = UINT64_MAX };

                CHECK(state_add_cgroup(&w.state, &c) == 0);
        }
        CHECK(graph_replace(w.graph, 0, facts, &changes) == 0 && analysis_update(&w.analysis, &changes) == 0);
        return w;
}

static PlanInput input(World *w) {
        return (PlanInput) { .analysis = &w->analysis, .graph = w->graph, .state = &w->state, .done = &w->done, .complete = true };
}

/* As if all of the plan had been carried out. */
static void take_for_done(World *w, const Plan *p) {
        w->records = calloc(p->n, sizeof(Record));
        for (size_t i = 0; i < p->n; i++) {
                const Action *a = &p->actions[i];
                CgroupState *c = a->place ? state_find_cgroup(&w->state, a->place) : NULL;

                if (c && a->kind == ACTION_MEMORY_MIN)
                        CHECK(memory_from_string(a->to, &c->min) >= 0);
                w->records[i] = (Record) {
                        .kind = a->kind, .target = a->target, .key = a->key, .subject = a->subject, .name = a->name, .pid = a->pid,
                        .start = a->start, .from = a->from, .to = a->to, .set = a->to,
                };
        }
        w->done = (RecordView) { .records = w->records, .n = p->n };
}

/* Of the fastest round, in milliseconds. */
static double measure(World *w, size_t *ret_n) {
        double best = 0;

        for (unsigned i = 0; i < ROUNDS; i++) {
                struct timespec begin, end;
                PlanInput in = input(w);
                Plan p = {};
                double took;

                clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &begin);
                CHECK(plan_make(&p, &in) == 0);
                clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &end);
                took = (double) (end.tv_sec - begin.tv_sec) * 1e3 + (double) (end.tv_nsec - begin.tv_nsec) / 1e6;
                best = i == 0 ? took : MIN(best, took);
                *ret_n = p.n;
                plan_done(&p);
        }
        return best;
}

/* First with nothing done, then with all of it. */
static void measure_both(unsigned n, double ret[2]) {
        World w = world(n);
        PlanInput in = input(&w);
        size_t planned, again;
        Plan p = {};

        ret[0] = measure(&w, &planned);
        CHECK(planned >= 4 * n);
        CHECK(plan_make(&p, &in) == 0);
        take_for_done(&w, &p);
        ret[1] = measure(&w, &again);
        printf("# %5u services: %5zu actions planned in %8.2f ms, with a record of all of them in %8.2f ms\n", n, planned, ret[0], ret[1]);
        plan_done(&p);
        free(w.records);
        state_done(&w.state);
        graph_free(w.graph);
}

static void about_linear(void) {
        double few[2], many[2], middle[2];

        measure_both(SMALL, few);
        measure_both(SMALL * 2, middle);
        measure_both(SMALL * TIMES, many);
        for (size_t i = 0; i < ELEMENTSOF(few); i++)
                CHECK(many[i] < few[i] * TIMES * 3);
}

TEST_MAIN(TEST(about_linear))
