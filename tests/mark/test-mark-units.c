/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <string.h>

#include "daemon/actuator/mark/arch.h"
#include "daemon/actuator/mark/filter.h"
#include "daemon/actuator/mark/mark-protocol.h"
#include "tests/unit/tap.h"

static void round_trip(const MarkLine *l, const char *text) {
        char buffer[160];
        MarkLine back;

        CHECK(mark_line_format(l, buffer, sizeof(buffer)) == (int) strlen(text));
        CHECK(strcmp(buffer, text) == 0);
        CHECK(mark_line_parse(buffer, &back) == 0);
        CHECK(back.final == l->final && back.tid == l->tid && back.result == l->result && back.error == l->error);
        CHECK(back.stopped_ns == l->stopped_ns && back.state == l->state && back.total == l->total);
        CHECK(back.marked == l->marked && back.passes == l->passes && back.max_stopped_ns == l->max_stopped_ns);
}

static void test_protocol(void) {
        static const char *const bad[] = {
                "", "\n", "thread", "thread 1 done", "thread 1 done 2 3", "thread -1 done 2", "thread 0 done 2",
                "thread 1 failed 2", "thread 1 failed:0 2", "thread 1 failed:-5 2", "thread 1 failed:4096 2",
                "thread 1 nonsense 2", "thread  1 done 2", " thread 1 done 2", "thread 1 done 2 ",
                "thread 1 done 2\nthread 1 done 2", "thread 4294967297 done 2", "thread 1 done 99999999999999999999",
                "result all", "result all total 1 marked 1 passes 1 max-stopped-ns",
                "result all total 1 marked 1 passes 1 max-stopped-ns 1 1",
                "result most total 1 marked 1 passes 1 max-stopped-ns 1", "result all marked 1 total 1 passes 1 max-stopped-ns 1",
        };
        MarkLine l = { .tid = 12, .stopped_ns = 34 }, untouched = { .tid = 99 };

        round_trip(&l, "thread 12 done 34\n");
        l.result = MARK_FAILED;
        l.error = 5;
        round_trip(&l, "thread 12 failed:5 34\n");
        l = (MarkLine) { .tid = 12, .result = MARK_USER_WORKER };
        round_trip(&l, "thread 12 user-worker 0\n");
        l = (MarkLine) { .final = true, .state = MARK_STATE_PARTIAL, .total = 3, .marked = 2, .passes = 1,
                         .max_stopped_ns = UINT64_MAX };
        round_trip(&l, "result partial total 3 marked 2 passes 1 max-stopped-ns 18446744073709551615\n");
        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                CHECK(mark_line_parse(bad[i], &untouched) == -EINVAL && untouched.tid == 99);
        for (int i = 0; i < _MARK_STATE_MAX; i++)
                CHECK((int) mark_state_from_string(mark_state_to_string(i)) == i);
        CHECK(!mark_result_to_string(_MARK_RESULT_MAX) && !mark_state_to_string(-1));
}

static void test_filter(void) {
        const struct sock_filter program[] = {
                BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
                BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 157, 0, 1),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
                BPF_STMT(BPF_ALU | BPF_AND | BPF_K, 1),
                BPF_STMT(BPF_MISC | BPF_TAX, 0),
                BPF_STMT(BPF_LD | BPF_IMM, 7),
                BPF_STMT(BPF_ALU | BPF_ADD | BPF_X, 0),
                BPF_STMT(BPF_RET | BPF_A, 0),
        };
        const struct sock_filter endless[] = { BPF_STMT(BPF_LD | BPF_IMM, 7) };
        const struct sock_filter outside[] = { BPF_STMT(BPF_LD | BPF_W | BPF_ABS, sizeof(struct seccomp_data)) };
        struct seccomp_data data = { .nr = 157 };
        uint32_t action;

        CHECK(filter_run(program, ELEMENTSOF(program), &data, &action) == 0 && action == SECCOMP_RET_KILL_PROCESS);
        data.nr = 15;
        CHECK(filter_run(program, ELEMENTSOF(program), &data, &action) == 0 && action == 8);
        CHECK(filter_run(endless, 1, &data, &action) == -EINVAL);
        CHECK(filter_run(outside, 1, &data, &action) == -EINVAL);
}

static void test_frame_size(void) {
        if (arch_init() < 0)
                return;
        CHECK(arch_stack_need() > 1024 && arch_stack_need() < 65536);
}

TEST_MAIN(TEST(test_protocol), TEST(test_filter), TEST(test_frame_size))
