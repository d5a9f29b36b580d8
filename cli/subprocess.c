/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "cli/subprocess.h"
#include "common/cleanup.h"
#include "common/file.h"

#define FILTERED_MAX ((size_t) 1 << 30)

static void file_actions_destroyp(posix_spawn_file_actions_t **a) {
        if (*a)
                posix_spawn_file_actions_destroy(*a);
}

static void attributes_destroyp(posix_spawnattr_t **a) {
        if (*a)
                posix_spawnattr_destroy(*a);
}

/* Descriptors of ours, and the numbers that they have there. */
typedef struct Passed {
        int fd, as;
} Passed;

static int prepare_files(posix_spawn_file_actions_t *a, const Passed *passed, size_t n, bool background) {
        int r = 0;

        if (background) {
                r = posix_spawn_file_actions_addopen(a, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
                if (r == 0)
                        r = posix_spawn_file_actions_adddup2(a, STDERR_FILENO, STDOUT_FILENO);
        }
        for (size_t i = 0; i < n && r == 0; i++) /* clears close-on-exec, also onto itself */
                r = posix_spawn_file_actions_adddup2(a, passed[i].fd, passed[i].as);
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

static int start(char *const *argv, const Passed *passed, size_t n_passed, bool background, pid_t *ret_pid) {
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
        r = prepare_files(actions, passed, n_passed, background);
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

int subprocess_start(char *const *argv, int fd, int fd_as, bool background, pid_t *ret_pid) {
        return start(argv, &(Passed) { fd, fd_as }, 1, background, ret_pid);
}

int subprocess_filter(char *const *argv, const char *input, size_t size, char **ret, size_t *ret_size, int *ret_status) {
        _cleanup_close_ int in = memfd_create("input", MFD_CLOEXEC), out = memfd_create("output", MFD_CLOEXEC);
        int r, status = 0;
        pid_t pid;

        if (in < 0 || out < 0)
                return -errno;
        r = file_write_all(in, input, size);
        if (r >= 0 && lseek(in, 0, SEEK_SET) < 0)
                r = -errno;
        if (r >= 0)
                r = start(argv, (Passed[]) { { in, STDIN_FILENO }, { out, STDOUT_FILENO } }, 2, false, &pid);
        if (r >= 0)
                r = subprocess_wait(pid, -1, &status);
        if (r >= 0 && lseek(out, 0, SEEK_SET) < 0)
                r = -errno;
        if (r >= 0)
                r = file_read_fd(out, FILTERED_MAX, ret, ret_size);
        if (r >= 0)
                *ret_status = status;
        return r;
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
