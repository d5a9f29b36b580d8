/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* When a thread may be stopped, and the stop.
 *
 * A stop wakes a thread out of its system call. Two moments do no harm:
 *
 * - It sleeps in a call that continues or begins again (interruption.c), and has slept for a while. Then it is stopped at once: a
 *   thread that has been idle does not go on within those microseconds. After the stop its call tells whether it did.
 * - It runs code of its own. A thread that works is stopped there, by a trap (user-trap.c).
 *
 * Any other thread is left to go on: one that waits inside a write, or for a FUSE server's answer. Nobody attaches to it
 * meanwhile, for to a traced thread the kernel delivers also signals that it ignores, and these end its call (kernel/signal.c,
 * sig_ignored()). */

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>

#include "daemon/actuator/mark/step.h"
#include "daemon/actuator/mark/thread-visit.h"
#include "daemon/actuator/mark/user-trap.h"

#define STOP_WAIT_USEC 2000000U          /* for a processor: to give up would not take the interruption back */
#define LOOK_USEC 300U                   /* between two looks at a thread that works */
#define QUIET_NS UINT64_C(500000)        /* asleep in one place for so long, a thread is idle */
#define QUIET_LONG_NS UINT64_C(1000000000) /* and here it has probably transferred nothing: see CALL_LONG */
#define ATTACHED_NS UINT64_C(3000000)    /* so long a thread that works is waited for while it is traced */
#define NAP_USEC 100U
#define STOP_LIMIT_USEC 250000
#define SIGNAL_CALL_STOP (SIGTRAP | 0x80)
#define SEIZE_TRIES 3U
#define MOVES_OF_WORK 3U  /* a thread that sleeps in so many different moments works */

/* Waits for SIGCHLD, which is blocked; it is pending once however many stops it stands for. */
int tracee_wait(pid_t tid, unsigned timeout_usec, int *ret_status) {
        const uint64_t until = now_ns() + timeout_usec * UINT64_C(1000);
        sigset_t set;

        sigemptyset(&set);
        sigaddset(&set, SIGCHLD);
        for (;;) {
                struct timespec ts;
                uint64_t now;
                pid_t p = waitpid(tid, ret_status, __WALL | WNOHANG);

                if (p == tid)
                        return 0;
                if (p < 0)
                        return errno == ECHILD ? -ESRCH : -errno;
                now = now_ns();
                if (now >= until)
                        return -ETIMEDOUT;
                ts = (struct timespec) { (time_t) ((until - now) / 1000000000), (long) ((until - now) % 1000000000) };
                (void) sigtimedwait(&set, NULL, &ts);
        }
}

StopKind stop_kind(int status, int *ret_signal) {
        int sig;

        *ret_signal = 0;
        if (!WIFSTOPPED(status))
                return STOP_GONE;
        sig = WSTOPSIG(status);
        if (status >> 16 == PTRACE_EVENT_STOP)
                return sig == SIGTRAP ? STOP_OURS : STOP_GROUP;
        if (sig == SIGNAL_CALL_STOP)
                return STOP_CALL;
        *ret_signal = sig;
        return STOP_SIGNAL;
}

void stop_watch(bool on) {
        const struct itimerval limit = { .it_value.tv_usec = on ? STOP_LIMIT_USEC : 0 };

        (void) setitimer(ITIMER_REAL, &limit, NULL);
}

void thread_detach(Visit *v, int sig) {
        uint64_t stopped;

        if (ptrace(PTRACE_DETACH, v->tid, NULL, (void *) (long) sig) < 0)
                (void) waitpid(v->tid, NULL, __WALL | WNOHANG); /* killed: another thread's exec() may wait for our having seen it */
        stopped = now_ns() - v->stop_began;
        step_reached(STEP_DETACHED);
        stop_watch(false);
        v->report->stopped_ns = MAX(v->report->stopped_ns, stopped);
}

void thread_restore(Visit *v, int sig) {
        (void) arch_state_restore(v->tid, &v->state);
        step_reached(STEP_RESTORED);
        thread_detach(v, sig);
}

/* ---- where the thread is ---- */

typedef enum Place {
        PLACE_IDLE,     /* asleep where it may be stopped, for long enough */
        PLACE_SETTLING, /* asleep there, but not for long */
        PLACE_HELD,     /* asleep inside a call that has to go on */
        PLACE_RUNNING,
} Place;

static bool call_equals(const ThreadCall *a, const ThreadCall *b) {
        return a->running == b->running && a->nr == b->nr && a->sp == b->sp && a->ip == b->ip &&
                memcmp(a->args, b->args, sizeof(a->args)) == 0;
}

/* An io_uring_enter() that has submitted requests goes on as a call of the path's, see arch_path_rest(). A filter of system
 * calls might judge that one in another way. */
static bool call_needs_path(const Visit *v, const ThreadCall *call) {
        return v->status.seccomp != 0 && call_has_rest(call->nr, call->args, (int64_t) call->args[1]);
}

static Place place_of(const Visit *v, const ThreadCall *call, const ThreadWait *wait, uint64_t asleep_ns) {
        switch (call_needs_path(v, call) ? CALL_NEVER : call_care(call, wait)) {
        case CALL_PLAIN: return asleep_ns >= QUIET_NS ? PLACE_IDLE : PLACE_SETTLING;
        case CALL_LONG: return asleep_ns >= QUIET_LONG_NS ? PLACE_IDLE : PLACE_HELD;
        case CALL_NEVER: break;
        }
        return PLACE_HELD;
}

/* What a look says of the signals that the thread blocks. A call may have put another mask in the place of its own. */
static void mask_note(Visit *v, const ThreadStatus *status, bool certain) {
        v->blocked |= status->blocked;
        v->mask_known = v->mask_known || certain;
}

/* A thread that has just been woken has the mask of its call still, and one that is about to sleep may have it already. Its own is
 * seen between two moments in which it ran code of its own, if it did not sleep since before the first: 'met' says that there was
 * such a moment since the last look. */
static int running_read(Visit *v, bool met) {
        ThreadStatus status;
        int r;

        v->report->sleep.since_ns = 0;
        r = thread_status_read(v->job->target, v->tid, &status);
        if (r < 0)
                return r;
        if (status.sleeps != v->run_sleeps)
                v->run_met = 0;
        else if (met)
                v->run_met++;
        v->run_sleeps = status.sleeps;
        mask_note(v, &status, v->run_met >= 2);
        return 0;
}

/* Reads where the thread is; the report keeps since when it has slept there. */
static int place_read(Visit *v, bool met, Place *ret) {
        const Target *t = v->job->target;
        ThreadSleep *sleep = &v->report->sleep;
        const uint64_t now = now_ns();
        ThreadCall call, later;
        ThreadStatus status;
        ThreadWait wait;
        int r;

        r = thread_call_read(t, v->tid, &call);
        if (r < 0)
                return r;
        if (call.running) {
                *ret = PLACE_RUNNING;
                return running_read(v, met);
        }
        r = thread_status_read(t, v->tid, &status);
        if (r >= 0)
                r = thread_wait_read(t, v->tid, &call, &wait);
        if (r < 0)
                return r;
        r = thread_call_read(t, v->tid, &later);
        if (r < 0)
                return r;
        mask_note(v, &status, call_equals(&call, &later) && !call_changes_mask(&call));
        if (sleep->since_ns == 0 || sleep->switches != status.switches || !call_equals(&sleep->call, &call)) {
                sleep->since_ns = now;
                v->moves++;
        }
        sleep->switches = status.switches;
        sleep->call = call;
        sleep->call.continued = call_continued(&call, &wait);
        *ret = place_of(v, &call, &wait, now - sleep->since_ns);
        return 0;
}

/* Sleeps for a moment, or until the watch has seen the thread run code of its own: whether it has. */
static bool watch_wait(void) {
        const struct timespec nap = { 0, NAP_USEC * 1000 };
        sigset_t set;

        sigemptyset(&set);
        sigaddset(&set, SIGURG);
        return sigtimedwait(&set, NULL, &nap) == SIGURG;
}

/* Not attached: waits until the thread is idle, or works and is met outside of its calls. */
static Next place_await(Visit *v, Place *ret) {
        const uint64_t until = now_ns() + v->job->patience_ns;
        _cleanup_(user_trap_disarm) UserTrap watch = USER_TRAP_NONE;

        do {
                bool met = watch_wait() && watch.fd >= 0;
                int r = place_read(v, met, ret);

                if (r < 0)
                        return report_error(v, r);
                if (*ret == PLACE_IDLE || (*ret == PLACE_SETTLING && v->moves >= MOVES_OF_WORK))
                        return NEXT_GO_ON;
                if (met && v->mask_known && *ret == PLACE_RUNNING)
                        return NEXT_GO_ON;
                if (watch.fd < 0 || met) {
                        user_trap_disarm(&watch);
                        (void) user_watch_arm(v->tid, &watch);
                }
        } while (now_ns() < until);
        return report_as(v, MARK_BUSY, true);
}

/* ---- the stop ---- */

/* Still asleep in the call that was looked at? Then it is asked to stop, with nothing in between. */
static Next interrupt_idle(Visit *v, bool *ret_moved) {
        ThreadStat stat;
        ThreadCall call;

        *ret_moved = thread_stat_read(v->job->target, v->tid, &stat) < 0 || stat.state != 'S' ||
                thread_call_read(v->job->target, v->tid, &call) < 0 || !call_equals(&call, &v->report->sleep.call);
        if (*ret_moved)
                return NEXT_GO_ON;
        v->stop_began = now_ns();
        if (ptrace(PTRACE_INTERRUPT, v->tid, NULL, NULL) < 0)
                return report_error(v, -errno);
        v->seen = v->report->sleep.call;
        step_reached(STEP_REQUESTED);
        return NEXT_GO_ON;
}

/* There is none where the signals that the thread blocks are not known, nor for one that was met on a coroutine's stack before:
 * its own stack is the one on which it sleeps. */
static int trap_renew(Visit *v, UserTrap *trap) {
        user_trap_disarm(trap);
        return !v->mask_known || v->report->foreign_stops > 0 ? -EOPNOTSUPP : user_trap_arm(v->tid, v->blocked | v->status.caught, trap);
}

/* One that an untraced thread would not have got. */
static bool signal_is_ignored(const Visit *v, int sig) {
        const uint64_t bit = UINT64_C(1) << (sig - 1);

        if ((v->status.ignored | v->status.caught) & bit)
                return v->status.ignored & bit;
        return sig == SIGCHLD || sig == SIGURG || sig == SIGWINCH || sig == SIGCONT;
}

static Next stop_await(Visit *v) {
        int status, sig, r;

        for (;;) {
                /* To give up does not take the interruption back; and see filter_look(). */
                r = tracee_wait(v->tid, STOP_WAIT_USEC, &status);
                if (r == -ETIMEDOUT) {
                        (void) report_as(v, MARK_BUSY, true);
                        return NEXT_ABANDON;
                }
                if (r < 0)
                        return report_error(v, r);
                stop_watch(true);
                step_reached(STEP_STOPPED);
                switch (stop_kind(status, &sig)) {
                case STOP_OURS:
                        return NEXT_GO_ON;
                case STOP_GONE:
                        return report_as(v, MARK_GONE, false);
                case STOP_GROUP:
                        thread_detach(v, 0);
                        return report_as(v, MARK_BUSY, false);
                default:
                        break;
                }
                if (!signal_is_ignored(v, sig)) {
                        thread_detach(v, sig);
                        return report_as(v, MARK_BUSY, true);
                }
                /* ours comes next, before the thread leaves the kernel */
                if (ptrace(PTRACE_CONT, v->tid, NULL, NULL) < 0)
                        return report_error(v, -errno);
        }
}

/* A stop that came while we waited for the trap. A signal that the thread ignores would not have woken it: it is dropped, and its
 * stop is as good as ours. With any other one the thread goes on: NEXT_RETURN. */
static Next trap_judge(Visit *v, UserTrap *trap, int status) {
        int sig;
        StopKind kind = stop_kind(status, &sig);

        if (kind == STOP_GONE)
                return report_as(v, MARK_GONE, false);
        v->stop_began = now_ns();
        if (kind == STOP_SIGNAL && (user_trap_is_reason(trap, v->tid, sig) || signal_is_ignored(v, sig))) {
                stop_watch(true);
                step_reached(STEP_STOPPED);
                v->seen = v->report->sleep.since_ns != 0 ? v->report->sleep.call : (ThreadCall) { .running = true };
                return NEXT_GO_ON;
        }
        if (kind == STOP_GROUP) {
                thread_detach(v, 0);
                return report_as(v, MARK_BUSY, false);
        }
        if (ptrace(PTRACE_CONT, v->tid, NULL, (void *) (long) sig) < 0)
                return report_error(v, -errno);
        (void) trap_renew(v, trap); /* it may have come at once with that one */
        return NEXT_RETURN;
}

/* Asks it to stop if it is idle by now, NEXT_RETURN if not. Without a trap, at its first harmless sleep. */
static Next idle_stop(Visit *v, UserTrap *trap) {
        bool moved = true;
        Place place;
        Next next;
        int r;

        r = place_read(v, false, &place);
        if (r < 0) {
                (void) report_error(v, r);
                return NEXT_ABANDON;
        }
        if (place != PLACE_IDLE && (place != PLACE_SETTLING || trap->fd >= 0))
                return NEXT_RETURN;
        if (stack_look(v, v->report->sleep.call.sp) < 0)
                return NEXT_RETURN;
        user_trap_disarm(trap);
        next = interrupt_idle(v, &moved);
        if (next != NEXT_GO_ON)
                return next;
        if (!moved)
                return stop_await(v);
        (void) trap_renew(v, trap);
        return NEXT_RETURN;
}

/* Attached to a thread that works: waits until it runs code of its own, or is idle. */
static Next working_stop(Visit *v) {
        const uint64_t until = now_ns() + ATTACHED_NS;
        _cleanup_(user_trap_disarm) UserTrap trap = USER_TRAP_NONE;

        if (trap_renew(v, &trap) == -ESRCH)
                return report_as(v, MARK_GONE, false);
        step_reached(STEP_REQUESTED);
        do {
                int status, r = tracee_wait(v->tid, LOOK_USEC, &status);
                Next next;

                if (r < 0 && r != -ETIMEDOUT)
                        return report_error(v, r);
                next = r == 0 ? trap_judge(v, &trap, status) : idle_stop(v, &trap);
                if (next != NEXT_RETURN)
                        return next;
        } while (now_ns() < until);
        (void) report_as(v, MARK_BUSY, true);
        return NEXT_ABANDON;
}

/* Attached, its number cannot be given away any more: is it still the one, in the process meant? */
static Next visit_attach(Visit *v) {
        ThreadStatus status;
        ThreadStat stat;
        int r;

        step_reached(STEP_START);
        for (unsigned tries = 0; ptrace(PTRACE_SEIZE, v->tid, NULL, (void *) PTRACE_O_TRACESYSGOOD) < 0; tries++) {
                r = -errno;
                /* Another tracer may have been faster, and may have let go again. */
                if (r == -EPERM && thread_status_read(v->job->target, v->tid, &status) >= 0 && status.tracer != 0)
                        return report_as(v, MARK_TRACED, false);
                if (r != -EPERM || tries == SEIZE_TRIES)
                        return report_error(v, r);
        }
        step_reached(STEP_SEIZED);
        r = target_check(v->job->target);
        if (r >= 0)
                r = thread_stat_read(v->job->target, v->tid, &stat);
        if (r >= 0)
                return NEXT_GO_ON;
        (void) report_error(v, r);
        return NEXT_ABANDON;
}

Next visit_stop(Visit *v) {
        Place place = PLACE_HELD;
        bool moved = true;
        Next next;

        next = place_await(v, &place);
        if (next != NEXT_GO_ON)
                return next;
        if (place != PLACE_RUNNING) {
                int r = stack_look(v, v->report->sleep.call.sp);

                if (r < 0)
                        return report_stack(v, r);
        }
        next = visit_attach(v);
        if (next == NEXT_GO_ON && place == PLACE_IDLE)
                next = interrupt_idle(v, &moved);
        if (next != NEXT_GO_ON)
                return next;
        return moved ? working_stop(v) : stop_await(v);
}
