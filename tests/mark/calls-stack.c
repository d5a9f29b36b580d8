/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Threads whose stack is not the one that the C library gave them, which cannot be marked; memory that goes away at the
 * wrong instant; and another tracer. */

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/sem.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include "tests/mark/calls.h"

#ifndef SYS_epoll_pwait2
#define SYS_epoll_pwait2 441
#endif
#define STACK_SIZE (256U << 10)
#define PAGE 4096U
#define LEFT_STOPPED_MS 5000

/* ---- stacks of their own ---- */

static bool setup_pipe(Case *c) {
        return pipe(c->fd) == 0;
}
static void wait_on_pipe(int fd) {
        char byte;

        for (;;)
                (void) !read(fd, &byte, 1);
}

static int alternate_fd;
static void on_alternate(int sig) {
        (void) sig;
        wait_on_pipe(alternate_fd);
}
static void round_alternate(Case *c) {
        const stack_t stack = { .ss_sp = malloc(STACK_SIZE), .ss_size = STACK_SIZE };
        const struct sigaction action = { .sa_handler = on_alternate, .sa_flags = SA_ONSTACK };

        alternate_fd = c->fd[0];
        sigaltstack(&stack, NULL);
        sigaction(SIGUSR2, &action, NULL);
        raise(SIGUSR2);
}

static int coroutine_fd;
static void coroutine_main(void) {
        wait_on_pipe(coroutine_fd);
}
static void round_coroutine(Case *c) {
        ucontext_t thread, coroutine;

        coroutine_fd = c->fd[0];
        getcontext(&coroutine);
        coroutine.uc_stack.ss_sp = malloc(STACK_SIZE);
        coroutine.uc_stack.ss_size = STACK_SIZE;
        makecontext(&coroutine, coroutine_main, 0);
        swapcontext(&thread, &coroutine);
}

static int clone_main(void *data) {
        wait_on_pipe(((Case *) data)->fd[0]);
        return 0;
}
static void round_clone(Case *c) {
        char *stack = malloc(STACK_SIZE);

        if (clone(clone_main, stack + STACK_SIZE, CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM, c) < 0)
                exit(EXIT_FAILURE);
        idle_for_ever();
}

/* ---- memory that is missing: whoever touches it waits for the helper ---- */

/* The state of the subject, a letter. */
static char subject_state(const Case *c) {
        char path[64], text[512], *end;
        ssize_t n;
        int fd;

        snprintf(path, sizeof(path), "/proc/self/task/%d/stat", (int) c->tid);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        n = read(fd, text, sizeof(text) - 1);
        close(fd);
        if (n <= 0)
                return 0;
        text[n] = 0;
        end = strrchr(text, ')');
        return end && end[1] ? end[2] : 0;
}

/* fd[2] gives the faults in this memory. */
static bool missing_memory(Case *c, void *memory, size_t size) {
        struct uffdio_api api = { .api = UFFD_API };
        struct uffdio_register range = { .range = { (uintptr_t) memory, size }, .mode = UFFDIO_REGISTER_MODE_MISSING };

        c->fd[2] = (int) syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
        return c->fd[2] >= 0 && ioctl(c->fd[2], UFFDIO_API, &api) == 0 && ioctl(c->fd[2], UFFDIO_REGISTER, &range) == 0;
}
/* With the timeout that was there: a call that begins again reads it again. */
static void page_give(Case *c, uint64_t address) {
        static union {
                struct timespec timeout;
                char bytes[PAGE];
        } page = { .timeout = { LONG_MS / 1000, 0 } };
        struct uffdio_copy copy = { .dst = address & ~(uint64_t) (PAGE - 1), .src = (uintptr_t) &page, .len = PAGE };
        struct uffdio_range range = { copy.dst, PAGE };

        if (ioctl(c->fd[2], UFFDIO_COPY, &copy) < 0)
                ioctl(c->fd[2], UFFDIO_WAKE, &range);
}

/* Answers faults for so long. One that comes while the subject is stopped is not answered before it goes on. */
static void faults_answer(Case *c, unsigned ms, bool touching_is_effect) {
        const uint64_t until = now_ms() + ms;
        struct uffd_msg m;

        while (now_ms() < until) {
                struct pollfd p = { .fd = c->fd[2], .events = POLLIN };
                uint64_t began;

                if (poll(&p, 1, 1) <= 0 || read(c->fd[2], &m, sizeof(m)) != sizeof(m) || m.event != UFFD_EVENT_PAGEFAULT)
                        continue;
                began = now_ms();
                if (touching_is_effect && subject_state(c) == 't')
                        effect(c, "memory touched while stopped, page", (long) (m.arg.pagefault.address / PAGE), 0);
                while (subject_state(c) == 't' && now_ms() - began < LEFT_STOPPED_MS)
                        nap_us(1000);
                if (now_ms() - began >= LEFT_STOPPED_MS)
                        effect(c, "left stopped, ms", (long) (now_ms() - began), 0);
                page_give(c, m.arg.pagefault.address);
        }
}

/* The structure of a time-out lies in a page that goes when the call has begun. The two threads take turns. */

enum { TURN_BEGIN, TURN_WAITING, TURN_OVER };

enum { CALL_EPOLL, CALL_SEMAPHORE };

static bool setup_time_missing(Case *c) {
        struct epoll_event e = { .events = EPOLLIN };

        c->memory = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (!workspace() || !pair_unix(c) || !missing_memory(c, c->memory, PAGE))
                return false;
        c->id = semget(IPC_PRIVATE, 1, 0600);
        c->fd[3] = epoll_create1(0);
        return epoll_ctl(c->fd[3], EPOLL_CTL_ADD, c->fd[0], &e) == 0;
}
static void round_time_missing(Case *c) {
        struct timespec *ts = c->memory;
        struct sembuf b = { 0, -1, 0 };
        struct epoll_event e;
        char byte;

        while (atomic_load(&c->state) != TURN_BEGIN)
                nap_us(200);
        page_give(c, (uintptr_t) ts);
        *ts = (struct timespec) { LONG_MS / 1000, 0 };
        atomic_store(&c->state, TURN_WAITING);
        if (c->kind->choice == CALL_SEMAPHORE)
                expect(c, "semtimedop", result_of(semtimedop(c->id, &b, 1, ts)), 0);
        else if (expect(c, "epoll_pwait2", result_of(syscall(SYS_epoll_pwait2, c->fd[3], &e, 1, ts, NULL, 8)), 1))
                (void) !read(c->fd[0], &byte, 1);
        atomic_store(&c->state, TURN_OVER);
}
static void helper_time_missing(Case *c) {
        struct sembuf b = { 0, 1, 0 };

        while (atomic_load(&c->state) != TURN_WAITING || subject_state(c) == 'R')
                nap_us(200);
        madvise(c->memory, PAGE, MADV_DONTNEED);
        faults_answer(c, 30, true);
        if (c->kind->choice == CALL_SEMAPHORE)
                semop(c->id, &b, 1);
        else
                (void) !write(c->fd[1], "x", 1);
        while (atomic_load(&c->state) != TURN_OVER)
                faults_answer(c, 1, true);
        atomic_store(&c->state, TURN_BEGIN);
}

/* The pages below the stack pointer go, again and again. The thread itself needs none of them: its stack pointer is
 * in the upper half of a page. */
__attribute__((noinline)) static void stack_wait(Case *c) {
        char byte;

        c->where = (uintptr_t) __builtin_frame_address(0) & ~(uint64_t) (PAGE - 1);
        atomic_store(&c->state, 1);
        for (;;) {
                nap_us(3000);
                if (recv(c->fd[0], &byte, 1, 0) != 1)
                        effect(c, "recv", -errno, 1);
                atomic_fetch_add(&c->rounds, 1);
        }
}
static void *stack_main(void *data) {
        Case *c = data;
        const uintptr_t at = (uintptr_t) __builtin_frame_address(0) & (PAGE - 1);
        char *room = alloca((at + 1024) & ~(uintptr_t) 15);

        room[0] = 0;
        __asm__ volatile("" : : "r"(room) : "memory");
        c->tid = gettid();
        stack_wait(c);
        return NULL;
}
static bool setup_stack_missing(Case *c) {
        c->memory = mmap(NULL, STACK_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        return pair_unix(c) && c->memory != MAP_FAILED;
}
static void round_stack_missing(Case *c) {
        pthread_attr_t a;
        pthread_t t;

        pthread_attr_init(&a);
        pthread_attr_setstack(&a, c->memory, STACK_SIZE);
        if (pthread_create(&t, &a, stack_main, c) != 0)
                exit(EXIT_FAILURE);
        idle_for_ever();
}
static void helper_stack_missing(Case *c) {
        const size_t below_it = atomic_load(&c->state) ? c->where - (uintptr_t) c->memory : 0;

        if (below_it == 0) {
                nap_us(200);
                return;
        }
        if (c->kind->choice) {
                madvise(c->memory, below_it, MADV_PAGEOUT);
                madvise(c->memory, below_it, MADV_DONTNEED);
                return;
        }
        if (c->fd[2] < 0 && !missing_memory(c, c->memory, STACK_SIZE))
                exit(EXIT_FAILURE);
        madvise(c->memory, below_it, MADV_DONTNEED);
        faults_answer(c, below(4), false);
}

/* ---- another tracer, which holds the thread for a moment ---- */

static void partner_trace(Case *c) {
        int status;

        nap_us(below(100));
        if (c->tid == 0 || ptrace(PTRACE_SEIZE, c->tid, NULL, NULL) < 0)
                return;
        ptrace(PTRACE_INTERRUPT, c->tid, NULL, NULL);
        if (waitpid(c->tid, &status, __WALL) == c->tid)
                ptrace(PTRACE_DETACH, c->tid, NULL, NULL);
}
static void round_traced(Case *c) {
        (void) c;
        idle_for_ever();
}

const Kind stack_kinds[] = {
        { "stack-alternate", setup_pipe, NULL, round_alternate, .need = NEED_REST },
        { "stack-coroutine", setup_pipe, NULL, round_coroutine, .need = NEED_REST },
        { "stack-clone", setup_pipe, NULL, round_clone, .need = NEED_REST },
        { "time-missing-epoll", setup_time_missing, NULL, round_time_missing, helper_time_missing, .choice = CALL_EPOLL,
          .need = NEED_ROUNDS | MAY_EINTR },
        { "time-missing-semaphore", setup_time_missing, NULL, round_time_missing, helper_time_missing, .choice = CALL_SEMAPHORE,
          .need = NEED_ROUNDS | MAY_EINTR },
        { "stack-missing", setup_stack_missing, partner_byte, round_stack_missing, helper_stack_missing, .need = NEED_ROUNDS },
        { "stack-reclaimed", setup_stack_missing, partner_byte, round_stack_missing, helper_stack_missing, .choice = 1,
          .need = NEED_ROUNDS },
        { "traced", NULL, partner_trace, round_traced, .need = NOT_DENIED },
        {},
};
