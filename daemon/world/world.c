/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "common/file.h"
#include "common/log.h"
#include "common/text.h"
#include "daemon/capture/archive.h"
#include "daemon/policy/cure.h"
#include "daemon/world/observe.h"
#include "daemon/world/sights.h"
#include "daemon/world/world.h"

/* ---- life ---- */

int world_init(World *w) {
        int r;

        *w = (World) {};
        w->graph = graph_new();
        if (!w->graph)
                return -ENOMEM;
        r = probe_cache_init(&w->probes);
        if (r < 0)
                w->graph = graph_free(w->graph);
        return r;
}

void world_done(World *w) {
        state_done(&w->state);
        plan_done(&w->plan);
        hazard_list_done(&w->hazards);
        served_layers_done(&w->served);
        graph_changes_done(&w->changes);
        graph_free(w->graph);
        probe_cache_done(&w->probes);
        scan_done(&w->scan);
        sysroot_free(w->root);
        free(w->damaged);
        *w = (World) {};
}

/* A capture may be without it: made by an earlier version, for lsblk, or by hand. But not silently with something of that name that
 * cannot be read. 0 with *ret NULL, or -ENOMEM. */
static int read_captured(const World *w, const char *what, const char *path, char **ret) {
        int r = sysroot_read(w->root, AREA_RUN, path, ret);

        if (r == -ENOMEM)
                return r;
        if (r < 0 && !error_is_gone(r))
                log_warning("Cannot read %s: %s", what, strerror(-r));
        return 0;
}

static int read_capture(World *w) {
        _cleanup_free_ char *answers = NULL, *gaps = NULL;
        int r;

        r = read_captured(w, "what devices answered", CAPTURE_PROBES_IN_RUN, &answers);
        if (r >= 0 && answers) /* devices cannot be asked any more */
                r = probe_cache_load(&w->probes, answers);
        if (r >= 0)
                r = read_captured(w, "what could not be seen", CAPTURE_GAPS_IN_RUN, &gaps);
        if (r >= 0 && gaps)
                w->captured_gaps = gaps_from_string(gaps);
        return r;
}

int world_open(World *w, const char *path, char **ret_trouble) {
        const char *missing = NULL;
        int r;

        r = sysroot_open(path, &w->root, &missing);
        w->scan.root = w->root;
        w->scan.probes = &w->probes;
        if (r >= 0)
                return sysroot_is_machine(w->root) ? 0 : read_capture(w);
        if (!path)
                return r;
        if (missing && *missing && r == -ENOENT)
                *ret_trouble = text_format("%s: there is no directory '%s' in it: not a capture", path, missing);
        else
                *ret_trouble = text_format("%s%s%s: %s", path, missing && *missing ? "/" : "", missing ?: "", strerror(-r));
        return *ret_trouble ? 0 : -ENOMEM;
}

/* ---- a look ---- */

/* What is missing for want of memory or of descriptors is not known to be gone: nothing is made of such a reading. Where
 * one file is damaged, the rest holds. */
static int check_reading(World *w) {
        const char *path;
        int r;

        r = sysroot_trouble(w->root, &path);
        if (r != -EIO && r != -EAGAIN)
                return r;
        if (!streq_ptr(w->damaged, path)) {
                log_warning("Cannot read everything: %s: %s", path, strerror(-r));
                free(w->damaged);
                w->damaged = strdup(path);
        }
        w->scan.gaps |= GAP_READ_ERROR;
        w->stale = TABLE_ALL; /* a table may lack it, also for a look that does not read that table */
        return 0;
}

static void forget_damage(World *w) {
        if (sysroot_trouble(w->root, NULL) == 0) {
                free(w->damaged);
                w->damaged = NULL;
        }
}

/* All of them, before any of it is believed. */
static int read_sources(World *w) {
        FactSet *facts[GRAPH_ORIGINS_MAX] = {};
        int r = 0;

        for (unsigned i = 0; r >= 0 && sources[i].name; i++) {
                facts[i] = factset_new();
                r = facts[i] ? sources[i].scan(&w->scan, facts[i]) : -ENOMEM;
                if (r >= 0 || r == -ENOMEM)
                        continue;
                /* What it has found so far holds; the rest is not known. */
                w->scan.gaps |= GAP_READ_ERROR;
                log_warning("Cannot read everything about %s: %s", sources[i].name, strerror(-r));
                r = 0;
        }
        if (r >= 0)
                r = check_reading(w);
        for (unsigned i = 0; sources[i].name; i++)
                if (r >= 0)
                        r = graph_replace(w->graph, i, TAKE_PTR(facts[i]), &w->changes);
                else
                        factset_free(facts[i]);
        return r;
}

static int read_state(World *w, const Policy *policy) {
        State state;
        int r;

        r = observe(&w->scan, w->graph, policy, &state);
        if (r < 0)
                return r;
        r = sights_add(&w->scan, &w->analysis, w->graph, &state);
        if (r >= 0)
                r = check_reading(w);
        if (r < 0) {
                state_done(&state);
                return r;
        }
        state_done(&w->state);
        w->state = state;
        return 0;
}

int world_look(World *w, unsigned tables, const Policy *policy) {
        int r;

        sysroot_forget_trouble(w->root);
        w->stale = 0;
        probe_cache_begin(&w->probes);
        r = scan_refresh(&w->scan, tables);
        if (r >= 0)
                r = check_reading(w); /* before the sources: some of them conclude from what is not there */
        if (r >= 0)
                r = read_sources(w);
        if (r < 0)
                return r;
        r = served_layers_update(&w->served, &w->scan, w->graph);
        if (r < 0)
                return r;
        w->lost = r > 0;
        w->scan.unserved |= w->lost;
        r = analysis_update(&w->analysis, &w->changes);
        if (r >= 0)
                r = policy_grant(policy, w->graph, &w->changes);
        if (r >= 0)
                r = read_state(w, policy);
        if (r < 0)
                return r;
        probe_cache_expire(&w->probes);
        return 0;
}

/* ---- what follows ---- */

bool world_is_complete(const World *w) {
        return !scan_is_incomplete(&w->scan);
}

PlanInput world_plan_input(World *w, const Policy *policy, const RecordView *done, bool complete) {
        return (PlanInput) {
                .analysis = &w->analysis,
                .graph = w->graph,
                .policy = policy,
                .state = &w->state,
                .done = done,
                .complete = complete,
        };
}

static bool is_no_mark(const Action *a, const void *argument _unused_) {
        return a->kind != ACTION_IO_FLUSHER;
}

static int make_plan(World *w, const WorldInput *in) {
        PlanInput input = world_plan_input(w, in->policy, &in->done, in->complete);
        int r;

        plan_done(&w->plan);
        if (!in->acts)
                return 0;
        r = plan_make(&w->plan, &input);
        if (r >= 0 && !in->marks)
                plan_keep(&w->plan, is_no_mark, NULL);
        return r;
}

typedef struct Judgement {
        const World *world;
        const WorldInput *in;
} Judgement;

/* What is about to be done is no hazard any more; what has been tried in vain is one. */
static bool is_about_to_be_cured(const Hazard *h, void *userdata) {
        const Judgement *j = userdata;

        for (size_t i = 0; i < j->world->plan.n; i++) {
                const Action *a = &j->world->plan.actions[i];

                if (a->state == ACTION_PLANNED && action_cures(a, h, j->world->graph) && !j->in->failed(j->in->userdata, a))
                        return true;
        }
        return false;
}

/* What has been tried, and will not be tried again. */
static int note_refusals(World *w, const WorldInput *in) {
        for (size_t i = 0; i < w->plan.n; i++) {
                const Action *a = &w->plan.actions[i], *failed = in->failed(in->userdata, a);

                if (a->kind != ACTION_IO_FLUSHER || !failed || !failed->refused)
                        continue;
                for (size_t k = 0; k < w->hazards.n; k++) {
                        Hazard *h = &w->hazards.hazards[k];
                        const Node *n = action_cures(a, h, w->graph) ? graph_find(w->graph, h->process) : NULL;
                        int r = n && n->fact ? hazard_note_refusal(h, n->fact, failed->error ?: "out of memory") : 0;

                        if (r < 0)
                                return r;
                }
        }
        return 0;
}

int world_judge(World *w, const WorldInput *in) {
        Judgement judgement = { w, in };
        int r;

        r = make_plan(w, in);
        if (r >= 0)
                r = hazard_list_find(&w->hazards, &w->analysis, w->graph, &w->state);
        if (r < 0)
                return r;
        hazard_list_drop(&w->hazards, is_about_to_be_cured, &judgement);
        r = note_refusals(w, in);
        if (r < 0)
                return r;
        w->gaps = (Gaps) { .set = w->scan.gaps | w->captured_gaps, .captured = !sysroot_is_machine(w->root) };
        w->looked = true;
        forget_damage(w);
        return 0;
}

/* ---- for a capture ---- */

int world_record(const World *w, Recorder *recorder) {
        _cleanup_free_ char *answers = NULL, *gaps = gaps_to_string(w->gaps.set);
        int r;

        if (!gaps)
                return -ENOMEM;
        r = probe_cache_save(&w->probes, &answers);
        if (r < 0)
                return r;
        recorder_add(recorder, CAPTURED_FILE, CAPTURE_PROBES, answers, strlen(answers));
        recorder_add(recorder, CAPTURED_FILE, CAPTURE_GAPS, gaps, strlen(gaps));
        return 0;
}
