/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>
#include <sys/syscall.h>

#include "common/text.h"
#include "daemon/actuator/mark/interruption.h"

#ifndef SYS_epoll_pwait2
#define SYS_epoll_pwait2 441
#endif
#ifndef SYS_futex_waitv
#define SYS_futex_waitv 449
#endif
#ifndef SYS_futex_wait
#define SYS_futex_wait 455
#endif

#define URING_GETEVENTS 1U
#define IOCTL_DM_DEV_WAIT 0xc138fd08U
#define WAIT_FOR_ALL 0x100U   /* MSG_WAITALL */
#define WAIT_FOR_ONE 0x10000U /* MSG_WAITFORONE */
#define POINTER_MIN 65536U  /* no lower address is ever mapped (vm.mmap_min_addr) */

/* fs/pipe.c, fs/splice.c: sleeps for the first byte, and has transferred none. */
static bool waits_for_pipe(const ThreadWait *w) {
        return startswith(w->where, "pipe_wait_readable") || startswith(w->where, "pipe_read") ||
                startswith(w->where, "anon_pipe_read") || startswith(w->where, "fifo_pipe_read") ||
                startswith(w->where, "ipipe_prep");
}

/* fs/pipe.c: a FIFO that nobody has open at its other end. fs/locks.c: a lock that the kernel itself keeps, and not a server.
 * Both begin again. */
static bool waits_to_begin(const ThreadWait *w) {
        return startswith(w->where, "wait_for_partner") || startswith(w->where, "fifo_open") ||
                startswith(w->where, "locks_lock_inode_wait") || startswith(w->where, "flock_lock_inode_wait") ||
                startswith(w->where, "posix_lock_inode_wait") || startswith(w->where, "do_lock_file_wait") ||
                startswith(w->where, "fcntl_setlk");
}

/* Sockets, pipes, eventfd and the like, and devices: reading begins again, as nothing was transferred. A file that has a path
 * is read in uninterruptible sleep, unless a server answers for it. */
static bool is_stream(const ThreadWait *w) {
        return startswith(w->file, "socket:") || startswith(w->file, "pipe:") || startswith(w->file, "anon_inode:") ||
                startswith(w->file, "/dev/") || waits_for_pipe(w);
}

static CallCare receive_care(uint64_t flags) {
        return flags & WAIT_FOR_ALL ? CALL_LONG : CALL_PLAIN;
}

/* Calls that wait and transfer nothing, or that the kernel ends only before they have transferred anything. */
static bool call_only_waits(long nr) {
        switch (nr) {
#ifdef SYS_poll /* newer architectures have only the later form of these */
        case SYS_poll:
        case SYS_select:
        case SYS_epoll_wait:
        case SYS_pause:
#endif
        case SYS_ppoll:
        case SYS_pselect6:
        case SYS_epoll_pwait:
        case SYS_epoll_pwait2:
        case SYS_futex:
        case SYS_futex_waitv:
        case SYS_futex_wait:
        case SYS_nanosleep:
        case SYS_clock_nanosleep:
        case SYS_rt_sigsuspend:
        case SYS_rt_sigtimedwait:
        case SYS_wait4:
        case SYS_waitid:
        case SYS_accept:
        case SYS_accept4:
        case SYS_semop:
        case SYS_semtimedop:
        case SYS_msgrcv:
        case SYS_msgsnd:
        case SYS_mq_timedreceive:
        case SYS_mq_timedsend:
                return true;
        }
        return false;
}

/* Calls that wait for several things may have some of them already, and would return these. */
static CallCare several_care(uint64_t wanted) {
        return wanted <= 1 ? CALL_PLAIN : CALL_NEVER;
}

CallCare call_care(const ThreadCall *call, const ThreadWait *wait) {
        /* fs/fuse/dev.c: a signal makes the kernel send FUSE_INTERRUPT, and servers answer that with EINTR */
        if (startswith(wait->where, "request_wait_answer"))
                return CALL_NEVER;
        if (call_only_waits(call->nr))
                return CALL_PLAIN;
        switch (call->nr) {
        case SYS_restart_syscall:
                return call_continued(call, wait) >= 0 ? CALL_PLAIN : CALL_NEVER;
        case SYS_read:
        case SYS_readv:
                return is_stream(wait) ? CALL_PLAIN : CALL_NEVER;
        case SYS_recvfrom:
                return receive_care(call->args[3]);
        case SYS_recvmmsg: /* net/socket.c, do_recvmmsg(): it would also keep the error for the next call */
                return call->args[3] & WAIT_FOR_ONE || call->args[2] <= 1 ? receive_care(call->args[3]) : CALL_NEVER;
        case SYS_io_getevents:
        case SYS_io_pgetevents: /* fs/aio.c, aio_read_events() */
                return several_care(call->args[1]);
        case SYS_io_uring_enter: /* io_cqring_wait() returns 0 if there are some completions */
                return several_care((uint32_t) call->args[2]);
        case SYS_recvmsg:
                return receive_care(call->args[2]);
        case SYS_splice: /* out of a socket it sleeps for the first byte only; a request of a FUSE file system is taken whole */
                return waits_for_pipe(wait) || startswith(wait->file, "socket:") || streq(wait->file, "/dev/fuse") ? CALL_PLAIN
                                                                                                                  : CALL_NEVER;
        case SYS_openat:
#ifdef SYS_open
        case SYS_open:
#endif
        case SYS_flock:
        case SYS_fcntl:
                return waits_to_begin(wait) ? CALL_PLAIN : CALL_NEVER;
        case SYS_tee:
        case SYS_sendfile:
                return waits_for_pipe(wait) ? CALL_PLAIN : CALL_NEVER;
        case SYS_ioctl:
                return (uint32_t) call->args[1] == IOCTL_DM_DEV_WAIT ? CALL_PLAIN : CALL_NEVER;
        }
        return CALL_NEVER;
}

bool call_changes_mask(const ThreadCall *call) {
        switch (call->nr) {
        case SYS_rt_sigtimedwait:
        case SYS_rt_sigsuspend:
        case SYS_io_pgetevents:
        case SYS_pselect6:
                return true;
        case SYS_ppoll:
                return call->args[3] != 0;
        case SYS_epoll_pwait:
        case SYS_epoll_pwait2:
        case SYS_io_uring_enter:
                return call->args[4] != 0;
        }
        return false;
}

bool call_can_repeat(long nr) {
        switch (nr) {
#ifdef SYS_epoll_wait
        case SYS_epoll_wait:
#endif
        case SYS_epoll_pwait:
        case SYS_epoll_pwait2:
        case SYS_semop:
        case SYS_semtimedop:
        case SYS_rt_sigtimedwait:
        case SYS_io_getevents:
        case SYS_io_pgetevents:
        case SYS_io_uring_enter: /* io_uring/io_uring.c: with requests submitted it returns their number instead */
        /* on a socket with SO_RCVTIMEO or SO_SNDTIMEO (include/net/sock.h, sock_intr_errno()) */
        case SYS_read:
        case SYS_readv:
        case SYS_splice:
        case SYS_recvfrom:
        case SYS_recvmsg:
        case SYS_recvmmsg:
        case SYS_accept:
        case SYS_accept4:
        case SYS_write:
        case SYS_writev:
        case SYS_sendto:
        case SYS_sendmsg:
        case SYS_sendmmsg:
        case SYS_connect: /* goes on waiting for the connection that it has begun */
        /* with a timeout in memory that cannot be written (fs/select.c, poll_select_finish()) */
        case SYS_ppoll:
        case SYS_pselect6:
#ifdef SYS_select
        case SYS_select:
#endif
                return true;
        }
        return false;
}

bool call_has_rest(long nr, const uint64_t args[6], int64_t result) {
        return nr == SYS_io_uring_enter && result > 0 && (uint64_t) result == (uint32_t) args[1] &&
                (args[3] & URING_GETEVENTS) && (uint32_t) args[2] > 0;
}

/* The bytes that a call was asked to transfer; 0 where its arguments do not say. */
static uint64_t transfer_size(long nr, const uint64_t args[6]) {
        switch (nr) {
        case SYS_write:
        case SYS_pwrite64:
        case SYS_sendto:
        case SYS_tee:
                return args[2];
        case SYS_sendfile:
                return args[3];
        case SYS_splice:
        case SYS_copy_file_range:
                return args[4];
        case SYS_recvfrom:
                return args[3] & WAIT_FOR_ALL ? args[2] : 0;
        }
        return 0;
}

bool call_was_cut(long nr, const uint64_t args[6], int64_t result, bool restarts) {
        if (nr < 0 || restarts)
                return false;
        if (result == -EINTR)
                return true;
        return result > 0 && (uint64_t) result < transfer_size(nr, args);
}

long call_continued(const ThreadCall *call, const ThreadWait *wait) {
        if (call->nr != SYS_restart_syscall)
                return -1;
        if (strstr(wait->where, "futex"))
                return SYS_futex;
#ifdef SYS_poll
        if (strstr(wait->where, "poll"))
                return SYS_poll;
#endif
        /* its own function is left for the sleep (a tail call), so that its caller may be named */
        if (strstr(wait->where, "nanosleep") || startswith(wait->where, "alarmtimer") ||
            startswith(wait->where, "do_syscall_64") || startswith(wait->where, "x64_sys_call") ||
            startswith(wait->where, "invoke_syscall") || startswith(wait->where, "el0_svc") || strstr(wait->where, "sys_restart_syscall"))
                return call->args[0] < POINTER_MIN || (int64_t) call->args[0] < 0 ? SYS_clock_nanosleep : SYS_nanosleep;
        return -1;
}
