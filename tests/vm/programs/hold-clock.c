/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Keeps one clock of perf_event_open() open for as long as a guest runs. The kernel changes its own code when the first one is
 * opened and a second after the last one is closed (kernel/events/core.c, perf_sched_events), and QEMU now and then
 * keeps the breakpoint that it uses for that. Marking opens and closes such clocks all the time. */

#include <linux/perf_event.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(void) {
        struct perf_event_attr attributes = {
                .type = PERF_TYPE_SOFTWARE,
                .size = sizeof(attributes),
                .config = PERF_COUNT_SW_CPU_CLOCK,
                .disabled = 1,
                .exclude_kernel = 1,
        };

        if (syscall(SYS_perf_event_open, &attributes, 0, -1, -1, PERF_FLAG_FD_CLOEXEC) < 0)
                return 1;
        for (;;)
                pause();
}
