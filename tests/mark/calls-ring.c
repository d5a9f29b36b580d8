/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* io_uring: waits with a time-out and without, with the kernel's own thread, and with workers that were there before. */

#include <errno.h>
#include <linux/io_uring.h>
#include <linux/time_types.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tests/mark/calls.h"

#define ENTRIES 8U
#define SIGSET_SIZE 8

typedef struct Ring {
        int fd;
        unsigned flags;
        unsigned *sq_tail, *sq_mask, *sq_flags, *sq_array, *cq_head, *cq_tail, *cq_mask;
        struct io_uring_sqe *sqes;
        struct io_uring_cqe *cqes;
        struct __kernel_timespec time;
        char byte[2];
} Ring;

static Ring *ring_new(unsigned flags) {
        struct io_uring_params p = { .flags = flags, .sq_thread_idle = 50 };
        Ring *r = calloc(1, sizeof(*r));
        char *rings;

        r->fd = (int) syscall(SYS_io_uring_setup, ENTRIES, &p);
        if (r->fd < 0 || !(p.features & IORING_FEAT_SINGLE_MMAP))
                return NULL;
        rings = mmap(NULL, p.cq_off.cqes + p.cq_entries * sizeof(struct io_uring_cqe), PROT_READ | PROT_WRITE, MAP_SHARED, r->fd,
                     IORING_OFF_SQ_RING);
        r->sqes = mmap(NULL, p.sq_entries * sizeof(struct io_uring_sqe), PROT_READ | PROT_WRITE, MAP_SHARED, r->fd, IORING_OFF_SQES);
        if (rings == MAP_FAILED || r->sqes == MAP_FAILED)
                return NULL;
        r->flags = flags;
        r->sq_tail = (void *) (rings + p.sq_off.tail);
        r->sq_mask = (void *) (rings + p.sq_off.ring_mask);
        r->sq_flags = (void *) (rings + p.sq_off.flags);
        r->sq_array = (void *) (rings + p.sq_off.array);
        r->cq_head = (void *) (rings + p.cq_off.head);
        r->cq_tail = (void *) (rings + p.cq_off.tail);
        r->cq_mask = (void *) (rings + p.cq_off.ring_mask);
        r->cqes = (void *) (rings + p.cq_off.cqes);
        return r;
}

static void ring_add(Ring *r, const struct io_uring_sqe *sqe) {
        const unsigned tail = *r->sq_tail, at = tail & *r->sq_mask;

        r->sqes[at] = *sqe;
        r->sq_array[at] = at;
        __atomic_store_n(r->sq_tail, tail + 1, __ATOMIC_RELEASE);
}

static bool ring_take(Ring *r, int *ret) {
        const unsigned head = *r->cq_head;

        if (head == __atomic_load_n(r->cq_tail, __ATOMIC_ACQUIRE))
                return false;
        *ret = r->cqes[head & *r->cq_mask].res;
        __atomic_store_n(r->cq_head, head + 1, __ATOMIC_RELEASE);
        return true;
}

static long ring_enter(Ring *r, unsigned submit, unsigned wait, unsigned flags, const void *argument, size_t size) {
        return result_of(syscall(SYS_io_uring_enter, r->fd, submit, wait, flags, argument, size));
}

/* Waits for so many completions, with the time-out of the kind if it has one. */
static long ring_wait(Case *c, unsigned submit, unsigned wanted) {
        struct __kernel_timespec ts = { c->kind->ms / 1000, c->kind->ms % 1000 * 1000000 };
        const struct io_uring_getevents_arg argument = { .ts = (uintptr_t) &ts };

        if (c->kind->ms == 0)
                return ring_enter(c->memory, submit, wanted, IORING_ENTER_GETEVENTS, NULL, SIGSET_SIZE);
        return ring_enter(c->memory, submit, wanted, IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG, &argument, sizeof(argument));
}

static bool setup_ring(Case *c) {
        return pair_unix(c) && (c->memory = ring_new(0)) != NULL;
}
static bool setup_ring_two(Case *c) {
        return pair_and_pipe(c) && (c->memory = ring_new(0)) != NULL;
}
static bool setup_polled(Case *c) {
        return pair_unix(c) && (c->memory = ring_new(IORING_SETUP_SQPOLL)) != NULL;
}

static void read_add_from(Case *c, int fd, unsigned char flags) {
        Ring *r = c->memory;

        ring_add(r, &(struct io_uring_sqe) { .opcode = IORING_OP_READ, .flags = flags, .fd = fd, .addr = (uintptr_t) r->byte, .len = 1 });
}
static void read_add(Case *c, unsigned char flags) {
        read_add_from(c, c->fd[0], flags);
}

/* As often as it takes: an effect is counted, and not repeated for want of a completion. */
static void completion_wait(Case *c) {
        int result = 0;

        while (!ring_take(c->memory, &result))
                if (!expect(c, "io_uring_enter", ring_wait(c, 0, 1), 0))
                        nap_us(1000);
        expect(c, "completion", result, 1);
}

static void round_wait(Case *c) {
        read_add(c, 0);
        expect(c, "submission", ring_enter(c->memory, 1, 0, 0, NULL, 0), 1);
        completion_wait(c);
}
static void round_expire(Case *c) {
        const uint64_t began = now_ms();

        expect_timed(c, ring_wait(c, 0, 1), 0, -ETIME, began);
}
static void round_submit(Case *c) {
        read_add(c, 0);
        expect(c, "submission with a wait", ring_wait(c, 1, 1), 1);
        completion_wait(c);
}
/* Two completions, of which one may be there: after the wait both are. */
static void round_two(Case *c) {
        unsigned found = 0;
        int result = 0;

        read_add_from(c, c->fd[0], 0);
        read_add_from(c, c->fd[2], 0);
        expect(c, "submission", ring_enter(c->memory, 2, 0, 0, NULL, 0), 2);
        expect(c, "wait for two", ring_wait(c, 0, 2), 0);
        while (ring_take(c->memory, &result))
                found++;
        expect(c, "completions", found, 2);
        for (; found < 2; found++)
                completion_wait(c);
}
static void round_polled(Case *c) {
        Ring *r = c->memory;

        read_add(c, 0);
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
        if (__atomic_load_n(r->sq_flags, __ATOMIC_ACQUIRE) & IORING_SQ_NEED_WAKEUP)
                ring_enter(r, 1, 0, IORING_ENTER_SQ_WAKEUP, NULL, 0);
        completion_wait(c);
}
static void round_worker(Case *c) {
        read_add(c, IOSQE_ASYNC);
        expect(c, "submission", ring_enter(c->memory, 1, 0, 0, NULL, 0), 1);
        completion_wait(c);
}

const Kind ring_kinds[] = {
        { "ring-wait", setup_ring, partner_byte, round_wait, .need = NEED_ROUNDS | MAY_EINTR },
        { "ring-wait-timed", setup_ring, partner_byte, round_wait, .ms = LONG_MS, .need = NEED_ROUNDS | MAY_EINTR },
        { "ring-expires", setup_ring, NULL, round_expire, .ms = SHORT_MS, .need = NEED_ROUNDS | MAY_EINTR },
        { "ring-submit", setup_ring, partner_byte, round_submit, .need = NEED_ROUNDS | MAY_EINTR },
        { "ring-submit-timed", setup_ring, partner_byte, round_submit, .ms = LONG_MS, .need = NEED_ROUNDS | MAY_EINTR },
        { "ring-two", setup_ring_two, partner_two, round_two, .need = NEED_ROUNDS | MAY_EINTR },
        { "ring-two-timed", setup_ring_two, partner_two, round_two, .ms = LONG_MS, .need = NEED_ROUNDS | MAY_EINTR },
        { "ring-polled", setup_polled, partner_byte, round_polled, .ms = LONG_MS, .need = NEED_ROUNDS | MAY_EINTR },
        { "ring-worker", setup_ring, partner_byte, round_worker, .ms = LONG_MS, .need = NEED_ROUNDS | MAY_EINTR },
        {},
};
