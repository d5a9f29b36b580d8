/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* /proc/PID/oom_score_adj. systemd refuses to set it for a running unit. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "common/file.h"
#include "common/text.h"
#include "daemon/actuator/actuator.h"

#define FILE_MAX_SIZE 4096U

/* Field 22 of proc_pid_stat(5); the name before it may hold anything. */
static int parse_start(const char *stat, uint64_t *ret) {
        const char *p = strrchr(stat, ')');
        char number[24];
        size_t n;

        for (unsigned field = 2; p && field < 22; field++) {
                p = strchr(p, ' ');
                p = p ? p + 1 : NULL;
        }
        if (!p)
                return -EINVAL;
        n = strcspn(p, " ");
        if (n >= sizeof(number))
                return -EINVAL;
        memcpy(number, p, n);
        number[n] = 0;
        return text_to_u64(number, 10, ret);
}

static int read_file(int directory, const char *name, char **ret) {
        _cleanup_close_ int fd = openat(directory, name, O_RDONLY | O_CLOEXEC);
        int r;

        if (fd < 0)
                return -errno;
        r = file_read_fd(fd, FILE_MAX_SIZE, ret, NULL);
        if (r >= 0)
                file_chomp(*ret);
        return r;
}

/* The directory of that very process: it stays its directory, and fails once the process is gone. */
static int open_process(Deed *d) {
        _cleanup_close_ int fd = -1;
        _cleanup_free_ char *stat = NULL;
        uint64_t start;
        int r;

        fd = sysroot_open_at(d->root, AREA_PROC, PATH("%d", d->action->pid), O_RDONLY | O_DIRECTORY);
        if (fd < 0)
                return fd;
        r = read_file(fd, "stat", &stat);
        if (r >= 0)
                r = parse_start(stat, &start);
        if (r < 0)
                return r;
        return start == d->action->start ? TAKE_FD(fd) : -ESRCH;
}

static int oom_score_read(Deed *d, char **ret) {
        _cleanup_close_ int fd = open_process(d);

        return fd < 0 ? fd : read_file(fd, "oom_score_adj", ret);
}

static int oom_score_write(Deed *d, const char *value) {
        _cleanup_close_ int process = open_process(d), fd = -1;

        if (process < 0)
                return process;
        fd = openat(process, "oom_score_adj", O_WRONLY | O_CLOEXEC);
        return fd < 0 ? -errno : file_write_all(fd, value, strlen(value));
}

const Actuator actuator_oom_score = { .kind = ACTION_OOM_SCORE, .read = oom_score_read, .write = oom_score_write };
