/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "daemon/actuator/mark/arch.h"
#include "daemon/actuator/mark/filter.h"
#include "daemon/actuator/mark/mark-protocol.h"
#include "daemon/actuator/mark/interruption.h"
#include "daemon/actuator/mark/target.h"
#include "tests/unit/tap.h"

static void round_trip(const MarkLine *l, const char *text) {
        char buffer[160];
        MarkLine back;

        CHECK(mark_line_format(l, buffer, sizeof(buffer)) == (int) strlen(text));
        CHECK(strcmp(buffer, text) == 0);
        CHECK(mark_line_parse(buffer, &back) == 0);
        CHECK(back.final == l->final && back.tid == l->tid && back.result == l->result && back.error == l->error);
        CHECK(back.stopped_ns == l->stopped_ns && back.state == l->state && back.total == l->total);
        CHECK(back.marked == l->marked && back.passes == l->passes && back.cut == l->cut && back.max_stopped_ns == l->max_stopped_ns);
}

static void test_protocol(void) {
        static const char *const bad[] = {
                "", "\n", "thread", "thread 1 done", "thread 1 done 2 3", "thread -1 done 2", "thread 0 done 2",
                "thread 1 failed 2", "thread 1 failed:0 2", "thread 1 failed:-5 2", "thread 1 failed:4096 2",
                "thread 1 nonsense 2", "thread  1 done 2", " thread 1 done 2", "thread 1 done 2 ",
                "thread 1 done 2\nthread 1 done 2", "thread 4294967297 done 2", "thread 1 done 99999999999999999999",
                "result all", "result all total 1 marked 1 passes 1 cut 0 max-stopped-ns",
                "result all total 1 marked 1 passes 1 cut 0 max-stopped-ns 1 1",
                "result most total 1 marked 1 passes 1 cut 0 max-stopped-ns 1", "result all marked 1 total 1 passes 1 cut 0 max-stopped-ns 1",
        };
        MarkLine l = { .tid = 12, .stopped_ns = 34 }, untouched = { .tid = 99 };

        round_trip(&l, "thread 12 done 34\n");
        l.result = MARK_FAILED;
        l.error = 5;
        round_trip(&l, "thread 12 failed:5 34\n");
        l = (MarkLine) { .tid = 12, .result = MARK_USER_WORKER };
        round_trip(&l, "thread 12 user-worker 0\n");
        l = (MarkLine) { .final = true, .state = MARK_STATE_PARTIAL, .total = 3, .marked = 2, .passes = 1, .cut = 4,
                         .max_stopped_ns = UINT64_MAX };
        round_trip(&l, "result partial total 3 marked 2 passes 1 cut 4 max-stopped-ns 18446744073709551615\n");
        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                CHECK(mark_line_parse(bad[i], &untouched) == -EINVAL && untouched.tid == 99);
        for (int i = 0; i < _MARK_STATE_MAX; i++)
                CHECK((int) mark_state_from_string(mark_state_to_string(i)) == i);
        CHECK(!mark_result_to_string(_MARK_RESULT_MAX) && !mark_state_to_string(-1));
}

#ifndef NO_ARCH
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
#endif

/* A directory like that of a process, with one thread and this status. */
static bool status_has_shadow_stack(const char *text) {
        char directory[] = "/tmp/test-mark-XXXXXX", path[64];
        ThreadStatus status = {};
        Target t = { .pid = 7 };
        FILE *f;
        int r;

        CHECK(mkdtemp(directory));
        t.proc_fd = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
        CHECK(t.proc_fd >= 0 && mkdirat(t.proc_fd, "task", 0700) == 0 && mkdirat(t.proc_fd, "task/7", 0700) == 0);
        snprintf(path, sizeof(path), "%s/task/7/status", directory);
        f = fopen(path, "w");
        CHECK(f && fputs(text, f) >= 0 && fclose(f) == 0);
        r = thread_status_read(&t, 7, &status);
        CHECK(unlinkat(t.proc_fd, "task/7/status", 0) == 0 && unlinkat(t.proc_fd, "task/7", AT_REMOVEDIR) == 0);
        CHECK(unlinkat(t.proc_fd, "task", AT_REMOVEDIR) == 0 && rmdir(directory) == 0);
        target_done(&t);
        CHECK(r == 0 && status.tracer == 12 && status.seccomp == 2 && status.capabilities == 0x1ffU);
        return status.shadow_stack;
}

/* No machine at hand has one: what the kernel says of those that do (Documentation/arch/x86/shstk.rst). */
static void test_shadow_stack(void) {
#define STATUS "Name:\tx86_Thread_features: shstk\nTracerPid:\t12\nCapEff:\t00000000000001ff\nSeccomp:\t2\n"
        CHECK(status_has_shadow_stack(STATUS "x86_Thread_features:\tshstk wrss \nx86_Thread_features_locked:\t\n"));
        CHECK(!status_has_shadow_stack(STATUS "x86_Thread_features:\t\nx86_Thread_features_locked:\tshstk wrss \n"));
        CHECK(!status_has_shadow_stack(STATUS));
}

#ifndef NO_ARCH
static void test_call_care(void) {
        static const struct {
                long nr;
                uint64_t args[6];
                ThreadWait wait;
                CallCare care;
        } cases[] = {
                { SYS_read, {}, { "unix_stream_read_generic", "socket:[123]" }, CALL_PLAIN },
                { SYS_read, {}, { "fuse_dev_do_read", "/dev/fuse" }, CALL_PLAIN },
                { SYS_read, {}, { "", "anon_inode:[eventfd]" }, CALL_PLAIN },
                { SYS_read, {}, { "pipe_read", "/srv/a-named-pipe" }, CALL_PLAIN },
                { SYS_read, {}, { "request_wait_answer", "/mnt/fuse/file" }, CALL_NEVER },
                { SYS_read, {}, { "request_wait_answer", "/dev/a-mount-point/file" }, CALL_NEVER },
                { SYS_read, {}, { "", "/mnt/orangefs/file" }, CALL_NEVER },
                { SYS_read, {}, {}, CALL_NEVER },
                { SYS_pread64, {}, { "", "" }, CALL_NEVER },
                { SYS_openat, {}, { "request_wait_answer", "" }, CALL_NEVER },
                { SYS_openat, {}, { "wait_for_partner", "" }, CALL_PLAIN },
                { SYS_flock, {}, { "locks_lock_inode_wait", "" }, CALL_PLAIN },
                { SYS_flock, {}, { "request_wait_answer", "" }, CALL_NEVER },
                { SYS_fsync, {}, {}, CALL_NEVER },
                { SYS_fcntl, {}, {}, CALL_NEVER }, /* a lock of a file may be a server's */
                { SYS_nanosleep, {}, {}, CALL_PLAIN },
                { SYS_write, {}, {}, CALL_NEVER },
                { SYS_pwritev2, {}, {}, CALL_NEVER },
                { SYS_connect, {}, {}, CALL_NEVER },
                { SYS_ioctl, { 3, 0xab03 }, {}, CALL_NEVER }, /* NBD_DO_IT */
                { SYS_ioctl, { 3, 0xc138fd08 }, {}, CALL_PLAIN }, /* DM_DEV_WAIT */
                { SYS_recvmsg, { 3, 0, 0x100 }, {}, CALL_LONG },
                { SYS_recvmsg, { 3, 0, 0 }, {}, CALL_PLAIN },
                { SYS_recvfrom, { 3, 0, 0, 0x100 }, {}, CALL_LONG },
                { SYS_splice, { 3 }, { "fuse_dev_do_read", "/dev/fuse" }, CALL_PLAIN },
                { SYS_splice, { 3 }, { "pipe_wait_readable", "pipe:[5]" }, CALL_PLAIN },
                { SYS_splice, { 3 }, { "sk_wait_data", "socket:[5]" }, CALL_PLAIN },
                { SYS_splice, { 3 }, { "pipe_wait_writable", "/mnt/file" }, CALL_NEVER },
                { SYS_splice, { 3 }, { "sock_alloc_send_pskb", "pipe:[5]" }, CALL_NEVER },
                { SYS_restart_syscall, {}, {}, CALL_NEVER },
                { SYS_restart_syscall, {}, { "futex_wait_queue" }, CALL_PLAIN },
                { SYS_recvmmsg, { 3, 0, 4, 0 }, {}, CALL_NEVER },
                { SYS_recvmmsg, { 3, 0, 4, 0x10000 }, {}, CALL_PLAIN },
                { SYS_recvmmsg, { 3, 0, 1, 0 }, {}, CALL_PLAIN },
                { SYS_io_getevents, { 0, 2, 2 }, {}, CALL_NEVER },
                { SYS_io_getevents, { 0, 1, 2 }, {}, CALL_PLAIN },
                { SYS_io_uring_enter, { 3, 0, 2, 1 }, {}, CALL_NEVER },
                { SYS_epoll_pwait, { 3, 0, 1, 60000 }, {}, CALL_PLAIN },
                { SYS_semtimedop, { 3, 0, 1, 4096 }, {}, CALL_PLAIN },
                { SYS_io_uring_enter, { 3, 8, 1, 1 }, {}, CALL_PLAIN },
                { -1, {}, {}, CALL_NEVER },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                ThreadCall call = { .nr = cases[i].nr };

                memcpy(call.args, cases[i].args, sizeof(call.args));
                CHECK(call_care(&call, &cases[i].wait) == cases[i].care);
        }
}

/* What a stop has ended early, and what it has not. */
static void test_call_cut(void) {
        const uint64_t write[6] = { 3, 4096, 1000 }, enter[6] = { 3, 2, 1, 1 }, submit[6] = { 3, 2, 0, 0 };

        CHECK(call_was_cut(SYS_write, write, 999, false) && call_was_cut(SYS_write, write, -EINTR, false));
        CHECK(!call_was_cut(SYS_write, write, 1000, false) && !call_was_cut(SYS_write, write, -EPIPE, false));
        CHECK(!call_was_cut(SYS_write, write, -EINTR, true) && !call_was_cut(-1, write, -EINTR, false));
        CHECK(!call_was_cut(SYS_read, write, 1, false)); /* a read may return what there is */
        CHECK(call_has_rest(SYS_io_uring_enter, enter, 2) && !call_has_rest(SYS_io_uring_enter, enter, -EINTR));
        CHECK(!call_has_rest(SYS_io_uring_enter, enter, 1) && !call_has_rest(SYS_io_uring_enter, submit, 2));
        CHECK(call_can_repeat(SYS_accept4) && call_can_repeat(SYS_recvmsg) && !call_can_repeat(SYS_openat));
}

static void test_call_continued(void) {
        static const struct {
                uint64_t first;
                const char *where;
                long nr;
        } cases[] = {
                { 0x7f0000000000, "futex_do_wait", SYS_futex },
                { 0x7f0000000000, "futex_wait_queue_me", SYS_futex },
#ifdef SYS_poll
                { 0x7f0000000000, "poll_schedule_timeout.constprop.0", SYS_poll },
#endif
                { 0x7f0000000000, "hrtimer_nanosleep", SYS_nanosleep },
                { 1, "do_syscall_64", SYS_clock_nanosleep },
                { 1, "__arm64_sys_restart_syscall", SYS_clock_nanosleep },
                { 0x7f0000000000, "invoke_syscall.constprop.0", SYS_nanosleep },
                { (uint64_t) -6, "alarmtimer_do_nsleep", SYS_clock_nanosleep }, /* a process's clock */
                { 0x7f0000000000, "something_else", -1 },
                { 0x7f0000000000, "", -1 },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                const ThreadCall call = { .nr = SYS_restart_syscall, .args = { cases[i].first } };
                ThreadWait wait = {};

                snprintf(wait.where, sizeof(wait.where), "%s", cases[i].where);
                CHECK(call_continued(&call, &wait) == cases[i].nr);
        }
}

/* Where the registers have the stack pointer. */
#if defined(__x86_64__)
#define SP_INDEX 19U
#elif defined(__aarch64__)
#define SP_INDEX 31U
#endif

static void test_frame(void) {
#ifdef SP_INDEX
        static const uint64_t nonce = 0x0123456789abcdef;
        static ArchState state;
        static ArchFrame frame;
        const ArchGadgets gadgets = { 0x1000, 0x2000 };
        uint64_t found;

        for (uint64_t sp = 0x7f0000100000; sp < 0x7f0000100080; sp += 8) {
                state.registers[SP_INDEX] = sp;
                state.vector_size = 576;
                CHECK(arch_state_sp(&state) == sp);
                CHECK(arch_frame_build(&state, &gadgets, nonce, &frame) == 0);
                CHECK(frame.size > 576 && frame.address + frame.size <= sp);
                CHECK(frame.address + arch_stack_need() > sp);
                memcpy(&found, frame.bytes + frame.nonce_at, sizeof(found));
                CHECK(found == nonce && memmem(frame.bytes, frame.size, &sp, sizeof(sp)));
#ifdef __aarch64__
                CHECK(frame.address % 16 == 0 && frame.address + 4688 <= sp); /* the kernel's whole structure */
#else
                CHECK(frame.address % 16 == 8 && frame.address + frame.size + 128 <= sp); /* the red zone */
#endif
        }
#endif
}

static void test_frame_size(void) {
        if (arch_init() < 0)
                return;
        CHECK(arch_stack_need() > 1024 && arch_stack_need() < 65536);
}

TEST_MAIN(TEST(test_protocol), TEST(test_filter), TEST(test_shadow_stack), TEST(test_call_care), TEST(test_call_cut),
          TEST(test_call_continued), TEST(test_frame),
          TEST(test_frame_size))
#else
static void test_unsupported(void) {
        CHECK(arch_init() == -EOPNOTSUPP);
}

TEST_MAIN(TEST(test_protocol), TEST(test_shadow_stack), TEST(test_unsupported))
#endif
