/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* /proc/PID/oom_score_adj. systemd refuses to set it for a running unit. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "common/file.h"
#include "daemon/actuator/actuator.h"

static int oom_score_read(Deed *d, char **ret) {
        _cleanup_close_ int fd = actuator_open_process(d);

        return fd < 0 ? fd : actuator_read_file(fd, "oom_score_adj", ret);
}

static int oom_score_write(Deed *d, const char *value) {
        _cleanup_close_ int process = actuator_open_process(d), fd = -1;

        if (process < 0)
                return process;
        fd = openat(process, "oom_score_adj", O_WRONLY | O_CLOEXEC);
        return fd < 0 ? -errno : file_write_all(fd, value, strlen(value));
}

const Actuator actuator_oom_score = { .kind = ACTION_OOM_SCORE, .read = oom_score_read, .write = oom_score_write };
