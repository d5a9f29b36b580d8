/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>

#include "common/array.h"
#include "common/file.h"
#include "common/text.h"
#include "daemon/actuator/mark/target.h"

/* The initial user namespace has a fixed inode number, PROC_USER_INIT_INO. */
#define USER_NS_INITIAL "user:[4026531837]"

uint64_t now_ns(void) {
        struct timespec ts;

        clock_gettime(CLOCK_MONOTONIC, &ts);
        return (uint64_t) ts.tv_sec * 1000000000U + (uint64_t) ts.tv_nsec;
}

int target_read(const Target *t, const char *path, size_t max, char **ret) {
        _cleanup_close_ int fd = openat(t->proc_fd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        int r;

        if (fd < 0)
                return errno == ENOENT ? -ESRCH : -errno;
        r = file_read_fd(fd, max, ret, NULL);
        return r == -ENOENT ? -ESRCH : r;
}

/* The name in parentheses is the process's to choose, so fields count from the last ')'. */
static int stat_parse(const char *text, ThreadStat *ret) {
        const char *p = strrchr(text, ')');
        ThreadStat s = {};
        char *save = NULL;
        unsigned n = 3;
        uint64_t flags = 0;

        if (!p)
                return -EBADMSG;
        for (char *w = strtok_r((char *) p + 1, " \n", &save); w && n <= 22; w = strtok_r(NULL, " \n", &save), n++) {
                if (n == 3)
                        s.state = w[0];
                else if (n == 9 && text_to_u64(w, 10, &flags) < 0)
                        return -EBADMSG;
                else if (n == 22 && text_to_u64(w, 10, &s.start) < 0)
                        return -EBADMSG;
        }
        if (n <= 22)
                return -EBADMSG;
        s.flags = (unsigned) flags;
        *ret = s;
        return 0;
}

static int stat_read(const Target *t, const char *path, ThreadStat *ret) {
        _cleanup_free_ char *text = NULL;
        int r = target_read(t, path, 4096, &text);

        return r < 0 ? r : stat_parse(text, ret);
}

int target_check(const Target *t) {
        ThreadStat s;
        int r = stat_read(t, "stat", &s);

        if (r < 0)
                return r;
        if (s.start != t->start)
                return -ESRCH;
        if (syscall(SYS_pidfd_send_signal, t->pidfd, 0, NULL, 0) < 0)
                return -errno;
        return 0;
}

/* The number must belong to the descriptor, or two processes could be mixed up. */
static int pidfd_check(int pidfd, pid_t pid) {
        _cleanup_free_ char *text = NULL;
        _cleanup_close_ int fd = -1;
        char path[64];
        const char *p;
        int r;

        snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", pidfd);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return errno == ENOENT ? -EBADF : -errno;
        r = file_read_fd(fd, 4096, &text, NULL);
        if (r < 0)
                return r;
        p = strstr(text, "\nPid:");
        if (!p)
                return -EBADF;
        return strtol(p + 5, NULL, 10) == pid ? 0 : -ESRCH;
}

int target_open(pid_t pid, uint64_t start, int pidfd, Target *ret) {
        Target t = { .pid = pid, .start = start, .pidfd = pidfd, .proc_fd = -1 };
        char path[64];
        int r = pidfd_check(pidfd, pid);

        if (r < 0)
                return r;
        snprintf(path, sizeof(path), "/proc/%d", (int) pid);
        t.proc_fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (t.proc_fd < 0)
                return errno == ENOENT ? -ESRCH : -errno;
        r = target_check(&t);
        if (r < 0) {
                target_done(&t);
                return r;
        }
        *ret = t;
        return 0;
}

void target_done(Target *t) {
        t->proc_fd = fd_close(t->proc_fd);
}

int target_threads(const Target *t, pid_t **ret, size_t *ret_n) {
        _cleanup_free_ pid_t *tids = NULL;
        _cleanup_closedir_ DIR *dir = NULL;
        size_t n = 0, capacity = 0;
        struct dirent *e;
        int fd;

        fd = openat(t->proc_fd, "task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
                return errno == ENOENT ? -ESRCH : -errno;
        dir = fdopendir(fd);
        if (!dir) {
                fd_close(fd);
                return -errno;
        }
        while ((e = readdir(dir))) {
                pid_t tid;
                int r;

                if (text_to_pid(e->d_name, &tid) < 0)
                        continue;
                r = ARRAY_APPEND(tids, n, capacity, tid);
                if (r < 0)
                        return r;
        }
        if (n == 0)
                return -ESRCH;
        *ret = TAKE_PTR(tids);
        *ret_n = n;
        return 0;
}

int thread_stat_read(const Target *t, pid_t tid, ThreadStat *ret) {
        char path[64];
        int r = stat_read(t, thread_path(tid, "stat", path), ret);

        return r >= 0 && ret->flags & TASK_EXITING ? -ESRCH : r;
}

/* The value of a line "Key:\tvalue"; keys stand at the beginning of a line, and names cannot hold a newline
 * here as the kernel escapes it. */
static const char *status_find(const char *text, const char *key) {
        size_t n = strlen(key);

        for (const char *p = text; p; p = strchr(p, '\n')) {
                p += *p == '\n';
                if (strncmp(p, key, n) == 0)
                        return p + n + strspn(p + n, " \t");
        }
        return NULL;
}

static uint64_t status_number(const char *text, const char *key, int base) {
        const char *value = status_find(text, key);

        return value ? strtoull(value, NULL, base) : 0;
}

int thread_status_read(const Target *t, pid_t tid, ThreadStatus *ret) {
        _cleanup_free_ char *text = NULL;
        ThreadStatus s = {};
        const char *tracer, *capabilities, *features;
        char path[64];
        int r;

        r = target_read(t, thread_path(tid, "status", path), 65536, &text);
        if (r < 0)
                return r;
        tracer = status_find(text, "TracerPid:");
        capabilities = status_find(text, "CapEff:");
        if (!tracer || !capabilities)
                return -EBADMSG;
        s.tracer = (pid_t) strtol(tracer, NULL, 10);
        s.capabilities = strtoull(capabilities, NULL, 16);
        s.seccomp = (unsigned) status_number(text, "Seccomp:", 10);
        s.blocked = status_number(text, "SigBlk:", 16);
        s.ignored = status_number(text, "SigIgn:", 16);
        s.caught = status_number(text, "SigCgt:", 16);
        s.sleeps = status_number(text, "voluntary_ctxt_switches:", 10);
        s.switches = s.sleeps + status_number(text, "nonvoluntary_ctxt_switches:", 10);
        features = status_find(text, "x86_Thread_features:");
        if (features) {
                const char *word = strstr(features, "shstk");
                s.shadow_stack = word && word < features + strcspn(features, "\n");
        }
        *ret = s;
        return 0;
}

int thread_call_read(const Target *t, pid_t tid, ThreadCall *ret) {
        _cleanup_free_ char *text = NULL;
        unsigned long long a[6] = {}, sp = 0, ip = 0;
        ThreadCall c = { .nr = -1, .continued = -1 };
        char path[64];
        int r;

        r = target_read(t, thread_path(tid, "syscall", path), 4096, &text);
        if (r < 0)
                return r;
        if (startswith(text, "running"))
                c.running = true;
        else if (sscanf(text, "-1 %llx %llx", &sp, &ip) != 2 &&
                 sscanf(text, "%ld %llx %llx %llx %llx %llx %llx %llx %llx", &c.nr, &a[0], &a[1], &a[2], &a[3],
                        &a[4], &a[5], &sp, &ip) != 9)
                return -EBADMSG;
        for (size_t i = 0; i < ELEMENTSOF(a); i++)
                c.args[i] = a[i];
        c.sp = sp;
        c.ip = ip;
        *ret = c;
        return 0;
}

/* Calls that read from a stream or a file, whose first argument is the descriptor. */
static bool call_reads(long nr) {
        return nr == SYS_read || nr == SYS_readv || nr == SYS_splice;
}

int thread_wait_read(const Target *t, pid_t tid, const ThreadCall *call, ThreadWait *ret) {
        _cleanup_free_ char *where = NULL, *file = NULL;
        ThreadWait w = {};
        char path[64], name[32];
        int r;

        r = target_read(t, thread_path(tid, "wchan", path), 4096, &where);
        if (r == -ESRCH || r == -ENOMEM)
                return r;
        if (r >= 0 && !streq(where, "0"))
                snprintf(w.where, sizeof(w.where), "%s", where);
        if (call_reads(call->nr)) {
                snprintf(name, sizeof(name), "fd/%d", (int) call->args[0]);
                r = file_readlink(t->proc_fd, thread_path(tid, name, path), &file);
                if (r == -ENOMEM)
                        return r;
                if (r >= 0)
                        snprintf(w.file, sizeof(w.file), "%s", file);
        }
        *ret = w;
        return 0;
}

int thread_in_initial_user_ns(const Target *t, pid_t tid) {
        _cleanup_free_ char *link = NULL;
        char path[64];
        int r;

        r = file_readlink(t->proc_fd, thread_path(tid, "ns/user", path), &link);
        if (r == -ENOENT)
                return -ESRCH;
        return r < 0 ? r : streq(link, USER_NS_INITIAL);
}

int thread_is_frozen(const Target *t, pid_t tid) {
        _cleanup_free_ char *text = NULL, *path = NULL, *events = NULL;
        _cleanup_close_ int fd = -1;
        const char *group;
        char file[64];
        int r;

        r = target_read(t, thread_path(tid, "cgroup", file), 65536, &text);
        if (r < 0)
                return r;
        group = status_find(text, "0::");
        if (!group)
                return 0;
        path = text_format("/sys/fs/cgroup%.*s/cgroup.events", (int) strcspn(group, "\n"), group);
        if (!path)
                return -ENOMEM;
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0 || file_read_fd(fd, 4096, &events, NULL) < 0)
                return 0;
        return strstr(events, "frozen 1") != NULL;
}
