/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <systemd/sd-daemon.h>

#include "common/file.h"
#include "common/log.h"
#include "common/text.h"
#include "daemon/actuator/ledger.h"
#include "daemon/capture/archive.h"
#include "daemon/watch/device-watch.h"
#include "daemon/executor/executor.h"
#include "daemon/world/hazard-log.h"
#include "daemon/manager.h"
#include "daemon/watch/mount-watch.h"
#include "daemon/world/observe.h"
#include "daemon/policy/cure.h"
#include "daemon/reader/prober.h"
#include "daemon/watch/process-watch.h"
#include "daemon/configuration/reload.h"
#include "daemon/world/served-layers.h"
#include "daemon/world/sights.h"
#include "daemon/source/scan.h"

#define DEBOUNCE_USEC (5U * 1000)
#define PROCESSES_USEC (5ULL * 1000 * 1000)
#define ROW_MAX 20U                          /* more passes that follow each other than any single change brings about are a storm */
#define ROW_ENDS_USEC (1000ULL * 1000)
#define STORM_PAUSE_MAX_USEC (500ULL * 1000) /* what comes last shall be seen within a second */
#define RETRY_FIRST_USEC (100U * 1000)
#define RETRY_MAX 8U
#define FAILED_WAIT_MAX 30U /* seconds, of which the waits between passes that fail get longer up to that */
#define FAILED_TELL 3U      /* passes in a row that fail, and who waits is told */
#define CAPTURE_PASSES_MAX 5U
#define RECONCILE_USEC (10ULL * 60 * 1000 * 1000) /* memory grows, and settings change, without an event */

/* A request that waits: for a settled view, or for all jobs to end. */
typedef struct Waiter {
        RequestDone done;
        void *userdata;
        bool for_jobs;
        Plan plan; /* what it started */
        uint64_t since;
        struct Waiter *next;
} Waiter;

struct Manager {
        sd_event *event;
        ManagerOptions options;
        char *trouble;

        Sysroot *root;
        Scan scan;
        ProbeCache probes;
        Graph *graph;
        Analysis analysis;
        HazardList hazards;
        HazardLog hazard_log;
        ServedLayers served;
        State state;
        Plan plan; /* what the last pass found to do, where this is the one that does it by itself */
        Ledger ledger;
        Executor *executor;
        BusServer *bus;
        Configuration configuration;
        Reload *reload;

        DeviceWatch *devices;
        MountWatch *namespaces; /* NULL where the kernel cannot tell */
        sd_event_source *mounts_source, *swaps_source, *arrays_source, *pass_timer, *retry_timer, *settle_timer, *reconcile_timer;
        int mounts_fd, swaps_fd, arrays_fd;
        ProcessWatch *watch;
        Prober *prober;

        unsigned dirty; /* tables to read in the next pass */
        GraphChanges changes; /* made by passes that failed half-way: not analysed and published yet */
        bool pass_pending, passed;
        char *damaged; /* the file that was told last to be unreadable, as long as one is */
        Gaps gaps;            /* of the last pass, with those that the capture tells of */
        unsigned logged_gaps, captured_gaps;
        unsigned failed_passes; /* since the last that was none */
        uint64_t last_pass_end, last_pass_duration;
        uint64_t last_processes;                      /* when they were read */
        unsigned passes_in_row; /* with less than ROW_ENDS_USEC between each two */
        unsigned unserved_tries, capture_passes;
        Waiter *waiters;
};

static void manager_request_pass(Manager *m, unsigned tables);
static int manager_look(Manager *m, unsigned tables);
static int manager_make_plan(Manager *m);
static void manager_carry_out(Manager *m);
static void manager_answer_waiters(Manager *m);
static void manager_fail_waiters(Manager *m, int error);
static void manager_look_again(Manager *m);

/* The one that acts by itself; others do what their client asks for. */
static bool manager_is_service(const Manager *m) {
        return m->options.private_fd < 0 && m->options.capture_fd < 0;
}

static bool manager_acts(const Manager *m) {
        return manager_is_service(m) && m->configuration.settings.apply && sysroot_is_machine(m->root);
}

static uint64_t now_usec(Manager *m) {
        uint64_t usec = 0;

        (void) sd_event_now(m->event, CLOCK_MONOTONIC, &usec);
        return usec;
}

/* Arms a one-shot timer, created at first use. */
static int arm(Manager *m, sd_event_source **source, uint64_t at, sd_event_time_handler_t handler) {
        int r;

        if (!*source)
                return sd_event_add_time(m->event, source, CLOCK_MONOTONIC, at, 1000, handler, m);
        r = sd_event_source_set_time(*source, at);
        return r < 0 ? r : sd_event_source_set_enabled(*source, SD_EVENT_ONESHOT);
}

/* ---- watching processes ---- */

static void on_process_exit(void *userdata) {
        Manager *m = userdata;

        m->unserved_tries = 0;
        manager_request_pass(m, TABLE_MOUNTS | TABLE_PROCESSES);
}

static void manager_watch(Manager *m, pid_t pid, uint64_t start, bool seen) {
        int r;

        r = process_watch_add(m->watch, pid, start);
        if (r == -ESRCH && seen)
                m->scan.unserved = true; /* it went while we looked */
        else if (r < 0 && r != -ESRCH)
                log_warning("Cannot watch process %d: %s", pid, strerror(-r));
}

/* With the last process of a mount namespace it ends, and what is mounted only there. Any of them will do: when it has
 * ended, another one is met first. */
static void manager_watch_namespaces(Manager *m) {
        const MountTable *t = &m->scan.mounts;

        for (unsigned space = 1; space < t->n_spaces; space++) {
                uint64_t start;

                if (process_read_start(m->root, t->space_pids[space], &start) >= 0)
                        manager_watch(m, t->space_pids[space], start, false);
        }
        if (m->namespaces)
                mount_watch_update(m->namespaces, t);
}

/* Everyone who holds a serving device, or whom something was done to. */
static void manager_update_watches(Manager *m) {
        process_watch_begin(m->watch);
        for (size_t i = 0; i < m->scan.processes.n; i++)
                manager_watch(m, m->scan.processes.holders[i].pid, m->scan.processes.holders[i].start, true);
        for (size_t i = 0; i < m->scan.n_served; i++)
                manager_watch(m, m->scan.served[i].pid, m->scan.served[i].start, true);
        for (size_t i = 0; i < m->ledger.n; i++)
                if (m->ledger.records[i].pid > 0)
                        manager_watch(m, m->ledger.records[i].pid, m->ledger.records[i].start, false);
        manager_watch_namespaces(m);
        process_watch_end(m->watch);
}

/* ---- probes ---- */

static void on_answers(int result, void *userdata) {
        Manager *m = userdata;

        if (result >= 0) {
                manager_request_pass(m, 0);
                return;
        }
        m->scan.gaps |= GAP_READ_ERROR;
        manager_look_again(m);
        manager_answer_waiters(m);
}

/* What cannot be asked now is not known. */
static void manager_start_probes(Manager *m) {
        if (m->scan.probes && sysroot_is_machine(m->root) &&
            prober_start(m->prober, m->configuration.settings.probe_timeout_usec) < 0)
                m->scan.gaps |= GAP_READ_ERROR;
}

/* ---- a pass ---- */

/* What is missing for want of memory or of descriptors is not known to be gone: nothing is made of such a reading. Where
 * one file is damaged, the rest holds. */
static int manager_check_reading(Manager *m) {
        const char *path;
        int r;

        r = sysroot_trouble(m->root, &path);
        if (r != -EIO && r != -EAGAIN)
                return r;
        if (!streq_ptr(m->damaged, path)) {
                log_warning("Cannot read everything: %s: %s", path, strerror(-r));
                free(m->damaged);
                m->damaged = strdup(path);
        }
        m->scan.gaps |= GAP_READ_ERROR;
        m->dirty = TABLE_ALL; /* a table may lack it, also for a pass that does not read that table */
        return 0;
}

/* Each once, for as long as it is there. */
static void manager_log_gaps(Manager *m) {
        const GapText *text;
        Gap gap;

        for (unsigned i = 0; manager_is_service(m) && (text = gap_text(i, &gap)); i++)
                if (m->gaps.set & gap & ~m->logged_gaps)
                        log_warning("Not everything can be seen (%s): %s %s", text->id, text->message, text->cure);
        m->logged_gaps = m->gaps.set;
}

static void manager_forget_damage(Manager *m) {
        if (sysroot_trouble(m->root, NULL) == 0) {
                free(m->damaged);
                m->damaged = NULL;
        }
}

static int manager_observe(Manager *m) {
        State state;
        int r;

        r = observe(&m->scan, m->graph, m->configuration.policy, &state);
        if (r < 0)
                return r;
        r = sights_add(&m->scan, &m->analysis, m->graph, &state);
        if (r >= 0)
                r = manager_check_reading(m);
        if (r < 0) {
                state_done(&state);
                return r;
        }
        state_done(&m->state);
        m->state = state;
        return 0;
}

/* What is about to be done is no hazard any more; what has been tried in vain is one. */
static bool is_about_to_be_cured(const Hazard *h, void *userdata) {
        const Manager *m = userdata;

        for (size_t i = 0; i < m->plan.n; i++) {
                const Action *a = &m->plan.actions[i];

                if (a->state == ACTION_PLANNED && action_cures(a, h, m->graph) && !executor_failed(m->executor, a))
                        return true;
        }
        return false;
}

/* What has been tried, and will not be tried again. */
static int manager_note_refusals(Manager *m) {
        for (size_t i = 0; i < m->plan.n; i++) {
                const Action *a = &m->plan.actions[i], *failed = executor_failed(m->executor, a);

                if (a->kind != ACTION_IO_FLUSHER || !failed || !failed->refused)
                        continue;
                for (size_t k = 0; k < m->hazards.n; k++) {
                        Hazard *h = &m->hazards.hazards[k];
                        const Node *n = action_cures(a, h, m->graph) ? graph_find(m->graph, h->process) : NULL;
                        int r = n && n->fact ? hazard_note_refusal(h, n->fact, failed->error ?: "out of memory") : 0;

                        if (r < 0)
                                return r;
                }
        }
        return 0;
}

static int manager_find_hazards(Manager *m) {
        int r;

        r = hazard_list_find(&m->hazards, &m->analysis, m->graph, &m->state);
        if (r < 0)
                return r;
        hazard_list_drop(&m->hazards, is_about_to_be_cured, m);
        return manager_note_refusals(m);
}

/* All of them, before any of it is believed. */
static int manager_read_sources(Manager *m) {
        FactSet *facts[GRAPH_ORIGINS_MAX] = {};
        int r = 0;

        for (unsigned i = 0; r >= 0 && sources[i].name; i++) {
                facts[i] = factset_new();
                r = facts[i] ? sources[i].scan(&m->scan, facts[i]) : -ENOMEM;
                if (r >= 0 || r == -ENOMEM)
                        continue;
                /* What it has found so far holds; the rest is not known. */
                m->scan.gaps |= GAP_READ_ERROR;
                log_warning("Cannot read everything about %s: %s", sources[i].name, strerror(-r));
                r = 0;
        }
        if (r >= 0)
                r = manager_check_reading(m);
        for (unsigned i = 0; sources[i].name; i++)
                if (r >= 0)
                        r = graph_replace(m->graph, i, TAKE_PTR(facts[i]), &m->changes);
                else
                        factset_free(facts[i]);
        return r;
}

static int manager_pass(Manager *m) {
        unsigned tables;
        int r;

        sysroot_forget_trouble(m->root);
        if (m->devices && device_watch_has_lost(m->devices)) {
                log_info("There were more events of devices than could be received: everything is read again");
                probe_cache_forget(&m->probes, "");
                m->dirty = TABLE_ALL;
        }
        tables = m->dirty;
        m->dirty = 0;
        probe_cache_begin(&m->probes);
        r = scan_refresh(&m->scan, tables);
        if (r >= 0)
                r = manager_check_reading(m); /* before the sources: some of them conclude from what is not there */
        if (r < 0)
                return r;
        r = manager_read_sources(m);
        if (r < 0)
                return r;
        r = served_layers_update(&m->served, &m->scan, m->graph);
        if (r < 0)
                return r;
        m->scan.unserved |= r > 0;
        r = analysis_update(&m->analysis, &m->changes);
        if (r >= 0)
                r = policy_grant(m->configuration.policy, m->graph, &m->changes);
        if (r >= 0)
                r = manager_observe(m);
        if (r < 0)
                return r;
        probe_cache_expire(&m->probes);
        /* Before the plan: what a question is open about is not known to be gone. */
        manager_start_probes(m);
        r = manager_make_plan(m);
        if (r >= 0)
                r = manager_find_hazards(m);
        if (r < 0)
                return r;
        m->gaps = (Gaps) { .set = m->scan.gaps | m->captured_gaps, .captured = !sysroot_is_machine(m->root) };
        manager_log_gaps(m);
        if (manager_is_service(m))
                hazard_log_update(&m->hazard_log, &m->hazards, m->graph, now_usec(m));
        if (m->bus)
                bus_server_publish(m->bus, &m->changes);
        graph_changes_done(&m->changes);
        m->passed = true;
        manager_forget_damage(m);
        return 0;
}

static int on_retry(sd_event_source *source _unused_, uint64_t usec _unused_, void *userdata) {
        Manager *m = userdata;

        (void) probe_cache_want_hung(&m->probes);
        return manager_look(m, scan_is_incomplete(&m->scan) ? TABLE_ALL : TABLE_PROCESSES);
}

/* Something must be served by a process, and nobody holds its device: the descriptor is on its way from one
 * process to another, or who served it is started anew. Or something could not be read just now. Or a file system is being unmounted, or is used
 * although it has been. No event tells when that is over; look again, less and less often: a few times, and for as
 * long as storage hangs or such a file system is there. */
static void manager_look_again(Manager *m) {
        bool lasting = probe_cache_has_hung(&m->probes) || m->scan.unwatched;

        if (!m->scan.unserved && !scan_is_incomplete(&m->scan) && !lasting) {
                m->unserved_tries = 0;
                return;
        }
        if (m->unserved_tries >= RETRY_MAX && !lasting)
                return;
        (void) arm(m, &m->retry_timer, now_usec(m) + (RETRY_FIRST_USEC << MIN(m->unserved_tries, RETRY_MAX)), on_retry);
        m->unserved_tries += m->unserved_tries < RETRY_MAX;
}

static int on_pass(sd_event_source *source _unused_, uint64_t usec _unused_, void *userdata) {
        Manager *m = userdata;
        uint64_t begin = 0, end = 0;
        struct timespec ts;
        int r;

        m->pass_pending = false;
        begin = now_usec(m);
        m->passes_in_row = begin < m->last_pass_end + ROW_ENDS_USEC ? m->passes_in_row + 1 : 1;
        r = manager_pass(m);
        if (r < 0 && m->options.root)
                return r; /* a capture does not get better */
        if (r < 0) {
                uint64_t wait = MIN(1U << MIN(m->failed_passes, 6U), FAILED_WAIT_MAX);

                log_error("Cannot look at the machine: %s; trying again in %llu s", strerror(-r), (unsigned long long) wait);
                m->dirty = TABLE_ALL;
                m->pass_pending = true;
                if (++m->failed_passes >= FAILED_TELL)
                        manager_fail_waiters(m, r);
                return arm(m, &m->pass_timer, begin + wait * 1000000, on_pass);
        }
        m->failed_passes = 0;
        clock_gettime(CLOCK_MONOTONIC, &ts);
        end = (uint64_t) ts.tv_sec * 1000000 + (uint64_t) ts.tv_nsec / 1000;
        m->last_pass_end = end;
        m->last_pass_duration = end > begin ? end - begin : 0;
        if (m->scan.processes_fresh)
                m->last_processes = end;
        if (m->scan.mounts_outdated)
                manager_request_pass(m, TABLE_MOUNTS | TABLE_PROCESSES);
        if (sysroot_is_machine(m->root)) {
                manager_update_watches(m);
                manager_look_again(m);
                if (manager_acts(m))
                        manager_carry_out(m);
        }
        manager_answer_waiters(m);
        return 0;
}

/* Passes take at most half of the time, and where many follow each other a tenth of it, but none is put off for long. Not so
 * where all that we are for is an answer, and it is waited for. */
static uint64_t pass_earliest(const Manager *m) {
        uint64_t pause = m->last_pass_duration;

        if (!m->passed || (m->waiters && !manager_is_service(m)))
                return 0;
        if (m->passes_in_row > ROW_MAX)
                pause = MAX(pause, MIN(9 * pause, STORM_PAUSE_MAX_USEC));
        return m->last_pass_end + pause;
}

/* Events are hints, and come in swarms: the first one of a swarm starts a short timer, the others are part of
 * the same pass. */
static void manager_request_pass(Manager *m, unsigned tables) {
        m->dirty |= tables;
        if (m->pass_pending)
                return;
        if (arm(m, &m->pass_timer, MAX(now_usec(m) + DEBOUNCE_USEC, pass_earliest(m)), on_pass) >= 0)
                m->pass_pending = true;
}

/* A timer has asked, no event: there is no swarm to wait for, and to be woken up twice for one pass is once too often.
 * But where passes take long it has its turn as an event has. */
static int manager_look(Manager *m, unsigned tables) {
        if (m->pass_pending || now_usec(m) < pass_earliest(m)) {
                manager_request_pass(m, tables);
                return 0;
        }
        m->dirty |= tables;
        return on_pass(NULL, 0, m);
}

/* ---- doing ---- */

static int manager_become_writer(Manager *m) {
        unsigned skipped = 0;
        int r;

        if (m->options.root)
                return -EROFS;
        if (m->ledger.lock_fd >= 0)
                return 0;
        r = ledger_open(&m->ledger, m->root, true, &skipped);
        if (skipped > 0)
                log_warning("%u damaged lines of /run/stackd/ledger are ignored", skipped);
        return r;
}

/* There is nothing to undo of a process that has ended. */
static void manager_forget_ended(Manager *m) {
        for (size_t i = m->ledger.n; i-- > 0;) {
                const Record *record = &m->ledger.records[i];

                if (record->pid != 0 && process_has_ended(m->root, record->pid, record->start))
                        (void) ledger_remove(&m->ledger, record->kind, record->target, record->key);
        }
}

/* What the graph does not hold does not exist, and what no policy asks for is asked for by none. An open question may be
 * about what something stands on. */
static bool manager_sees_all(const Manager *m) {
        return !scan_is_incomplete(&m->scan) && !prober_is_busy(m->prober) && m->configuration.complete;
}

static bool held_is_over(Manager *m, const char *id) {
        const char *process = startswith(id, "process:");
        unsigned long long start;
        int pid;

        if (process && sscanf(process, "%d:%llu", &pid, &start) == 2)
                return process_has_ended(m->root, pid, start);
        return (startswith(id, "fs:") || startswith(id, "block:")) && manager_sees_all(m) && !graph_find(m->graph, id);
}

/* What was reverted is left alone for as long as it is there: another file system, or image, may get its number. */
static void manager_forget_held(Manager *m) {
        _cleanup_strv_free_ char **over = NULL;
        size_t n = 0;

        for (char **id = m->ledger.held; id && *id; id++)
                if (held_is_over(m, *id) && strv_append(&over, &n, *id) < 0)
                        return;
        if (n > 0)
                (void) ledger_hold(&m->ledger, over, m->ledger.all_held);
}

static PlanInput manager_plan_input(Manager *m, const RecordView *done) {
        return (PlanInput) {
                .analysis = &m->analysis,
                .graph = m->graph,
                .policy = m->configuration.policy,
                .state = &m->state,
                .done = done,
                .complete = manager_sees_all(m),
        };
}

static void plan_keep(Plan *p, bool (*keeps)(const Action *a, const void *argument), const void *argument) {
        size_t kept = 0;

        for (size_t i = 0; i < p->n; i++)
                if (keeps(&p->actions[i], argument))
                        p->actions[kept++] = p->actions[i];
                else
                        action_done(&p->actions[i]);
        p->n = kept;
}

static bool is_no_mark(const Action *a, const void *argument _unused_) {
        return a->kind != ACTION_IO_FLUSHER;
}

static int on_reconcile(sd_event_source *source _unused_, uint64_t usec _unused_, void *userdata) {
        Manager *m = userdata;

        sights_refresh(&m->probes);
        return manager_look(m, 0);
}

static int manager_make_plan(Manager *m) {
        RecordView done;
        PlanInput in;
        int r;

        plan_done(&m->plan);
        if (!manager_acts(m))
                return 0;
        manager_forget_ended(m);
        manager_forget_held(m);
        done = ledger_view(&m->ledger);
        in = manager_plan_input(m, &done);
        r = plan_make(&m->plan, &in);
        if (r >= 0 && m->options.flags_unknown)
                plan_keep(&m->plan, is_no_mark, NULL);
        return r;
}

static void manager_carry_out(Manager *m) {
        executor_run(m->executor, &m->plan, false);
        if (m->ledger.n > 0)
                (void) arm(m, &m->reconcile_timer, now_usec(m) + RECONCILE_USEC, on_reconcile);
}

/* ---- requests ---- */

static bool manager_is_settled(const Manager *m) {
        return m->passed && !m->pass_pending && !prober_is_busy(m->prober);
}

static int on_settle_timeout(sd_event_source *source _unused_, uint64_t usec _unused_, void *userdata) {
        manager_answer_waiters(userdata);
        return 0;
}

static void waiter_free(Waiter *w) {
        plan_done(&w->plan);
        free(w);
}

/* What came of what was planned; of what could not even be tried, the plan itself tells. */
static void waiter_answer(Manager *m, Waiter *w) {
        Plan result = {};

        for (size_t i = 0; i < w->plan.n; i++) {
                const Action *a = &w->plan.actions[i], *last = a->state == ACTION_FAILED ? a : executor_last(m->executor, a);

                if (last)
                        (void) plan_append_copy(&result, last);
        }
        w->done(0, &result, w->userdata);
        plan_done(&result);
        waiter_free(w);
}

static void manager_answer_waiters(Manager *m) {
        Waiter *list = m->waiters, *next;
        uint64_t now = now_usec(m), settle = m->configuration.settings.settle_timeout_usec;

        m->waiters = NULL;
        for (Waiter *w = list; w; w = next) {
                bool ready = w->for_jobs ? !executor_is_busy(m->executor) && manager_is_settled(m)
                                         : manager_is_settled(m) || (m->passed && now >= w->since + settle);

                next = w->next;
                if (ready)
                        waiter_answer(m, w);
                else {
                        w->next = m->waiters;
                        m->waiters = w;
                }
        }
        if (m->waiters)
                (void) arm(m, &m->settle_timer, now + settle, on_settle_timeout);
}

/* It is not known what came of what was asked for, or what there is to tell. */
static void manager_fail_waiters(Manager *m, int error) {
        Waiter *list = TAKE_PTR(m->waiters);

        for (Waiter *w = list, *next; w; w = next) {
                next = w->next;
                w->done(error, NULL, w->userdata);
                waiter_free(w);
        }
}

static int waiter_add(Manager *m, bool for_jobs, Plan *plan, RequestDone done, void *userdata) {
        Waiter *w = calloc(1, sizeof(Waiter));

        if (!w)
                return -ENOMEM;
        *w = (Waiter) { .done = done, .userdata = userdata, .for_jobs = for_jobs, .since = now_usec(m), .next = m->waiters };
        if (plan) {
                w->plan = *plan;
                *plan = (Plan) {};
        }
        m->waiters = w;
        if (m->pass_pending && m->passed && !manager_is_service(m))
                (void) arm(m, &m->pass_timer, now_usec(m), on_pass); /* as pass_earliest() has it */
        manager_answer_waiters(m);
        return 0;
}

static void request_rescan(void *manager) {
        Manager *m = manager;

        sights_refresh(&m->probes);
        manager_request_pass(m, TABLE_ALL);
}

static void request_look(void *manager) {
        manager_request_pass(manager, TABLE_MOUNTS);
}

static int request_settle(void *manager, RequestDone done, void *userdata) {
        return waiter_add(manager, false, NULL, done, userdata);
}

static int request_finish(void *manager, RequestDone done, void *userdata) {
        return waiter_add(manager, true, NULL, done, userdata);
}

static bool is_for_ids(const Action *a, const void *argument) {
        char *const *ids = argument;

        /* What several need goes along with any of them. */
        return !ids || !a->subject[0] || strv_contains(ids, a->subject);
}

static int request_plan(void *manager, char *const *ids, Plan *ret) {
        Manager *m = manager;
        RecordView done = ledger_view(&m->ledger);
        PlanInput in = manager_plan_input(m, &done);
        int r;

        r = plan_make(ret, &in);
        if (r >= 0)
                plan_keep(ret, is_for_ids, ids);
        return r;
}

/* What was tried and failed is still to be done; it is told once, with the reason. */
static int append_planned(Manager *m, Plan *to) {
        _cleanup_(plan_done) Plan planned = {};
        int r;

        r = request_plan(m, NULL, &planned);
        for (size_t i = 0; r >= 0 && i < planned.n; i++) {
                const Action *a = &planned.actions[i];

                r = plan_append_copy(to, executor_failed(m->executor, a) ?: a);
        }
        return r;
}

static int request_actions(void *manager, Plan *ret) {
        _cleanup_(plan_done) Plan actions = {};
        Manager *m = manager;
        RecordView done = ledger_view(&m->ledger);
        PlanInput in = manager_plan_input(m, &done);
        int r;

        r = plan_make_in_force(&actions, &in);
        for (size_t i = 0; r >= 0 && i < actions.n; i++) {
                Action *a = &actions.actions[i];
                const Record *record = record_find(&done, a->kind, a->target, a->key);

                a->when = record ? record->when : 0;
        }
        if (r >= 0)
                r = append_planned(m, &actions);
        if (r < 0)
                return r;
        *ret = actions;
        actions = (Plan) {};
        return 0;
}

/* An administrator wants it in spite of what someone else has set: that is the original from now on. */
static int manager_forget_foreign(Manager *m, char *const *ids) {
        _cleanup_(plan_done) Plan p = {};
        int r;

        r = request_plan(m, ids, &p);
        for (size_t i = 0; r >= 0 && i < p.n; i++) {
                const Action *a = &p.actions[i];

                if (a->state == ACTION_FAILED)
                        r = ledger_remove(&m->ledger, a->kind, a->target, a->key);
        }
        return r;
}

static int request_apply(void *manager, char *const *ids, RequestDone done, void *userdata) {
        _cleanup_(plan_done) Plan p = {};
        Manager *m = manager;
        int r;

        if (m->options.flags_unknown)
                return -EOPNOTSUPP;
        r = manager_become_writer(m);
        if (r >= 0)
                r = ledger_hold(&m->ledger, ids, false);
        if (r >= 0)
                r = manager_forget_foreign(m, ids);
        if (r >= 0)
                r = request_plan(m, ids, &p);
        if (r < 0)
                return r;
        executor_run(m->executor, &p, true);
        return waiter_add(m, true, &p, done, userdata);
}

static int request_revert(void *manager, char *const *ids, RequestDone done, void *userdata) {
        _cleanup_(plan_done) Plan p = {};
        Manager *m = manager;
        RecordView view;
        PlanInput in;
        int r;

        r = manager_become_writer(m);
        if (r >= 0)
                r = ledger_hold(&m->ledger, ids, true);
        if (r < 0)
                return r;
        view = ledger_view(&m->ledger);
        in = manager_plan_input(m, &view);
        r = plan_make_revert(&p, &in, ids);
        if (r < 0)
                return r;
        executor_run(m->executor, &p, true);
        return waiter_add(m, true, &p, done, userdata);
}

static const char *request_trouble(void *manager) {
        Manager *m = manager;

        return m->trouble;
}

/* ---- configuration ---- */

static void on_configuration(void *userdata) {
        Manager *m = userdata;

        if (manager_is_service(m) && !m->options.debug)
                log_set_max_level(m->configuration.settings.log_level);
        if (m->passed)
                manager_request_pass(m, 0);
}

static int on_hangup(sd_event_source *source _unused_, const struct signalfd_siginfo *info _unused_, void *userdata) {
        Manager *m = userdata;

        return reload_request(m->reload, NULL, NULL);
}

static int manager_load_configuration(Manager *m) {
        int r;

        r = reload_new(m->event, m->options.root, &m->configuration, on_configuration, m, &m->reload);
        if (r >= 0)
                r = reload_run(m->reload);
        if (r >= 0 && manager_is_service(m))
                r = sd_event_add_signal(m->event, NULL, SIGHUP | SD_EVENT_SIGNAL_PROCMASK, on_hangup, m);
        return r;
}

static const Policy *request_policy(void *manager) {
        Manager *m = manager;

        return m->configuration.policy;
}

static bool request_held(void *manager, const char *id) {
        Manager *m = manager;
        RecordView view = ledger_view(&m->ledger);

        return record_view_holds(&view, id);
}

static int request_reload(void *manager, BusReloadDone done, void *userdata) {
        Manager *m = manager;

        return m->reload ? reload_request(m->reload, done, userdata) : -EOPNOTSUPP;
}

static int request_remarks(void *manager, const Remarks **ret) {
        Manager *m = manager;

        *ret = &m->configuration.remarks;
        return m->configuration.refused;
}

static int request_configuration(void *manager, bool secrets, char **ret) {
        Manager *m = manager;

        return configuration_describe(&m->configuration, secrets, ret);
}

/* ---- capture ---- */

static void on_capture_settled(int result, const Plan *actions, void *userdata);

/* Captures may be without it, but not silently with something of that name that cannot be read. */
static int optional(const char *what, int r) {
        if (r == -ENOMEM)
                return r;
        if (!error_is_gone(r))
                log_warning("Cannot read %s: %s", what, strerror(-r));
        return 0;
}

/* What is in force is part of what is shown; captures of machines without stackd have none. */
static int manager_read_ledger(Manager *m) {
        int r;

        r = ledger_open(&m->ledger, m->root, false, NULL);
        return r < 0 ? optional("what was done", r) : 0;
}

/* A whole pass with all answers at hand is what is recorded: tables and files of the same moment. 1 when it
 * had new questions, which something that came meanwhile raises: another pass follows their answers. */
static int manager_record(Manager *m, Recorder *recorder) {
        int r;

        m->dirty = TABLE_ALL;
        sysroot_set_recorder(m->root, recorder);
        r = manager_read_ledger(m);
        if (r >= 0)
                r = manager_pass(m);
        sysroot_set_recorder(m->root, NULL);
        if (r < 0 || !sysroot_is_machine(m->root) || ++m->capture_passes >= CAPTURE_PASSES_MAX)
                return r;
        return prober_is_busy(m->prober) ? 1 : 0;
}

static int manager_capture(Manager *m) {
        _cleanup_(recorder_freep) Recorder *recorder = recorder_new();
        _cleanup_free_ char *answers = NULL, *gaps = NULL;
        int r;

        if (!recorder)
                return -ENOMEM;
        r = manager_record(m, recorder);
        if (r > 0)
                return waiter_add(m, false, NULL, on_capture_settled, m);
        if (r < 0)
                return r;
        r = probe_cache_save(&m->probes, &answers);
        if (r < 0)
                return r;
        recorder_add(recorder, CAPTURED_FILE, CAPTURE_PROBES, answers, strlen(answers));
        gaps = gaps_to_string(m->gaps.set);
        if (!gaps)
                return -ENOMEM;
        recorder_add(recorder, CAPTURED_FILE, CAPTURE_GAPS, gaps, strlen(gaps));
        r = capture_write(recorder, !m->options.capture_all, m->options.capture_fd);
        return r < 0 ? r : sd_event_exit(m->event, EXIT_SUCCESS);
}

static void on_capture_settled(int result, const Plan *actions _unused_, void *userdata) {
        Manager *m = userdata;
        int r;

        r = result < 0 ? result : manager_capture(m);
        if (r >= 0)
                return;
        log_error("Cannot capture: %s", strerror(-r));
        (void) sd_event_exit(m->event, EXIT_FAILURE);
}

/* ---- events of the machine ---- */

/* Processes are read with the mounts that some of them serve. That descriptors go from one to another has no event, and is seen
 * when something else happens: but not at each mount of a storm. */
static void on_mounts(void *userdata) {
        Manager *m = userdata;
        bool due = !m->devices || now_usec(m) >= m->last_processes + PROCESSES_USEC;

        m->unserved_tries = 0;
        sights_refresh(&m->probes);
        manager_request_pass(m, due ? TABLE_MOUNTS | TABLE_PROCESSES : TABLE_MOUNTS);
}

static int on_mountinfo(sd_event_source *source _unused_, int fd _unused_, uint32_t revents _unused_, void *userdata) {
        on_mounts(userdata);
        return 0;
}

static int on_swaps(sd_event_source *source _unused_, int fd _unused_, uint32_t revents _unused_, void *userdata) {
        manager_request_pass(userdata, 0);
        return 0;
}

/* These files signal a change with POLLPRI and POLLERR (fs/proc_namespace.c, mm/swapfile.c, drivers/md/md.c). */
static int watch_file(Manager *m, const char *path, int *fd, sd_event_source **source, sd_event_io_handler_t handler) {
        *fd = sysroot_open_at(m->root, AREA_PROC, path, O_RDONLY);
        if (*fd < 0)
                return *fd;
        return sd_event_add_io(m->event, source, *fd, EPOLLPRI, handler, m);
}

/* What has been signalled is so until the file is read. EIO: it is that of a driver that has been unloaded. */
static bool arrays_acknowledge(int fd) {
        char first;

        return fd >= 0 && pread(fd, &first, 1, 0) >= 0;
}

static int on_arrays(sd_event_source *source _unused_, int fd, uint32_t revents _unused_, void *userdata) {
        arrays_acknowledge(fd);
        manager_request_pass(userdata, TABLE_BLOCKS | TABLE_PROCESSES);
        return 0;
}

/* Members of an md array come and go without an event of the device. The file is there when the driver is. */
static void watch_arrays(Manager *m) {
        int r;

        if (arrays_acknowledge(m->arrays_fd))
                return;
        m->arrays_source = sd_event_source_disable_unref(m->arrays_source);
        fd_close(m->arrays_fd);
        r = watch_file(m, "mdstat", &m->arrays_fd, &m->arrays_source, on_arrays);
        if (r < 0 && r != -ENOENT)
                log_warning("Cannot watch md arrays: %s", strerror(-r));
}

static void on_device(sd_device *device, void *userdata) {
        const char *subsystem = NULL, *name = NULL;
        Manager *m = userdata;
        dev_t devno;

        (void) sd_device_get_subsystem(device, &subsystem);
        (void) sd_device_get_sysname(device, &name);
        log_debug("Event of %s %s", subsystem ?: "?", name ?: "?");
        if (subsystem && streq(subsystem, "block") && sd_device_get_devnum(device, &devno) >= 0) {
                probe_cache_forget(&m->probes, PATH("loop %u:%u ", major(devno), minor(devno)));
                probe_cache_forget(&m->probes, PATH("dm %u:%u ", major(devno), minor(devno)));
        }
        if (name && startswith(name, "md"))
                watch_arrays(m);
        m->unserved_tries = 0;
        /* A bdi comes and goes with a mount, also with one in a namespace whose table tells us nothing. */
        manager_request_pass(m, subsystem && streq(subsystem, "bdi") ? TABLE_ALL : TABLE_BLOCKS | TABLE_PROCESSES);
}

static int manager_watch_machine(Manager *m) {
        int r;

        r = watch_file(m, "1/mountinfo", &m->mounts_fd, &m->mounts_source, on_mountinfo);
        if (r < 0)
                r = watch_file(m, "self/mountinfo", &m->mounts_fd, &m->mounts_source, on_mountinfo);
        if (r < 0)
                return r;
        r = watch_file(m, "swaps", &m->swaps_fd, &m->swaps_source, on_swaps);
        if (r < 0 && r != -ENOENT)
                return r;
        watch_arrays(m);
        r = device_watch_new(m->event, on_device, m, &m->devices);
        if (r < 0) /* no netlink in a container: mounts still tell most */
                log_warning("Cannot watch devices: %s", strerror(-r));
        r = mount_watch_new(m->event, m->root, on_mounts, m, &m->namespaces);
        if (r < 0)
                log_debug("Cannot watch other mount namespaces: %s", strerror(-r));
        return 0;
}

/* ---- life ---- */

int manager_new(sd_event *event, const ManagerOptions *options, Manager **ret) {
        _cleanup_(manager_freep) Manager *m = calloc(1, sizeof(Manager));
        int r;

        if (!m)
                return -ENOMEM;
        m->event = sd_event_ref(event);
        m->options = *options;
        m->mounts_fd = m->swaps_fd = m->arrays_fd = -1;
        m->ledger = LEDGER_NULL;
        m->configuration = CONFIGURATION_NULL;
        m->graph = graph_new();
        if (!m->graph)
                return -ENOMEM;
        r = probe_cache_init(&m->probes);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(m);
        return 0;
}

void manager_stop(Manager *m) {
        bus_server_free(TAKE_PTR(m->bus));
        prober_free(TAKE_PTR(m->prober));
        executor_free(TAKE_PTR(m->executor));
        reload_free(TAKE_PTR(m->reload));
}

Manager *manager_free(Manager *m) {
        if (!m)
                return NULL;
        manager_stop(m);
        configuration_done(&m->configuration);
        for (Waiter *w = m->waiters, *next; w; w = next) {
                next = w->next;
                waiter_free(w);
        }
        free(m->damaged);
        process_watch_free(m->watch);
        device_watch_free(m->devices);
        mount_watch_free(m->namespaces);
        sd_event_source_disable_unref(m->mounts_source);
        sd_event_source_disable_unref(m->swaps_source);
        sd_event_source_disable_unref(m->arrays_source);
        sd_event_source_disable_unref(m->pass_timer);
        sd_event_source_disable_unref(m->retry_timer);
        sd_event_source_disable_unref(m->settle_timer);
        sd_event_source_disable_unref(m->reconcile_timer);
        fd_close(m->mounts_fd);
        fd_close(m->swaps_fd);
        fd_close(m->arrays_fd);
        ledger_done(&m->ledger);
        state_done(&m->state);
        plan_done(&m->plan);
        hazard_list_done(&m->hazards);
        hazard_log_done(&m->hazard_log);
        served_layers_done(&m->served);
        graph_changes_done(&m->changes);
        graph_free(m->graph);
        probe_cache_done(&m->probes);
        scan_done(&m->scan);
        sysroot_free(m->root);
        free(m->trouble);
        sd_event_unref(m->event);
        free(m);
        return NULL;
}

static int manager_open_root(Manager *m) {
        const char *missing = NULL;
        int r;

        r = sysroot_open(m->options.root, &m->root, &missing);
        if (r >= 0)
                return 0;
        if (!m->options.root)
                return r;
        /* The client learns it as the answer to whatever it asks. */
        if (missing && *missing && r == -ENOENT)
                m->trouble = text_format("%s: there is no directory '%s' in it: not a capture", m->options.root, missing);
        else
                m->trouble = text_format("%s%s%s: %s", m->options.root, missing && *missing ? "/" : "", missing ?: "", strerror(-r));
        return m->trouble ? 0 : -ENOMEM;
}

/* An action has ended, or may be tried again: the machine is looked at once more. */
static void on_executor(const Action *action, void *userdata) {
        Manager *m = userdata;

        if (action && m->bus)
                bus_server_publish_action(m->bus, action);
        /* The mount table tells of its own changes, but not of those of a file system's options. */
        manager_request_pass(m, action && action->kind == ACTION_MOUNT_OPTION ? TABLE_MOUNTS : 0);
}

static int manager_open_bus(Manager *m) {
        static const BusRequests requests = {
                .rescan = request_rescan,
                .look = request_look,
                .settle = request_settle,
                .finish = request_finish,
                .plan = request_plan,
                .actions = request_actions,
                .apply = request_apply,
                .revert = request_revert,
                .trouble = request_trouble,
                .reload = request_reload,
                .remarks = request_remarks,
                .configuration = request_configuration,
                .policy = request_policy,
                .held = request_held,
        };
        BusView view = { .graph = m->graph, .analysis = &m->analysis, .hazards = &m->hazards, .gaps = &m->gaps,
                         .marks = executor_mark_counts(m->executor) };

        return bus_server_new(m->event, m->options.private_fd, &view, &requests, m, &m->bus);
}

/* What devices answered when the capture was made; they cannot be asked any more. */
static int manager_load_answers(Manager *m) {
        _cleanup_free_ char *text = NULL;
        int r;

        r = sysroot_read(m->root, AREA_RUN, CAPTURE_PROBES_IN_RUN, &text);
        if (r < 0)
                return optional("what devices answered", r); /* made for lsblk, or by hand */
        return probe_cache_load(&m->probes, text);
}

/* What could not be seen when the capture was made; earlier versions did not write that down. */
static int manager_load_gaps(Manager *m) {
        _cleanup_free_ char *text = NULL;
        int r;

        r = sysroot_read(m->root, AREA_RUN, CAPTURE_GAPS_IN_RUN, &text);
        if (r < 0)
                return optional("what could not be seen", r);
        m->captured_gaps = gaps_from_string(text);
        return 0;
}

static int manager_serve(Manager *m) {
        if (m->options.capture_fd < 0)
                return manager_open_bus(m);
        if (!m->trouble)
                return waiter_add(m, false, NULL, on_capture_settled, m);
        log_error("%s", m->trouble);
        return sd_event_exit(m->event, EXIT_FAILURE);
}

int manager_start(Manager *m) {
        int r;

        r = manager_open_root(m);
        if (r < 0)
                return r;
        r = executor_new(m->event, m->options.marker, m->options.marker_socket, m->root, &m->ledger, on_executor, m, &m->executor);
        if (r < 0)
                return r;
        r = m->options.capture_fd < 0 ? manager_load_configuration(m) : 0;
        if (r < 0)
                return r;
        r = prober_new(m->event, &m->probes, on_answers, m, &m->prober);
        if (r >= 0)
                r = process_watch_new(m->event, m->root, on_process_exit, m, &m->watch);
        if (r < 0)
                return r;
        if (m->trouble) {
                m->passed = true;
                return manager_serve(m);
        }
        m->scan.root = m->root;
        m->scan.probes = &m->probes;
        if (m->options.root) {
                r = manager_load_answers(m);
                if (r >= 0)
                        r = manager_load_gaps(m);
                if (r >= 0)
                        r = manager_read_ledger(m);
                if (r < 0)
                        return r;
        } else if (m->options.capture_fd < 0) {
                r = manager_is_service(m) ? manager_become_writer(m) : manager_read_ledger(m);
                if (r == -EBUSY)
                        log_error("Another stackd is running (it holds /run/stackd/lock)");
                if (r < 0)
                        return r;
                r = manager_watch_machine(m);
                if (r < 0)
                        return r;
        }
        m->dirty = TABLE_ALL;
        /* The first pass, before anybody can ask. */
        r = on_pass(NULL, 0, m);
        if (r < 0 && m->options.root) {
                m->trouble = text_format("%s: what it holds cannot be read as a machine (no proc/1/mountinfo?): %s",
                                         m->options.root, strerror(-r));
                if (!m->trouble)
                        return -ENOMEM;
                m->passed = true;
        } else if (r < 0)
                return r;
        return manager_serve(m);
}
