/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A process whose threads make calls that an interruption shows in: each does so over and over and counts what it would
 * not have seen in an unmarked process, an effect. Whatever a call waits for is given by a partner, which is another
 * process. It runs until its standard input ends.
 *
 * usage: mark-calls KIND...   then "ready", and at the end a line "case KIND rounds N effects N eintr N FIRST" for each,
 *                             or, before, "skip KIND"
 *        mark-calls --list    a line "KIND NEED..." for each */

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "tests/mark/calls.h"

char transfer_buffer[TRANSFER];

static const Kind *const tables[] = { transfer_kinds, socket_kinds, wait_kinds, fuse_kinds, ring_kinds, stack_kinds, vector_kinds, signal_kinds };

/* ---- for the kinds ---- */

uint64_t now_ms(void) {
        struct timespec ts;

        clock_gettime(CLOCK_MONOTONIC, &ts);
        return (uint64_t) ts.tv_sec * 1000U + (uint64_t) ts.tv_nsec / 1000000U;
}

void nap_us(unsigned us) {
        struct timespec ts = { us / 1000000, (long) (us % 1000000) * 1000 };

        while (nanosleep(&ts, &ts) < 0 && errno == EINTR)
                ;
}

void spin_us(unsigned us) {
        struct timespec began, ts;
        long passed;

        clock_gettime(CLOCK_MONOTONIC, &began);
        do {
                clock_gettime(CLOCK_MONOTONIC, &ts);
                passed = (ts.tv_sec - began.tv_sec) * 1000000 + (ts.tv_nsec - began.tv_nsec) / 1000;
        } while (passed < (long) us);
}

unsigned below(unsigned limit) {
        static _Thread_local unsigned seed;

        if (seed == 0)
                seed = (unsigned) gettid();
        return (unsigned) rand_r(&seed) % limit;
}

long result_of(long r) {
        return r < 0 ? -errno : r;
}

void effect(Case *c, const char *what, long value, long wanted) {
        if (value == -EINTR && (c->kind->need & MAY_EINTR))
                atomic_fetch_add(&c->eintr, 1);
        if (atomic_fetch_add(&c->effects, 1) == 0)
                snprintf(c->first, sizeof(c->first), "%s: %ld, wanted %ld", what, value, wanted);
}

bool expect(Case *c, const char *what, long value, long wanted) {
        if (value != wanted)
                effect(c, what, value, wanted);
        return value == wanted;
}

bool expect_timed(Case *c, long value, long woken, long timed_out, uint64_t began_ms) {
        const uint64_t took = now_ms() - began_ms;

        if (c->kind->ms != SHORT_MS)
                return expect(c, "woken", value, woken);
        if (!expect(c, "time-out", value, timed_out))
                return false;
        if (took + 1 < SHORT_MS)
                effect(c, "too early, ms", (long) took, SHORT_MS);
        return true;
}

bool workspace(void) {
        static bool made;

        if (made)
                return true;
        made = unshare(CLONE_NEWNS | CLONE_NEWIPC) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
                mount("mark-calls", "/mnt", "tmpfs", 0, NULL) == 0;
        return made;
}

bool pair_unix(Case *c) {
        return socketpair(AF_UNIX, SOCK_STREAM, 0, c->fd) == 0;
}

bool pair_tcp(Case *c) {
        struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
        socklen_t size = sizeof(address);
        int listener = socket(AF_INET, SOCK_STREAM, 0);
        bool made;

        c->fd[0] = socket(AF_INET, SOCK_STREAM, 0);
        made = bind(listener, (struct sockaddr *) &address, size) == 0 && listen(listener, 1) == 0 &&
                getsockname(listener, (struct sockaddr *) &address, &size) == 0 &&
                connect(c->fd[0], (struct sockaddr *) &address, size) == 0 && (c->fd[1] = accept(listener, NULL, NULL)) >= 0;
        close(listener);
        return made;
}

/* As of a pair of sockets: the first is the subject's. It may read or write; the partner does the other. */
bool pair_pipe(Case *c) {
        int ends[2];
        const bool reads = c->kind->partner == partner_byte;

        if (pipe(ends) < 0)
                return false;
        c->fd[0] = ends[reads ? 0 : 1];
        c->fd[1] = ends[reads ? 1 : 0];
        return true;
}

bool pair_and_pipe(Case *c) {
        return pair_unix(c) && pipe(c->fd + 2) == 0;
}

void partner_byte(Case *c) {
        nap_us(1000 + below(19000));
        if (write(c->fd[1], "x", 1) < 0)
                exit(EXIT_FAILURE);
}

void partner_two(Case *c) {
        nap_us(500 + below(1000));
        if (write(c->fd[1], "x", 1) < 0)
                exit(EXIT_FAILURE);
        nap_us(5000 + below(15000));
        if (write(c->fd[3], "x", 1) < 0)
                exit(EXIT_FAILURE);
}

void partner_drain(Case *c) {
        if (read(c->fd[1], transfer_buffer, 16384 + below(49152)) < 0)
                exit(EXIT_FAILURE);
        nap_us(below(600));
}

void idle_for_ever(void) {
        for (;;)
                pause();
}

/* ---- the process ---- */

static void *round_main(void *data) {
        Case *c = data;

        c->tid = gettid();
        prctl(PR_SET_NAME, c->kind->name);
        for (;;) {
                c->kind->round(c);
                atomic_fetch_add(&c->rounds, 1);
        }
        return NULL;
}

static void *helper_main(void *data) {
        Case *c = data;

        for (;;)
                c->kind->helper(c);
        return NULL;
}

static void partner_start(Case *c) {
        const pid_t parent = getpid();
        pid_t p = fork();

        if (p < 0)
                exit(EXIT_FAILURE);
        if (p > 0)
                return;
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
                _exit(EXIT_FAILURE);
        close(STDIN_FILENO);
        close(STDOUT_FILENO);
        for (;;)
                c->kind->partner(c);
}

static void thread_start(void *(*run)(void *), Case *c) {
        pthread_t t;

        if (pthread_create(&t, NULL, run, c) != 0)
                exit(EXIT_FAILURE);
}

static const Kind *kind_find(const char *name) {
        for (size_t t = 0; t < sizeof(tables) / sizeof(tables[0]); t++)
                for (const Kind *k = tables[t]; k->name; k++)
                        if (strcmp(k->name, name) == 0)
                                return k;
        fprintf(stderr, "mark-calls: no kind is named %s\n", name);
        exit(EXIT_FAILURE);
}

static void kinds_list(void) {
        static const char *const needs[] = { "rounds", "mark", "rest", "may-eintr", "not-denied", "deaths", "alone" };

        for (size_t t = 0; t < sizeof(tables) / sizeof(tables[0]); t++)
                for (const Kind *k = tables[t]; k->name; k++) {
                        printf("%s", k->name);
                        for (unsigned i = 0; i < sizeof(needs) / sizeof(needs[0]); i++)
                                if (k->need & (1U << i))
                                        printf(" %s", needs[i]);
                        printf("\n");
                }
}

static void cases_start(Case *cases, int n) {
        for (int i = 0; i < n; i++)
                if (cases[i].kind && cases[i].kind->partner)
                        partner_start(&cases[i]);
        for (int i = 0; i < n; i++) {
                Case *c = &cases[i];

                if (!c->kind)
                        continue;
                if (c->serves)
                        close(c->fd[3]);
                thread_start(round_main, c);
                if (c->kind->helper)
                        thread_start(helper_main, c);
        }
}

static void cases_finish(const Case *cases, int n) {
        for (int i = 0; i < n; i++)
                if (cases[i].kind)
                        printf("case %s rounds %lu effects %lu eintr %lu %s\n", cases[i].kind->name,
                               atomic_load(&cases[i].rounds), atomic_load(&cases[i].effects), atomic_load(&cases[i].eintr),
                               cases[i].first);
        fflush(stdout);
}

int main(int argc, char *argv[]) {
        const int n = argc - 1;
        sigset_t set;
        Case *cases;
        char c;

        if (n == 1 && strcmp(argv[1], "--list") == 0) {
                kinds_list();
                return EXIT_SUCCESS;
        }
        signal(SIGPIPE, SIG_IGN);
        sigemptyset(&set);
        sigaddset(&set, SIGUSR1);
        sigprocmask(SIG_BLOCK, &set, NULL);
        cases = mmap(NULL, (size_t) n * sizeof(*cases) + 1, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (cases == MAP_FAILED)
                return EXIT_FAILURE;
        for (int i = 0; i < n; i++) {
                cases[i] = (Case) { .kind = kind_find(argv[i + 1]), .pid = getpid(), .fd = { -1, -1, -1, -1 } };
                if (cases[i].kind->setup && !cases[i].kind->setup(&cases[i])) {
                        printf("skip %s %s\n", argv[i + 1], strerror(errno));
                        cases[i].kind = NULL;
                }
        }
        fflush(stdout);
        cases_start(cases, n);
        printf("ready\n");
        fflush(stdout);
        while (read(STDIN_FILENO, &c, 1) > 0)
                ;
        cases_finish(cases, n);
        _exit(EXIT_SUCCESS);
}
