/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* One thread makes one prctl(), and may lose us at any instant. What holds at each:
 *
 *   attached, not yet stopped    Nothing was changed. Our end detaches it, as the exit of a tracer does, and takes the
 *                                request to stop back. Once asked, the thread is awake: calls that the kernel ends with
 *                                EINTR then end so, if we die before they were made to begin again.
 *   stopped                      The kernel holds the interrupted call's result and number, and on detaching makes
 *                                its usual restart fix-up: our end is a detach, and sets TIF_SIGPENDING so that the
 *                                fix-up is not left out. (On aarch64 it was made already; see there.)
 *   signal mask settled          See mask_settle(): what the kernel is going to do anyway.
 *   frame written                Bytes below the red zone belong to nobody: any signal could overwrite them. See
 *                                also frame_lay().
 *   registers set to the path    One system call, so all or nothing. From here on the thread needs nobody: prctl,
 *                                return, rt_sigreturn, and it is where it was. Without us it differs in two things:
 *                                a time-out begins anew, and a handler without SA_RESTART that runs in these
 *                                microseconds finds the call not begun yet rather than ended with EINTR.
 *   stopped at our call's entry  Goes on. (PTRACE_O_TRACESYSGOOD is part of it: were we to die in a system call
 *   or end                       stop without, the kernel would send the SIGTRAP it holds for us. 0x80 | SIGTRAP is
 *                                no signal, and is dropped.)
 *   registers restored           Including the number and the kernel-internal result of the interrupted call.
 *                                Detaching, or our end, makes the kernel do what it does after any stop, with
 *                                the remaining time of a time-out: nothing on the path touched it.
 *
 * Single steps and breakpoints are never used: a thread left alone with one would be killed by it. Signals are not
 * blocked for the same reason. One that arrives on the path stops for us first: we put the registers back and let
 * it be delivered, as if it had come before us. Without us its handler runs below the frame and returns to the path.
 *
 * A critical section of restartable sequences must be aborted when its thread is interrupted, and the kernel does
 * that by looking at where the thread is on its way out: on our path it would look at the wrong place, so a
 * thread in such a section is let go and tried again. In a system call there is none.
 *
 * While a thread is stopped nothing may wait for storage, as the thread may be what serves it: code and stack were
 * read, and so made resident, just before. Only pages of the stack that are resident in the stop are written to, and nothing
 * else of the thread's memory is read there for the first time. */

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/ptrace.h>
#include <time.h>

#include "daemon/actuator/mark/action.h"
#include "daemon/actuator/mark/filter.h"
#include "daemon/actuator/mark/step.h"
#include "daemon/actuator/mark/thread-visit.h"

#ifndef PTRACE_O_SUSPEND_SECCOMP
#define PTRACE_O_SUSPEND_SECCOMP (1 << 21)
#endif
#define REQUEST_RSEQ_CONFIGURATION 0x420f
#define REQUEST_SECCOMP_FILTER 0x420c
#define REQUEST_DISPATCH_CONFIGURATION 0x4211

#define PATH_WAIT_USEC 200000U
#define ATTEMPTS_MAX 6
#define RETURN_WAIT_MS 5
#define FOREIGN_STOPS_MAX 3U

Next report_as(Visit *v, MarkResult result, bool again) {
        v->report->result = result;
        v->report->again = again;
        return NEXT_OVER;
}

Next report_error(Visit *v, int error) {
        if (error == -ESRCH)
                return report_as(v, MARK_GONE, false);
        if (error == -EPERM || error == -EACCES)
                return report_as(v, MARK_DENIED, false);
        if (error == -EOPNOTSUPP)
                return report_as(v, MARK_UNSUPPORTED, false);
        if (error == -EAGAIN)
                return report_as(v, MARK_BUSY, true);
        v->report->error = -error;
        return report_as(v, MARK_FAILED, false);
}

/* A thread of the C library leaves such a stack some time: a coroutine's, or a handler's alternate one. A thread of another
 * runtime (Go) never has one that is its own. */
Next report_stack(Visit *v, int error) {
        if (error != -EOPNOTSUPP)
                return report_error(v, error);
        return report_as(v, MARK_FOREIGN_STACK, thread_has_library(v) && v->report->foreign_stops < FOREIGN_STOPS_MAX);
}

/* Everything that can be known without touching the thread. */
static Next visit_examine(Visit *v) {
        const Target *t = v->job->target;
        ThreadStat stat;
        int r;

        r = thread_stat_read(t, v->tid, &stat);
        if (r < 0)
                return report_error(v, r);
        r = action_is_in_state(t, v->tid, &stat, v->job->set);
        if (r != 0)
                return r < 0 ? report_error(v, r) : report_as(v, MARK_DONE, false);
        if (stat.flags & (TASK_IO_WORKER | TASK_USER_WORKER))
                return report_as(v, MARK_USER_WORKER, false);
        if (stat.flags & TASK_KERNEL_THREAD)
                return report_as(v, MARK_UNSUPPORTED, false);
        r = thread_status_read(t, v->tid, &v->status);
        if (r < 0)
                return report_error(v, r);
        if (v->status.tracer != 0)
                return report_as(v, MARK_TRACED, false);
        if (stat.state == 'T' || stat.state == 't' || thread_is_frozen(t, v->tid) > 0)
                return report_as(v, MARK_BUSY, false);
        if (v->status.shadow_stack)
                return report_as(v, MARK_UNSUPPORTED, false);
        r = action_is_permitted(t, v->tid, &v->status);
        if (r <= 0)
                return report_error(v, r == 0 ? -EPERM : r);
        if (v->status.seccomp == 1)
                return report_as(v, MARK_SECCOMP, false);
        return NEXT_GO_ON;
}

/* Outside of system calls: 0, or -EAGAIN in a critical section, and where the kernel does not tell. */
static int rseq_check(const Visit *v) {
        struct {
                uint64_t address;
                uint32_t size, signature, flags, padding;
        } configuration;
        struct {
                uint32_t version, flags;
                uint64_t start, length, abort;
        } section;
        uint64_t pointer;

        if (arch_state_in_call(&v->state))
                return 0;
        if (ptrace(REQUEST_RSEQ_CONFIGURATION, v->tid, sizeof(configuration), &configuration) < 0)
                return -EAGAIN;
        if (configuration.address == 0)
                return 0;
        if (memory_read(v->tid, configuration.address + 8, &pointer, sizeof(pointer)) < 0)
                return -EAGAIN;
        if (pointer == 0)
                return 0;
        if (memory_read(v->tid, pointer, &section, sizeof(section)) < 0)
                return -EAGAIN;
        return arch_state_ip(&v->state) - section.start < section.length ? -EAGAIN : 0;
}

/* With syscall user dispatch our call would become a signal: 0, or -EOPNOTSUPP. Kernels before 6.4 do not tell. */
static int dispatch_check(const Visit *v) {
        struct {
                uint64_t mode, selector, offset, length;
        } configuration;

        if (ptrace(REQUEST_DISPATCH_CONFIGURATION, v->tid, sizeof(configuration), &configuration) < 0)
                return errno == ESRCH ? -ESRCH : 0;
        return configuration.mode == 0 ? 0 : -EOPNOTSUPP;
}

/* What its filters say to the path. One that kills for restart_syscall() makes any stop deadly in some calls, so
 * the first thing done is to have the kernel choose otherwise; on aarch64 only the path itself does. */
static FilterVerdict filter_look(Visit *v) {
        FilterVerdict verdict;
        bool restart = true;

        if (ptrace(REQUEST_SECCOMP_FILTER, v->tid, 0UL, NULL) < 0 && v->status.seccomp == 0)
                return FILTER_ALLOWS;
        if (filter_judge(v->tid, &v->job->gadgets, v->args, &verdict, &restart) < 0)
                return FILTER_HARMS;
        if (!restart) {
                arch_state_avoid_restart_call(&v->state);
                (void) arch_state_restore(v->tid, &v->state);
        }
        return verdict;
}

/* Suspends filters where they would only spoil the path. */
static Next filter_prepare(Visit *v, FilterVerdict verdict) {
        const long options = PTRACE_O_TRACESYSGOOD | PTRACE_O_SUSPEND_SECCOMP;

        if (verdict == FILTER_ALLOWS)
                return NEXT_GO_ON;
        if (verdict == FILTER_REFUSES && ptrace(PTRACE_SETOPTIONS, v->tid, NULL, (void *) options) >= 0)
                return NEXT_GO_ON;
        thread_restore(v, 0);
        return report_as(v, MARK_SECCOMP, false);
}

/* Lays the frame: into the thread's memory and no other, at a stack that was looked at in this very memory.
 *
 * Its number names the thread that we trace and hold, with one exception: when another thread calls exec(), that one
 * takes the leader's, held or not, and what we wrote by number would go into a program that may be more privileged
 * than the target was. And the exec() may have been before we attached, after map and code were looked at. So a word
 * is written through ptrace, which fails once the thread is gone; it must be readable in the memory that was pinned
 * before the map was read. Then that is the thread's, and the frame is written there. (If it is not, the word lies
 * below the red zone of another program's stack, where it does not matter.) */
static int frame_lay(const Visit *v) {
        const MarkJob *job = v->job;
        const ArchFrame *f = &v->frame;
        int r;

        r = memory_write_tracee(v->tid, f->address + f->nonce_at, &job->nonce, sizeof(job->nonce));
        if (r < 0)
                return r;
        if (!memory_pin_holds(&job->memory, f->address + f->nonce_at, &job->nonce, sizeof(job->nonce)))
                return -EAGAIN;
        if (job->memory.writable)
                return memory_pin_write(&job->memory, f->address, f->bytes, f->size);
        return memory_write_tracee(v->tid, f->address, f->bytes, f->size);
}

/* What the stop has done to the thread's call. A rest of io_uring_enter() is made good at the end of the path. */
static void call_note(Visit *v) {
        arch_state_call(&v->state, &v->seen, &v->call);
        if (call_has_rest(v->call.nr, v->call.args, v->call.result))
                v->report->cut = true;
        else {
                v->report->cut = call_was_cut(v->call.nr, v->call.args, v->call.result, v->call.restarts);
                v->call.nr = -1;
        }
}

/* With the thread stopped: reads it, and lays the frame. */
static Next visit_prepare(Visit *v) {
        FilterVerdict verdict;
        Next next;
        int r;

        r = arch_state_read(v->tid, &v->seen, &v->state);
        if (r < 0) {
                thread_detach(v, 0);
                return report_error(v, r);
        }
        step_reached(STEP_READ);
        call_note(v);
        verdict = filter_look(v);
        if (!stack_is_known(v)) {
                thread_restore(v, 0);
                return NEXT_LOOK;
        }
        r = stack_check(v);
        if (r < 0) {
                thread_restore(v, 0);
                v->report->foreign_stops++;
                return report_stack(v, r);
        }
        r = rseq_check(v);
        if (r >= 0)
                r = dispatch_check(v);
        if (r >= 0)
                r = arch_frame_build(&v->state, &v->job->gadgets, v->job->nonce, &v->frame);
        if (r >= 0 && memory_is_resident(v->job->target, v->tid, v->frame.address, v->frame.address + v->frame.size) == 0) {
                thread_restore(v, 0);
                return NEXT_LOOK;
        }
        if (r >= 0)
                r = frame_lay(v);
        if (r < 0) {
                thread_restore(v, 0);
                return report_error(v, r);
        }
        step_reached(STEP_WRITTEN);
        next = filter_prepare(v, verdict);
        if (next != NEXT_GO_ON || arch_state_is_settled(&v->state))
                return next;
        thread_restore(v, 0);
        return NEXT_RETURN;
}

/* An unexpected stop on the path, or none. */
static Next path_give_up(Visit *v, int sig) {
        ArchPosition position;
        int r = arch_path_position(v->tid, &v->job->gadgets, &v->frame, &position);

        if (r >= 0 && position == ARCH_BEFORE_CALL)
                thread_restore(v, sig);
        else
                thread_detach(v, sig); /* it finds its way back alone */
        return report_as(v, MARK_BUSY, true);
}

static Next path_stopped(Visit *v, StopKind *ret) {
        int status, sig, r;

        stop_watch(false);
        r = tracee_wait(v->tid, PATH_WAIT_USEC, &status);
        if (r == -ETIMEDOUT) {
                /* frozen or out of processor time: ask once more */
                (void) ptrace(PTRACE_INTERRUPT, v->tid, NULL, NULL);
                r = tracee_wait(v->tid, PATH_WAIT_USEC, &status);
        }
        if (r == -ETIMEDOUT) {
                (void) report_as(v, MARK_BUSY, true);
                return NEXT_ABANDON;
        }
        if (r < 0)
                return report_error(v, r);
        stop_watch(true);
        *ret = stop_kind(status, &sig);
        if (*ret == STOP_GONE)
                return report_as(v, MARK_GONE, false);
        return *ret == STOP_CALL ? NEXT_GO_ON : path_give_up(v, sig);
}

static Next call_report(Visit *v, long result) {
        if (result == 0)
                return report_as(v, MARK_DONE, false);
        if (result == -EINVAL) /* a kernel that does not know it */
                return report_as(v, MARK_UNSUPPORTED, false);
        return report_error(v, result < 0 && result > -4096 ? (int) result : -EPROTO);
}

static Next visit_call(Visit *v) {
        long result = -EPROTO;
        StopKind kind;
        Next next;
        int r;

        step_reached(STEP_SUSPENDED);
        r = arch_path_enter(v->tid, &v->state, &v->job->gadgets, &v->frame, v->args);
        if (r < 0) {
                thread_restore(v, 0);
                return report_error(v, r);
        }
        step_reached(STEP_DIVERTED);
        if (ptrace(PTRACE_SYSCALL, v->tid, NULL, NULL) < 0)
                return report_error(v, -errno);
        step_reached(STEP_RESUMED);
        next = path_stopped(v, &kind);
        if (next != NEXT_GO_ON)
                return next;
        step_reached(STEP_ENTERED);
        if (ptrace(PTRACE_SYSCALL, v->tid, NULL, NULL) < 0)
                return report_error(v, -errno);
        step_reached(STEP_CALLING);
        next = path_stopped(v, &kind);
        if (next != NEXT_GO_ON)
                return next;
        step_reached(STEP_RETURNED);
        r = arch_path_result(v->tid, &v->job->gadgets, &v->frame, &result);
        if (r < 0) {
                thread_detach(v, 0); /* not where we think: leave it its own way back */
                return report_error(v, r);
        }
        if (v->call.nr >= 0 && v->status.seccomp == 0 && arch_path_rest(v->tid, &v->state, &v->job->gadgets, &v->frame, &v->call) >= 0) {
                v->report->cut = false;
                step_reached(STEP_RESTORED);
                thread_detach(v, 0);
        } else
                thread_restore(v, 0);
        return call_report(v, result);
}

/* The kernel's word, not the call's, decides. */
static void visit_verify(Visit *v) {
        ThreadStat stat;
        int r;

        r = thread_stat_read(v->job->target, v->tid, &stat);
        if (r >= 0)
                r = action_is_in_state(v->job->target, v->tid, &stat, v->job->set);
        if (r < 0)
                (void) report_error(v, r);
        else if (r == 0)
                (void) report_as(v, MARK_BUSY, true);
}

/* Until the thread sleeps again, or a moment has passed. */
static void return_wait(const Visit *v) {
        const uint64_t until = now_ns() + RETURN_WAIT_MS * UINT64_C(1000000);
        const struct timespec nap = { 0, 100000 };
        ThreadCall call;

        while (thread_call_read(v->job->target, v->tid, &call) >= 0 && call.running && now_ns() < until)
                (void) nanosleep(&nap, NULL);
}

/* The thread went on unmarked; is it worth coming again? */
static bool visit_again(Visit *v, Next *next) {
        int r;

        if (*next == NEXT_RETURN) {
                return_wait(v);
                return true;
        }
        if (*next != NEXT_LOOK)
                return false;
        r = stack_look(v, arch_state_sp(&v->state));
        if (r >= 0)
                return true;
        v->report->foreign_stops += r == -EOPNOTSUPP;
        *next = report_stack(v, r);
        return false;
}

int thread_mark(const MarkJob *job, pid_t tid, const ThreadReport *previous, ThreadReport *ret) {
        static Visit visit;
        Visit *v = &visit;
        Next next;

        *ret = previous ? *previous : (ThreadReport) { .tid = tid };
        ret->result = MARK_FAILED;
        ret->error = EPROTO;
        ret->again = ret->cut = false;
        ret->stopped_ns = 0;
        *v = (Visit) { .job = job, .tid = tid, .report = ret };
        action_arguments(job->set, v->args);
        next = visit_examine(v);
        if (next != NEXT_GO_ON)
                return 0;
        for (unsigned attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
                next = visit_stop(v);
                if (next == NEXT_GO_ON)
                        next = visit_prepare(v);
                if (visit_again(v, &next))
                        continue;
                if (next == NEXT_GO_ON)
                        next = visit_call(v);
                if (ret->result == MARK_DONE)
                        visit_verify(v);
                return next == NEXT_ABANDON;
        }
        (void) report_as(v, MARK_BUSY, true);
        return 0;
}
