/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* For machines without an arch-*.c of their own, in place of all that touches a thread: the program says "unsupported". */

#include <errno.h>

#include "daemon/actuator/mark/worker.h"

int arch_init(void) {
        return -EOPNOTSUPP;
}

int worker_run(const WorkerTask *task _unused_) {
        return -EOPNOTSUPP;
}
