/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "common/array.h"
#include "common/file.h"
#include "common/text.h"

#define IN_ROOT_TRIES 1000U

int fd_close(int fd) {
        int saved = errno;

        if (fd >= 0)
                close(fd);
        errno = saved;
        return -1;
}

int file_read_sized(int fd, size_t size, size_t max, char **ret, size_t *ret_size) {
        _cleanup_free_ char *buffer = NULL;
        size_t n = 0, capacity = 0;

        for (;;) {
                ssize_t k;
                int r;

                if (n > max)
                        return -EFBIG;
                r = array_reserve((void **) &buffer, &capacity, n + 4096 + 1, 1);
                if (r < 0)
                        return r;
                k = read(fd, buffer + n, capacity - n - 1);
                if (k < 0 && errno == EINTR)
                        continue;
                if (k < 0)
                        return -errno;
                n += k;
                if (k == 0 || (n == size && n < capacity - 1))
                        break;
        }
        if (n > max)
                return -EFBIG;
        buffer[n] = 0;
        if (ret_size)
                *ret_size = n;
        *ret = TAKE_PTR(buffer);
        return 0;
}

int file_read_fd(int fd, size_t max, char **ret, size_t *ret_size) {
        return file_read_sized(fd, SIZE_MAX, max, ret, ret_size);
}

int file_open_in_root(int root_fd, const char *path, int flags, uint64_t resolve) {
        struct open_how how = { .flags = (uint64_t) (flags | O_CLOEXEC), .resolve = resolve | RESOLVE_IN_ROOT };
        int fd;

        for (unsigned tries = 0; tries < IN_ROOT_TRIES; tries++) {
                fd = (int) syscall(SYS_openat2, root_fd, path, &how, sizeof(how));
                if (fd >= 0 || errno != EAGAIN)
                        break;
        }
        return fd < 0 ? -errno : fd;
}

int file_readlink(int dir_fd, const char *path, char **ret) {
        for (size_t size = 256;; size *= 2) {
                _cleanup_free_ char *buffer = malloc(size);
                ssize_t n;

                if (!buffer)
                        return -ENOMEM;
                n = readlinkat(dir_fd, path, buffer, size);
                if (n < 0)
                        return -errno;
                if ((size_t) n < size) {
                        buffer[n] = 0;
                        *ret = TAKE_PTR(buffer);
                        return 0;
                }
        }
}

int file_write_all(int fd, const char *data, size_t size) {
        while (size > 0) {
                ssize_t k = write(fd, data, size);

                if (k < 0 && errno == EINTR)
                        continue;
                if (k < 0)
                        return -errno;
                data += k;
                size -= k;
        }
        return 0;
}

static int write_new(int dir_fd, const char *path, const char *content, mode_t mode, bool durable) {
        _cleanup_free_ char *temporary = text_format("%s.new", path);
        _cleanup_close_ int fd = -1;
        int r;

        if (!temporary)
                return -ENOMEM;
        fd = openat(dir_fd, temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (fd < 0)
                return -errno;
        r = file_write_all(fd, content, strlen(content));
        if (r >= 0 && mode != 0600 && fchmod(fd, mode) < 0)
                r = -errno;
        if (r >= 0 && durable && fsync(fd) < 0)
                r = -errno;
        if (r >= 0 && renameat(dir_fd, temporary, dir_fd, path) < 0)
                r = -errno;
        if (r < 0)
                unlinkat(dir_fd, temporary, 0);
        return r;
}

int file_write_atomic(int dir_fd, const char *path, const char *content) {
        return write_new(dir_fd, path, content, 0600, false);
}

int file_write_durable(const char *path, const char *content, mode_t mode) {
        int r = write_new(AT_FDCWD, path, content, mode, true);

        return r < 0 ? r : file_sync_parent(path);
}

int file_sync_parent(const char *path) {
        const char *slash = strrchr(path, '/');
        _cleanup_free_ char *directory = !slash ? strdup(".") : slash == path ? strdup("/") : strndup(path, (size_t) (slash - path));
        _cleanup_close_ int fd = -1;

        if (!directory)
                return -ENOMEM;
        fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        return fd < 0 || fsync(fd) < 0 ? -errno : 0;
}

char *file_chomp(char *s) {
        size_t n = strlen(s);

        if (n > 0 && s[n - 1] == '\n')
                s[n - 1] = 0;
        return s;
}
