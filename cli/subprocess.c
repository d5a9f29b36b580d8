/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "cli/subprocess.h"
#include "common/cleanup.h"

static void file_actions_destroyp(posix_spawn_file_actions_t **a) {
        if (*a)
                posix_spawn_file_actions_destroy(*a);
}

static void attributes_destroyp(posix_spawnattr_t **a) {
        if (*a)
                posix_spawnattr_destroy(*a);
}

static int prepare_files(posix_spawn_file_actions_t *a, int fd, int fd_as, bool background) {
        int r = 0;

        if (background) {
                r = posix_spawn_file_actions_addopen(a, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
                if (r == 0)
                        r = posix_spawn_file_actions_adddup2(a, STDERR_FILENO, STDOUT_FILENO);
        }
        if (r == 0)
                r = posix_spawn_file_actions_adddup2(a, fd, fd_as); /* clears close-on-exec, also onto itself */
        return -r;
}

static int prepare_attributes(posix_spawnattr_t *a, bool background) {
        short flags = POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF;
        sigset_t none, all;
        int r;

        sigemptyset(&none);
        sigfillset(&all);
        if (background)
                flags |= POSIX_SPAWN_SETPGROUP;
        r = posix_spawnattr_setsigmask(a, &none);
        if (r == 0)
                r = posix_spawnattr_setsigdefault(a, &all);
        if (r == 0)
                r = posix_spawnattr_setflags(a, flags);
        return -r;
}

int subprocess_start(char *const *argv, int fd, int fd_as, bool background, pid_t *ret_pid) {
        _cleanup_(file_actions_destroyp) posix_spawn_file_actions_t *actions = NULL;
        _cleanup_(attributes_destroyp) posix_spawnattr_t *attributes = NULL;
        posix_spawn_file_actions_t actions_storage;
        posix_spawnattr_t attributes_storage;
        pid_t pid;
        int r;

        r = -posix_spawn_file_actions_init(&actions_storage);
        if (r < 0)
                return r;
        actions = &actions_storage;
        r = prepare_files(actions, fd, fd_as, background);
        if (r < 0)
                return r;
        r = -posix_spawnattr_init(&attributes_storage);
        if (r < 0)
                return r;
        attributes = &attributes_storage;
        r = prepare_attributes(attributes, background);
        if (r < 0)
                return r;
        r = -posix_spawn(&pid, argv[0], actions, attributes, argv, environ);
        if (r < 0)
                return r;
        *ret_pid = pid;
        return 0;
}

int subprocess_wait(pid_t pid, int milliseconds, int *ret_status) {
        _cleanup_close_ int fd = (int) syscall(SYS_pidfd_open, pid, 0);
        struct pollfd p = { .fd = fd, .events = POLLIN };
        int status;

        if (fd < 0)
                return -errno;
        for (;;) {
                int n = poll(&p, 1, milliseconds);

                if (n == 0)
                        return -ETIMEDOUT;
                if (n > 0)
                        break;
                if (errno != EINTR)
                        return -errno;
        }
        if (waitpid(pid, &status, WNOHANG) != pid)
                return -ECHILD;
        *ret_status = status;
        return 0;
}
