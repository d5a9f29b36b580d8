/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Signals that an unmarked thread would not see: one that it ignores, which the kernel delivers to a traced thread and which
 * then ends a call; and one of the marker's own, to a thread that blocks it and asks for it. */

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/mark/calls.h"

#define BIG (4L << 20)
#define TIMES 16
#define APART_US 5000
#define SETTLE_US 100000 /* the marker may be attached for 20 ms more to a thread that ran before */
#define WORK_US 300

static char big[BIG];

/* ---- a long write ---- */

/* A signal, if the kind is of one, again and again while the write waits; if not, as many children end meanwhile. Then it reads
 * everything. */
static void partner_pause(Case *c) {
        long done = read(c->fd[1], transfer_buffer, 1);

        nap_us(SETTLE_US);
        for (int i = 0; i <= TIMES; i++) {
                nap_us(APART_US);
                if (c->kind->choice)
                        syscall(SYS_tgkill, c->pid, c->tid, c->kind->choice);
        }
        if (!c->kind->choice) {
                while (atomic_load(&c->state) < TIMES)
                        nap_us(APART_US);
                atomic_fetch_sub(&c->state, TIMES);
                nap_us(SETTLE_US);
        }
        while (done < BIG) {
                const long r = read(c->fd[1], transfer_buffer, (size_t) (BIG - done < TRANSFER ? BIG - done : TRANSFER));

                if (r <= 0)
                        exit(EXIT_FAILURE);
                done += r;
        }
}
static void write_big(Case *c) {
        expect(c, "write", result_of(write(c->fd[0], big, BIG)), BIG);
}
/* Its children end one after the other while it writes: SIGCHLD, at its default action. */
static void round_children(Case *c) {
        pid_t children[TIMES];

        for (int i = 0; i < TIMES; i++) {
                const struct timespec ts = { 0, (SETTLE_US + i * APART_US) * 1000L };

                children[i] = fork();
                if (children[i] == 0) {
                        syscall(SYS_nanosleep, &ts, NULL);
                        atomic_fetch_add(&c->state, 1);
                        _exit(EXIT_SUCCESS);
                }
        }
        write_big(c);
        for (int i = 0; i < TIMES; i++)
                (void) waitpid(children[i], NULL, 0);
}

/* ---- a thread that blocks all signals outside of a call, and works ---- */

static void block_all(void) {
        sigset_t all;

        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, NULL);
}
static void round_take_any(Case *c) {
        const struct timespec ts = { 0, 400000 };
        sigset_t all;

        block_all();
        sigfillset(&all);
        expect(c, "sigtimedwait", result_of(sigtimedwait(&all, NULL, &ts)), -EAGAIN);
        spin_us(WORK_US);
}
static void round_unblock(Case *c) {
        const struct timespec ts = { 0, 400000 };
        sigset_t set;

        block_all();
        sigemptyset(&set);
        expect(c, "ppoll", result_of(ppoll(NULL, 0, &ts, &set)), 0);
        spin_us(WORK_US);
        sigpending(&set);
        for (int sig = 1; sig <= SIGSYS; sig++)
                if (sigismember(&set, sig))
                        effect(c, "pending", sig, 0);
}

const Kind signal_kinds[] = {
        { "write-children", pair_unix, partner_pause, round_children, .need = NEED_ROUNDS | NEED_ALONE },
        { "write-sigwinch", pair_unix, partner_pause, write_big, .choice = SIGWINCH, .need = NEED_ROUNDS | NEED_ALONE },
        { "write-sigurg-pipe", pair_pipe, partner_pause, write_big, .choice = SIGURG, .need = NEED_ROUNDS | NEED_ALONE },
        { "sigtimedwait-any", NULL, NULL, round_take_any, .need = NEED_ROUNDS | NEED_ALONE },
        { "ppoll-unblocks", NULL, NULL, round_unblock, .need = NEED_ROUNDS | NEED_ALONE },
        {},
};
