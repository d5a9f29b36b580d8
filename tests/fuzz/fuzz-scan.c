/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A machine from its files to the document: all tables, all sources, graph, analysis, hazards, a plan, JSON. The input is
 * what memory-root.h says. */
#include <json-c/json.h>

#include "common/text.h"
#include "daemon/analysis/hazard.h"
#include "daemon/bus/describe.h"
#include "daemon/policy/plan.h"
#include "daemon/source/cgroup-state.h"
#include "daemon/source/scan.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/memory-root.h"

static void check_document(const char *json) {
        _cleanup_free_ char *utf8 = text_to_utf8(json);
        json_object *document = json_tokener_parse(json);

        MUST(utf8 && streq(utf8, json));
        MUST(json_object_is_type(document, json_type_object));
        for (const char *p = json; *p; p++)
                MUST((unsigned char) *p >= ' ');
        json_object_put(document);
}

static void make_plan(const Sysroot *s, Graph *g, Analysis *a, const BusView *view) {
        _cleanup_(state_done) State state = { .memory_total = UINT64_C(1) << 34, .recursive_protection = true };
        const RecordView nothing = {};
        _cleanup_(plan_done) Plan plan = {}, undone = {};
        PlanInput in = { .analysis = a, .graph = g, .state = &state, .done = &nothing, .complete = true };
        _cleanup_free_ char *json = NULL;
        size_t position = 0;
        Node *n;

        while ((n = graph_next(g, &position)))
                if (n->fact && n->fact->cgroup && n->fact->cgroup[0] == '/')
                        MUST(cgroup_state_read(s, n->fact->cgroup, &state) >= 0);
        MUST(plan_make(&plan, &in) >= 0);
        MUST(plan_make_revert(&undone, &in, NULL) >= 0 && undone.n == 0);
        MUST(describe_actions(view, &plan, &json) >= 0);
        check_document(json);
}

static void publish(const Sysroot *s, Graph *g, Analysis *a, unsigned set) {
        const Gaps gaps = { .set = set, .captured = true };
        _cleanup_(hazard_list_done) HazardList hazards = {};
        const BusView view = { .graph = g, .analysis = a, .hazards = &hazards, .gaps = &gaps };
        _cleanup_free_ char *json = NULL;

        MUST(hazard_list_find(&hazards, a, g, &(State) {}) >= 0);
        MUST(describe_view(&view, NULL, NULL, &json) >= 0);
        check_document(json);
        make_plan(s, g, a, &view);
}

static void pass(Scan *scan, Graph *g, Analysis *a) {
        _cleanup_graph_changes_ GraphChanges changes = {};

        for (unsigned i = 0; sources[i].name; i++) {
                FactSet *f = factset_new();

                MUST(f);
                if (sources[i].scan(scan, f) < 0)
                        f = factset_free(f);
                MUST(graph_replace(g, i, f, &changes) >= 0);
        }
        MUST(analysis_update(a, &changes) >= 0);
}

static void forget(Graph *g) {
        _cleanup_graph_changes_ GraphChanges changes = {};

        for (unsigned i = 0; sources[i].name; i++)
                MUST(graph_replace(g, i, NULL, &changes) >= 0);
        MUST(graph_size(g) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_free_ char *text = fuzz_text(data, size), *probes = NULL;
        _cleanup_(sysroot_freep) Sysroot *s = memory_root_new(text);
        _cleanup_(probe_cache_done) ProbeCache cache = {};
        _cleanup_(scan_done) Scan scan = { .root = s, .probes = &cache };
        _cleanup_(graph_freep) Graph *g = graph_new();
        Analysis a = {};

        MUST(g && probe_cache_init(&cache) >= 0);
        if (sysroot_read(s, AREA_RUN, "stackd/probes", &probes) >= 0)
                MUST(probe_cache_load(&cache, probes) >= 0);
        if (scan_refresh(&scan, TABLE_ALL) < 0)
                return 0;
        pass(&scan, g, &a);
        publish(s, g, &a, scan.gaps);
        /* Nothing has changed: nothing changes. */
        size_t before = graph_size(g);

        MUST(scan_refresh(&scan, TABLE_PROCESSES) >= 0);
        pass(&scan, g, &a);
        MUST(graph_size(g) == before);
        forget(g);
        return 0;
}
