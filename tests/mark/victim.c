/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A process that notices when anything is done to it. One thread, the subject, repeats what its mode says and checks
 * all registers, vector registers, red zone, signal mask, alternate stack, result and duration each time; another
 * one, the ticker, makes blocked calls end. It runs until its standard input ends and prints
 * "ok ROUNDS deviations N"; deviations are what a stop may legally cause and are listed in known_deviation(). */

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/io_uring.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include "tests/mark/loaded.h"

#define SHORT_NS UINT64_C(150000000)
#define LONG_NS UINT64_C(1300000000)
#define LATE_NS UINT64_C(900000000)

static atomic_bool stopping;
static atomic_ulong rounds, deviations, handled;
static pthread_t subject;
static int pipe_ends[2], sockets[2], listener, epoll_fd, semaphore, queue, ring_fd;
static struct sockaddr_un address;
static uint32_t word;
static const char *mode;

static uint64_t now(void) {
        struct timespec ts;

        clock_gettime(CLOCK_MONOTONIC, &ts);
        return (uint64_t) ts.tv_sec * 1000000000U + (uint64_t) ts.tv_nsec;
}

static void fail(const char *what, long a, long b) {
        printf("FAIL %s: %s %ld %ld\n", mode, what, a, b);
        fflush(stdout);
        abort();
}

static void context_check(void) {
        sigset_t mask;
        stack_t stack;

        pthread_sigmask(SIG_SETMASK, NULL, &mask);
        if (sigismember(&mask, SIGUSR1) != 1 || sigismember(&mask, SIGHUP) != 1 || sigismember(&mask, SIGUSR2) != 0 ||
            sigismember(&mask, SIGWINCH) != 0)
                fail("signal mask", 0, 0);
        sigaltstack(NULL, &stack);
        if (stack.ss_size != 65536 || stack.ss_flags != 0)
                fail("alternate stack", (long) stack.ss_size, stack.ss_flags);
}

static void check(bool equal, const Difference *d) {
        if (!equal)
                fail(d->what, d->index, d->value);
}

static long call_checked(long nr, long a, long b, long c, long d, long e, long f) {
        Difference difference;
        long result = 0;

        check(loaded_call(nr, (const long[]) { a, b, c, d, e, f }, &result, &difference), &difference);
        context_check();
        return result;
}

static void expect(long result, long wanted, uint64_t began, uint64_t at_least) {
        uint64_t took = now() - began;

        if (result != wanted && result == -EINTR && wanted != -EINTR) {
                atomic_fetch_add(&deviations, 1);
                return;
        }
        if (result != wanted)
                fail("result", result, wanted);
        if (took < at_least)
                fail("too early", (long) took, (long) at_least);
        if (took > at_least + LATE_NS) {
                printf("late: %ld ms\n", (long) (took / 1000000));
                atomic_fetch_add(&deviations, 1);
        }
}

static void on_signal(int sig) {
        (void) sig;
        atomic_fetch_add(&handled, 1);
}

static struct timespec *short_time(struct timespec *ts) {
        *ts = (struct timespec) { 0, SHORT_NS };
        return ts;
}

#define P(x) ((long) (x))

static void round_tight(void) {
        Difference difference;

        check(loaded_spin(2000000, &difference), &difference);
        context_check();
}

static void round_nanosleep(void) {
        struct timespec ts, rest;
        uint64_t t = now();

        expect(call_checked(SYS_nanosleep, P(short_time(&ts)), P(&rest), 0, 0, 0, 0), 0, t, SHORT_NS);
}
/* As often awake as asleep. */
static void round_naps(void) {
        struct timespec ts = { 0, 200000 };
        Difference difference;

        check(loaded_spin(200000, &difference), &difference);
        expect(call_checked(SYS_nanosleep, P(&ts), 0, 0, 0, 0, 0), 0, now(), 0);
}
/* Longer than what may begin anew. */
static void round_nanosleep_long(void) {
        struct timespec ts = { LONG_NS / 1000000000, LONG_NS % 1000000000 }, rest;
        uint64_t t = now();

        expect(call_checked(SYS_nanosleep, P(&ts), P(&rest), 0, 0, 0, 0), 0, t, LONG_NS);
}
static void round_clock_nanosleep(void) {
        struct timespec ts;
        uint64_t t = now();

        expect(call_checked(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, P(short_time(&ts)), 0, 0, 0), 0, t, SHORT_NS);
}
static void round_clock_nanosleep_absolute(void) {
        uint64_t t = now(), end = t + SHORT_NS;
        struct timespec ts = { (time_t) (end / 1000000000), (long) (end % 1000000000) };

        expect(call_checked(SYS_clock_nanosleep, CLOCK_MONOTONIC, TIMER_ABSTIME, P(&ts), 0, 0, 0), 0, t, SHORT_NS);
}
/* Newer architectures have the newer calls only. */
static long call_poll(struct pollfd *p, long timeout_ms) {
#ifdef SYS_poll
        return call_checked(SYS_poll, P(p), 1, timeout_ms, 0, 0, 0);
#else
        struct timespec ts = { 0, timeout_ms * 1000000 };

        return call_checked(SYS_ppoll, P(p), 1, timeout_ms < 0 ? 0 : P(&ts), 0, 8, 0);
#endif
}
static long call_epoll(struct epoll_event *e, long timeout_ms) {
#ifdef SYS_epoll_wait
        return call_checked(SYS_epoll_wait, epoll_fd, P(e), 1, timeout_ms, 0, 0);
#else
        return call_checked(SYS_epoll_pwait, epoll_fd, P(e), 1, timeout_ms, 0, 8);
#endif
}
static void round_poll_timeout(void) {
        struct pollfd p = { .fd = sockets[1], .events = POLLIN };
        uint64_t t = now();

        expect(call_poll(&p, SHORT_NS / 1000000), 0, t, SHORT_NS);
}
static void drain(int fd) {
        char c[64];

        if (call_checked(SYS_read, fd, P(c), sizeof(c), 0, 0, 0) < 1)
                fail("read", 0, 0);
}
static void round_poll(void) {
        struct pollfd p = { .fd = pipe_ends[0], .events = POLLIN };

        expect(call_poll(&p, -1), 1, now(), 0);
        drain(pipe_ends[0]);
}
static void round_select(void) {
        uint64_t t = now();
        fd_set set;

        FD_ZERO(&set);
        FD_SET(sockets[1], &set);
#ifdef SYS_select
        struct timeval tv = { 0, SHORT_NS / 1000 };
        expect(call_checked(SYS_select, sockets[1] + 1, P(&set), 0, 0, P(&tv), 0), 0, t, SHORT_NS);
#else
        struct timespec ts;
        expect(call_checked(SYS_pselect6, sockets[1] + 1, P(&set), 0, 0, P(short_time(&ts)), 0), 0, t, SHORT_NS);
#endif
}
static void round_futex_timeout(void) {
        struct timespec ts;
        uint64_t t = now();

        expect(call_checked(SYS_futex, P(&word), FUTEX_WAIT_PRIVATE, 0, P(short_time(&ts)), 0, 0), -ETIMEDOUT, t,
               SHORT_NS);
}
static void round_futex(void) {
        long r = call_checked(SYS_futex, P(&word), FUTEX_WAIT_PRIVATE, 0, 0, 0, 0);

        expect(r, 0, now(), 0);
}
static void round_read(void) {
        char c[64];

        expect(call_checked(SYS_read, pipe_ends[0], P(c), 1, 0, 0, 0), 1, now(), 0);
}
static void round_epoll(void) {
        struct epoll_event e;

        expect(call_epoll(&e, -1), 1, now(), 0);
        drain(pipe_ends[0]);
}
static void round_epoll_timeout(void) {
        struct epoll_event e;
        uint64_t t = now();

        expect(call_epoll(&e, SHORT_NS / 1000000), 0, t, SHORT_NS);
}
static void round_accept(void) {
        long fd = call_checked(SYS_accept, listener, 0, 0, 0, 0, 0);

        if (fd >= 0)
                close((int) fd);
        expect(fd < 0 ? fd : 0, 0, now(), 0);
}
static void round_sigtimedwait(void) {
        sigset_t set;

        sigemptyset(&set);
        sigaddset(&set, SIGUSR1);
        expect(call_checked(SYS_rt_sigtimedwait, P(&set), 0, 0, 8, 0, 0), SIGUSR1, now(), 0);
}
static void round_sigtimedwait_timeout(void) {
        struct timespec ts;
        uint64_t t = now();
        sigset_t set;

        sigemptyset(&set);
        sigaddset(&set, SIGHUP);
        expect(call_checked(SYS_rt_sigtimedwait, P(&set), 0, P(short_time(&ts)), 8, 0, 0), -EAGAIN, t, SHORT_NS);
}
/* These must be interrupted: a signal that only their own mask lets through, or one without SA_RESTART. */
static void interrupted(long r, unsigned long before) {
        expect(r, -EINTR, now(), 0);
        if (atomic_load(&handled) == before) {
                atomic_fetch_add(&deviations, 1);
                printf("EINTR without a handler\n");
        }
}
static void round_ppoll_mask(void) {
        struct pollfd p = { .fd = sockets[1], .events = POLLIN };
        unsigned long before = atomic_load(&handled);
        sigset_t set;

        sigemptyset(&set);
        interrupted(call_checked(SYS_ppoll, P(&p), 1, 0, P(&set), 8, 0), before);
}
static void round_sigsuspend(void) {
        unsigned long before = atomic_load(&handled);
        sigset_t set;

        sigemptyset(&set);
        interrupted(call_checked(SYS_rt_sigsuspend, P(&set), 8, 0, 0, 0, 0), before);
}
static void round_epoll_pwait_mask(void) {
        unsigned long before = atomic_load(&handled);
        struct epoll_event e;
        sigset_t set;

        sigemptyset(&set);
        interrupted(call_checked(SYS_epoll_pwait, epoll_fd, P(&e), 1, -1, P(&set), 8), before);
}
static void round_read_interrupted(void) {
        unsigned long before = atomic_load(&handled);
        char c;

        interrupted(call_checked(SYS_read, sockets[1], P(&c), 1, 0, 0, 0), before);
}
static void round_semop(void) {
        struct sembuf b = { 0, -1, 0 };

        expect(call_checked(SYS_semop, semaphore, P(&b), 1, 0, 0, 0), 0, now(), 0);
}
static void round_msgrcv(void) {
        struct { long type; char text[8]; } m;

        expect(call_checked(SYS_msgrcv, queue, P(&m), 8, 0, 0, 0), 1, now(), 0);
}
/* Not in call_checked(): the completion queue is looked at in between by nobody, a wait for one that comes by time. */
static struct io_uring_sqe *ring_sqes;
static unsigned *ring_sq_tail, *ring_sq_array, *ring_cq_head, *ring_cq_tail, *ring_sq_mask;
static void round_io_uring(void) {
        static struct __kernel_timespec ts = { 0, SHORT_NS };
        unsigned tail = *ring_sq_tail, i = tail & *ring_sq_mask;
        uint64_t t = now();
        long r;

        ring_sqes[i] = (struct io_uring_sqe) { .opcode = IORING_OP_TIMEOUT, .fd = -1, .addr = (uintptr_t) &ts,
                                               .len = 1 };
        ring_sq_array[i] = i;
        __atomic_store_n(ring_sq_tail, tail + 1, __ATOMIC_RELEASE);
        if (call_checked(SYS_io_uring_enter, ring_fd, 1, 0, 0, 0, 0) != 1)
                fail("submit", 0, 0);
        r = call_checked(SYS_io_uring_enter, ring_fd, 0, 1, IORING_ENTER_GETEVENTS, 0, 0);
        if (r == -EINTR) {
                atomic_fetch_add(&deviations, 1);
                while (__atomic_load_n(ring_cq_tail, __ATOMIC_ACQUIRE) == *ring_cq_head)
                        usleep(1000);
                r = 0;
        }
        expect(r, 0, t, SHORT_NS);
        if (__atomic_load_n(ring_cq_tail, __ATOMIC_ACQUIRE) == *ring_cq_head)
                fail("no completion", 0, 0);
        __atomic_store_n(ring_cq_head, *ring_cq_head + 1, __ATOMIC_RELEASE);
}
static bool ring_setup(void) {
        struct io_uring_params p = {};
        char *rings;

        ring_fd = (int) syscall(SYS_io_uring_setup, 4, &p);
        if (ring_fd < 0)
                return false;
        rings = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring_fd, IORING_OFF_SQ_RING);
        ring_sqes = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring_fd, IORING_OFF_SQES);
        if (rings == MAP_FAILED) {
                rings = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, ring_fd, IORING_OFF_SQ_RING);
                if (rings == MAP_FAILED)
                        return false;
        }
        ring_sq_tail = (unsigned *) (rings + p.sq_off.tail);
        ring_sq_mask = (unsigned *) (rings + p.sq_off.ring_mask);
        ring_sq_array = (unsigned *) (rings + p.sq_off.array);
        ring_cq_head = (unsigned *) (rings + p.cq_off.head);
        ring_cq_tail = (unsigned *) (rings + p.cq_off.tail);
        return true;
}

/* A handler that spins on the alternate stack, its registers checked too. */
static void on_alternate(int sig) {
        Difference difference;

        (void) sig;
        check(loaded_spin(20000000, &difference), &difference);
}
static void round_alternate(void) {
        raise(SIGUSR2);
        context_check();
}

/* A coroutine on memory from malloc(), with others' blocks right below. */
static ucontext_t thread_context, coroutine_context;
static void coroutine_main(void) {
        for (;;) {
                round_nanosleep();
                swapcontext(&coroutine_context, &thread_context);
        }
}
static void round_foreign_stack(void) {
        static unsigned char *below, *stack;
        const size_t size = 49152;

        if (!stack) {
                stack = malloc(2 * size);
                below = stack;
                memset(below, 0x5a, size);
                getcontext(&coroutine_context);
                coroutine_context.uc_stack.ss_sp = stack + size;
                coroutine_context.uc_stack.ss_size = size;
                makecontext(&coroutine_context, coroutine_main, 0);
        }
        swapcontext(&thread_context, &coroutine_context);
        for (size_t i = 0; i < size; i++)
                if (below[i] != 0x5a)
                        fail("memory below the stack", (long) i, below[i]);
}

/* The parent of a vfork() sleeps where no signal but a deadly one reaches it. */
static void round_vfork(void) {
        pid_t p = vfork();
        int status;

        if (p == 0) {
                struct timespec ts = { 0, 60000000 };

                syscall(SYS_nanosleep, &ts, NULL);
                _exit(3);
        }
        if (p < 0 || waitpid(p, &status, 0) != p || status != 3 << 8)
                fail("vfork", p, errno);
        context_check();
}

/* A pool that spawns and ends threads all the time. */
static void *short_life(void *unused) {
        (void) unused;
        usleep(2000);
        return NULL;
}
static void round_pool(void) {
        pthread_t t[8];

        for (unsigned i = 0; i < 8; i++)
                if (pthread_create(&t[i], NULL, short_life, NULL) != 0)
                        fail("pthread_create", 0, 0);
        for (unsigned i = 0; i < 8; i++)
                pthread_join(t[i], NULL);
}

static const struct {
        const char *name;
        void (*round)(void);
} modes[] = {
        { "tight", round_tight },
        { "nanosleep", round_nanosleep },
        { "naps", round_naps },
        { "nanosleep-long", round_nanosleep_long },
        { "clock-nanosleep", round_clock_nanosleep },
        { "clock-nanosleep-absolute", round_clock_nanosleep_absolute },
        { "poll", round_poll },
        { "poll-timeout", round_poll_timeout },
        { "select", round_select },
        { "futex", round_futex },
        { "futex-timeout", round_futex_timeout },
        { "read", round_read },
        { "epoll", round_epoll },
        { "epoll-timeout", round_epoll_timeout },
        { "accept", round_accept },
        { "sigtimedwait", round_sigtimedwait },
        { "sigtimedwait-timeout", round_sigtimedwait_timeout },
        { "ppoll-mask", round_ppoll_mask },
        { "sigsuspend", round_sigsuspend },
        { "epoll-pwait-mask", round_epoll_pwait_mask },
        { "read-interrupted", round_read_interrupted },
        { "semop", round_semop },
        { "msgrcv", round_msgrcv },
        { "io-uring", round_io_uring },
        { "alternate", round_alternate },
        { "vfork", round_vfork },
        { "pool", round_pool },
        { "foreign-stack", round_foreign_stack },
        { "leader-exit", round_tight },
};

static void subject_setup(void) {
        sigset_t set;
        stack_t stack = { .ss_sp = malloc(65536), .ss_size = 65536 };

        sigaltstack(&stack, NULL);
        sigemptyset(&set);
        sigaddset(&set, SIGUSR1);
        sigaddset(&set, SIGHUP);
        pthread_sigmask(SIG_SETMASK, &set, NULL);
}

static void *subject_main(void *data) {
        void (*round)(void) = data;

        subject_setup();
        while (!atomic_load(&stopping)) {
                round();
                atomic_fetch_add(&rounds, 1);
        }
        return NULL;
}

/* Ends whatever the subject may be blocked in, harmlessly for the other modes. */
static void tick(void) {
        struct sembuf b = { 0, 1, 0 };
        struct { long type; char text[8]; } m = { 1, "x" };

        if (strcmp(mode, "poll") == 0 || strcmp(mode, "read") == 0 || strcmp(mode, "epoll") == 0)
                (void) !write(pipe_ends[1], "x", 1);
        else if (strcmp(mode, "futex") == 0)
                syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
        else if (strcmp(mode, "accept") == 0) {
                int fd = socket(AF_UNIX, SOCK_STREAM, 0);
                if (connect(fd, (struct sockaddr *) &address, sizeof(address)) < 0)
                        fail("connect", errno, 0);
                close(fd);
        } else if (strcmp(mode, "sigtimedwait") == 0 || strcmp(mode, "ppoll-mask") == 0 ||
                   strcmp(mode, "sigsuspend") == 0 || strcmp(mode, "epoll-pwait-mask") == 0)
                pthread_kill(subject, SIGUSR1);
        else if (strcmp(mode, "read-interrupted") == 0)
                pthread_kill(subject, SIGWINCH);
        else if (strcmp(mode, "semop") == 0)
                semop(semaphore, &b, 1);
        else if (strcmp(mode, "msgrcv") == 0)
                msgsnd(queue, &m, 1, 0);
}

static void *ticker_main(void *unused) {
        unsigned seed = 1;

        (void) unused;
        for (;;) {
                usleep(500 + (unsigned) rand_r(&seed) % 20000);
                tick();
        }
        return NULL;
}

static void setup(void) {
        struct epoll_event e = { .events = EPOLLIN };
        struct sigaction plain = { .sa_handler = on_signal }, alternate = { .sa_handler = on_alternate,
                                                                            .sa_flags = SA_ONSTACK };
        sigset_t set;

        if (pipe(pipe_ends) < 0 || socketpair(AF_UNIX, SOCK_STREAM, 0, sockets) < 0)
                fail("setup", errno, 0);
        address.sun_family = AF_UNIX;
        snprintf(address.sun_path + 1, sizeof(address.sun_path) - 1, "victim-%d", (int) getpid());
        listener = socket(AF_UNIX, SOCK_STREAM, 0);
        if (bind(listener, (struct sockaddr *) &address, sizeof(address)) < 0 || listen(listener, 128) < 0)
                fail("listen", errno, 0);
        epoll_fd = epoll_create1(0);
        epoll_ctl(epoll_fd, EPOLL_CTL_ADD, pipe_ends[0], &e);
        semaphore = semget(IPC_PRIVATE, 1, 0600);
        queue = msgget(IPC_PRIVATE, 0600);
        sigaction(SIGUSR1, &plain, NULL);
        sigaction(SIGWINCH, &plain, NULL);
        sigaction(SIGUSR2, &alternate, NULL);
        /* only the subject gets these, directed */
        sigemptyset(&set);
        sigaddset(&set, SIGWINCH);
        sigaddset(&set, SIGUSR2);
        pthread_sigmask(SIG_BLOCK, &set, NULL);
}

static int finish(void) {
        char c;

        printf("ready\n");
        fflush(stdout);
        while (read(0, &c, 1) > 0)
                ;
        atomic_store(&stopping, true);
        pthread_join(subject, NULL);
        semctl(semaphore, 0, IPC_RMID);
        msgctl(queue, IPC_RMID, NULL);
        printf("ok %lu deviations %lu\n", atomic_load(&rounds), atomic_load(&deviations));
        return 0;
}

static void *leader_rest(void *unused) {
        (void) unused;
        exit(finish());
}

int main(int argc, char *argv[]) {
        void (*round)(void) = NULL;
        pthread_t ticker;

        if (argc != 2)
                return 2;
        mode = argv[1];
        for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++)
                if (strcmp(modes[i].name, mode) == 0)
                        round = modes[i].round;
        if (!round || !loaded_supported())
                return 77;
        setup();
        if (round == round_io_uring && !ring_setup())
                return 77;
        pthread_create(&subject, NULL, subject_main, round);
        pthread_create(&ticker, NULL, ticker_main, NULL);
        if (strcmp(mode, "leader-exit") == 0) {
                pthread_t rest;

                pthread_create(&rest, NULL, leader_rest, NULL);
                pthread_exit(NULL);
        }
        return finish();
}
