/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

typedef struct Case Case;

/* One way to wait. What it says happens in a thread of the process that is marked, unless it is the partner's. */
typedef struct Kind {
        const char *name;
        bool (*setup)(Case *c);   /* false: not on this machine */
        void (*partner)(Case *c); /* another process, which repeats this */
        void (*round)(Case *c);   /* its thread repeats this */
        void (*helper)(Case *c);  /* a second thread, which repeats this */
        long ms;                  /* a time-out: its own end if short; never reached if long */
        int choice;               /* which of several similar calls */
        /* For the test, which reads them with --list. */
        enum {
                NEED_ROUNDS = 1 << 0, /* a round ends by itself, so there have to be some */
                NEED_MARK = 1 << 1,   /* its threads have to be marked */
                NEED_REST = 1 << 2,   /* its threads cannot be marked, and are stopped a few times at most */
                MAY_EINTR = 1 << 3,   /* EINTR when the marker dies between request and stop */
                NOT_DENIED = 1 << 4,  /* no thread is reported as one that may not be traced */
                NEED_DEATHS = 1 << 5, /* only the marker's death shows it */
                NEED_ALONE = 1 << 6,  /* shows while its thread is waited for: a process of its own, and long marks */
        } need;
} Kind;

/* In memory that both processes share. */
struct Case {
        const Kind *kind;
        pid_t pid, tid;
        int fd[4];
        int id;
        void *memory;
        uint64_t where;
        uint32_t word;
        atomic_int state;
        bool serves;           /* fd[3] is the partner's alone */
        atomic_ulong rounds;
        atomic_ulong effects;  /* of which an unmarked process sees none */
        atomic_ulong eintr;    /* those of them that are an EINTR, where the kind may have one */
        char first[120];
};

#define SHORT_MS 50
#define LONG_MS 20000
#define TRANSFER (256 << 10)
#define HOLD_ON 30 /* seconds, as a time-out of a socket */

extern const Kind transfer_kinds[], socket_kinds[], wait_kinds[], fuse_kinds[], ring_kinds[], stack_kinds[], vector_kinds[], signal_kinds[];
extern char transfer_buffer[TRANSFER];

uint64_t now_ms(void);
void nap_us(unsigned us);
void spin_us(unsigned us);
unsigned below(unsigned limit);
/* Minus the error, as the kernel says it. */
long result_of(long r);

void effect(Case *c, const char *what, long value, long wanted);
bool expect(Case *c, const char *what, long value, long wanted);
/* The end of a call with the time-out of the kind: at its time with one result, or woken before with the other. */
bool expect_timed(Case *c, long value, long woken, long timed_out, uint64_t began_ms);

/* A directory of this process alone. */
bool workspace(void);
bool pair_unix(Case *c);
bool pair_tcp(Case *c);
bool pair_pipe(Case *c);
/* A pair of sockets, fd[0] and fd[1], and a pipe, fd[2] and fd[3]. */
bool pair_and_pipe(Case *c);
/* A byte into fd[1] now and then. */
void partner_byte(Case *c);
/* A byte into fd[1], and later one into fd[3]. */
void partner_two(Case *c);
/* Reads fd[1] more slowly than it can be written to. */
void partner_drain(Case *c);
void idle_for_ever(void);
