/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "daemon/actuator/mark/worker.h"

/* Longer than a thread can take that does nothing unexpected: see STOP_WAIT_USEC. */
#define THREAD_LIMIT_NS UINT64_C(3000000000)
#define DEADLINE_GRACE_NS UINT64_C(1000000000)
#define REALTIME_LIMIT_USEC 100000U

/* Runs in the child. */
static int job_prepare(MarkJob *job, pid_t tid) {
        int r;

        r = memory_pin(job->target, tid, &job->memory);
        if (r < 0)
                return r;
        if (getrandom(&job->nonce, sizeof(job->nonce), GRND_NONBLOCK) != sizeof(job->nonce))
                return -EIO;
        r = memory_map_read(job->target, tid, &job->map);
        if (r < 0)
                return r;
        r = arch_gadgets_find(&job->map, tid, &job->gadgets);
        return r == -ENOENT ? -EOPNOTSUPP : r;
}

static void report_unprepared(pid_t tid, int error, ThreadReport *ret) {
        *ret = (ThreadReport) { .tid = tid };
        switch (error) {
        case -ESRCH: ret->result = MARK_GONE; break;
        case -EPERM:
        case -EACCES: ret->result = MARK_DENIED; break;
        case -EOPNOTSUPP: ret->result = MARK_UNSUPPORTED; break;
        default:
                ret->result = MARK_FAILED;
                ret->error = -error;
        }
}

/* Of a thread that has begun to end meanwhile nothing else is told. */
static void report_settle(const MarkJob *job, ThreadReport *report) {
        ThreadStat stat;

        if (report->result != MARK_DONE && thread_stat_read(job->target, report->tid, &stat) == -ESRCH)
                *report = (ThreadReport) { .tid = report->tid, .result = MARK_GONE, .stopped_ns = report->stopped_ns };
}

/* Between a stop and our answer to it somebody's thread waits, so nobody else may have the processor. What takes the processor for
 * too long at a time would be an error of ours, and ends us. */
static void raise_priority(void) {
        const struct sched_param first = { .sched_priority = 1 };
        const struct rlimit limit = { REALTIME_LIMIT_USEC, REALTIME_LIMIT_USEC };

        if (setrlimit(RLIMIT_RTTIME, &limit) < 0 || sched_setscheduler(0, SCHED_FIFO, &first) < 0)
                (void) setpriority(PRIO_PROCESS, 0, -20);
}

_Noreturn static void worker_main(const WorkerTask *task, size_t first, int fd, pid_t parent) {
        MarkJob job = { .target = task->target, .set = task->set, .patience_ns = task->patience_ns };
        sigset_t all;
        int prepared;

        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
                _exit(EXIT_FAILURE);
        (void) close(STDOUT_FILENO); /* whoever listens there waits for the end of our parent, not for ours, should we hang */
        signal(SIGCHLD, SIG_DFL);
        signal(SIGALRM, SIG_DFL);
        sigfillset(&all);
        sigdelset(&all, SIGALRM); /* ends us: see stop_watch() */
        sigprocmask(SIG_SETMASK, &all, NULL);
        (void) mlockall(MCL_CURRENT | MCL_FUTURE);
        prepared = job_prepare(&job, task->tids[first]);
        raise_priority();
        for (size_t i = first; i < task->n && now_ns() < task->deadline_ns; i++) {
                ThreadReport report;
                int held = 0;

                if (prepared < 0)
                        report_unprepared(task->tids[i], prepared, &report);
                else
                        held = thread_mark(&job, task->tids[i], task->previous(task->tids[i], task->userdata), &report);
                report_settle(&job, &report);
                if (write(fd, &report, sizeof(report)) != sizeof(report) || held)
                        _exit(EXIT_FAILURE);
        }
        _exit(EXIT_SUCCESS);
}

static int worker_start(const WorkerTask *task, size_t first, pid_t *ret_pid, int *ret_fd) {
        _cleanup_close_ int end_read = -1, end_write = -1;
        const pid_t parent = getpid();
        int ends[2];
        pid_t pid;

        if (pipe2(ends, O_CLOEXEC) < 0)
                return -errno;
        end_read = ends[0];
        end_write = ends[1];
        pid = fork();
        if (pid < 0)
                return -errno;
        if (pid == 0)
                worker_main(task, first, end_write, parent);
        *ret_pid = pid;
        *ret_fd = TAKE_FD(end_read);
        return 0;
}

/* 1 with a report, 0 when the worker ended, -ETIME when it takes too long. Reports are smaller than PIPE_BUF. */
static int report_receive(int fd, uint64_t deadline_ns, ThreadReport *ret) {
        const uint64_t until = MIN(now_ns() + THREAD_LIMIT_NS, deadline_ns);

        for (;;) {
                struct pollfd p = { .fd = fd, .events = POLLIN };
                uint64_t now = now_ns();
                ssize_t k;
                int r;

                if (now >= until)
                        return -ETIME;
                r = poll(&p, 1, (int) ((until - now) / 1000000) + 1);
                if (r < 0 && errno != EINTR)
                        return -errno;
                if (r <= 0)
                        continue;
                k = read(fd, ret, sizeof(*ret));
                if (k < 0 && errno == EINTR)
                        continue;
                return k < 0 ? -errno : k == (ssize_t) sizeof(*ret);
        }
}

/* Our own child; one that hangs in the kernel is not waited for. Returns whether its own limits have ended it. */
static bool worker_end(pid_t pid, bool ended) {
        int status = 0;
        pid_t p;

        if (!ended)
                kill(pid, SIGKILL);
        while ((p = waitpid(pid, &status, ended ? 0 : WNOHANG)) < 0 && errno == EINTR)
                ;
        return ended && p == pid && WIFSIGNALED(status) && (WTERMSIG(status) == SIGALRM || WTERMSIG(status) == SIGKILL);
}

/* One worker's reports; moves *i past what was reported. */
static int worker_follow(const WorkerTask *task, size_t *i, int fd, bool *ret_ended) {
        /* it stops by itself at the deadline; what it holds then takes a moment */
        const uint64_t deadline_ns = task->deadline_ns + DEADLINE_GRACE_NS;

        while (*i < task->n) {
                ThreadReport report;
                int r = report_receive(fd, deadline_ns, &report);

                *ret_ended = r == 0;
                if (r <= 0 && r != -ETIME)
                        return r;
                if (r == -ETIME) {
                        report = (ThreadReport) { .tid = task->tids[*i], .result = MARK_BUSY, .again = true };
                        (*i)++;
                        r = task->on_report(&report, task->userdata);
                        return r;
                }
                (*i)++;
                r = task->on_report(&report, task->userdata);
                if (r < 0)
                        return r;
        }
        *ret_ended = true;
        return 0;
}

int worker_run(const WorkerTask *task) {
        for (size_t i = 0; i < task->n && now_ns() < task->deadline_ns;) {
                _cleanup_close_ int fd = -1;
                const size_t before = i;
                bool ended = false, late;
                pid_t pid = 0;
                int r;

                r = worker_start(task, i, &pid, &fd);
                if (r < 0)
                        return r;
                r = worker_follow(task, &i, fd, &ended);
                late = worker_end(pid, ended);
                if (r < 0)
                        return r;
                if ((late || i == before) && i < task->n && now_ns() < task->deadline_ns) { /* it ended before it could tell */
                        ThreadReport report = {
                                .tid = task->tids[i++],
                                .result = late ? MARK_BUSY : MARK_FAILED,
                                .error = late ? 0 : EIO,
                                .again = late,
                        };

                        r = task->on_report(&report, task->userdata);
                        if (r < 0)
                                return r;
                }
        }
        return 0;
}
