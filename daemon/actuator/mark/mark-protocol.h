/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What stackd-mark says on its standard output, for the helper that writes it and the daemon that reads it:
 *
 *   thread TID RESULT STOPPED_NS                               once for each thread that needed work
 *   result STATE total N marked M passes P cut C max-stopped-ns X    the last line
 *
 * STOPPED_NS is an upper bound: from before the thread was asked to stop until after it was let go. C counts the stops that have
 * ended a system call early: a short transfer, or EINTR.
 *
 * As a service it is asked at a socket of type SOCK_SEQPACKET, one connection for each process: a packet with the words of
 * the command line behind the program's name, each with its NUL, and the process's pidfd, which becomes descriptor MARK_PIDFD.
 * The answer are the lines above. It ends when the work has, and the work when the client shuts its side down. */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define MARK_REQUEST_MAX 512U
#define MARK_PIDFD 3

typedef enum MarkResult {
        MARK_DONE,        /* the flags were read back as wanted */
        MARK_GONE,        /* ended meanwhile */
        MARK_DENIED,      /* no capability, another user namespace, an LSM */
        MARK_SECCOMP,     /* its filter forbids what we need, or cannot be read */
        MARK_BUSY,        /* stopped, frozen, in uninterruptible sleep, or where it must not be interrupted */
        MARK_TRACED,      /* has a tracer */
        MARK_USER_WORKER, /* io_uring or vhost worker: never returns to user mode */
        MARK_FOREIGN_STACK, /* runs on a stack that is not the C library's: Go, coroutines */
        MARK_UNSUPPORTED, /* 32 bit, shadow stack, ... */
        MARK_FAILED,      /* any other error, with its errno */
        _MARK_RESULT_MAX,
        _MARK_RESULT_INVALID = -22,
} MarkResult;

typedef enum MarkState {
        MARK_STATE_ALL,         /* every thread is in the wanted state, as read back */
        MARK_STATE_NONE,        /* no thread is, for mixed reasons */
        MARK_STATE_PARTIAL,     /* some are */
        MARK_STATE_GONE,        /* the process ended, or was never the one meant */
        MARK_STATE_DENIED,      /* none: all denied or kept by seccomp */
        MARK_STATE_BUSY,        /* none: all busy or traced; worth another try later */
        MARK_STATE_UNSUPPORTED, /* none: all unsupported, on foreign stacks, or user workers */
        _MARK_STATE_MAX,
        _MARK_STATE_INVALID = -22,
} MarkState;

typedef struct MarkLine {
        bool final; /* the "result" line */

        /* thread */
        pid_t tid;
        MarkResult result;
        int error; /* MARK_FAILED: a positive errno */
        uint64_t stopped_ns;

        /* result */
        MarkState state;
        unsigned total, marked, passes, cut;
        uint64_t max_stopped_ns;
} MarkLine;

/* Static strings; NULL for values outside of the enumeration. */
const char *mark_result_to_string(MarkResult result);
const char *mark_state_to_string(MarkState state);
/* _INVALID where there is no such word. */
MarkResult mark_result_from_string(const char *s);
MarkState mark_state_from_string(const char *s);

/* Parses one line without or with its newline: 0 or -EINVAL. Nothing but the exact format is accepted. */
int mark_line_parse(const char *s, MarkLine *ret);
/* Writes the line with its newline; 'size' of 160 always suffices. Returns the length or -ENOBUFS. */
int mark_line_format(const MarkLine *l, char *buffer, size_t size);
