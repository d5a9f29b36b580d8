/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/hashmap.h"
#include "common/log.h"
#include "common/text.h"
#include "daemon/actuator/actuator.h"
#include "daemon/child/child.h"
#include "daemon/executor/action-log.h"
#include "daemon/executor/executor.h"
#include "daemon/executor/failures.h"
#include "daemon/executor/mark-client.h"
#include "daemon/executor/mark-outcome.h"
#include "daemon/source/process-table.h"

#define MARK_DEADLINE_USEC (10U * 1000 * 1000)
#define MARK_DEADLINE_TEXT "5000" /* milliseconds: the marker's own, within ours */
#define MARKER_PIDFD_TEXT "3"     /* where child_start() and the service put the descriptor that is passed */
#define DEED_DEADLINE_USEC (25U * 1000 * 1000) /* longer than what the service manager is given to answer */
#define MARKS_MAX 32U       /* under way at once: each is a process, and holds others up for a few seconds at most */
#define DEEDS_MAX 16U       /* of all else */
#define STUCK_MAX 32U       /* children that will not die: begin no more of what may become one */
#define HISTORY_MAX 1024U

/* An action under way, or waiting for its turn. */
typedef struct Job {
        Action action;
        char *object; /* which setting of which object: one job for each */
        Child *child;
        bool hung; /* was given up */
        Record *before; /* the record that there was before this, or NULL */
        Executor *executor;
        struct JobList *list;
        struct Job *previous, *next;
} Job;

/* The oldest comes first. */
typedef struct JobList {
        Job *first, *last;
        size_t n;
} JobList;

struct Executor {
        sd_event *event;
        const char *marker, *marker_socket;
        const Sysroot *root;
        Ledger *ledger;
        ExecutorChanged changed;
        void *userdata;
        Plan history;
        JobList marks, deeds;                 /* under way */
        JobList waiting_marks, waiting_deeds; /* for their turn */
        Hashmap *by_object;                   /* all of these jobs */
        bool starting;
        Failures failures;
        sd_event_source *retry_timer;
        MarkCounts counts;
};

static uint64_t now_usec(Executor *x) {
        uint64_t usec = 0;

        (void) sd_event_now(x->event, CLOCK_MONOTONIC, &usec);
        return usec;
}

/* As people tell the time. */
static uint64_t time_usec(Executor *x) {
        uint64_t usec = 0;

        (void) sd_event_now(x->event, CLOCK_REALTIME, &usec);
        return usec;
}

/* ---- failures ---- */

static int on_retry(sd_event_source *source _unused_, uint64_t usec _unused_, void *userdata) {
        Executor *x = userdata;

        failures_alarmed(&x->failures);
        x->changed(NULL, x->userdata);
        return 0;
}

static void arm_retry(Executor *x) {
        const uint64_t at = x->failures.alarm;

        if (at == 0)
                return;
        if (!x->retry_timer)
                (void) sd_event_add_time(x->event, &x->retry_timer, CLOCK_MONOTONIC, at, 1000, on_retry, x);
        else if (sd_event_source_set_time(x->retry_timer, at) >= 0)
                (void) sd_event_source_set_enabled(x->retry_timer, SD_EVENT_ONESHOT);
}

static void note_failure(Executor *x, const Action *a, bool refused, bool hung) {
        failures_note(&x->failures, a, refused, hung, now_usec(x));
        arm_retry(x);
}

/* ---- what is kept ---- */

static bool has_ended(const Action *a, const void *root) {
        return a->pid != 0 && process_has_ended(root, a->pid, a->start);
}

/* Servers come and go for as long as the machine runs: what came of those that have ended is not kept. */
static void forget_ended(Executor *x) {
        size_t kept = 0, surplus = x->history.n > HISTORY_MAX ? x->history.n - HISTORY_MAX : 0;

        for (size_t i = 0; i < x->history.n; i++) {
                Action *a = &x->history.actions[i];

                if (i < surplus || has_ended(a, x->root))
                        action_done(a);
                else
                        x->history.actions[kept++] = *a;
        }
        x->history.n = kept;
        failures_forget_all(&x->failures, has_ended, x->root);
}

/* The last word on an object's setting replaces the one before. Takes 'action' over. */
static void history_put(Executor *x, Action *action) {
        for (size_t i = 0; i < x->history.n; i++)
                if (action_same_object(&x->history.actions[i], action)) {
                        action_done(&x->history.actions[i]);
                        x->history.actions[i] = *action;
                        return;
                }
        if (ARRAY_APPEND(x->history.actions, x->history.n, x->history.capacity, *action) < 0)
                action_done(action);
}

/* ---- jobs ---- */

static char *object_of(const Action *a) {
        return text_format("%s %s %s", action_kind_to_string(a->kind), a->target, a->key);
}

static void job_unlink(Job *j) {
        JobList *l = j->list;

        if (!l)
                return;
        *(j->previous ? &j->previous->next : &l->first) = j->next;
        *(j->next ? &j->next->previous : &l->last) = j->previous;
        l->n--;
        j->list = NULL;
}

static void job_link(Job *j, JobList *l) {
        job_unlink(j);
        j->list = l;
        j->previous = l->last;
        j->next = NULL;
        *(l->last ? &l->last->next : &l->first) = j;
        l->last = j;
        l->n++;
}

static void job_free(Job *j) {
        job_unlink(j);
        if (j->object)
                (void) hashmap_remove(j->executor->by_object, j->object);
        free(j->object);
        if (j->before)
                record_done(j->before);
        free(j->before);
        action_done(&j->action);
        free(j);
}

/* What the marker said it could not do may be done by now, or may not be needed: this is the last word. */
static bool mark_is_done(Job *j) {
        _cleanup_node_fact_ NodeFact f = {};

        if (process_read_fact(j->executor->root, j->action.pid, j->action.start, &f) < 0)
                return false;
        return f.threads_io_flusher == (j->action.undo ? 0 : f.threads);
}

static void start_waiting_jobs(Executor *x);

/* The job is over; its action tells how. Frees it. */
static void job_finish(Job *j, DeedStatus status) {
        bool gone = status == DEED_GONE;
        Executor *x = j->executor;
        Action *a = &j->action;

        a->when = time_usec(x);
        /* What was so already is not tried at once again, should it be planned again. */
        if (gone ? a->undo || a->pid > 0 : a->state != ACTION_FAILED && (a->undo || status != DEED_SAME))
                failures_forget(&x->failures, a);
        else
                note_failure(x, a, status == DEED_REFUSED, j->hung);
        if (!gone) {
                if (a->kind == ACTION_IO_FLUSHER)
                        action_log_mark(a);
                else
                        action_log_deed(a, status);
                x->changed(a, x->userdata);
                history_put(x, a);
                *a = (Action) {};
        } else
                x->changed(NULL, x->userdata);
        job_free(j);
        start_waiting_jobs(x);
}

/* ---- marks ---- */

static void mark_finish(Job *j, int status, const MarkOutcome *o) {
        bool gone = o->reported && o->state == MARK_STATE_GONE;
        Executor *x = j->executor;
        Action *a = &j->action;

        if (status == 1 && !gone && mark_is_done(j))
                status = 0;
        a->cut = o->cut;
        x->counts.marks++;
        x->counts.cut += o->cut;
        if (status == 0)
                a->state = a->undo ? ACTION_REVERTED : ACTION_APPLIED;
        else {
                a->state = ACTION_FAILED;
                a->error = mark_outcome_to_error(o, status, x->marker_socket ?: x->marker);
                a->refused = o->reported && o->obstructed && o->settled;
        }
        /* Nothing is left to be undone. A failed attempt may have changed some threads. */
        if (gone || (a->undo && status == 0))
                (void) ledger_remove(x->ledger, a->kind, a->target, a->key);
        job_finish(j, gone ? DEED_GONE : a->refused && o->final ? DEED_REFUSED : DEED_DONE);
}

static void on_marker_done(int status, const char *output, void *userdata) {
        Job *j = userdata;
        MarkOutcome o;

        j->child = NULL;
        log_debug("Marker of %s: %s", j->action.target, output);
        mark_outcome_parse(output, &o);
        mark_finish(j, status == 0 ? mark_outcome_to_status(&o) : status, &o);
}

/* The record of what is being done: what was set is not known until it has been read back. */
static int put_record(Job *j, const char *set) {
        const Action *a = &j->action;
        Record record = {
                .kind = a->kind,
                .target = a->target,
                .key = a->key,
                .subject = a->subject,
                .name = a->name,
                .pid = a->pid,
                .start = a->start,
                .from = a->from,
                .to = a->to,
                .set = (char *) set,
                .detail = a->detail,
                .when = time_usec(j->executor),
        };

        return ledger_put(j->executor->ledger, &record);
}

static int mark_start(Job *j) {
        Executor *x = j->executor;
        Action *a = &j->action;
        _cleanup_close_ int pidfd = process_open(x->root, a->pid, a->start);
        char pid[16], start[24];
        const char *const argv[] = {
                x->marker, "--pid", pid, "--start", start, "--pidfd", MARKER_PIDFD_TEXT, a->undo ? "--clear" : "--set",
                "--deadline-ms", MARK_DEADLINE_TEXT, NULL,
        };
        ChildSpec spec = {
                .kind = CHILD_MARK,
                .argv = argv,
                .pass_fd = pidfd,
                .deadline_usec = MARK_DEADLINE_USEC,
                .done = on_marker_done,
                .userdata = j,
        };
        int r;

        if (pidfd < 0)
                return pidfd;
        if (child_count_stuck(CHILD_MARK) >= STUCK_MAX)
                return -EBUSY;
        if (!a->undo) {
                r = put_record(j, NULL);
                if (r < 0)
                        return r;
        }
        snprintf(pid, sizeof(pid), "%d", a->pid);
        snprintf(start, sizeof(start), "%llu", (unsigned long long) a->start);
        return x->marker_socket ? mark_client_start(x->event, x->marker_socket, &spec, &j->child)
                                : child_start(x->event, &spec, &j->child);
}

/* ---- deeds ---- */

/* After an attempt that did not work: what is known to be there now is what an undo has to expect. */
static void settle_record(Job *j, const char *value) {
        Executor *x = j->executor;
        Action *a = &j->action;

        if (a->undo || !value)
                return;
        if (j->before && streq_ptr(j->before->set, value))
                (void) ledger_put(x->ledger, j->before);
        else if (!j->before && streq_ptr(a->from, value))
                (void) ledger_remove(x->ledger, a->kind, a->target, a->key);
        else if (!j->before)
                (void) put_record(j, value);
}

static void deed_succeed(Job *j, const DeedResult *result) {
        Executor *x = j->executor;
        Action *a = &j->action;

        a->state = a->undo ? ACTION_REVERTED : ACTION_APPLIED;
        if (!a->undo) {
                int r = put_record(j, result->value);

                if (r < 0)
                        log_error("Cannot write to /run/stackd what was done to %s: %s", a->name, strerror(-r));
                return;
        }
        if (result->status == DEED_LEFT)
                a->error = text_format("it is %s, which someone else has set meanwhile, and is left so", result->value ?: "?");
        (void) ledger_remove(x->ledger, a->kind, a->target, a->key);
}

static void deed_finish(Job *j, const DeedResult *result) {
        bool gone = result->status == DEED_GONE;
        Executor *x = j->executor;
        Action *a = &j->action;

        if (result->status == DEED_DONE || result->status == DEED_SAME || result->status == DEED_LEFT)
                deed_succeed(j, result);
        else if (gone && a->undo)
                (void) ledger_remove(x->ledger, a->kind, a->target, a->key);
        else if (gone && result->value)
                /* It has gone after it was changed, and may leave a trace: that is for an undo to find out. */
                (void) put_record(j, result->value);
        else if (gone)
                (void) (j->before ? ledger_put(x->ledger, j->before) : 0);
        else {
                a->state = ACTION_FAILED;
                a->error = result->status == DEED_STALE ? text_format("it is %s by now", result->value ?: "?")
                                                        : strdup(result->trouble ?: "for no reason that was given");
                /* Somebody else has changed it since it was looked at; before that it was ours, or it was not. */
                settle_record(j, result->status == DEED_STALE ? (j->before ? j->before->set : a->from) : result->value);
        }
        job_finish(j, result->status);
}

static void on_deed_done(int status, const char *output, void *userdata) {
        DeedResult result = {};
        Job *j = userdata;
        int r;

        j->child = NULL;
        log_debug("%s of %s: %d %s", action_kind_to_string(j->action.kind), j->action.target, status, output);
        j->hung = status == -ETIME;
        r = deed_result_parse(output, &result);
        if (r < 0)
                result = (DeedResult) {
                        .status = DEED_FAILED,
                        .trouble = strdup(status == -ETIME ? "it did not work within the time that is allowed"
                                                           : "the process that was to do it ended before it had said what came of it"),
                };
        deed_finish(j, &result);
        deed_result_done(&result);
}

static void run_deed(void *userdata, int output_fd) {
        Job *j = userdata;

        deed_run(j->executor->root, &j->action, output_fd);
}

static int keep_record(Job *j) {
        RecordView view = ledger_view(j->executor->ledger);
        const Record *before = record_find(&view, j->action.kind, j->action.target, j->action.key);
        int r;

        if (!before)
                return 0;
        j->before = calloc(1, sizeof(Record));
        if (!j->before)
                return -ENOMEM;
        r = record_copy(before, j->before);
        if (r < 0) {
                free(j->before);
                j->before = NULL;
        }
        return r;
}

static int deed_start(Job *j) {
        Executor *x = j->executor;
        const Actuator *actuator = actuator_find(j->action.kind);
        ChildSpec spec = {
                .kind = CHILD_DEED,
                .run = run_deed,
                .pass_fd = -1,
                .deadline_usec = DEED_DEADLINE_USEC,
                .done = on_deed_done,
                .userdata = j,
        };
        int r = 0;

        spec.keep = sysroot_descriptors(x->root, &spec.n_keep);
        if (child_count_stuck(CHILD_DEED) >= STUCK_MAX)
                return -EBUSY;
        if (!j->action.undo) {
                r = keep_record(j);
                if (r < 0)
                        return r; /* what is recorded stays so */
                if (!j->before && actuator->prepare)
                        r = actuator->prepare(x->root, &j->action);
                if (r >= 0)
                        r = put_record(j, NULL);
        }
        if (r >= 0)
                r = child_start(x->event, &spec, &j->child);
        if (r < 0)
                settle_record(j, j->before ? j->before->set : j->action.from); /* nothing has been done */
        return r;
}

/* ---- running ---- */

static void job_start(Job *j) {
        int r;

        if (j->action.kind == ACTION_IO_FLUSHER) {
                r = mark_start(j);
                if (r == -ESRCH)
                        mark_finish(j, 1, &(MarkOutcome) { .state = MARK_STATE_GONE, .reported = true });
                else if (j->executor->marker_socket && (r == -ECONNREFUSED || r == -EAGAIN))
                        mark_finish(j, r, &(MarkOutcome) {});
                else if (r < 0)
                        mark_finish(j, 1, &(MarkOutcome) { .obstacle = MARK_FAILED, .error = -r, .tid = j->action.pid, .obstructed = true });
                return;
        }
        r = deed_start(j);
        if (r < 0)
                deed_finish(j, &(DeedResult) { .status = DEED_FAILED, .trouble = strerror(-r) });
}

/* One at a time for an object: what changes one option of a file system says the others again, as they were. */
static bool is_object_free(const Executor *x, const Job *job) {
        for (const Job *j = x->deeds.first; j; j = j->next)
                if (streq(j->action.target, job->action.target))
                        return false;
        return true;
}

/* Marks are the more urgent ones, and wait for nothing but their number. */
static Job *next_waiting(const Executor *x) {
        if (x->marks.n < MARKS_MAX && x->waiting_marks.first)
                return x->waiting_marks.first;
        for (Job *j = x->deeds.n < DEEDS_MAX ? x->waiting_deeds.first : NULL; j; j = j->next)
                if (is_object_free(x, j))
                        return j;
        return NULL;
}

/* A job that cannot even be started ends at once, and so comes back here: the lists are gone through anew. */
static void start_waiting_jobs(Executor *x) {
        if (x->starting)
                return;
        x->starting = true;
        for (Job *j; (j = next_waiting(x));) {
                job_link(j, j->action.kind == ACTION_IO_FLUSHER ? &x->marks : &x->deeds);
                job_start(j);
        }
        x->starting = false;
}

/* -EEXIST: there is one already. */
static int add_job(Executor *x, const Action *action) {
        Job *j = calloc(1, sizeof(Job));
        char *object;
        int r;

        if (!j)
                return -ENOMEM;
        j->executor = x;
        object = object_of(action);
        r = object ? hashmap_put(x->by_object, object, j) : -ENOMEM;
        if (r < 0) {
                free(object);
                free(j);
                return r;
        }
        j->object = object;
        r = action_copy(action, &j->action);
        if (r < 0) {
                job_free(j);
                return r;
        }
        job_link(j, action->kind == ACTION_IO_FLUSHER ? &x->waiting_marks : &x->waiting_deeds);
        start_waiting_jobs(x);
        return 0;
}

/* What is not to be done any more cannot fail any more: units and devices come and go. */
static bool is_unplanned(const Action *a, const void *argument) {
        const Plan *plan = argument;

        for (size_t i = 0; i < plan->n; i++)
                if (action_same_object(&plan->actions[i], a))
                        return false;
        return a->pid == 0;
}

void executor_run(Executor *x, Plan *plan, bool at_once) {
        forget_ended(x);
        if (!at_once)
                failures_forget_all(&x->failures, is_unplanned, plan);
        for (size_t i = 0; i < plan->n; i++) {
                Action *a = &plan->actions[i];

                if (a->state != ACTION_PLANNED)
                        continue;
                if (at_once)
                        failures_forget(&x->failures, a);
                if (failures_block(&x->failures, a, now_usec(x))) {
                        arm_retry(x);
                        continue;
                }
                if (add_job(x, a) != -ENOMEM)
                        continue;
                log_error("Cannot change %s: out of memory", a->name);
                note_failure(x, a, false, false);
                a->state = ACTION_FAILED;
                a->error = strdup("out of memory");
        }
}

bool executor_is_busy(const Executor *x) {
        return hashmap_size(x->by_object) > 0;
}

const Action *executor_last(const Executor *x, const Action *a) {
        for (size_t i = 0; i < x->history.n; i++)
                if (action_same_object(&x->history.actions[i], a))
                        return &x->history.actions[i];
        return NULL;
}

const MarkCounts *executor_mark_counts(const Executor *x) {
        return &x->counts;
}

const Action *executor_failed(const Executor *x, const Action *a) {
        const Action *last = executor_last(x, a);

        return last && last->state == ACTION_FAILED && last->undo == a->undo && streq(last->to, a->to) ? last : NULL;
}

int executor_new(
                sd_event *event,
                const char *marker,
                const char *marker_socket,
                const Sysroot *root,
                Ledger *ledger,
                ExecutorChanged changed,
                void *userdata,
                Executor **ret) {

        Executor *x = calloc(1, sizeof(Executor));

        if (!x)
                return -ENOMEM;
        *x = (Executor) {
                .event = event, .marker = marker, .marker_socket = marker_socket, .root = root, .ledger = ledger, .changed = changed, .userdata = userdata,
                .by_object = hashmap_new(),
        };
        if (!x->by_object) {
                free(x);
                return -ENOMEM;
        }
        *ret = x;
        return 0;
}

static void cancel_all(JobList *l) {
        while (l->first) {
                child_cancel(l->first->child);
                job_free(l->first);
        }
}

Executor *executor_free(Executor *x) {
        if (!x)
                return NULL;
        cancel_all(&x->marks);
        cancel_all(&x->deeds);
        cancel_all(&x->waiting_marks);
        cancel_all(&x->waiting_deeds);
        hashmap_free(x->by_object);
        sd_event_source_disable_unref(x->retry_timer);
        failures_done(&x->failures);
        plan_done(&x->history);
        free(x);
        return NULL;
}
