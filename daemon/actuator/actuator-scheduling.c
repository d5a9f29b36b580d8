/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How all threads of a process are scheduled: sched_setscheduler(2), one by one. New threads have what their creator has, so passes are
 * made until one finds nothing to do. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "common/file.h"
#include "common/scheduling.h"
#include "common/text.h"
#include "daemon/actuator/actuator.h"

#define PASSES_MAX 100U

/* Of one thread of the process whose directory that is: -ENOENT, -ESRCH: it has ended. */
static int thread_read(int process_fd, const char *tid, char ret[static SCHEDULING_TEXT_SIZE]) {
        _cleanup_free_ char *stat = NULL;
        uint64_t policy, priority;
        const char *state;
        int r;

        r = actuator_read_file(process_fd, PATH("task/%s/stat", tid), &stat);
        if (r < 0)
                return r;
        state = strrchr(stat, ')');
        if (state && (startswith(state, ") Z") || startswith(state, ") X")))
                return -ESRCH;
        r = actuator_stat_field(stat, 40, &priority);
        if (r >= 0)
                r = actuator_stat_field(stat, 41, &policy);
        if (r >= 0)
                scheduling_to_string(policy, priority, ret);
        return r;
}

typedef int (*ThreadVisit)(int process_fd, const char *tid, const char *scheduling, void *userdata);

/* Stops at the first that fails; threads that end meanwhile are none. */
static int for_each_thread(int process_fd, ThreadVisit visit, void *userdata) {
        _cleanup_close_ int fd = openat(process_fd, "task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        _cleanup_closedir_ DIR *d = fd < 0 ? NULL : fdopendir(fd);
        struct dirent *de;

        if (!d)
                return -errno;
        TAKE_FD(fd);
        while ((errno = 0, de = readdir(d))) {
                char scheduling[SCHEDULING_TEXT_SIZE];
                int r;

                if (de->d_name[0] == '.')
                        continue;
                r = thread_read(process_fd, de->d_name, scheduling);
                if (r >= 0)
                        r = visit(process_fd, de->d_name, scheduling, userdata);
                if (r < 0 && !error_is_gone(r))
                        return r;
        }
        return -errno;
}

static int compare(int process_fd _unused_, const char *tid _unused_, const char *scheduling, void *userdata) {
        char *all = userdata;

        if (!*all || streq(all, scheduling))
                strcpy(all, scheduling);
        else
                strcpy(all, SCHEDULING_MIXED);
        return 0;
}

static int scheduling_read(Deed *d, char **ret) {
        _cleanup_close_ int fd = actuator_open_process(d);
        char all[SCHEDULING_TEXT_SIZE] = "";
        int r;

        r = fd < 0 ? fd : for_each_thread(fd, compare, all);
        if (r < 0)
                return r;
        if (!*all)
                return -ESRCH;
        *ret = strdup(all);
        return *ret ? 0 : -ENOMEM;
}

typedef struct Change {
        const char *value;
        int policy, priority;
        bool changed;
} Change;

/* It was a thread of the process a moment ago, and the kernel gives numbers in order: nobody else has it by now. */
static int set(int process_fd _unused_, const char *tid, const char *scheduling, void *userdata) {
        Change *c = userdata;
        const struct sched_param parameter = { .sched_priority = c->priority };
        pid_t number;
        int r;

        if (streq(scheduling, c->value))
                return 0;
        r = text_to_pid(tid, &number);
        if (r < 0)
                return r;
        if (sched_setscheduler(number, c->policy, &parameter) < 0)
                return -errno;
        c->changed = true;
        return 0;
}

/* Without it a thread that never sleeps would keep its processor from all others. */
static bool is_bounded(const Sysroot *s) {
        _cleanup_free_ char *text = NULL;

        return sysroot_read(s, AREA_PROC, "sys/kernel/sched_rt_runtime_us", &text) < 0 || !startswith(text, "-");
}

static int scheduling_write(Deed *d, const char *value) {
        _cleanup_close_ int fd = actuator_open_process(d);
        Change c = { .value = value };
        int r;

        if (fd < 0)
                return fd;
        r = scheduling_from_string(value, &c.policy, &c.priority);
        if (r < 0)
                return r;
        if (!d->action->undo && c.priority > 0 && !is_bounded(d->root)) {
                d->trouble = strdup("kernel.sched_rt_runtime_us is -1: a real-time process could keep a processor for ever");
                return -EPERM;
        }
        for (unsigned i = 0; i < PASSES_MAX; i++) {
                c.changed = false;
                r = for_each_thread(fd, set, &c);
                if (r < 0 || !c.changed)
                        return r;
        }
        return -EAGAIN;
}

const Actuator actuator_scheduling = { .kind = ACTION_SCHEDULING, .read = scheduling_read, .write = scheduling_write };
