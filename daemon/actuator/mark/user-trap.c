/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <linux/perf_event.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "daemon/actuator/mark/user-trap.h"

/* Nanoseconds of the thread's time between two looks at where it is. The kernel's own lower bound is 10,000. */
#define PERIOD_NS 20000U

/* Ignored by default (signal(7)), and no cause for anything else in the kernel, as SIGCONT would be. */
static const int signals_harmless[] = { SIGURG, SIGWINCH };

static int signal_choose(uint64_t used) {
        for (size_t i = 0; i < ELEMENTSOF(signals_harmless); i++)
                if (!(used & (UINT64_C(1) << (signals_harmless[i] - 1))))
                        return signals_harmless[i];
        return -EOPNOTSUPP;
}

static int clock_open(pid_t tid) {
        struct perf_event_attr attributes = {
                .type = PERF_TYPE_SOFTWARE,
                .size = sizeof(attributes),
                .config = PERF_COUNT_SW_CPU_CLOCK,
                .sample_period = PERIOD_NS,
                .wakeup_events = 1,
                .disabled = 1,
                .exclude_kernel = 1,
                .exclude_hv = 1,
        };
        long fd = syscall(SYS_perf_event_open, &attributes, tid, -1, -1, PERF_FLAG_FD_CLOEXEC);

        if (fd < 0)
                return errno == ESRCH ? -ESRCH : -EOPNOTSUPP;
        return (int) fd;
}

/* One event, for this thread, after which the clock is off again. */
static int clock_start(int fd, int signal, pid_t tid) {
        const struct f_owner_ex owner = { F_OWNER_TID, tid };

        if (fcntl(fd, F_SETFL, O_ASYNC) < 0 || fcntl(fd, F_SETSIG, signal) < 0 || fcntl(fd, F_SETOWN_EX, &owner) < 0 ||
            ioctl(fd, PERF_EVENT_IOC_REFRESH, 1) < 0)
                return -EOPNOTSUPP;
        return 0;
}

static int arm(pid_t tid, int signal, pid_t receiver, UserTrap *ret) {
        _cleanup_close_ int fd = clock_open(tid);
        int r = fd < 0 ? fd : clock_start(fd, signal, receiver);

        if (r < 0)
                return r;
        *ret = (UserTrap) { .fd = TAKE_FD(fd), .signal = signal };
        return 0;
}

int user_watch_arm(pid_t tid, UserTrap *ret) {
        return arm(tid, SIGURG, gettid(), ret);
}

int user_trap_arm(pid_t tid, uint64_t used, UserTrap *ret) {
        int signal = signal_choose(used);

        return signal < 0 ? signal : arm(tid, signal, tid, ret);
}

bool user_trap_is_reason(const UserTrap *t, pid_t tid, int signal) {
        siginfo_t info = {};

        return t->fd >= 0 && signal == t->signal && ptrace(PTRACE_GETSIGINFO, tid, NULL, &info) >= 0 &&
                info.si_code >= POLL_IN && info.si_code <= POLL_HUP && info.si_fd == t->fd;
}

void user_trap_disarm(UserTrap *t) {
        t->fd = fd_close(t->fd);
}
