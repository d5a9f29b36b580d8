/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Calls that wait, for a partner or for a time. */

#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/futex.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/mark/calls.h"

#ifndef SYS_epoll_pwait2
#define SYS_epoll_pwait2 441
#endif
#define SIGSET_SIZE 8

static struct timespec time_of(long ms) {
        return (struct timespec) { ms / 1000, ms % 1000 * 1000000 };
}

/* ---- until there is a byte ---- */

enum { CALL_POLL, CALL_PPOLL, CALL_SELECT, CALL_PSELECT, CALL_EPOLL_WAIT, CALL_EPOLL_PWAIT, CALL_EPOLL_PWAIT2,
       CONSTANT_PPOLL, CONSTANT_SELECT, CONSTANT_PSELECT };

static bool setup_epoll(Case *c) {
        struct epoll_event e = { .events = EPOLLIN };

        return pair_unix(c) && (c->fd[2] = epoll_create1(0)) >= 0 && epoll_ctl(c->fd[2], EPOLL_CTL_ADD, c->fd[0], &e) == 0;
}
/* With a time-out in memory that cannot be written. */
static long until_byte_constant(Case *c) {
        static const struct timespec short_ts = { 0, SHORT_MS * 1000000 }, long_ts = { LONG_MS / 1000, 0 };
        const struct timespec *ts = c->kind->ms == SHORT_MS ? &short_ts : &long_ts;
        struct pollfd p = { .fd = c->fd[0], .events = POLLIN };
        fd_set set;

        FD_ZERO(&set);
        FD_SET(c->fd[0], &set);
        if (c->kind->choice == CONSTANT_PPOLL)
                return result_of(syscall(SYS_ppoll, &p, 1, ts, NULL, SIGSET_SIZE));
#ifdef SYS_select /* newer architectures do not have it */
        if (c->kind->choice == CONSTANT_SELECT) {
                static const struct timeval short_tv = { 0, SHORT_MS * 1000 }, long_tv = { LONG_MS / 1000, 0 };

                return result_of(syscall(SYS_select, c->fd[0] + 1, &set, NULL, NULL, c->kind->ms == SHORT_MS ? &short_tv : &long_tv));
        }
#endif
        return result_of(syscall(SYS_pselect6, c->fd[0] + 1, &set, NULL, NULL, ts, NULL));
}
static long until_byte(Case *c) {
        struct timespec ts = time_of(c->kind->ms);
        struct timeval tv = { ts.tv_sec, ts.tv_nsec / 1000 };
        struct pollfd p = { .fd = c->fd[0], .events = POLLIN };
        struct epoll_event e;
        sigset_t mask;
        fd_set set;

        FD_ZERO(&set);
        FD_SET(c->fd[0], &set);
        pthread_sigmask(SIG_SETMASK, NULL, &mask);
        switch (c->kind->choice) {
        case CALL_POLL: return result_of(poll(&p, 1, (int) c->kind->ms));
        case CALL_PPOLL: return result_of(ppoll(&p, 1, &ts, &mask));
        case CALL_SELECT: return result_of(select(c->fd[0] + 1, &set, NULL, NULL, &tv));
        case CALL_PSELECT: return result_of(pselect(c->fd[0] + 1, &set, NULL, NULL, &ts, &mask));
        case CALL_EPOLL_WAIT: return result_of(epoll_wait(c->fd[2], &e, 1, (int) c->kind->ms));
        case CALL_EPOLL_PWAIT: return result_of(epoll_pwait(c->fd[2], &e, 1, (int) c->kind->ms, &mask));
        case CONSTANT_PPOLL:
        case CONSTANT_SELECT:
        case CONSTANT_PSELECT: return until_byte_constant(c);
        default: return result_of(syscall(SYS_epoll_pwait2, c->fd[2], &e, 1, &ts, &mask, SIGSET_SIZE));
        }
}
static void round_byte(Case *c) {
        const uint64_t began = now_ms();
        char byte;

        if (expect_timed(c, until_byte(c), 1, 0, began) && c->kind->ms != SHORT_MS && read(c->fd[0], &byte, 1) != 1)
                effect(c, "read", -errno, 1);
}

/* ---- until there is a signal, a message, a semaphore, a completion ---- */

static void partner_signal(Case *c) {
        nap_us(1000 + below(19000));
        if (c->tid)
                syscall(SYS_tgkill, c->pid, c->tid, SIGUSR1);
}
static void round_sigtimedwait(Case *c) {
        struct timespec ts = time_of(c->kind->ms);
        const uint64_t began = now_ms();
        sigset_t set;

        sigemptyset(&set);
        sigaddset(&set, SIGUSR1);
        expect_timed(c, result_of(sigtimedwait(&set, NULL, &ts)), SIGUSR1, -EAGAIN, began);
}

static bool setup_semaphore(Case *c) {
        return workspace() && (c->id = semget(IPC_PRIVATE, 1, 0600)) >= 0;
}
static void partner_semaphore(Case *c) {
        struct sembuf b = { 0, 1, 0 };

        nap_us(1000 + below(19000));
        semop(c->id, &b, 1);
}
static void round_semaphore(Case *c) {
        struct timespec ts = time_of(c->kind->ms);
        const uint64_t began = now_ms();
        struct sembuf b = { 0, -1, 0 };

        expect_timed(c, result_of(c->kind->ms ? semtimedop(c->id, &b, 1, &ts) : semop(c->id, &b, 1)), 0, -EAGAIN, began);
}

typedef struct Message {
        long type;
        char text[2048];
} Message;
static bool setup_queue(Case *c) {
        return workspace() && (c->id = msgget(IPC_PRIVATE, 0600)) >= 0;
}
static void partner_send_message(Case *c) {
        const Message m = { 1, "" };

        nap_us(1000 + below(9000));
        msgsnd(c->id, &m, sizeof(m.text), 0);
}
static void partner_take_message(Case *c) {
        Message m;

        nap_us(1000 + below(9000));
        (void) msgrcv(c->id, &m, sizeof(m.text), 0, 0);
}
static void round_send_message(Case *c) {
        const Message m = { 1, "" };

        expect(c, "msgsnd", result_of(msgsnd(c->id, &m, sizeof(m.text), 0)), 0);
}
static void round_take_message(Case *c) {
        Message m;

        expect(c, "msgrcv", result_of(msgrcv(c->id, &m, sizeof(m.text), 0, 0)), sizeof(m.text));
}

static bool setup_aio(Case *c) {
        aio_context_t context = 0;

        if (!pair_unix(c) || syscall(SYS_io_setup, 8, &context) < 0)
                return false;
        c->where = context;
        return true;
}
static void round_aio(Case *c) {
        struct timespec ts = time_of(c->kind->ms);
        struct iocb job = { .aio_lio_opcode = IOCB_CMD_POLL, .aio_fildes = (uint32_t) c->fd[0], .aio_buf = POLLIN };
        struct iocb *jobs[] = { &job };
        struct io_event event;
        uint64_t began;
        char byte;

        if (c->kind->ms != SHORT_MS)
                expect(c, "io_submit", result_of(syscall(SYS_io_submit, c->where, 1, jobs)), 1);
        do {
                began = now_ms();
        } while (!expect_timed(c, result_of(syscall(SYS_io_getevents, c->where, 1, 1, &event, &ts)), 1, 0, began) &&
                 c->kind->ms != SHORT_MS);
        if (c->kind->ms != SHORT_MS && read(c->fd[0], &byte, 1) != 1)
                effect(c, "read", -errno, 1);
}

/* Two events, of which one may be there. */
static bool setup_aio_two(Case *c) {
        return pair_and_pipe(c) && syscall(SYS_io_setup, 8, &c->where) == 0;
}
static void round_aio_two(Case *c) {
        struct timespec ts = time_of(LONG_MS), *limit = c->kind->ms ? &ts : NULL;
        struct iocb first = { .aio_lio_opcode = IOCB_CMD_POLL, .aio_fildes = (uint32_t) c->fd[0], .aio_buf = POLLIN };
        struct iocb second = { .aio_lio_opcode = IOCB_CMD_POLL, .aio_fildes = (uint32_t) c->fd[2], .aio_buf = POLLIN };
        struct iocb *jobs[] = { &first, &second };
        struct io_event events[2];
        char byte;
        long r;

        expect(c, "io_submit", result_of(syscall(SYS_io_submit, c->where, 2, jobs)), 2);
        r = result_of(syscall(SYS_io_getevents, c->where, 2, 2, events, limit));
        expect(c, "io_getevents of two", r, 2);
        for (long found = r < 0 ? 0 : r; found < 2;) /* an effect is not repeated */
                found += syscall(SYS_io_getevents, c->where, 1, 1, events, NULL) == 1;
        if (read(c->fd[0], &byte, 1) != 1 || read(c->fd[2], &byte, 1) != 1)
                effect(c, "read", -errno, 1);
}

static void partner_wake(Case *c) {
        nap_us(1000 + below(9000));
        syscall(SYS_futex, &c->word, FUTEX_WAKE, 1, NULL, NULL, 0);
}
static void round_futex(Case *c) {
        struct timespec ts = time_of(c->kind->ms);
        const uint64_t began = now_ms();

        expect_timed(c, result_of(syscall(SYS_futex, &c->word, FUTEX_WAIT, 0, c->kind->ms ? &ts : NULL, NULL, 0)), 0,
                     -ETIMEDOUT, began);
}

/* ---- for a time ---- */

static void round_sleep(Case *c) {
        struct timespec ts = time_of(SHORT_MS);
        const uint64_t began = now_ms();

        expect_timed(c, result_of(c->kind->choice ? syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, &ts, &ts) : syscall(SYS_nanosleep, &ts, &ts)),
                     0, 0, began);
}

/* ---- for locks ---- */

enum { LOCK_FLOCK, LOCK_RECORD, LOCK_OPEN_FILE };

static bool setup_lock(Case *c) {
        char path[64];

        c->fd[0] = memfd_create("mark-calls", 0);
        snprintf(path, sizeof(path), "/proc/self/fd/%d", c->fd[0]);
        return (c->fd[1] = open(path, O_RDWR)) >= 0;
}
static long lock(Case *c, int fd, bool take) {
        struct flock l = { .l_type = take ? F_WRLCK : F_UNLCK, .l_len = 1 };

        if (c->kind->choice == LOCK_FLOCK)
                return result_of(flock(fd, take ? LOCK_EX : LOCK_UN));
        return result_of(fcntl(fd, c->kind->choice == LOCK_RECORD ? F_SETLKW : F_OFD_SETLKW, &l));
}
static void partner_lock(Case *c) {
        lock(c, c->fd[1], true);
        nap_us(500 + below(9000));
        lock(c, c->fd[1], false);
        nap_us(200);
}
static void round_lock(Case *c) {
        if (expect(c, "lock", lock(c, c->fd[0], true), 0))
                lock(c, c->fd[0], false);
        nap_us(100);
}

/* ---- files that are read or opened ---- */

static bool setup_fifo(Case *c) {
        char name[64];

        snprintf(name, sizeof(name), "/mnt/%s", c->kind->name);
        return workspace() && mkfifo(name, 0600) == 0;
}
static int fifo_open(Case *c, int flags) {
        char name[64];

        snprintf(name, sizeof(name), "/mnt/%s", c->kind->name);
        return open(name, flags);
}
static void partner_fifo(Case *c) {
        int fd;

        nap_us(1000 + below(9000));
        fd = fifo_open(c, O_WRONLY);
        nap_us(200);
        close(fd);
}
static void round_fifo(Case *c) {
        int fd = fifo_open(c, O_RDONLY);

        if (expect(c, "open", fd < 0 ? -errno : 0, 0))
                close(fd);
        nap_us(300);
}
static void round_wait(Case *c) {
        pid_t p = fork();
        siginfo_t info;
        int status;

        if (p == 0) {
                const struct timespec ts = { 0, 5000000 };

                syscall(SYS_nanosleep, &ts, NULL);
                _exit(0);
        }
        if (c->kind->choice == 0)
                expect(c, "wait4", result_of(waitpid(p, &status, 0)), p);
        else
                expect(c, "waitid", result_of(waitid(P_PID, (id_t) p, &info, WEXITED)), 0);
}

static bool setup_inotify(Case *c) {
        return workspace() && (c->fd[0] = inotify_init()) >= 0 && inotify_add_watch(c->fd[0], "/mnt", IN_CREATE) >= 0;
}
static void partner_create(Case *c) {
        int fd;

        (void) c;
        nap_us(1000 + below(9000));
        fd = open("/mnt/new", O_CREAT | O_WRONLY, 0600);
        close(fd);
        unlink("/mnt/new");
}
static bool setup_eventfd(Case *c) {
        return (c->fd[0] = c->fd[1] = eventfd(0, 0)) >= 0;
}
static void partner_event(Case *c) {
        const uint64_t one = 1;

        nap_us(1000 + below(9000));
        (void) !write(c->fd[1], &one, sizeof(one));
}
static bool setup_timerfd(Case *c) {
        const struct itimerspec often = { { 0, 5000000 }, { 0, 5000000 } };

        return (c->fd[0] = timerfd_create(CLOCK_MONOTONIC, 0)) >= 0 && timerfd_settime(c->fd[0], 0, &often, NULL) == 0;
}
static void round_read(Case *c) {
        char buffer[4096];
        long r = result_of(read(c->fd[0], buffer, sizeof(buffer)));

        if (r <= 0)
                effect(c, "read", r, 1);
}

/* The stop, and nothing else, ends a call with EINTR that its caller may make again. */
#define BOTH(NAME, SETUP, PARTNER, ROUND, CHOICE, NEED)                                                             \
        { NAME "-expires", SETUP, NULL, ROUND, .ms = SHORT_MS, .choice = CHOICE, .need = (NEED) },              \
        { NAME "-woken", SETUP, PARTNER, ROUND, .ms = LONG_MS, .choice = CHOICE, .need = (NEED) }

const Kind wait_kinds[] = {
        BOTH("poll", pair_unix, partner_byte, round_byte, CALL_POLL, NEED_ROUNDS),
        BOTH("ppoll", pair_unix, partner_byte, round_byte, CALL_PPOLL, NEED_ROUNDS),
        BOTH("select", pair_unix, partner_byte, round_byte, CALL_SELECT, NEED_ROUNDS),
        BOTH("pselect", pair_unix, partner_byte, round_byte, CALL_PSELECT, NEED_ROUNDS),
        BOTH("epoll-wait", setup_epoll, partner_byte, round_byte, CALL_EPOLL_WAIT, NEED_ROUNDS | MAY_EINTR),
        BOTH("epoll-pwait", setup_epoll, partner_byte, round_byte, CALL_EPOLL_PWAIT, NEED_ROUNDS | MAY_EINTR),
        BOTH("epoll-pwait2", setup_epoll, partner_byte, round_byte, CALL_EPOLL_PWAIT2, NEED_ROUNDS | MAY_EINTR),
        BOTH("sigtimedwait", NULL, partner_signal, round_sigtimedwait, 0, NEED_ROUNDS | MAY_EINTR),
        BOTH("semtimedop", setup_semaphore, partner_semaphore, round_semaphore, 0, NEED_ROUNDS | MAY_EINTR),
        BOTH("io-getevents", setup_aio, partner_byte, round_aio, 0, NEED_ROUNDS | MAY_EINTR),
        BOTH("futex", NULL, partner_wake, round_futex, 0, NEED_ROUNDS),
        BOTH("ppoll-constant", pair_unix, partner_byte, round_byte, CONSTANT_PPOLL, NEED_ROUNDS | MAY_EINTR),
        BOTH("select-constant", pair_unix, partner_byte, round_byte, CONSTANT_SELECT, NEED_ROUNDS | MAY_EINTR),
        BOTH("pselect-constant", pair_unix, partner_byte, round_byte, CONSTANT_PSELECT, NEED_ROUNDS | MAY_EINTR),
        { "io-getevents-two", setup_aio_two, partner_two, round_aio_two, .need = NEED_ROUNDS | MAY_EINTR },
        { "io-getevents-two-timed", setup_aio_two, partner_two, round_aio_two, .ms = LONG_MS, .need = NEED_ROUNDS | MAY_EINTR },
        { "futex-for-ever", NULL, partner_wake, round_futex, .need = NEED_ROUNDS },
        { "semop", setup_semaphore, partner_semaphore, round_semaphore, .need = NEED_ROUNDS | MAY_EINTR },
        { "msgsnd", setup_queue, partner_take_message, round_send_message, .need = NEED_ROUNDS },
        { "msgrcv", setup_queue, partner_send_message, round_take_message, .need = NEED_ROUNDS },
        { "nanosleep", NULL, NULL, round_sleep, .ms = SHORT_MS, .need = NEED_ROUNDS },
        { "clock-nanosleep", NULL, NULL, round_sleep, .ms = SHORT_MS, .choice = 1, .need = NEED_ROUNDS },
        { "flock", setup_lock, partner_lock, round_lock, .choice = LOCK_FLOCK, .need = NEED_ROUNDS },
        { "record-lock", setup_lock, partner_lock, round_lock, .choice = LOCK_RECORD, .need = NEED_ROUNDS },
        { "open-file-lock", setup_lock, partner_lock, round_lock, .choice = LOCK_OPEN_FILE, .need = NEED_ROUNDS },
        { "open-fifo", setup_fifo, partner_fifo, round_fifo, .need = NEED_ROUNDS },
        { "wait4", NULL, NULL, round_wait, .need = NEED_ROUNDS },
        { "waitid", NULL, NULL, round_wait, .choice = 1, .need = NEED_ROUNDS },
        { "inotify", setup_inotify, partner_create, round_read, .need = NEED_ROUNDS },
        { "eventfd", setup_eventfd, partner_event, round_read, .need = NEED_ROUNDS },
        { "timerfd", setup_timerfd, NULL, round_read, .need = NEED_ROUNDS },
        {},
};
