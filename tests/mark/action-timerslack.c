/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Another call of the same kind for tests without privileges: per thread, inherited, visible from outside, and
 * without any effect worth speaking of. */

#include <errno.h>
#include <stdlib.h>
#include <sys/prctl.h>

#include "common/text.h"
#include "daemon/actuator/mark/action.h"

#define SLACK_SET 50001U
#define SLACK_CLEAR 50000U

void action_arguments(bool set, uint64_t ret[5]) {
        ret[0] = PR_SET_TIMERSLACK;
        ret[1] = set ? SLACK_SET : SLACK_CLEAR;
        ret[2] = ret[3] = ret[4] = 0;
}

/* The file stands in the process's directory only, but every thread has one of these. */
int action_is_in_state(const Target *t, pid_t tid, const ThreadStat *stat _unused_, bool set) {
        _cleanup_free_ char *text = NULL;
        char path[64];
        int r;

        snprintf(path, sizeof(path), "../%d/timerslack_ns", (int) tid);
        r = target_read(t, path, 4096, &text);
        if (r < 0)
                return r;
        return strtoul(text, NULL, 10) == (set ? SLACK_SET : SLACK_CLEAR);
}

int action_is_permitted(const Target *t _unused_, pid_t tid _unused_, const ThreadStatus *status _unused_) {
        return 1;
}

int action_apply_self(void) {
        return 0;
}
