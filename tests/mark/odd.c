/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Processes of every odd kind, and hostile ones; the mode says which. Each writes "ready PID", PID being the one to
 * be marked, and ends with its standard input. */

#include <errno.h>
#include <linux/io_uring.h>
#include <linux/sched.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define STACK_SIZE (256U << 10)

static atomic_bool stopping;
static char **arguments;
static bool first;
static _Atomic(char *) victim_sp;

static void fail(const char *what) {
        printf("FAIL %s: %s\n", what, strerror(errno));
        fflush(stdout);
        _exit(1);
}

static void ready(pid_t pid) {
        printf("ready %d\n", (int) pid);
        fflush(stdout);
}

static void wait_end(void) {
        char c;

        while (read(0, &c, 1) > 0 || errno == EINTR)
                errno = 0;
        atomic_store(&stopping, true);
}

static void thread_start(void *(*run)(void *)) {
        pthread_t t;

        if (pthread_create(&t, NULL, run, NULL) != 0)
                fail("pthread_create");
}

static void plain(void) {
        ready(getpid());
        wait_end();
}

/* io_uring: a read that never ends, in a worker. */
static void worker(void) {
        struct io_uring_params p = {};
        struct io_uring_sqe *sqes;
        static char buffer[16];
        char *rings;
        int fd, ends[2];

        fd = (int) syscall(SYS_io_uring_setup, 4, &p);
        if (fd < 0 || pipe(ends) < 0)
                exit(77);
        rings = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, IORING_OFF_SQ_RING);
        sqes = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, IORING_OFF_SQES);
        if (rings == MAP_FAILED || sqes == MAP_FAILED)
                fail("mmap");
        sqes[0] = (struct io_uring_sqe) { .opcode = IORING_OP_READ, .flags = IOSQE_ASYNC, .fd = ends[0],
                                          .addr = (uintptr_t) buffer, .len = 1 };
        ((unsigned *) (rings + p.sq_off.array))[0] = 0;
        __atomic_store_n((unsigned *) (rings + p.sq_off.tail), 1, __ATOMIC_RELEASE);
        if (syscall(SYS_io_uring_enter, fd, 1, 0, 0, NULL, 0) != 1)
                fail("io_uring_enter");
        plain();
}

/* The parent sleeps where it cannot be interrupted, for as long as the child likes. */
static void vfork_process(bool parent) {
        const pid_t self = getpid();
        pid_t p;

        p = vfork();
        if (p == 0) {
                char text[32];
                int n = snprintf(text, sizeof(text), "ready %d\n", (int) (parent ? self : getpid()));

                (void) !write(1, text, (size_t) n);
                wait_end();
                _exit(0);
        }
        waitpid(p, NULL, 0);
}

static int clone_main(void *unused) {
        (void) unused;
        wait_end();
        return 0;
}

/* Another process in the same memory. */
static void clone_vm(void) {
        char *stack = malloc(STACK_SIZE);
        int pid = clone(clone_main, stack + STACK_SIZE, CLONE_VM | CLONE_FS | CLONE_FILES | SIGCHLD, NULL);

        if (pid < 0)
                fail("clone");
        ready(pid);
        waitpid(pid, NULL, 0);
}

/* A thread the C library knows nothing of. */
static void clone_thread(void) {
        char *stack = malloc(STACK_SIZE);

        if (clone(clone_main, stack + STACK_SIZE, CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD |
                  CLONE_SYSVSEM | CLONE_IO, NULL) < 0)
                fail("clone");
        ready(getpid());
        while (!atomic_load(&stopping))
                usleep(10000);
}

/* A thread with a stack below 4 GiB, as in a process of the x32 kind. */
static void *low_main(void *unused) {
        (void) unused;
        wait_end();
        return NULL;
}
static void low_stack(void) {
#ifdef MAP_32BIT
        pthread_attr_t a;
        pthread_t t;
        void *stack = mmap(NULL, STACK_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);

        if (stack == MAP_FAILED)
                fail("mmap");
        pthread_attr_init(&a);
        pthread_attr_setstack(&a, stack, STACK_SIZE);
        if (pthread_create(&t, &a, low_main, NULL) != 0)
                fail("pthread_create");
        ready(getpid());
        pthread_join(t, NULL);
#else
        (void) low_main;
        exit(77);
#endif
}

static volatile char selector;
static void dispatch(void) {
        if (prctl(59 /* PR_SET_SYSCALL_USER_DISPATCH */, 1, 0, 0, &selector) < 0)
                exit(77);
        plain();
}

static void strict(void) {
        char c;

        ready(getpid());
        if (prctl(PR_SET_SECCOMP, 1, 0, 0, 0) < 0)
                syscall(SYS_exit, 77);
        while (read(0, &c, 1) > 0)
                ;
        syscall(SYS_exit, 0);
}

/* Threads: about a thousand begin and end each second. */
static atomic_ulong born;
static void *nap_main(void *unused) {
        (void) unused;
        usleep(5000);
        return NULL;
}
static void *churn_main(void *unused) {
        pthread_attr_t a;

        (void) unused;
        pthread_attr_init(&a);
        pthread_attr_setdetachstate(&a, PTHREAD_CREATE_DETACHED);
        pthread_attr_setstacksize(&a, 65536);
        while (!atomic_load(&stopping)) {
                pthread_t t;

                if (pthread_create(&t, &a, nap_main, NULL) == 0)
                        atomic_fetch_add(&born, 1);
                usleep(600);
        }
        return NULL;
}
static void churn(void) {
        struct timespec a, b;

        thread_start(churn_main);
        clock_gettime(CLOCK_MONOTONIC, &a);
        plain();
        clock_gettime(CLOCK_MONOTONIC, &b);
        printf("born %lu in %.1f\n", atomic_load(&born),
               (double) (b.tv_sec - a.tv_sec) + (double) (b.tv_nsec - a.tv_nsec) / 1e9);
}

/* For each byte of input: the longest time, in ns, that the main thread has not run since the last. */
static atomic_ulong longest;
static void *gap_answer_main(void *unused) {
        char c;

        (void) unused;
        while (read(0, &c, 1) > 0) {
                printf("%lu\n", atomic_exchange(&longest, 0));
                fflush(stdout);
        }
        _exit(0);
}
static void gap(void) {
        uint64_t last = 0;

        thread_start(gap_answer_main);
        ready(getpid());
        for (;;) {
                struct timespec ts;
                uint64_t t;

                clock_gettime(CLOCK_MONOTONIC, &ts);
                t = (uint64_t) ts.tv_sec * 1000000000U + (uint64_t) ts.tv_nsec;
                if (last > 0 && t - last > atomic_load(&longest))
                        atomic_store(&longest, t - last);
                last = t;
        }
}

/* Hostile ones. */

static void *sleeper_main(void *unused) {
        (void) unused;
        atomic_store(&victim_sp, (char *) __builtin_frame_address(0));
        for (;;)
                usleep(300);
        return NULL;
}

/* Writes below the stack pointer of another thread, where the frame lies. */
static void *scribbler_main(void *unused) {
        (void) unused;
        while (!atomic_load(&victim_sp))
                usleep(100);
        for (char *p = atomic_load(&victim_sp);;)
                memset(p - 8192, 0xa5, 7000);
        return NULL;
}
static void scribble(void) {
        thread_start(sleeper_main);
        thread_start(scribbler_main);
        plain();
}

static void below(int how) {
        char *p = (char *) ((uintptr_t) atomic_load(&victim_sp) & ~UINT64_C(4095));

        if (how == 0)
                mprotect(p - 16384, 12288, PROT_READ);
        else if (how == 1)
                mprotect(p - 16384, 12288, PROT_NONE);
        else if (how == 2)
                mprotect(p - 16384, 12288, PROT_READ | PROT_WRITE);
        else
                munmap(p - 65536, 4096);
}
static void *protector_main(void *unused) {
        (void) unused;
        while (!atomic_load(&victim_sp))
                usleep(100);
        for (int i = 0;; i++)
                below(i % 3);
        return NULL;
}
static void protect(void) {
        thread_start(sleeper_main);
        thread_start(protector_main);
        plain();
}
static void *unmapper_main(void *unused) {
        (void) unused;
        while (!atomic_load(&victim_sp))
                usleep(100);
        for (;;)
                below(3);
        return NULL;
}
static void unmap(void) {
        thread_start(sleeper_main);
        thread_start(unmapper_main);
        plain();
}

static void *renamer_main(void *unused) {
        static const char *const names[] = { "a) R 1 1 1", ") Z (\n", "\n\n\nTracerPid:", "x) t 0 0", "" };

        (void) unused;
        for (unsigned i = 0;; i++)
                prctl(PR_SET_NAME, names[i % 5]);
        return NULL;
}
static void rename_self(void) {
        thread_start(renamer_main);
        prctl(PR_SET_NAME, "z) Z 0 0 0\n)");
        plain();
}

static void *stopper_main(void *unused) {
        (void) unused;
        for (;;)
                kill(getpid(), SIGSTOP);
        return NULL;
}
static void stop_self(void) {
        const pid_t target = getpid();
        pid_t p = fork();

        if (p == 0) {
                prctl(PR_SET_PDEATHSIG, SIGKILL);
                for (;;) {
                        kill(target, SIGCONT);
                        usleep(200);
                }
        }
        thread_start(sleeper_main);
        thread_start(stopper_main);
        plain();
        kill(p, SIGKILL);
}

/* Forks as fast as it can, from two threads; children end at once. */
static void *forker_main(void *unused) {
        (void) unused;
        while (!atomic_load(&stopping)) {
                pid_t p = fork();

                if (p == 0)
                        _exit(0);
                if (p > 0)
                        waitpid(p, NULL, 0);
        }
        return NULL;
}
static void fork_bomb(void) {
        thread_start(forker_main);
        thread_start(forker_main);
        plain();
}

static void *exiter_main(void *unused) {
        (void) unused;
        usleep(1000 + (unsigned) getpid() % 7 * 900);
        _exit(0);
}
static void exit_self(void) {
        ready(getpid());
        thread_start(sleeper_main);
        thread_start(exiter_main);
        wait_end();
}

/* Executes itself again and again, not from the leader, so that a held leader is replaced. */
static void *executor_main(void *unused) {
        static char count[16];

        (void) unused;
        /* the first time the helper has yet to be started */
        usleep(first ? 2000 + (unsigned) rand() % 15000 : 200 + (unsigned) rand() % 3000);
        snprintf(count, sizeof(count), "%d", atoi(arguments[3]) - 1);
        arguments[3] = count;
        execv(arguments[2], arguments);
        fail("execv");
        return NULL;
}
static void *end_main(void *unused) {
        (void) unused;
        wait_end();
        _exit(0);
}
static void exec_self(void) {
        struct timespec ts;

        clock_gettime(CLOCK_MONOTONIC, &ts);
        srand((unsigned) ts.tv_nsec);
        if (!arguments[4]) {
                static char *next[6];

                memcpy(next, arguments, 4 * sizeof(*next));
                next[4] = (char *) "again";
                arguments = next;
                first = true;
                ready(getpid());
        }
        if (atoi(arguments[3]) <= 0) {
                printf("executed, effective user %d\n", (int) geteuid());
                exit(0);
        }
        /* the executor last: no thread can be created while another one executes (EAGAIN) */
        thread_start(end_main);
        thread_start(executor_main);
        for (;;)
                usleep(100);
}

static void vfork_parent(void) {
        vfork_process(true);
}
static void vfork_child(void) {
        vfork_process(false);
}

static const struct {
        const char *name;
        void (*run)(void);
} modes[] = {
        { "plain", plain }, { "worker", worker }, { "vfork-parent", vfork_parent }, { "vfork-child", vfork_child },
        { "clone-vm", clone_vm }, { "clone-thread", clone_thread }, { "low-stack", low_stack },
        { "dispatch", dispatch }, { "strict", strict }, { "churn", churn }, { "gap", gap }, { "scribble", scribble }, { "protect", protect }, { "unmap", unmap },
        { "rename", rename_self }, { "stop", stop_self }, { "fork-bomb", fork_bomb }, { "exit", exit_self },
        { "exec", exec_self },
};

int main(int argc, char *argv[]) {
        arguments = argv;
        for (size_t i = 0; argc >= 2 && i < sizeof(modes) / sizeof(modes[0]); i++)
                if (strcmp(modes[i].name, argv[1]) == 0) {
                        modes[i].run();
                        return 0;
                }
        return 2;
}
