/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "common/array.h"
#include "common/cleanup.h"
#include "daemon/child/child.h"

#define OUTPUT_MAX (16U * 1024 * 1024)
#define READ_SIZE BUFSIZ /* what stdio writes at once: of a packet nothing is left for a second read */
#define PASSED_FD 3

struct Child {
        ChildKind kind;
        pid_t pid;
        int pidfd, output_fd; /* -1 and a connection: it is somebody else's child */
        sd_event_source *exit_source, *output_source, *deadline_source;
        char *output;
        size_t n_output, capacity;
        int error; /* not all of it could be taken */
        ChildDone done;
        void *userdata;
};

static unsigned stuck[_CHILD_KIND_MAX];

unsigned child_count_stuck(ChildKind kind) {
        return stuck[kind];
}

static Child *child_free(Child *c) {
        if (!c)
                return NULL;
        sd_event_source_disable_unref(c->exit_source);
        sd_event_source_disable_unref(c->output_source);
        sd_event_source_disable_unref(c->deadline_source);
        fd_close(c->pidfd);
        fd_close(c->output_fd);
        free(c->output);
        free(c);
        return NULL;
}
DEFINE_TRIVIAL_CLEANUP_FUNC(Child *, child_free);

static void finish(Child *c, int status) {
        ChildDone done = c->done;

        c->done = NULL;
        if (done)
                done(status, c->n_output > 0 ? c->output : "", c->userdata);
}

/* Up to its end, or what is there now. */
static void read_output(Child *c, bool to_end) {
        for (;;) {
                ssize_t n;

                c->error = c->n_output >= OUTPUT_MAX ? -EFBIG
                                                     : array_reserve((void **) &c->output, &c->capacity, c->n_output + READ_SIZE + 1, 1);
                if (c->error < 0)
                        break; /* no more is taken; the deadline ends a child that goes on, the end of its connection somebody else's */
                n = read(c->output_fd, c->output + c->n_output, c->capacity - c->n_output - 1);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0 && errno == EAGAIN)
                        return;
                if (n < 0 && errno != ECONNRESET) /* an end, of what a service does for us */
                        c->error = -errno;
                if (n <= 0)
                        break;
                c->n_output += n;
                c->output[c->n_output] = 0;
                if (!to_end && c->n_output < c->capacity - 1)
                        return;
        }
        c->output_source = sd_event_source_disable_unref(c->output_source);
}

/* It is dead, and counts no more. */
static int end(Child *c, int status) {
        if (!c->done && !c->deadline_source)
                stuck[c->kind]--;
        finish(c, c->error < 0 ? c->error : status);
        child_free(c);
        return 0;
}

static int on_output(sd_event_source *source _unused_, int fd _unused_, uint32_t revents _unused_, void *userdata) {
        Child *c = userdata;

        read_output(c, false);
        return c->pidfd < 0 && !c->output_source ? end(c, 0) : 0;
}

static int on_exit_event(sd_event_source *source _unused_, int fd _unused_, uint32_t revents _unused_, void *userdata) {
        siginfo_t info = {};
        Child *c = userdata;

        if (waitid(P_PIDFD, (id_t) c->pidfd, &info, WEXITED) < 0)
                info.si_code = 0;
        if (c->output_source)
                read_output(c, true);
        return end(c, info.si_code == CLD_EXITED ? info.si_status : -EIO);
}

static void abandon(Child *c) {
        c->deadline_source = sd_event_source_disable_unref(c->deadline_source);
        stuck[c->kind]++;
        if (c->pidfd >= 0)
                (void) syscall(SYS_pidfd_send_signal, c->pidfd, SIGKILL, NULL, 0);
        else
                (void) shutdown(c->output_fd, SHUT_WR); /* whose child it is kills it then */
}

static int on_deadline(sd_event_source *source _unused_, uint64_t usec _unused_, void *userdata) {
        Child *c = userdata;

        if (c->output_source)
                read_output(c, true);
        if (c->pidfd < 0 && !c->output_source)
                return end(c, 0);
        abandon(c);
        finish(c, c->error < 0 ? c->error : -ETIME);
        return 0;
}

Child *child_cancel(Child *c) {
        if (!c)
                return NULL;
        c->done = NULL;
        if (c->deadline_source)
                abandon(c);
        return NULL;
}

/* A child that cannot be killed outlives us, and must not hold on to what its successor needs: the lock of the
 * record, the name on the bus. Linux before 5.9 lacks the call, and the child keeps them. */
static void close_others(const ChildSpec *spec, int output_fd) {
        for (int fd = STDERR_FILENO + 1; fd >= 0;) {
                int next = output_fd >= fd ? output_fd : INT_MAX;

                for (size_t i = 0; i < spec->n_keep; i++)
                        if (spec->keep[i] >= fd && spec->keep[i] < next)
                                next = spec->keep[i];
                if (next > fd)
                        (void) close_range((unsigned) fd, next == INT_MAX ? UINT_MAX : (unsigned) next - 1, 0);
                fd = next == INT_MAX ? -1 : next + 1;
        }
}

/* It does nothing before the parent is ready to look after it, and has said so: a child that is given up at once has done nothing. */
static _Noreturn void run_child(const ChildSpec *spec, int output_fd, int start_fd, pid_t parent) {
        sigset_t none;
        char start;

        (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent || read(start_fd, &start, 1) != 1)
                _exit(EXIT_FAILURE);
        sigemptyset(&none);
        (void) sigprocmask(SIG_SETMASK, &none, NULL);
        if (spec->run) {
                close_others(spec, output_fd);
                spec->run(spec->userdata, output_fd);
                _exit(EXIT_SUCCESS);
        }
        /* dup2() also takes the close-on-exec flag off, unless it is the same number already. */
        if (spec->pass_fd >= 0 && spec->pass_fd == PASSED_FD)
                (void) fcntl(PASSED_FD, F_SETFD, 0);
        if (dup2(output_fd, STDOUT_FILENO) < 0 ||
            (spec->pass_fd >= 0 && spec->pass_fd != PASSED_FD && dup2(spec->pass_fd, PASSED_FD) < 0))
                _exit(EXIT_FAILURE);
        execv(spec->argv[0], (char *const *) spec->argv);
        _exit(127);
}

static int watch(sd_event *event, Child *c, const ChildSpec *spec) {
        int r = 0;

        if (c->pidfd >= 0)
                r = sd_event_add_io(event, &c->exit_source, c->pidfd, EPOLLIN, on_exit_event, c);
        if (r >= 0)
                r = sd_event_add_io(event, &c->output_source, c->output_fd, EPOLLIN, on_output, c);
        if (r >= 0)
                r = sd_event_add_time_relative(event, &c->deadline_source, CLOCK_MONOTONIC, spec->deadline_usec, 10000, on_deadline, c);
        if (r < 0)
                return r;
        c->done = spec->done;
        c->userdata = spec->userdata;
        return 0;
}

static Child *child_new(ChildKind kind) {
        Child *c = calloc(1, sizeof(Child));

        if (c)
                *c = (Child) { .kind = kind, .pidfd = -1, .output_fd = -1 };
        return c;
}

int child_attach(sd_event *event, const ChildSpec *spec, int connection_fd, Child **ret) {
        _cleanup_(child_freep) Child *c = child_new(spec->kind);
        int r;

        if (!c)
                return -ENOMEM;
        c->output_fd = fcntl(connection_fd, F_DUPFD_CLOEXEC, 0);
        if (c->output_fd < 0)
                return -errno;
        r = watch(event, c, spec);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(c);
        return 0;
}

int child_start(sd_event *event, const ChildSpec *spec, Child **ret) {
        _cleanup_(child_freep) Child *c = child_new(spec->kind);
        _cleanup_close_ int output_fd = -1, start_fd = -1, started_fd = -1;
        pid_t parent = getpid();
        int pipe_fds[2], r;

        if (!c)
                return -ENOMEM;
        if (pipe2(pipe_fds, O_CLOEXEC) < 0)
                return -errno;
        c->output_fd = pipe_fds[0];
        output_fd = pipe_fds[1];
        if (fcntl(c->output_fd, F_SETFL, O_NONBLOCK) < 0 || pipe2(pipe_fds, O_CLOEXEC) < 0)
                return -errno;
        start_fd = pipe_fds[0];
        started_fd = pipe_fds[1];
        c->pid = fork();
        if (c->pid < 0)
                return -errno;
        if (c->pid == 0)
                run_child(spec, output_fd, start_fd, parent);
        /* Not reaped yet, so the number is still its. */
        c->pidfd = (int) syscall(SYS_pidfd_open, c->pid, 0);
        r = c->pidfd < 0 ? -errno : watch(event, c, spec);
        if (r >= 0 && write(started_fd, "", 1) != 1)
                r = -errno;
        if (r < 0) {
                (void) kill(c->pid, SIGKILL);
                (void) waitpid(c->pid, NULL, 0);
                return r;
        }
        *ret = TAKE_PTR(c);
        return 0;
}
