/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "cli/complain.h"
#include "cli/private-daemon.h"
#include "cli/subprocess.h"
#include "common/cleanup.h"
#include "common/text.h"

enum {
        DAEMON_FD = 3,
        END_MS = 5000,   /* for finishing what it is in the midst of, such as a thread it holds */
        NUDGE_MS = 2000, /* more after SIGTERM */
};

/* 'purpose' is the name of the option that takes the descriptor; 'more' (may be NULL) another option. */
static int spawn(const char *purpose, const char *more, const char *root, int fd, pid_t *ret_pid) {
        _cleanup_free_ char *fd_option = text_format("--%s=%i", purpose, DAEMON_FD), *root_option = NULL;
        const char *binary = secure_getenv("STACKD_BINARY");
        char *argv[5] = {};
        size_t n = 0;
        int r;

        if (!binary || !*binary)
                binary = STACKD_BINARY_PATH;
        if (root)
                root_option = text_format("--root=%s", root);
        if (!fd_option || (root && !root_option))
                return -ENOMEM;
        argv[n++] = (char *) binary;
        argv[n++] = fd_option;
        if (root_option)
                argv[n++] = root_option;
        if (more)
                argv[n++] = (char *) more;
        r = subprocess_start(argv, fd, DAEMON_FD, true, ret_pid);
        if (r < 0)
                return complain("Cannot start %s: %s. Install stackd, or name its binary in $STACKD_BINARY.", binary,
                                strerror(-r));
        return 0;
}

int private_daemon_start(const char *root, pid_t *ret_pid, int *ret_fd) {
        _cleanup_close_ int ours = -1, theirs = -1;
        int fds[2], r;

        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) < 0)
                return -errno;
        ours = fds[0];
        theirs = fds[1];
        r = spawn("private-fd", NULL, root, theirs, ret_pid);
        if (r >= 0)
                *ret_fd = TAKE_FD(ours);
        return r;
}

int private_daemon_capture(const char *root, bool scrubbed, pid_t *ret_pid, int *ret_fd) {
        _cleanup_close_ int ours = -1, theirs = -1;
        int fds[2], r;

        if (pipe2(fds, O_CLOEXEC) < 0)
                return -errno;
        ours = fds[0];
        theirs = fds[1];
        r = spawn("capture-fd", scrubbed ? NULL : "--no-scrub", root, theirs, ret_pid);
        if (r >= 0)
                *ret_fd = TAKE_FD(ours);
        return r;
}

char *private_daemon_describe_end(int status) {
        if (WIFSIGNALED(status))
                return text_format("was ended by signal %i (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
        return text_format("exited with status %i", WEXITSTATUS(status));
}

int private_daemon_wait(pid_t pid, int *ret_status) {
        int r;

        r = subprocess_wait(pid, END_MS, ret_status);
        if (r == -ETIMEDOUT && kill(pid, SIGTERM) >= 0)
                r = subprocess_wait(pid, NUDGE_MS, ret_status);
        return r;
}

int private_daemon_end(pid_t pid, char **ret_how) {
        int status, r;

        r = private_daemon_wait(pid, &status);
        if (r < 0 || !ret_how)
                return r;
        *ret_how = private_daemon_describe_end(status);
        return *ret_how ? 0 : -ENOMEM;
}
