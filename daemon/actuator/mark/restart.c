/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <sys/syscall.h>
#include <time.h>

#include "daemon/actuator/mark/memory-map.h"
#include "daemon/actuator/mark/restart.h"

#ifndef SYS_epoll_pwait2
#define SYS_epoll_pwait2 441
#endif

#define IORING_ENTER_EXT_ARG_BIT 8U
#define IOCTL_DM_DEV_WAIT 0xc138fd08U
#define WAIT_FOR_ALL 0x100U /* MSG_WAITALL */
#define VISIBLE_MS 1000

bool timeout_is_long(pid_t tid, uint64_t address) {
        struct timespec ts;

        if (address == 0)
                return false;
        if (tid == 0 || memory_read(tid, address, &ts, sizeof(ts)) < 0)
                return true;
        return ts.tv_sec * 1000 + ts.tv_nsec / 1000000 > VISIBLE_MS;
}

bool call_can_repeat(pid_t tid, long nr, const uint64_t args[6]) {
        switch (nr) {
#ifdef SYS_epoll_wait /* newer architectures have the second only */
        case SYS_epoll_wait:
#endif
        case SYS_epoll_pwait:
                return (int) args[3] <= VISIBLE_MS;
        case SYS_epoll_pwait2:
        case SYS_semtimedop:
                return !timeout_is_long(tid, args[3]);
        case SYS_rt_sigtimedwait:
                return !timeout_is_long(tid, args[2]);
        case SYS_io_getevents:
        case SYS_io_pgetevents:
                return !timeout_is_long(tid, args[4]);
        case SYS_io_uring_enter:
                return args[1] == 0 && !(args[3] & IORING_ENTER_EXT_ARG_BIT);
        case SYS_semop:
                return true;
        }
        return false;
}

CallCare call_care(const ThreadCall *call) {
        switch (call->nr) {
        case SYS_ioctl: /* NBD_DO_IT takes the device down when interrupted; others we do not know */
                return (uint32_t) call->args[1] == IOCTL_DM_DEV_WAIT ? CALL_PLAIN : CALL_NEVER;
        case SYS_write: /* return what was transferred so far */
        case SYS_writev:
        case SYS_pwrite64:
        case SYS_pwritev:
        case SYS_pwritev2:
        case SYS_sendto:
        case SYS_sendmsg:
        case SYS_sendmmsg:
        case SYS_sendfile:
        case SYS_splice:
        case SYS_vmsplice:
        case SYS_tee:
        case SYS_copy_file_range:
        case SYS_connect:
        case SYS_restart_syscall: /* left alone on the path, it could only end: no return from a signal restarts it */
                return CALL_NEVER;
        case SYS_recvfrom:
        case SYS_recvmmsg:
                return call->args[3] & WAIT_FOR_ALL ? CALL_NEVER : CALL_PLAIN;
        case SYS_recvmsg:
                return call->args[2] & WAIT_FOR_ALL ? CALL_NEVER : CALL_PLAIN;
#ifdef SYS_epoll_wait
        case SYS_epoll_wait:
#endif
        case SYS_epoll_pwait:
        case SYS_epoll_pwait2:
        case SYS_semtimedop:
        case SYS_rt_sigtimedwait:
        case SYS_io_getevents:
        case SYS_io_pgetevents:
        case SYS_io_uring_enter:
                return call_can_repeat(0, call->nr, call->args) ? CALL_PLAIN : CALL_VISIBLE;
        }
        return CALL_PLAIN;
}
