/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What stackd-mark reads of a process, and what stackd reads of stackd-mark. Parts of the input with '@' between them are the
 * files of a thread; what is left is a seccomp filter. */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>

#include "common/file.h"
#include "common/text.h"
#include "daemon/actuator/mark/filter.h"
#include "daemon/actuator/mark/interruption.h"
#include "daemon/executor/mark-outcome.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/scratch-directory.h"

static void read_maps(const Target *t) {
        _cleanup_memory_map_ MemoryMap map = {};

        if (memory_map_read(t, 1, &map) < 0)
                return;
        MUST(map.n > 0);
        for (size_t i = 0; i < map.n && i < 32; i++) {
                const Mapping *m = memory_map_find(&map, map.mappings[i].start);

                MUST(!m || (m->start <= map.mappings[i].start && map.mappings[i].start < m->end));
                (void) memory_map_find(&map, map.mappings[i].end);
        }
}

static void read_thread(const Target *t) {
        ThreadStat stat;
        ThreadStatus status;
        ThreadCall call;
        ThreadWait wait;

        (void) target_check(t);
        (void) thread_stat_read(t, 1, &stat);
        (void) thread_status_read(t, 1, &status);
        MUST(thread_is_frozen(t, 1) >= 0);
        if (thread_call_read(t, 1, &call) < 0)
                return;
        MUST(thread_wait_read(t, 1, &call, &wait) >= 0);
        (void) call_care(&call, &wait);
        (void) call_can_repeat(call.nr);
        MUST(call_continued(&call, &wait) < 0 || call_care(&call, &wait) == CALL_PLAIN);
        MUST(!call_was_cut(call.nr, call.args, (int64_t) call.sp, true));
}

static void run_filter(const uint8_t *data, size_t size) {
        static const struct seccomp_data calls[] = { { .nr = 157, .args = { 57, 1 } }, { .nr = 15, .arch = 0xc000003e }, {} };
        size_t n = size / sizeof(struct sock_filter);
        struct sock_filter *program = calloc(n + 1, sizeof(struct sock_filter));

        MUST(program);
        memcpy(program, data, n * sizeof(struct sock_filter));
        for (size_t i = 0; i < ELEMENTSOF(calls); i++) {
                uint32_t first = 1, second = 2;
                int r = filter_run(program, n, &calls[i], &first);

                MUST(r == 0 || r == -EINVAL);
                MUST(filter_run(program, n, &calls[i], &second) == r && (r < 0 || first == second));
        }
        free(program);
}

/* Only what is exactly a line is one. */
static void read_lines(const char *text) {
        _cleanup_free_ char *error = NULL;
        char buffer[160];
        MarkOutcome outcome;
        MarkLine line, again;

        if (mark_line_parse(text, &line) >= 0) {
                MUST(mark_line_format(&line, buffer, sizeof(buffer)) > 0);
                MUST(mark_line_parse(buffer, &again) >= 0 && again.final == line.final && again.tid == line.tid && again.result == line.result &&
                     again.error == line.error && again.stopped_ns == line.stopped_ns && again.state == line.state && again.total == line.total);
        }
        mark_outcome_parse(text, &outcome);
        error = mark_outcome_to_error(&outcome, 1, "x");
        MUST(error);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        static const char *const files[] = { "task/1/maps", "task/1/stat", "task/1/status", "task/1/syscall", "task/1/cgroup", "task/1/wchan" };
        Target t = { .pid = 1, .start = 1, .pidfd = -1, .proc_fd = -1 };
        _cleanup_free_ char *text = fuzz_text(data, size);
        FuzzInput in = { data, size };

        read_lines(text);
        if (in.left > 0 && *in.data != 't' && *in.data != 'r')
                for (size_t i = 0; i < ELEMENTSOF(files); i++) {
                        _cleanup_free_ char *content = fuzz_part(&in, '@');

                        scratch_file(files[i], content, strlen(content));
                        if (i == 1)
                                scratch_file("stat", content, strlen(content));
                }
        else
                return 0;
        t.proc_fd = open(scratch_directory(), O_PATH | O_DIRECTORY | O_CLOEXEC);
        MUST(t.proc_fd >= 0);
        read_maps(&t);
        read_thread(&t);
        run_filter(in.data, in.left);
        target_done(&t);
        return 0;
}
