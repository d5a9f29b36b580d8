/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Loaded into programs for what runs them and does not know openat2(2): the valgrind of Debian 12, and its emulator of
 * processes. What is opened below a root is opened with that for our own root, for as long as that takes. Who is not root
 * gets openat(2), and then only tests of what RESOLVE_IN_ROOT forbids fail. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

long syscall(long number, ...);

static int open_in_root(int root_fd, const char *path, const struct open_how *how) {
        /* Not "/", nor any other absolute path: to the emulator these are below its own prefix first. */
        int before = open(".", O_PATH | O_CLOEXEC), top = open("/proc/self/root", O_PATH | O_CLOEXEC), fd = -1, error;
        char relative[8192];

        if (before < 0 || top < 0) {
                error = errno;
                if (before >= 0)
                        close(before);
                errno = error;
                return -1;
        }
        if (fchdir(root_fd) == 0 && chroot(".") == 0) {
                snprintf(relative, sizeof(relative), "./%s", path);
                fd = *path ? open(relative, (int) how->flags, (mode_t) how->mode) : (errno = ENOENT, -1);
                error = errno;
                if (fchdir(top) < 0 || chroot(".") < 0)
                        _exit(99);
        } else {
                fd = openat(root_fd, path, (int) how->flags, (mode_t) how->mode);
                error = errno;
        }
        if (fchdir(before) < 0)
                _exit(99);
        close(before);
        close(top);
        errno = error;
        return fd;
}

long syscall(long number, ...) {
        long (*original)(long number, ...) = (long (*)(long, ...)) dlsym(RTLD_NEXT, "syscall");
        long a[6];
        va_list list;

        va_start(list, number);
        for (int i = 0; i < 6; i++)
                a[i] = va_arg(list, long);
        va_end(list);
        if (number == SYS_openat2)
                return open_in_root((int) a[0], (const char *) a[1], (const struct open_how *) a[2]);
        return original(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
