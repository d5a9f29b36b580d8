/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "common/array.h"
#include "common/file.h"
#include "common/text.h"
#include "daemon/sysroot/sysroot.h"

#define FILE_SIZE_MAX (64U * 1024 * 1024)
#define LINKS_MAX 40
#define ATTRIBUTE_SIZE 4096U

typedef struct Trouble {
        int error; /* 0: none */
        char path[128];
} Trouble;

struct Sysroot {
        bool machine;
        bool without_devices; /* it is seen through a mount on which no device can be opened */
        bool plain[_AREA_MAX]; /* this, and on a file system where a read ends early only at a file's end */
        int fds[_AREA_MAX];
        Recorder *recorder;
        Trouble *trouble;
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

static int open_beneath(int dir_fd, const char *path, int flags) {
        return file_open_in_root(dir_fd, path, flags, RESOLVE_NO_MAGICLINKS);
}

/* Only directories and regular files are read. What could not be read when the capture was made is an empty file without
 * permissions: that holds for whoever reads it, root too. */
static int check_captured(const struct stat *st, int flags) {
        if (S_ISREG(st->st_mode) && (st->st_mode & 0444) == 0)
                return -EACCES;
        if (flags & O_DIRECTORY)
                return S_ISDIR(st->st_mode) ? 0 : -ENOTDIR;
        return flags & O_PATH || S_ISREG(st->st_mode) ? 0 : -EINVAL;
}

static int open_checked(int dir_fd, const char *path, int flags, struct stat *ret) {
        _cleanup_close_ int fd = open_beneath(dir_fd, path, flags & O_PATH ? flags : flags | O_NOCTTY | O_NONBLOCK);
        int r;

        if (fd < 0 || flags & O_DIRECTORY) /* which the kernel has seen to */
                return TAKE_FD(fd);
        r = fstat(fd, ret) < 0 ? -errno : check_captured(ret, flags);
        return r < 0 ? r : TAKE_FD(fd);
}

static int open_looked_at(int dir_fd, const char *path, int flags, struct stat *ret) {
        _cleanup_close_ int looked = open_beneath(dir_fd, path, O_PATH | (flags & O_NOFOLLOW)), fd = -1;
        struct stat st;
        int r;

        if (looked < 0)
                return looked;
        r = fstat(looked, &st) < 0 ? -errno : check_captured(&st, flags);
        if (r < 0)
                return r;
        fd = open_checked(dir_fd, path, flags, ret);
        if (fd < 0 || flags & O_DIRECTORY)
                return TAKE_FD(fd);
        return ret->st_dev == st.st_dev && ret->st_ino == st.st_ino ? TAKE_FD(fd) : -EINVAL;
}

/* A capture may hold anything, and to open a device node is to touch the device. It is looked at before, unless the kernel
 * refuses to open any; and also to tell why it did not open something. A FIFO may be opened, but is not waited for. */
static int open_captured(int dir_fd, const char *path, int flags, bool without_devices, struct stat *ret) {
        if (without_devices || flags & (O_PATH | O_DIRECTORY)) {
                int fd = open_checked(dir_fd, path, flags, ret);

                if (fd != -EACCES && fd != -ENOTDIR && fd != -ENXIO)
                        return fd;
        }
        return open_looked_at(dir_fd, path, flags, ret);
}

/* 'ret' is told only of what is captured. */
static int open_in(const Sysroot *s, int dir_fd, const char *path, int flags, struct stat *ret) {
        int fd;

        if (!s->machine)
                return open_captured(dir_fd, path, flags, s->without_devices, ret);
        fd = openat(dir_fd, path, flags | O_CLOEXEC);
        return fd < 0 ? -errno : fd;
}

/* The same directory, and all that is mounted below, through mounts of our own that nobody else sees. Needs privileges. */
static int clone_without_devices(int root_fd) {
        struct mount_attr attributes = { .attr_set = MOUNT_ATTR_NODEV, .propagation = MS_PRIVATE };
        _cleanup_close_ int fd = open_tree(root_fd, "", AT_EMPTY_PATH | AT_RECURSIVE | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);

        if (fd < 0 || mount_setattr(fd, "", AT_EMPTY_PATH | AT_RECURSIVE, &attributes, sizeof(attributes)) < 0)
                return -errno;
        return TAKE_FD(fd);
}

static bool is_plain(int fd) {
        struct statfs st;
        uint32_t type;

        if (fd < 0 || fstatfs(fd, &st) < 0)
                return false;
        type = (uint32_t) st.f_type; /* on some machines a signed number of 32 bits */
        return type == TMPFS_MAGIC || type == EXT4_SUPER_MAGIC || type == XFS_SUPER_MAGIC || type == BTRFS_SUPER_MAGIC;
}

Sysroot *sysroot_free(Sysroot *s) {
        if (!s)
                return NULL;
        for (int i = 0; i < _AREA_MAX; i++)
                fd_close(s->fds[i]);
        free(s->trouble);
        free(s);
        return NULL;
}

int sysroot_open(const char *directory, Sysroot **ret, const char **ret_missing) {
        _cleanup_(sysroot_freep) Sysroot *s = malloc(sizeof(Sysroot));
        _cleanup_close_ int root_fd = -1, cloned_fd = -1;
        struct stat st;

        if (!s)
                return -ENOMEM;
        *s = (Sysroot) { .machine = !directory, .fds = { -1, -1, -1, -1 }, .trouble = calloc(1, sizeof(Trouble)) };
        if (!s->trouble)
                return -ENOMEM;
        if (directory) {
                root_fd = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
                if (root_fd < 0) {
                        if (ret_missing)
                                *ret_missing = "";
                        return -errno;
                }
                cloned_fd = clone_without_devices(root_fd);
                s->without_devices = cloned_fd >= 0;
        }
        for (int i = 0; i < _AREA_MAX; i++) {
                const char *path = directory ? areas[i].captured : areas[i].machine;
                int dir_fd = !directory ? AT_FDCWD : s->without_devices ? cloned_fd : root_fd;
                int fd = path ? open_in(s, dir_fd, path, O_PATH | O_DIRECTORY, &st) : -ENOENT;

                if (fd < 0 && areas[i].required) {
                        if (ret_missing)
                                *ret_missing = path;
                        return fd;
                }
                s->fds[i] = fd < 0 ? -1 : fd;
                s->plain[i] = s->without_devices && is_plain(fd);
        }
        *ret = TAKE_PTR(s);
        return 0;
}

bool sysroot_is_machine(const Sysroot *s) {
        return s->machine;
}

/* ---- trouble ---- */

/* These say nothing about what was to be read: most callers may take any other error for an answer. */
static bool is_trouble(int r) {
        return error_is_shortage(r) || r == -EIO;
}

static bool is_about_one_file(int r) {
        return r == -EIO || r == -EAGAIN;
}

/* Returns 'r'. The first of those that are not only about one file is kept. */
static int noted(const Sysroot *s, const char *path, int r) {
        Trouble *t = s->trouble;

        if (is_trouble(r) && (t->error == 0 || (is_about_one_file(t->error) && !is_about_one_file(r)))) {
                t->error = r;
                snprintf(t->path, sizeof(t->path), "%s", path);
        }
        return r;
}

void sysroot_forget_trouble(const Sysroot *s) {
        s->trouble->error = 0;
}

int sysroot_trouble(const Sysroot *s, const char **ret_path) {
        if (ret_path)
                *ret_path = s->trouble->path;
        return s->trouble->error;
}

int sysroot_result(const Sysroot *s, int r) {
        return error_is_shortage(s->trouble->error) ? s->trouble->error : r;
}

static int open_at(const Sysroot *s, SysrootArea area, const char *path, int flags, struct stat *ret) {
        return s->fds[area] < 0 ? -ENOENT : noted(s, path, open_in(s, s->fds[area], path, flags, ret));
}

int sysroot_open_at(const Sysroot *s, SysrootArea area, const char *path, int flags) {
        struct stat st;

        return open_at(s, area, path, flags, &st);
}

static int read_link(const Sysroot *s, SysrootArea area, const char *path, char **ret) {
        _cleanup_close_ int fd = -1;
        struct stat st;
        int r;

        if (s->fds[area] < 0)
                return -ENOENT;
        if (s->machine)
                return file_readlink(s->fds[area], path, ret);
        fd = open_beneath(s->fds[area], path, O_PATH | O_NOFOLLOW);
        if (fd < 0)
                return fd;
        r = file_readlink(fd, "", ret);
        if (r != -ENOENT) /* so says the kernel of a descriptor that is no link */
                return r;
        r = fstat(fd, &st) < 0 ? -errno : check_captured(&st, O_PATH);
        return r < 0 ? r : -EINVAL;
}

/* ---- recording ---- */

const int *sysroot_descriptors(const Sysroot *s, size_t *ret_n) {
        *ret_n = _AREA_MAX;
        return s->fds;
}

void sysroot_set_recorder(Sysroot *s, Recorder *r) {
        s->recorder = r;
}

bool sysroot_is_recorded(const Sysroot *s) {
        return s->recorder;
}

/* Not gone, and no matter of what kind of file it is: it could not be read. */
static bool is_denied(int r) {
        return r < 0 && !error_is_gone(r) && r != -EINVAL && r != -ENOTDIR && r != -ELOOP && r != -ENOMEM;
}

/* Whether what 'path' (of the capture) names is a link: 1 and its target, or 0. */
static int link_of(const Sysroot *s, SysrootArea area, const char *path, char **ret) {
        const Captured *known = recorder_get(s->recorder, path);
        char *target;
        int r;

        if (known && (known->kind == CAPTURED_DIRECTORY || known->kind == CAPTURED_FILE))
                return 0;
        if (known && known->kind == CAPTURED_LINK) {
                *ret = strdup(known->content);
                return *ret ? 1 : -ENOMEM;
        }
        r = read_link(s, area, path + strlen(areas[area].captured) + 1, &target);
        if (r < 0) /* a link cannot be denied without its directory */
                return r == -EINVAL || is_denied(r) ? 0 : r;
        recorder_add(s->recorder, CAPTURED_LINK, path, target, strlen(target));
        *ret = target;
        return 1;
}

/* The path in the capture, without the links on the way, which are recorded as what they are. Links are not
 * followed out of the area, as when the capture is read. */
static int record_path(const Sysroot *s, SysrootArea area, const char *path, bool follow_last, char **ret) {
        _cleanup_free_ char *done = strdup(areas[area].captured), *rest = strdup(path);
        size_t top = strlen(areas[area].captured);

        for (unsigned links = 0; done && rest;) {
                _cleanup_free_ char *candidate = NULL, *target = NULL, *longer = NULL;
                size_t skipped = strspn(rest, "/"), n = strcspn(rest + skipped, "/");
                const char *name = rest + skipped, *after = name + n + strspn(name + n, "/");
                int r;

                if (n == 0) {
                        *ret = TAKE_PTR(done);
                        return 0;
                }
                if (n == 2 && memcmp(name, "..", 2) == 0) {
                        if (strlen(done) > top)
                                *strrchr(done, '/') = 0;
                } else if (n != 1 || *name != '.') {
                        candidate = text_format("%s/%.*s", done, (int) n, name);
                        if (!candidate)
                                return -ENOMEM;
                        r = *after || follow_last ? link_of(s, area, candidate, &target) : 0;
                        if (r < 0)
                                return r;
                        if (r > 0 && ++links > LINKS_MAX)
                                return -ELOOP;
                }
                if (target && target[0] == '/')
                        done[top] = 0;
                else if (candidate && !target) {
                        free(done);
                        done = TAKE_PTR(candidate);
                }
                longer = target ? text_format("%s/%s", target, after) : strdup(after);
                free(rest);
                rest = TAKE_PTR(longer);
        }
        return -ENOMEM;
}

/* 'result' of reading it: success is recorded as the given kind, a refusal as such, and what is not there is
 * not recorded. */
static void record(const Sysroot *s, SysrootArea area, const char *path, int result, CapturedKind kind, const char *content, size_t size) {
        _cleanup_free_ char *full = NULL;

        if (!s->recorder || !areas[area].captured || (result < 0 && !is_denied(result)))
                return;
        if (record_path(s, area, path, kind != CAPTURED_LINK, &full) < 0)
                return; /* it changes under our eyes */
        if (result < 0)
                recorder_add(s->recorder, CAPTURED_DENIED, full, "", 0);
        else
                recorder_add(s->recorder, kind, full, content, size);
}

void sysroot_record_link(const Sysroot *s, SysrootArea area, const char *path, const char *target) {
        record(s, area, path, 0, CAPTURED_LINK, target, strlen(target));
}

void sysroot_record_text(const Sysroot *s, SysrootArea area, const char *path, const char *text) {
        _cleanup_free_ char *full = NULL;
        int r;

        if (!s->recorder || !areas[area].captured)
                return;
        r = record_path(s, area, path, true, &full);
        if (r >= 0 || r == -ENOENT)
                recorder_add(s->recorder, CAPTURED_FILE, full ?: PATH("%s/%s", areas[area].captured, path), text, strlen(text));
}

/* ---- reading ---- */

/* Where a read ends early only at a file's end. What is read of sysfs and configfs is handed out in one piece (fs/sysfs/file.c,
 * fs/configfs/file.c), files of cgroups line by line. */
static bool has_whole_reads(const Sysroot *s, SysrootArea area, const char *path) {
        return s->plain[area] || (s->machine && area == AREA_SYS && !startswith(path, "fs/cgroup"));
}

/* What nearly every file of a captured tree or of sysfs is, with a system call less for each: short, not empty (as captured ones are that
 * could not be read), on the area's own file system, and no FIFO, which cannot be read at an offset. 1, or 0 of any other; -ENOENT. */
static int read_short(const Sysroot *s, SysrootArea area, const char *path, size_t most, char **ret, size_t *ret_size) {
        _cleanup_free_ char *text = NULL;
        _cleanup_close_ int fd = -1;
        ssize_t n;

        if (!has_whole_reads(s, area, path))
                return 0;
        fd = s->machine ? open_in(s, s->fds[area], path, O_RDONLY, NULL)
                        : file_open_in_root(s->fds[area], path, O_RDONLY | O_NOCTTY | O_NONBLOCK, RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV);
        if (fd == -ENOENT)
                return fd;
        text = fd < 0 ? NULL : malloc(ATTRIBUTE_SIZE + 1);
        n = text ? pread(fd, text, ATTRIBUTE_SIZE, 0) : -1;
        if (n <= 0 || n == ATTRIBUTE_SIZE || (size_t) n > most)
                return 0;
        text[n] = 0;
        *ret_size = (size_t) n;
        *ret = TAKE_PTR(text);
        return 1;
}

static int read_any(const Sysroot *s, SysrootArea area, const char *path, size_t most, char **ret, size_t *ret_size) {
        struct stat st = { .st_size = -1 };
        _cleanup_close_ int fd = open_at(s, area, path, O_RDONLY, &st);

        return fd < 0 ? fd : file_read_sized(fd, (size_t) st.st_size, MIN(most, (size_t) FILE_SIZE_MAX), ret, ret_size);
}

int sysroot_read_limited(const Sysroot *s, SysrootArea area, const char *path, size_t most, char **ret) {
        char *text = NULL;
        size_t size = 0;
        int r;

        r = read_short(s, area, path, most, &text, &size);
        if (r == 0)
                r = read_any(s, area, path, most, &text, &size);
        record(s, area, path, r, CAPTURED_FILE, text ?: "", size);
        if (r < 0)
                return noted(s, path, r);
        *ret = file_chomp(text);
        return 0;
}

int sysroot_read(const Sysroot *s, SysrootArea area, const char *path, char **ret) {
        return sysroot_read_limited(s, area, path, FILE_SIZE_MAX, ret);
}

/* A refusal is recorded here, a link where it is known to matter. */
static int peeked(const Sysroot *s, SysrootArea area, const char *path, int r) {
        if (is_denied(r))
                record(s, area, path, r, CAPTURED_LINK, "", 0);
        return noted(s, path, r);
}

int sysroot_peek_link(const Sysroot *s, SysrootArea area, const char *path, char **ret) {
        return peeked(s, area, path, read_link(s, area, path, ret));
}

int sysroot_readlink(const Sysroot *s, SysrootArea area, const char *path, char **ret) {
        int r;

        r = sysroot_peek_link(s, area, path, ret);
        if (r >= 0)
                sysroot_record_link(s, area, path, *ret);
        return r;
}

int sysroot_readlink_at(const Sysroot *s, SysrootArea area, int dir_fd, const char *directory, const char *name, char **ret) {
        const char *path = PATH("%s/%s", directory, name);
        int r;

        r = peeked(s, area, path, file_readlink(dir_fd, name, ret));
        if (r >= 0)
                sysroot_record_link(s, area, path, *ret);
        return r;
}

bool sysroot_exists(const Sysroot *s, SysrootArea area, const char *path) {
        _cleanup_close_ int fd = sysroot_open_at(s, area, path, O_PATH);
        struct stat st;

        if (fd < 0)
                return false;
        if (s->recorder && fstat(fd, &st) >= 0)
                record(s, area, path, 0, S_ISDIR(st.st_mode) ? CAPTURED_DIRECTORY : CAPTURED_LISTED, "", 0);
        return true;
}

static int open_directory(const Sysroot *s, SysrootArea area, const char *path, DIR **ret) {
        _cleanup_close_ int fd = sysroot_open_at(s, area, path, O_RDONLY | O_DIRECTORY);
        DIR *d;

        record(s, area, path, fd, CAPTURED_DIRECTORY, "", 0);
        if (fd < 0)
                return fd;
        d = fdopendir(fd);
        if (!d)
                return noted(s, path, -errno);
        TAKE_FD(fd);
        *ret = d;
        return 0;
}

static int compare_names(const void *a, const void *b) {
        return strverscmp(*(char *const *) a, *(char *const *) b);
}

/* So that others find there what they expect (a link in slaves/, say). */
static void record_entry(const Sysroot *s, SysrootArea area, const char *directory, const struct dirent *de) {
        const char *path = PATH("%s/%s", directory, de->d_name);
        _cleanup_free_ char *target = NULL;

        if (!s->recorder)
                return;
        if (de->d_type == DT_LNK && read_link(s, area, path, &target) >= 0)
                sysroot_record_link(s, area, path, target);
        else
                record(s, area, path, 0, de->d_type == DT_DIR ? CAPTURED_DIRECTORY : CAPTURED_LISTED, "", 0);
}

int sysroot_list(const Sysroot *s, SysrootArea area, const char *path, char ***ret) {
        _cleanup_closedir_ DIR *d = NULL;
        _cleanup_strv_free_ char **names = NULL;
        struct dirent *de;
        size_t n = 0;
        int r;

        names = calloc(1, sizeof(char *));
        if (!names)
                return noted(s, path, -ENOMEM);
        r = open_directory(s, area, path, &d);
        if (r < 0 && r != -ENOENT)
                return r;
        while (d && (errno = 0, de = readdir(d))) {
                if (de->d_name[0] == '.')
                        continue;
                r = strv_append(&names, &n, de->d_name);
                if (r < 0)
                        return noted(s, path, r);
                record_entry(s, area, path, de);
        }
        if (d && errno != 0)
                return noted(s, path, -errno);
        if (n > 1)
                qsort(names, n, sizeof(char *), compare_names);
        *ret = TAKE_PTR(names);
        return 0;
}

static int compare_numbers(const void *a, const void *b) {
        int x = *(const int *) a, y = *(const int *) b;

        return (x > y) - (x < y);
}

int sysroot_list_numbers(const Sysroot *s, SysrootArea area, const char *path, int **ret, size_t *ret_n) {
        _cleanup_closedir_ DIR *d = NULL;
        _cleanup_free_ int *numbers = NULL;
        size_t n = 0, capacity = 0;
        struct dirent *de;
        uint64_t value;
        int r;

        r = open_directory(s, area, path, &d);
        if (r < 0)
                return r;
        while ((errno = 0, de = readdir(d))) {
                if (text_to_u64(de->d_name, 10, &value) < 0 || value > INT32_MAX)
                        continue;
                r = ARRAY_APPEND(numbers, n, capacity, (int) value);
                if (r < 0)
                        return noted(s, path, r);
        }
        if (errno != 0)
                return noted(s, path, -errno);
        if (n > 1)
                qsort(numbers, n, sizeof(int), compare_numbers);
        *ret = TAKE_PTR(numbers);
        *ret_n = n;
        return 0;
}

const char *path_text(char buffer[PATH_TEXT_SIZE], const char *format, ...) {
        va_list ap;

        va_start(ap, format);
        (void) vsnprintf(buffer, PATH_TEXT_SIZE, format, ap);
        va_end(ap);
        return buffer;
}
