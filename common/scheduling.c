/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <sched.h>
#include <stdio.h>

#include "common/scheduling.h"
#include "common/text.h"

static const struct {
        int policy;
        const char *name;
        bool realtime, settable;
} policies[] = {
        { SCHED_OTHER, "other", false, true }, { SCHED_FIFO, "fifo", true, true },
        { SCHED_RR, "rr", true, true },        { SCHED_BATCH, "batch", false, true },
        { SCHED_IDLE, "idle", false, true },   { 6 /* SCHED_DEADLINE */, "deadline", false, false },
};

const char *scheduling_to_string(uint64_t policy, uint64_t priority, char buffer[static SCHEDULING_TEXT_SIZE]) {
        for (size_t i = 0; i < ELEMENTSOF(policies); i++)
                if (policy == (uint64_t) policies[i].policy) {
                        if (policies[i].realtime)
                                snprintf(buffer, SCHEDULING_TEXT_SIZE, "%s:%u", policies[i].name, (unsigned) (priority & 0x7f));
                        else
                                snprintf(buffer, SCHEDULING_TEXT_SIZE, "%s", policies[i].name);
                        return buffer;
                }
        snprintf(buffer, SCHEDULING_TEXT_SIZE, "policy-%u", (unsigned) (policy & 0xffff));
        return buffer;
}

int scheduling_from_string(const char *s, int *ret_policy, int *ret_priority) {
        uint64_t priority = 0;

        for (size_t i = 0; i < ELEMENTSOF(policies); i++) {
                const char *rest = startswith(s, policies[i].name);

                if (!rest || !policies[i].settable)
                        continue;
                if (policies[i].realtime ? *rest != ':' || text_to_u64(rest + 1, 10, &priority) < 0 || priority < 1 || priority > 99 : *rest)
                        return -EINVAL;
                *ret_policy = policies[i].policy;
                *ret_priority = (int) priority;
                return 0;
        }
        return -EINVAL;
}
