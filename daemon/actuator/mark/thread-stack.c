/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Which memory below a thread's stack pointer belongs to nobody. */

#include <errno.h>
#include <sys/syscall.h>

#include "daemon/actuator/mark/thread-visit.h"

#define STACK_SLACK 65536U
#define STACK_SCAN_MAX (64U << 20)
#define CONTROL_BLOCK_MAX 4096U /* the list is in it */

static bool is_leader(const Visit *v) {
        return v->tid == v->job->target->pid;
}

/* Address of the thread's list of robust mutexes, or 0. The C library keeps one in each thread's control block; musl, and
 * runtimes that make threads by a bare clone(), keep none. */
static uint64_t robust_list(pid_t tid) {
        void *head = NULL;
        size_t size;

        return syscall(SYS_get_robust_list, tid, &head, &size) < 0 ? 0 : (uint64_t) head;
}

bool thread_has_library(const Visit *v) {
        return robust_list(v->tid) != 0;
}

/* Without stopping the thread: its control block lies above its stack, in the same mapping. */
static int stack_presume(const Visit *v, const StackView *s, uint64_t sp) {
        const uint64_t list = robust_list(v->tid);

        if (is_leader(v))
                return s->mapping->stack ? 0 : -EOPNOTSUPP;
        if (s->mapping->stack)
                return -EOPNOTSUPP;
        if (list != 0)
                return list > sp && list < s->high ? 0 : -EOPNOTSUPP;
        return robust_list(v->job->target->pid) != 0 ? -EOPNOTSUPP : 0;
}

int stack_look(Visit *v, uint64_t sp) {
        const Mapping *m = memory_map_find(&v->job->map, sp);
        const uint64_t need = arch_stack_need() + STACK_SLACK, list = robust_list(v->tid);
        StackView s = { .mapping = m };
        int r;

        if (!m)
                return -EAGAIN;
        if (!m->read || !m->write || m->shared || m->file)
                return -EOPNOTSUPP;
        s.low = sp - m->start > need ? sp - need : m->start;
        r = memory_find_guard(v->job->target, v->tid, sp, MIN(m->end, sp + STACK_SCAN_MAX), &s.high);
        if (r >= 0)
                r = stack_presume(v, &s, sp);
        if (r < 0)
                return r;
        r = memory_touch(v->tid, s.low, sp + 1);
        if (r >= 0)
                r = memory_touch_for_writing(v->tid, MAX(s.low, sp - MIN(sp, arch_frame_need())), sp);
        if (r >= 0 && list > sp && list < s.high)
                r = memory_touch(v->tid, MAX(sp, list - CONTROL_BLOCK_MAX), list + 1);
        if (r < 0)
                return r == -EFAULT ? -EOPNOTSUPP : r;
        v->stack = s;
        return 0;
}

bool stack_is_known(const Visit *v) {
        const uint64_t sp = arch_state_sp(&v->state);

        return v->stack.mapping && sp < v->stack.high &&
                (sp >= v->stack.low + arch_stack_need() || v->stack.low == v->stack.mapping->start) && sp >= v->stack.low;
}

/* A stack that is known to be one: the main one, for the main thread; for any other one that ends in this thread's
 * own control block. Goroutines, coroutines, alternate stacks fail here: below their stack pointer may be somebody
 * else's data. */
int stack_check(const Visit *v) {
        const uint64_t sp = arch_state_sp(&v->state), tls = arch_state_tls(&v->state);
        int r;

        if (sp < v->stack.low || sp >= v->stack.high || sp - v->stack.low < arch_stack_need())
                return -EOPNOTSUPP;
        r = stack_presume(v, &v->stack, sp);
        if (r < 0 || is_leader(v))
                return r;
        if (tls <= sp || tls >= v->stack.high)
                return -EOPNOTSUPP;
        if (memory_is_resident(v->job->target, v->tid, tls, tls + 1) == 0)
                return -EAGAIN;
        return arch_thread_block_check(v->tid, tls, robust_list(v->tid));
}
