/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "common/file.h"
#include "common/text.h"
#include "daemon/actuator/actuator.h"

#define FILE_MAX_SIZE 4096U

int actuator_stat_field(const char *stat, unsigned number, uint64_t *ret) {
        const char *p = strrchr(stat, ')');
        char text[24];
        size_t n;

        for (unsigned field = 2; p && field < number; field++) {
                p = strchr(p, ' ');
                p = p ? p + 1 : NULL;
        }
        if (!p)
                return -EINVAL;
        n = strcspn(p, " ");
        if (n >= sizeof(text))
                return -EINVAL;
        memcpy(text, p, n);
        text[n] = 0;
        return text_to_u64(text, 10, ret);
}

int actuator_read_file(int directory, const char *name, char **ret) {
        _cleanup_close_ int fd = openat(directory, name, O_RDONLY | O_CLOEXEC);
        int r;

        if (fd < 0)
                return -errno;
        r = file_read_fd(fd, FILE_MAX_SIZE, ret, NULL);
        if (r >= 0)
                file_chomp(*ret);
        return r;
}

int actuator_open_process(Deed *d) {
        _cleanup_close_ int fd = -1;
        _cleanup_free_ char *stat = NULL;
        uint64_t start;
        int r;

        fd = sysroot_open_at(d->root, AREA_PROC, PATH("%d", d->action->pid), O_RDONLY | O_DIRECTORY);
        if (fd < 0)
                return fd;
        r = actuator_read_file(fd, "stat", &stat);
        if (r >= 0)
                r = actuator_stat_field(stat, 22, &start);
        if (r < 0)
                return r;
        return start == d->action->start ? TAKE_FD(fd) : -ESRCH;
}
