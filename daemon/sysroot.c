/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "common/file.h"
#include "common/text.h"
#include "daemon/sysroot.h"

#define FILE_SIZE_MAX (64U * 1024 * 1024)

struct Sysroot {
        bool machine;
        int fds[_AREA_MAX];
};

static const struct {
        const char *machine, *captured;
        bool required;
} areas[_AREA_MAX] = {
        [AREA_PROC] = { "/proc", "proc", true },
        [AREA_SYS] = { "/sys", "sys", true },
        [AREA_RUN] = { "/run", "run", false },
        [AREA_DEV] = { "/dev", NULL, false },
};

static int open_in(int dir_fd, const char *path, int flags, bool machine) {
        struct open_how how = {
                /* A capture may hold anything: a FIFO must not make us wait. */
                .flags = flags | O_CLOEXEC | (machine || flags & O_PATH ? 0 : O_NOCTTY | O_NONBLOCK),
                .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
        };
        int fd;

        fd = machine ? openat(dir_fd, path, (int) how.flags) : (int) syscall(SYS_openat2, dir_fd, path, &how, sizeof(how));
        return fd < 0 ? -errno : fd;
}

Sysroot *sysroot_free(Sysroot *s) {
        if (!s)
                return NULL;
        for (int i = 0; i < _AREA_MAX; i++)
                fd_close(s->fds[i]);
        free(s);
        return NULL;
}

int sysroot_open(const char *directory, Sysroot **ret, const char **ret_missing) {
        _cleanup_(sysroot_freep) Sysroot *s = malloc(sizeof(Sysroot));
        _cleanup_close_ int root_fd = -1;

        if (!s)
                return -ENOMEM;
        *s = (Sysroot) { .machine = !directory, .fds = { -1, -1, -1, -1 } };
        if (directory) {
                root_fd = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
                if (root_fd < 0) {
                        if (ret_missing)
                                *ret_missing = "";
                        return -errno;
                }
        }
        for (int i = 0; i < _AREA_MAX; i++) {
                const char *path = directory ? areas[i].captured : areas[i].machine;
                int fd = path ? open_in(directory ? root_fd : AT_FDCWD, path, O_PATH | O_DIRECTORY, s->machine) : -ENOENT;

                if (fd < 0 && areas[i].required) {
                        if (ret_missing)
                                *ret_missing = path;
                        return fd;
                }
                s->fds[i] = fd < 0 ? -1 : fd;
        }
        *ret = TAKE_PTR(s);
        return 0;
}

bool sysroot_is_machine(const Sysroot *s) {
        return s->machine;
}

int sysroot_open_at(const Sysroot *s, SysrootArea area, const char *path, int flags) {
        if (s->fds[area] < 0)
                return -ENOENT;
        return open_in(s->fds[area], path, flags, s->machine);
}

int sysroot_read(const Sysroot *s, SysrootArea area, const char *path, char **ret) {
        _cleanup_close_ int fd = sysroot_open_at(s, area, path, O_RDONLY);
        struct stat st;
        char *text;
        int r;

        if (fd < 0)
                return fd;
        if (!s->machine && (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)))
                return -EINVAL;
        r = file_read_fd(fd, FILE_SIZE_MAX, &text, NULL);
        if (r < 0)
                return r;
        *ret = file_chomp(text);
        return 0;
}

int sysroot_readlink(const Sysroot *s, SysrootArea area, const char *path, char **ret) {
        _cleanup_close_ int fd = -1;

        if (s->fds[area] < 0)
                return -ENOENT;
        if (s->machine)
                return file_readlink(s->fds[area], path, ret);
        fd = open_in(s->fds[area], path, O_PATH | O_NOFOLLOW, false);
        return fd < 0 ? fd : file_readlink(fd, "", ret);
}

int sysroot_opendir(const Sysroot *s, SysrootArea area, const char *path, DIR **ret) {
        _cleanup_close_ int fd = sysroot_open_at(s, area, path, O_RDONLY | O_DIRECTORY);
        DIR *d;

        if (fd < 0)
                return fd;
        d = fdopendir(fd);
        if (!d)
                return -errno;
        TAKE_FD(fd);
        *ret = d;
        return 0;
}

bool sysroot_exists(const Sysroot *s, SysrootArea area, const char *path) {
        _cleanup_close_ int fd = sysroot_open_at(s, area, path, O_PATH);

        return fd >= 0;
}

const char *path_text(char buffer[PATH_TEXT_SIZE], const char *format, ...) {
        va_list ap;

        va_start(ap, format);
        (void) vsnprintf(buffer, PATH_TEXT_SIZE, format, ap);
        va_end(ap);
        return buffer;
}

static int compare_names(const void *a, const void *b) {
        return strverscmp(*(char *const *) a, *(char *const *) b);
}

int sysroot_list(const Sysroot *s, SysrootArea area, const char *path, char ***ret) {
        _cleanup_closedir_ DIR *d = NULL;
        _cleanup_strv_free_ char **names = NULL;
        struct dirent *de;
        size_t n = 0;
        int r;

        names = calloc(1, sizeof(char *));
        if (!names)
                return -ENOMEM;
        r = sysroot_opendir(s, area, path, &d);
        if (r < 0 && r != -ENOENT)
                return r;
        while (d && (de = readdir(d))) {
                if (de->d_name[0] == '.')
                        continue;
                r = strv_append(&names, &n, de->d_name);
                if (r < 0)
                        return r;
        }
        if (n > 1)
                qsort(names, n, sizeof(char *), compare_names);
        *ret = TAKE_PTR(names);
        return 0;
}
