/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "common/file.h"
#include "common/log.h"
#include "common/text.h"
#include "daemon/capture/archive.h"
#include "daemon/executor/ledger-upkeep.h"
#include "daemon/manager.h"
#include "daemon/requests.h"
#include "daemon/watch/machine-watch.h"
#include "daemon/world/hazard-log.h"
#include "daemon/world/sights.h"

#define CAPTURE_PASSES_MAX 5U

struct Manager {
        sd_event *event;
        ManagerOptions options;
        char *trouble; /* why there is nothing to look at */

        MachineWatch *machine;
        World world;
        Pace pace;
        sd_event_source *timer; /* when the pace, or who waits, wants it */
        Prober *prober;
        Configuration configuration;
        Reload *reload;
        Ledger ledger;
        Executor *executor;
        Requests requests;
        BusServer *bus;
        HazardLog hazard_log;
        unsigned logged_gaps;
        unsigned capture_looks;
};

/* The one that acts by itself; others do what their client asks for. */
static bool manager_is_service(const Manager *m) {
        return m->options.private_fd < 0 && m->options.capture_fd < 0;
}

static bool manager_acts(const Manager *m) {
        return manager_is_service(m) && m->configuration.settings.apply && sysroot_is_machine(m->world.root);
}

static uint64_t now_usec(const Manager *m) {
        uint64_t usec = 0;

        (void) sd_event_now(m->event, CLOCK_MONOTONIC, &usec);
        return usec;
}

/* ---- a look ---- */

static const Action *failed_action(void *userdata, const Action *a) {
        return executor_failed(userdata, a);
}

/* Each once, for as long as it is there. */
static void log_gaps(Manager *m) {
        const GapText *text;
        Gap gap;

        for (unsigned i = 0; (text = gap_text(i, &gap)); i++)
                if (m->world.gaps.set & gap & ~m->logged_gaps)
                        log_warning("Not everything can be seen (%s): %s %s", text->id, text->message, text->cure);
        m->logged_gaps = m->world.gaps.set;
}

static void publish(Manager *m) {
        if (manager_is_service(m)) {
                log_gaps(m);
                hazard_log_update(&m->hazard_log, &m->world.hazards, m->world.graph, now_usec(m));
        }
        if (m->bus)
                bus_server_publish(m->bus, &m->world.changes);
        graph_changes_done(&m->world.changes);
}

/* Questions are asked before anything is judged: what one is open about is not known to be gone. What cannot be asked now is not
 * known. */
static int look(Manager *m, unsigned tables) {
        World *w = &m->world;
        int r;

        if (!machine_watch_begin(m->machine)) {
                log_info("There were more events of devices than could be received: everything is read again");
                probe_cache_forget(&w->probes, "");
                tables = TABLE_ALL;
        }
        r = world_look(w, tables, m->configuration.policy);
        if (r < 0)
                return r;
        if (sysroot_is_machine(w->root) && prober_start(m->prober, m->configuration.settings.probe_timeout_usec) < 0)
                w->scan.gaps |= GAP_READ_ERROR;
        if (manager_acts(m))
                ledger_forget_ended(&m->ledger, w->root, w->graph, requests_see_all(&m->requests));
        r = world_judge(w, &(WorldInput) {
                .policy = m->configuration.policy,
                .done = ledger_view(&m->ledger),
                .acts = manager_acts(m),
                .marks = !m->options.flags_unknown,
                .complete = requests_see_all(&m->requests),
                .failed = failed_action,
                .userdata = m->executor,
        });
        if (r >= 0)
                publish(m);
        return r;
}

/* No event tells when these are over: a descriptor is on its way from one process to another, or who served something is started
 * anew; something could not be read just now; storage hangs; a file system is used although it has been unmounted. */
static PaceOutcome outcome_of(const Manager *m) {
        const World *w = &m->world;
        const Scan *s = &w->scan;
        const bool machine = sysroot_is_machine(w->root), incomplete = scan_is_incomplete(s);

        return (PaceOutcome) {
                .processes_read = s->processes_fresh,
                .stale = w->stale,
                .outdated = s->mounts_outdated ? TABLE_MOUNTS | TABLE_PROCESSES : 0,
                .unsettled = machine && (s->unserved || incomplete),
                .lasting = machine && (probe_cache_has_hung(&w->probes) || s->unwatched),
                .retry = incomplete ? TABLE_ALL : TABLE_PROCESSES,
                .open_end = machine && (w->lost || (manager_acts(m) && m->ledger.n > 0)),
        };
}

static uint64_t clock_usec(void) {
        struct timespec ts;

        clock_gettime(CLOCK_MONOTONIC, &ts);
        return (uint64_t) ts.tv_sec * 1000000 + (uint64_t) ts.tv_nsec / 1000;
}

/* A look that has begun. Negative where it is not to be repeated: a capture does not get better. */
static int carry_out(Manager *m, unsigned tables) {
        PaceOutcome outcome;
        int r;

        r = look(m, tables);
        if (r < 0 && m->options.root)
                return r;
        if (r < 0) {
                pace_end(&m->pace, clock_usec(), &(PaceOutcome) { .failed = true });
                log_error("Cannot look at the machine: %s; trying again in %u s", strerror(-r), pace_failure_wait(&m->pace));
                if (pace_has_failed_often(&m->pace))
                        requests_fail(&m->requests, r);
                return 0;
        }
        if (sysroot_is_machine(m->world.root)) {
                const RecordView done = ledger_view(&m->ledger);

                m->world.scan.unserved |= machine_watch_update(m->machine, &m->world.scan, &done, m->world.lost) > 0;
        }
        outcome = outcome_of(m);
        pace_end(&m->pace, clock_usec(), &outcome);
        if (manager_acts(m))
                executor_run(m->executor, &m->world.plan, false);
        requests_answer(&m->requests);
        return 0;
}

static int on_time(sd_event_source *source _unused_, uint64_t usec _unused_, void *userdata) {
        Manager *m = userdata;
        PaceLook next;
        int r;

        if (!pace_begin(&m->pace, now_usec(m), &next)) {
                requests_answer(&m->requests);
                return 0;
        }
        if (next.retry)
                (void) probe_cache_want_hung(&m->world.probes);
        if (next.reconcile)
                sights_refresh(&m->world.probes);
        r = carry_out(m, next.tables);
        if (r < 0)
                requests_fail(&m->requests, r);
        return 0;
}

/* Before the loop waits: whoever asked for a look, or for an answer, has said so by now. To set a time that has come anew would let
 * others go first, again and again. */
static int on_prepare(sd_event_source *source, void *userdata) {
        const Manager *m = userdata;
        const uint64_t next = MIN(pace_next(&m->pace), requests_next(&m->requests));
        uint64_t present;
        int r = sd_event_source_get_time(source, &present);

        return r < 0 || present == next ? r : sd_event_source_set_time(source, next);
}

static int start_clock(Manager *m) {
        int r;

        r = sd_event_add_time(m->event, &m->timer, CLOCK_MONOTONIC, PACE_NEVER, 1000, on_time, m);
        if (r >= 0)
                r = sd_event_source_set_enabled(m->timer, SD_EVENT_ON);
        return r < 0 ? r : sd_event_source_set_prepare(m->timer, on_prepare);
}

static void on_answers(int result, void *userdata) {
        Manager *m = userdata;

        if (result >= 0) {
                pace_request(&m->pace, now_usec(m), 0);
                return;
        }
        m->world.scan.gaps |= GAP_READ_ERROR;
        pace_unsettled(&m->pace, now_usec(m), false, TABLE_ALL);
        requests_answer(&m->requests);
}

/* An action has ended, or may be tried again. The mount table tells of its own changes, but not of those of a file system's options. */
static void on_executor(const Action *action, void *userdata) {
        Manager *m = userdata;

        if (action && m->bus)
                bus_server_publish_action(m->bus, action);
        pace_request(&m->pace, now_usec(m), action && action->kind == ACTION_MOUNT_OPTION ? TABLE_MOUNTS : 0);
}

/* ---- configuration ---- */

static void on_configuration(void *userdata) {
        Manager *m = userdata;

        if (manager_is_service(m) && !m->options.debug)
                log_set_max_level(m->configuration.settings.log_level);
        if (m->world.looked && !m->trouble)
                pace_request(&m->pace, now_usec(m), 0);
}

static int on_hangup(sd_event_source *source _unused_, const struct signalfd_siginfo *info _unused_, void *userdata) {
        const Manager *m = userdata;

        return reload_request(m->reload, NULL, NULL);
}

static int load_configuration(Manager *m) {
        int r;

        r = reload_new(m->event, m->options.root, &m->configuration, on_configuration, m, &m->reload);
        if (r >= 0)
                r = reload_run(m->reload);
        if (r >= 0 && manager_is_service(m))
                r = sd_event_add_signal(m->event, NULL, SIGHUP | SD_EVENT_SIGNAL_PROCMASK, on_hangup, m);
        return r;
}

/* ---- capture ---- */

static void on_capture_settled(int result, const Plan *actions, void *userdata);

/* What is in force is part of what is shown; captures of machines without stackd have none. */
static int read_ledger(Manager *m) {
        int r;

        r = ledger_open(&m->ledger, m->world.root, false, NULL);
        if (r < 0 && r != -ENOMEM && !error_is_gone(r))
                log_warning("Cannot read what was done: %s", strerror(-r));
        return r == -ENOMEM ? r : 0;
}

/* A whole look with all answers at hand is what is recorded: tables and files of the same moment. 1 when it had new questions, which
 * something that came meanwhile raises: another look follows their answers. */
static int record(Manager *m, Recorder *recorder) {
        int r;

        sysroot_set_recorder(m->world.root, recorder);
        r = read_ledger(m);
        if (r >= 0)
                r = look(m, TABLE_ALL);
        sysroot_set_recorder(m->world.root, NULL);
        if (r < 0 || !sysroot_is_machine(m->world.root) || ++m->capture_looks >= CAPTURE_PASSES_MAX)
                return r;
        return prober_is_busy(m->prober) ? 1 : 0;
}

static int capture(Manager *m) {
        _cleanup_(recorder_freep) Recorder *recorder = recorder_new();
        int r;

        if (!recorder)
                return -ENOMEM;
        r = record(m, recorder);
        if (r > 0)
                return requests_settle(&m->requests, on_capture_settled, m);
        if (r >= 0)
                r = world_record(&m->world, recorder);
        if (r >= 0)
                r = capture_write(recorder, !m->options.capture_all, m->options.capture_fd);
        return r < 0 ? r : sd_event_exit(m->event, EXIT_SUCCESS);
}

static void on_capture_settled(int result, const Plan *actions _unused_, void *userdata) {
        Manager *m = userdata;
        int r;

        r = result < 0 ? result : capture(m);
        if (r >= 0)
                return;
        log_error("Cannot capture: %s", strerror(-r));
        (void) sd_event_exit(m->event, EXIT_FAILURE);
}

/* ---- events of the machine ---- */

static void on_change(MachineChange change, dev_t device, void *userdata) {
        Manager *m = userdata;
        const uint64_t now = now_usec(m);

        switch (change) {
        case MACHINE_MOUNTS:
                sights_refresh(&m->world.probes);
                return pace_mounts(&m->pace, now);
        case MACHINE_SWAPS: return pace_request(&m->pace, now, 0);
        case MACHINE_ARRAYS: return pace_request(&m->pace, now, TABLE_BLOCKS | TABLE_PROCESSES);
        case MACHINE_BLOCK:
                probe_cache_forget(&m->world.probes, PATH("loop %u:%u ", major(device), minor(device)));
                probe_cache_forget(&m->world.probes, PATH("dm %u:%u ", major(device), minor(device)));
                return pace_event(&m->pace, now, TABLE_BLOCKS | TABLE_PROCESSES);
        case MACHINE_DEVICE: return pace_event(&m->pace, now, TABLE_BLOCKS | TABLE_PROCESSES);
        case MACHINE_BDI: return pace_event(&m->pace, now, TABLE_ALL);
        case MACHINE_PROCESS:
        case MACHINE_UNIT: return pace_event(&m->pace, now, TABLE_MOUNTS | TABLE_PROCESSES);
        }
}

/* ---- life ---- */

int manager_new(sd_event *event, const ManagerOptions *options, Manager **ret) {
        _cleanup_(manager_freep) Manager *m = calloc(1, sizeof(Manager));
        int r;

        if (!m)
                return -ENOMEM;
        m->event = sd_event_ref(event);
        m->options = *options;
        m->pace = (Pace) PACE_NULL;
        m->ledger = LEDGER_NULL;
        m->configuration = CONFIGURATION_NULL;
        r = world_init(&m->world);
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
        requests_done(&m->requests);
        configuration_done(&m->configuration);
        machine_watch_free(m->machine);
        sd_event_source_disable_unref(m->timer);
        ledger_done(&m->ledger);
        hazard_log_done(&m->hazard_log);
        world_done(&m->world);
        free(m->trouble);
        sd_event_unref(m->event);
        free(m);
        return NULL;
}

static int open_parts(Manager *m) {
        int r;

        r = executor_new(m->event, m->options.marker, m->options.marker_socket, m->world.root, &m->ledger, on_executor, m, &m->executor);
        if (r >= 0 && m->options.capture_fd < 0)
                r = load_configuration(m);
        if (r >= 0)
                r = prober_new(m->event, &m->world.probes, on_answers, m, &m->prober);
        if (r >= 0)
                r = machine_watch_new(m->event, m->world.root, on_change, m, &m->machine);
        if (r < 0)
                return r;
        m->pace.answers_only = !manager_is_service(m);
        m->requests = (Requests) {
                .event = m->event,
                .world = &m->world,
                .pace = &m->pace,
                .ledger = &m->ledger,
                .executor = m->executor,
                .prober = m->prober,
                .configuration = &m->configuration,
                .reload = m->reload,
                .captured = m->options.root,
                .marks_nothing = m->options.flags_unknown,
        };
        return start_clock(m);
}

/* Of a machine that acts, or whose client may ask it to, changes are followed. */
static int open_machine(Manager *m) {
        int r;

        if (m->options.root)
                return read_ledger(m);
        if (m->options.capture_fd >= 0)
                return 0;
        r = manager_is_service(m) ? requests_become_writer(&m->requests) : read_ledger(m);
        if (r == -EBUSY)
                log_error("Another stackd is running (it holds /run/stackd/lock)");
        if (r >= 0)
                r = machine_watch_start(m->machine);
        m->pace.has_devices = machine_watch_has_devices(m->machine);
        return r;
}

/* The first one, before anybody can ask. */
static int first_look(Manager *m) {
        int r;

        pace_begin_all(&m->pace, now_usec(m));
        r = carry_out(m, TABLE_ALL);
        if (r >= 0 || !m->options.root)
                return r;
        m->trouble = text_format("%s: what it holds cannot be read as a machine (no proc/1/mountinfo?): %s", m->options.root, strerror(-r));
        return m->trouble ? 0 : -ENOMEM;
}

static int serve(Manager *m) {
        BusView view = { .graph = m->world.graph, .analysis = &m->world.analysis, .hazards = &m->world.hazards, .gaps = &m->world.gaps,
                         .marks = executor_mark_counts(m->executor) };

        m->requests.trouble = m->trouble;
        m->world.looked |= m->trouble != NULL; /* and there is no more to see */
        if (m->options.capture_fd < 0)
                return bus_server_new(m->event, m->options.private_fd, &view, &requests_interface, &m->requests, &m->bus);
        if (!m->trouble)
                return requests_settle(&m->requests, on_capture_settled, m);
        log_error("%s", m->trouble);
        return sd_event_exit(m->event, EXIT_FAILURE);
}

int manager_start(Manager *m) {
        int r;

        r = world_open(&m->world, m->options.root, &m->trouble);
        if (r >= 0)
                r = open_parts(m);
        if (r >= 0 && !m->trouble)
                r = open_machine(m);
        if (r >= 0 && !m->trouble)
                r = first_look(m);
        return r < 0 ? r : serve(m);
}
