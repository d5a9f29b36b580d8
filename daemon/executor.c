/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/log.h"
#include "common/text.h"
#include "daemon/actuator/mark/mark-protocol.h"
#include "daemon/child.h"
#include "daemon/executor.h"
#include "daemon/source/process-table.h"

#define MARK_DEADLINE_USEC (10U * 1000 * 1000)
#define MARK_DEADLINE_TEXT "5000" /* milliseconds: the marker's own, within ours */
#define MARKER_PIDFD_TEXT "3"     /* where child_start() puts the descriptor that it passes */
#define RETRY_FIRST_USEC (100U * 1000)
#define RETRY_MAX 8U        /* with a timer; then when something else makes a plan, but not ... */
#define RETRY_DOUBLINGS 13U /* ... more often than every quarter of an hour */

/* An action under way. */
typedef struct Job {
        Action action;
        Child *child;
        Executor *executor;
        struct Job *next;
} Job;

/* Targets whose action failed are tried again, less and less often. */
typedef struct Failure {
        char *target;
        pid_t pid;
        uint64_t start;
        bool undo;
        unsigned tries;
        uint64_t next; /* CLOCK_MONOTONIC, microseconds */
} Failure;

struct Executor {
        sd_event *event;
        const char *marker;
        const Sysroot *root;
        Ledger *ledger;
        ExecutorChanged changed;
        void *userdata;
        Plan history;
        Job *jobs;
        Failure *failures;
        size_t n_failures, failures_capacity;
        sd_event_source *retry_timer;
        uint64_t retry_at;
};

static uint64_t now_usec(Executor *x) {
        uint64_t usec = 0;

        (void) sd_event_now(x->event, CLOCK_MONOTONIC, &usec);
        return usec;
}

static Failure *failure_find(Executor *x, const char *target) {
        for (size_t i = 0; i < x->n_failures; i++)
                if (streq(x->failures[i].target, target))
                        return &x->failures[i];
        return NULL;
}

static void failure_forget(Executor *x, const char *target) {
        Failure *f = failure_find(x, target);

        if (!f)
                return;
        free(f->target);
        *f = x->failures[--x->n_failures];
}

static int on_retry(sd_event_source *source _unused_, uint64_t usec _unused_, void *userdata) {
        Executor *x = userdata;

        x->retry_at = 0;
        x->changed(x->userdata);
        return 0;
}

/* One timer for all: at the earliest of their times. */
static void arm_retry(Executor *x, uint64_t at) {
        if (x->retry_at != 0 && x->retry_at <= at)
                return;
        if (!x->retry_timer) {
                if (sd_event_add_time(x->event, &x->retry_timer, CLOCK_MONOTONIC, at, 1000, on_retry, x) < 0)
                        return;
        } else if (sd_event_source_set_time(x->retry_timer, at) < 0 ||
                   sd_event_source_set_enabled(x->retry_timer, SD_EVENT_ONESHOT) < 0)
                return;
        x->retry_at = at;
}

static void failure_note(Executor *x, const Action *a) {
        Failure *f = failure_find(x, a->target);

        if (!f) {
                Failure new = { .target = strdup(a->target), .pid = a->pid, .start = a->start, .undo = a->undo };

                if (!new.target || ARRAY_APPEND(x->failures, x->n_failures, x->failures_capacity, new) < 0) {
                        free(new.target);
                        return;
                }
                f = &x->failures[x->n_failures - 1];
        }
        f->next = now_usec(x) + ((uint64_t) RETRY_FIRST_USEC << MIN(f->tries, RETRY_DOUBLINGS));
        f->tries++;
        if (f->tries < RETRY_MAX)
                arm_retry(x, f->next);
}

/* Whether it is too early for another try. */
static bool failure_blocks(Executor *x, const Action *a) {
        Failure *f = failure_find(x, a->target);

        if (!f)
                return false;
        if (f->undo != a->undo) {
                failure_forget(x, a->target); /* that was about something else */
                return false;
        }
        if (now_usec(x) >= f->next)
                return false;
        if (f->tries < RETRY_MAX)
                arm_retry(x, f->next);
        return true;
}

static bool has_ended(Executor *x, pid_t pid, uint64_t start) {
        uint64_t now = 0;
        int r;

        r = process_read_start(x->root, pid, &now);
        return r == -ESRCH || (r >= 0 && now != start);
}

/* Servers come and go for as long as the machine runs: what came of those that have ended is not kept. */
static void forget_ended(Executor *x) {
        size_t kept = 0;

        for (size_t i = 0; i < x->history.n; i++) {
                Action *a = &x->history.actions[i];

                if (has_ended(x, a->pid, a->start))
                        action_done(a);
                else
                        x->history.actions[kept++] = *a;
        }
        x->history.n = kept;
        kept = 0;
        for (size_t i = 0; i < x->n_failures; i++)
                if (has_ended(x, x->failures[i].pid, x->failures[i].start))
                        free(x->failures[i].target);
                else
                        x->failures[kept++] = x->failures[i];
        x->n_failures = kept;
}

static bool job_runs(Executor *x, const char *target) {
        for (Job *j = x->jobs; j; j = j->next)
                if (streq(j->action.target, target))
                        return true;
        return false;
}

/* The last word on a target replaces the one before. Takes 'action' over. */
static void history_put(Executor *x, Action *action) {
        for (size_t i = 0; i < x->history.n; i++)
                if (streq(x->history.actions[i].target, action->target)) {
                        action_done(&x->history.actions[i]);
                        x->history.actions[i] = *action;
                        return;
                }
        if (ARRAY_APPEND(x->history.actions, x->history.n, x->history.capacity, *action) < 0)
                action_done(action);
}

/* What the marker said: the state of the process, and the first thread that could not be changed. */
typedef struct Outcome {
        MarkState state;
        MarkResult obstacle;
        int error;
        pid_t tid;
        bool reported, obstructed;
} Outcome;

static void outcome_parse(const char *output, Outcome *ret) {
        *ret = (Outcome) {};
        for (const char *p = output; p && *p; p = strchr(p, '\n')) {
                MarkLine line;

                p += *p == '\n';
                char *copy = strndup(p, strcspn(p, "\n"));
                int r = copy ? mark_line_parse(copy, &line) : -ENOMEM;

                free(copy);
                if (r < 0)
                        continue;
                if (line.final) {
                        ret->state = line.state;
                        ret->reported = true;
                } else if (line.result != MARK_DONE && line.result != MARK_GONE && !ret->obstructed) {
                        ret->obstacle = line.result;
                        ret->error = line.error;
                        ret->tid = line.tid;
                        ret->obstructed = true;
                }
        }
}

static char *outcome_to_error(const Outcome *o, int status, const char *marker) {
        static const char *const obstacles[_MARK_RESULT_MAX] = {
                [MARK_DENIED] = "the kernel does not permit it: the process lacks CAP_SYS_RESOURCE in the initial user namespace",
                [MARK_SECCOMP] = "its seccomp filter is in the way",
                [MARK_BUSY] = "it is stopped, frozen, or asleep in the kernel",
                [MARK_TRACED] = "a debugger traces it",
                [MARK_USER_WORKER] = "it is a worker of the kernel, which never runs code of its own",
                [MARK_UNSUPPORTED] = "this kind of process cannot be changed from outside",
        };

        if (status == 127 || status == -EIO)
                return text_format("%s could not be run", marker);
        if (status == -ETIME)
                return strdup("it did not work within the time that is allowed");
        if (o->reported && o->state == MARK_STATE_GONE)
                return strdup("the process has ended");
        if (!o->obstructed)
                return strdup("its threads changed faster than they could be marked");
        if (o->obstacle == MARK_FAILED)
                return text_format("thread %d: %s", o->tid, strerror(o->error));
        return text_format("thread %d: %s", o->tid, obstacles[o->obstacle] ?: "unknown");
}

static void job_unlink(Job *j) {
        for (Job **p = &j->executor->jobs; *p; p = &(*p)->next)
                if (*p == j) {
                        *p = j->next;
                        return;
                }
}

/* What the marker said it could not do may be done by now, or may not be needed: this is the last word. */
static bool job_is_done(Job *j) {
        _cleanup_node_fact_ NodeFact f = {};

        if (process_read_fact(j->executor->root, j->action.pid, j->action.start, &f) < 0)
                return false;
        return f.threads_io_flusher == (j->action.undo ? 0 : f.threads);
}

static void job_log(const Action *a) {
        if (a->state == ACTION_FAILED)
                log_warning("Cannot %s %s[%d]: %s", a->undo ? "take the IO_FLUSHER mark off" : "mark as IO_FLUSHER", a->name, a->pid,
                            a->error ?: "out of memory");
        else
                log_info("%s %s[%d]: %s", a->undo ? "Took the IO_FLUSHER mark off" : "Marked as IO_FLUSHER", a->name, a->pid, a->reason);
}

static void job_finish(Job *j, int status, const Outcome *o) {
        bool gone = o->reported && o->state == MARK_STATE_GONE;
        Executor *x = j->executor;
        Action *a = &j->action;

        job_unlink(j);
        if (status == 1 && !gone && job_is_done(j))
                status = 0;
        if (status == 0)
                a->state = a->undo ? ACTION_REVERTED : ACTION_APPLIED;
        else {
                a->state = ACTION_FAILED;
                a->error = outcome_to_error(o, status, x->marker);
        }
        if (status == 0 || gone)
                failure_forget(x, a->target);
        else
                failure_note(x, a);
        /* Nothing is left to be undone. A failed attempt may have changed some threads. */
        if (gone || (a->undo && status == 0))
                (void) ledger_remove(x->ledger, a->kind, a->pid, a->start);
        if (gone)
                action_done(a);
        else {
                job_log(a);
                history_put(x, a);
        }
        free(j);
        x->changed(x->userdata);
}

static void on_marker_done(int status, const char *output, void *userdata) {
        Job *j = userdata;
        Outcome o;

        j->child = NULL;
        log_debug("Marker of %s: %s", j->action.target, output);
        outcome_parse(output, &o);
        job_finish(j, status, &o);
}

static int job_start(Job *j) {
        Executor *x = j->executor;
        Action *a = &j->action;
        _cleanup_close_ int pidfd = process_open(x->root, a->pid, a->start);
        char pid[16], start[24];
        const char *const argv[] = {
                x->marker, "--pid", pid, "--start", start, "--pidfd", MARKER_PIDFD_TEXT, a->undo ? "--clear" : "--set",
                "--deadline-ms", MARK_DEADLINE_TEXT, NULL,
        };
        ChildSpec spec = {
                .argv = argv,
                .pass_fd = pidfd,
                .deadline_usec = MARK_DEADLINE_USEC,
                .done = on_marker_done,
                .userdata = j,
        };
        int r;

        if (pidfd < 0)
                return pidfd;
        if (!a->undo) {
                r = ledger_add(x->ledger, a->kind, a->pid, a->start, a->from);
                if (r < 0)
                        return r;
        }
        snprintf(pid, sizeof(pid), "%d", a->pid);
        snprintf(start, sizeof(start), "%llu", (unsigned long long) a->start);
        return child_start(x->event, &spec, &j->child);
}

static int start_action(Executor *x, const Action *action) {
        Job *j = calloc(1, sizeof(Job));
        int r;

        forget_ended(x);
        if (!j)
                return -ENOMEM;
        j->executor = x;
        r = action_copy(action, &j->action);
        if (r < 0) {
                free(j);
                return r;
        }
        j->next = x->jobs;
        x->jobs = j;
        r = job_start(j);
        if (r == -ESRCH)
                job_finish(j, 1, &(Outcome) { .state = MARK_STATE_GONE, .reported = true });
        else if (r < 0)
                job_finish(j, 1, &(Outcome) { .obstacle = MARK_FAILED, .error = -r, .tid = action->pid, .obstructed = true });
        return 0;
}

void executor_run(Executor *x, const Plan *plan, bool at_once) {
        for (size_t i = 0; i < plan->n; i++) {
                const Action *a = &plan->actions[i];

                if (at_once)
                        failure_forget(x, a->target);
                if (job_runs(x, a->target) || failure_blocks(x, a))
                        continue;
                if (start_action(x, a) < 0)
                        log_error("Cannot change %s[%d]: out of memory", a->name, a->pid);
        }
}

bool executor_is_busy(const Executor *x) {
        return x->jobs;
}

const Plan *executor_history(const Executor *x) {
        return &x->history;
}

int executor_new(
                sd_event *event,
                const char *marker,
                const Sysroot *root,
                Ledger *ledger,
                ExecutorChanged changed,
                void *userdata,
                Executor **ret) {

        Executor *x = calloc(1, sizeof(Executor));

        if (!x)
                return -ENOMEM;
        *x = (Executor) {
                .event = event, .marker = marker, .root = root, .ledger = ledger, .changed = changed, .userdata = userdata,
        };
        *ret = x;
        return 0;
}

Executor *executor_free(Executor *x) {
        if (!x)
                return NULL;
        for (Job *j = x->jobs, *next; j; j = next) {
                next = j->next;
                child_cancel(j->child);
                action_done(&j->action);
                free(j);
        }
        sd_event_source_disable_unref(x->retry_timer);
        for (size_t i = 0; i < x->n_failures; i++)
                free(x->failures[i].target);
        free(x->failures);
        plan_done(&x->history);
        free(x);
        return NULL;
}
