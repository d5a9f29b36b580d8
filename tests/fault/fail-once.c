/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Preloaded into a program, it lets one call of the C library fail, once: the first one at the site that is asked for. A
 * site is a function and the callers that it has come through. Which sites there are is found out by running the
 * program without a failure.
 *
 * The file $FAIL_ONCE is shared by all processes of the run and with the test, which reads what the program came through. */
#undef _FILE_OFFSET_BITS
#undef _FORTIFY_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <unistd.h>

#define CALLERS 7 /* beside the function itself; deeper ones make no other site */
#define SITES 32768U

typedef struct Site {
        uint64_t hash; /* 0: none */
        char function[24];
} Site;

/* As test-fault.py reads it. */
typedef struct Shared {
        uint64_t target; /* the site that fails; 0: all are noted */
        uint32_t failed;
        uint32_t crashed; /* processes that were ended by a signal of their own making */
        Site sites[SITES];
} Shared;

static Shared *shared;
static const char *spared;
static _Thread_local bool inside;

/* Of a library that is known not to look: $FAIL_ONCE_SPARES is a part of its name. */
static bool is_spared(void *caller) {
        Dl_info info;

        return spared && dladdr(caller, &info) != 0 && info.dli_fname && strstr(info.dli_fname, spared);
}

/* 0: it is no site. */
static uint64_t __attribute__((noinline)) hash_site(const char *function) {
        uint64_t h = 0xcbf29ce484222325ULL;
        void *callers[CALLERS + 3];
        int n = backtrace(callers, CALLERS + 3);

        for (int i = 3; i < n; i++) /* this, fails(), and the function itself */
                if (is_spared(callers[i]))
                        return 0;
                else
                        h = (h ^ (uintptr_t) callers[i]) * 0x100000001b3ULL;
        for (; *function; function++)
                h = (h ^ (uint8_t) *function) * 0x100000001b3ULL;
        return h ?: 1;
}

static void note_site(uint64_t hash, const char *function) {
        for (unsigned i = 0; i < SITES; i++) {
                Site *s = &shared->sites[(hash + i) % SITES];
                uint64_t empty = 0;

                if (__atomic_compare_exchange_n(&s->hash, &empty, hash, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
                        strncpy(s->function, function, sizeof(s->function) - 1);
                        return;
                }
                if (empty == hash)
                        return;
        }
}

/* For whoever looks for what went wrong. */
static void tell_place(void) {
        const char *path = getenv("FAIL_ONCE_PLACE");
        int fd = path ? open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600) : -1;
        void *callers[32];

        if (fd < 0)
                return;
        backtrace_symbols_fd(callers, backtrace(callers, 32), fd);
        close(fd);
}

static bool __attribute__((noinline)) fails(const char *function) {
        bool result = false;
        int saved = errno;
        uint64_t hash;

        if (!shared || inside || (shared->target && shared->failed))
                return false;
        inside = true;
        hash = hash_site(function);
        if (hash == 0)
                result = false;
        else if (!shared->target)
                note_site(hash, function);
        else if (hash == shared->target)
                result = __atomic_exchange_n(&shared->failed, 1, __ATOMIC_SEQ_CST) == 0;
        if (result)
                tell_place();
        inside = false;
        errno = saved;
        return result;
}

static void on_crash(int signal_number) {
        __atomic_add_fetch(&shared->crashed, 1, __ATOMIC_SEQ_CST);
        signal(signal_number, SIG_DFL);
        raise(signal_number);
}

/* The last one to be called before main(): what libraries do for themselves is not looked at. */
static void __attribute__((constructor)) begin(void) {
        static const int crashes[] = { SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL };
        const char *path = getenv("FAIL_ONCE");
        void *callers[2], *memory;
        int fd;

        inside = true;
        spared = getenv("FAIL_ONCE_SPARES");
        (void) backtrace(callers, 2); /* loads what it needs */
        fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
        memory = fd >= 0 ? mmap(NULL, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) : MAP_FAILED;
        if (fd >= 0)
                close(fd);
        if (memory != MAP_FAILED)
                shared = memory;
        for (size_t i = 0; shared && !getenv("FAIL_ONCE_SANITIZED") && i < sizeof(crashes) / sizeof(crashes[0]); i++)
                signal(crashes[i], on_crash);
        inside = false;
}

#define FAULT(type, name, result, error, parameters, ...)                  \
        type name parameters;                                              \
        type name parameters {                                             \
                static type(*next) parameters;                             \
                                                                           \
                if (!next)                                                 \
                        next = (type(*) parameters) dlsym(RTLD_NEXT, #name); \
                if (fails(#name)) {                                        \
                        errno = error;                                     \
                        return result;                                     \
                }                                                          \
                return next(__VA_ARGS__);                                  \
        }
/* The same by the name that it has where offsets are asked to be of 64 bits, as they always are here. */
#define FAULT2(type, name, second, ...)   \
        FAULT(type, name, __VA_ARGS__)    \
        __asm__(".globl " #second "\n.set " #second ", " #name);

FAULT(void *, malloc, NULL, ENOMEM, (size_t n), n)
FAULT(void *, calloc, NULL, ENOMEM, (size_t n, size_t size), n, size)
FAULT(void *, realloc, NULL, ENOMEM, (void *p, size_t n), p, n)
FAULT(void *, reallocarray, NULL, ENOMEM, (void *p, size_t n, size_t size), p, n, size)

FAULT2(int, open, open64, -1, EMFILE, (const char *path, int flags, ...), path, flags, ({
        va_list ap;
        va_start(ap, flags);
        mode_t mode = va_arg(ap, mode_t);
        va_end(ap);
        mode;
}))
FAULT2(int, openat, openat64, -1, EMFILE, (int fd, const char *path, int flags, ...), fd, path, flags, ({
        va_list ap;
        va_start(ap, flags);
        mode_t mode = va_arg(ap, mode_t);
        va_end(ap);
        mode;
}))
FAULT2(int, __open_2, __open64_2, -1, EMFILE, (const char *path, int flags), path, flags)
FAULT2(int, __openat_2, __openat64_2, -1, EMFILE, (int fd, const char *path, int flags), fd, path, flags)
FAULT2(FILE *, fopen, fopen64, NULL, EMFILE, (const char *path, const char *mode), path, mode)
FAULT(DIR *, opendir, NULL, EMFILE, (const char *path), path)
FAULT(DIR *, fdopendir, NULL, ENOMEM, (int fd), fd)
FAULT2(struct dirent *, readdir, readdir64, NULL, EIO, (DIR *d), d)
FAULT(ssize_t, read, -1, EIO, (int fd, void *buffer, size_t n), fd, buffer, n)
FAULT(ssize_t, __read_chk, -1, EIO, (int fd, void *buffer, size_t n, size_t room), fd, buffer, n, room)
FAULT2(ssize_t, pread, pread64, -1, EIO, (int fd, void *buffer, size_t n, off_t at), fd, buffer, n, at)
FAULT2(ssize_t, __pread_chk, __pread64_chk, -1, EIO, (int fd, void *buffer, size_t n, off_t at, size_t room), fd, buffer, n, at, room)
FAULT(ssize_t, writev, -1, ENOSPC, (int fd, const struct iovec *parts, int n), fd, parts, n)
FAULT(ssize_t, readlink, -1, EIO, (const char *path, char *buffer, size_t n), path, buffer, n)
FAULT(ssize_t, readlinkat, -1, EIO, (int fd, const char *path, char *buffer, size_t n), fd, path, buffer, n)
FAULT(ssize_t, __readlinkat_chk, -1, EIO, (int fd, const char *path, char *buffer, size_t n, size_t room), fd, path, buffer, n, room)
FAULT2(int, stat, stat64, -1, ENOMEM, (const char *path, struct stat *st), path, st)
FAULT2(int, lstat, lstat64, -1, ENOMEM, (const char *path, struct stat *st), path, st)
FAULT2(int, fstat, fstat64, -1, ENOMEM, (int fd, struct stat *st), fd, st)
FAULT2(int, fstatat, fstatat64, -1, ENOMEM, (int fd, const char *path, struct stat *st, int flags), fd, path, st, flags)
FAULT(int, statx, -1, ENOMEM, (int fd, const char *path, int flags, unsigned mask, struct statx *st), fd, path, flags, mask, st)
FAULT2(int, fcntl, fcntl64, -1, ENOMEM, (int fd, int request, ...), fd, request, ({
        va_list ap;
        va_start(ap, request);
        void *argument = va_arg(ap, void *);
        va_end(ap);
        argument;
}))
FAULT(int, ioctl, -1, ENOMEM, (int fd, unsigned long request, ...), fd, request, ({
        va_list ap;
        va_start(ap, request);
        void *argument = va_arg(ap, void *);
        va_end(ap);
        argument;
}))
FAULT(int, dup, -1, EMFILE, (int fd), fd)
FAULT(int, dup2, -1, EMFILE, (int fd, int to), fd, to)
FAULT(int, dup3, -1, EMFILE, (int fd, int to, int flags), fd, to, flags)
FAULT(int, pipe2, -1, EMFILE, (int fds[2], int flags), fds, flags)
FAULT(pid_t, fork, -1, EAGAIN, (void), )
FAULT(int, execv, -1, ENOMEM, (const char *path, char *const argv[]), path, argv)
FAULT(int, flock, -1, ENOLCK, (int fd, int operation), fd, operation)
FAULT(int, rename, -1, ENOSPC, (const char *from, const char *to), from, to)
FAULT(int, renameat, -1, ENOSPC, (int from_fd, const char *from, int to_fd, const char *to), from_fd, from, to_fd, to)
FAULT(int, mkdir, -1, ENOSPC, (const char *path, mode_t mode), path, mode)
FAULT(int, mkdirat, -1, ENOSPC, (int fd, const char *path, mode_t mode), fd, path, mode)
FAULT2(void *, mmap, mmap64, MAP_FAILED, ENOMEM, (void *a, size_t n, int p, int flags, int fd, off_t at), a, n, p, flags, fd, at)
FAULT(int, mlockall, -1, ENOMEM, (int flags), flags)
FAULT2(int, setrlimit, setrlimit64, -1, EPERM, (__rlimit_resource_t what, const struct rlimit *limit), what, limit)

FAULT(int, socket, -1, ENOBUFS, (int domain, int type, int protocol), domain, type, protocol)
FAULT(int, socketpair, -1, ENOBUFS, (int domain, int type, int protocol, int fds[2]), domain, type, protocol, fds)
FAULT(int, connect, -1, ECONNREFUSED, (int fd, const struct sockaddr *a, socklen_t n), fd, a, n)
FAULT(int, bind, -1, ENOBUFS, (int fd, const struct sockaddr *a, socklen_t n), fd, a, n)
FAULT(int, getsockopt, -1, ENOBUFS, (int fd, int level, int name, void *value, socklen_t *n), fd, level, name, value, n)
FAULT(int, setsockopt, -1, ENOBUFS, (int fd, int level, int name, const void *value, socklen_t n), fd, level, name, value, n)
FAULT(ssize_t, send, -1, ENOBUFS, (int fd, const void *data, size_t n, int flags), fd, data, n, flags)
FAULT(ssize_t, sendto, -1, ENOBUFS, (int fd, const void *data, size_t n, int flags, const struct sockaddr *a, socklen_t size), fd, data, n, flags, a, size)
FAULT(ssize_t, sendmsg, -1, ENOBUFS, (int fd, const struct msghdr *m, int flags), fd, m, flags)
FAULT(ssize_t, recv, -1, ENOMEM, (int fd, void *buffer, size_t n, int flags), fd, buffer, n, flags)
FAULT(ssize_t, recvmsg, -1, ENOMEM, (int fd, struct msghdr *m, int flags), fd, m, flags)
FAULT(int, poll, -1, ENOMEM, (struct pollfd *fds, nfds_t n, int timeout), fds, n, timeout)
FAULT(int, ppoll, -1, ENOMEM, (struct pollfd *fds, nfds_t n, const struct timespec *timeout, const sigset_t *mask), fds, n, timeout, mask)
FAULT(int, epoll_create1, -1, EMFILE, (int flags), flags)
FAULT(int, timerfd_create, -1, EMFILE, (int clock, int flags), clock, flags)
FAULT(int, signalfd, -1, EMFILE, (int fd, const sigset_t *mask, int flags), fd, mask, flags)

FAULT(int, open_tree, -1, ENOMEM, (int fd, const char *path, unsigned flags), fd, path, flags)
FAULT(int, mount_setattr, -1, ENOMEM, (int fd, const char *path, unsigned flags, struct mount_attr *a, size_t n), fd, path, flags, a, n)
FAULT(int, mount, -1, ENOMEM, (const char *from, const char *to, const char *type, unsigned long flags, const void *data), from, to, type, flags, data)
FAULT(int, fsopen, -1, ENOMEM, (const char *type, unsigned flags), type, flags)
FAULT(int, fspick, -1, ENOMEM, (int fd, const char *path, unsigned flags), fd, path, flags)
FAULT(int, fsconfig, -1, ENOMEM, (int fd, unsigned command, const char *key, const void *value, int aux), fd, command, key, value, aux)

/* A pipe is never full for good. */
ssize_t write(int fd, const void *data, size_t n) {
        static ssize_t (*next)(int fd, const void *data, size_t n);
        struct stat st;

        if (!next)
                next = (ssize_t (*)(int, const void *, size_t)) dlsym(RTLD_NEXT, "write");
        inside = true;
        bool pipe = fstat(fd, &st) == 0 && S_ISFIFO(st.st_mode);
        inside = false;
        if (!pipe && fails("write")) {
                errno = ENOSPC;
                return -1;
        }
        return next(fd, data, n);
}

/* Only adding one takes memory. */
int epoll_ctl(int fd, int operation, int other, struct epoll_event *e) {
        static int (*next)(int fd, int operation, int other, struct epoll_event *e);

        if (!next)
                next = (int (*)(int, int, int, struct epoll_event *)) dlsym(RTLD_NEXT, "epoll_ctl");
        if (operation == EPOLL_CTL_ADD && fails("epoll_ctl")) {
                errno = ENOMEM;
                return -1;
        }
        return next(fd, operation, other, e);
}

/* What goes to the kernel by its number: those that may fail, and for that reason. */
long syscall(long number, ...) {
        static long (*next)(long number, ...);
        long a[6];
        va_list ap;

        va_start(ap, number);
        for (int i = 0; i < 6; i++)
                a[i] = va_arg(ap, long);
        va_end(ap);
        if (!next)
                next = (long (*)(long, ...)) dlsym(RTLD_NEXT, "syscall");
        if ((number == SYS_openat2 || number == SYS_pidfd_open || number == SYS_bpf || number == 457 /* statmount */ || number == 458 /* listmount */) &&
            fails(number == SYS_openat2 ? "openat2" : number == SYS_pidfd_open ? "pidfd_open" : number == SYS_bpf ? "bpf" : "statmount")) {
                errno = number == SYS_openat2 || number == SYS_pidfd_open ? EMFILE : ENOMEM;
                return -1;
        }
        return next(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
