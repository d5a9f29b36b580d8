/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <sys/prctl.h>

#include "daemon/actuator/mark/action.h"

#ifndef PR_SET_IO_FLUSHER
#define PR_SET_IO_FLUSHER 57
#endif

#define TASK_IO_FLUSHER (0x80000U | 0x100000U) /* PF_MEMALLOC_NOIO | PF_LOCAL_THROTTLE */
#define CAPABILITY_SYS_RESOURCE 24

void action_arguments(bool set, uint64_t ret[5]) {
        ret[0] = PR_SET_IO_FLUSHER;
        ret[1] = set;
        ret[2] = ret[3] = ret[4] = 0;
}

int action_is_in_state(const Target *t _unused_, pid_t tid _unused_, const ThreadStat *stat, bool set) {
        return (stat->flags & TASK_IO_FLUSHER) == (set ? TASK_IO_FLUSHER : 0);
}

int action_is_permitted(const Target *t, pid_t tid, const ThreadStatus *status) {
        if (!(status->capabilities & (UINT64_C(1) << CAPABILITY_SYS_RESOURCE)))
                return 0;
        return thread_in_initial_user_ns(t, tid);
}

int action_apply_self(void) {
        return prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0) < 0 ? -errno : 0;
}
