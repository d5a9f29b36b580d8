/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
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

int private_daemon_start(const char *root, pid_t *ret_pid, int *ret_fd) {
        _cleanup_close_ int ours = -1, theirs = -1;
        const char *binary = secure_getenv("STACKD_BINARY");
        _cleanup_free_ char *fd_option = text_format("--private-fd=%i", DAEMON_FD), *root_option = NULL;
        int fds[2], r;

        if (!binary || !*binary)
                binary = STACKD_BINARY_PATH;
        if (root)
                root_option = text_format("--root=%s", root);
        if (!fd_option || (root && !root_option))
                return -ENOMEM;
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) < 0)
                return -errno;
        ours = fds[0];
        theirs = fds[1];
        r = subprocess_start((char *[]) { (char *) binary, fd_option, root_option, NULL }, theirs, DAEMON_FD, true,
                             ret_pid);
        if (r < 0)
                return complain("Cannot start %s: %s. Install stackd, or name its binary in $STACKD_BINARY.", binary,
                                strerror(-r));
        *ret_fd = TAKE_FD(ours);
        return 0;
}

static char *describe_end(int status) {
        if (WIFSIGNALED(status))
                return text_format("was ended by signal %i (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
        return text_format("exited with status %i", WEXITSTATUS(status));
}

int private_daemon_end(pid_t pid, char **ret_how) {
        int status = 0, r;

        r = subprocess_wait(pid, END_MS, &status);
        if (r == -ETIMEDOUT && kill(pid, SIGTERM) >= 0)
                r = subprocess_wait(pid, NUDGE_MS, &status);
        if (r < 0 || !ret_how)
                return r;
        *ret_how = describe_end(status);
        return *ret_how ? 0 : -ENOMEM;
}
