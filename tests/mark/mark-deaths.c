/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Runs the helper against a process again and again and kills it at a different point each time, until it has died
 * at every point that it ever passes. A point is the entry or the end of one of its system calls, in the parent or
 * the worker: "worker ptrace(SETREGSET)#2 end" is the second since the worker attached to a thread. Found are they
 * by tracing the helper; the next to die at is always the one with the fewest deaths so far, those between
 * attaching and letting go four times as often as the others. In a quarter of the runs the helper first does a
 * random number of instructions more, one by one.
 *
 * After each death the process has a second to be untraced, not stopped, and alive. What it serves, or checks of
 * itself, is for the caller to look at.
 *
 * With --timed nothing of the helper is traced, and so it is much faster: it is killed at a random instant of its
 * life, half of the times right after a thread of the process is seen to be traced. Steps are not counted then.
 *
 * A time-out begins anew when the helper dies at the wrong instant; with a pause longer than it, only once.
 * When time is over first, it says how far it got.
 *
 * usage: mark-deaths [--deaths N] [--seconds N] [--seed N] [--deadline-ms N] [--pause-ms N]
 *                    [--points] [--timed] HELPER PID
 * Last line: "deaths N steps N covered N windows N slowest-ms N instructions N", or "deaths N attached N slowest-ms N"
 * of which 'attached' is how many surely had a thread attached just before; status 0 only if all points that
 * were passed at least twice were died at, and none of the above was violated. */

#include <dirent.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common/cleanup.h"

#define POINTS_MAX 8192U
#define ORDINAL_MAX 3U
#define INSTRUCTIONS_MAX 400U
#define WINDOW_WEIGHT 4U
#define PROCESSES_MAX 64U
#define CALLS_MAX 1024U
#define MISSED_MAX 8U
#ifdef __aarch64__
#define INSTRUCTION_MASK 0xffffffffL
#define INSTRUCTION_CALL 0xd4000001L
#else
#define INSTRUCTION_MASK 0xffffL
#define INSTRUCTION_CALL 0x050fL
#endif
#define EXTRA_MAX 500U

typedef enum Role { ROLE_PARENT, ROLE_WORKER } Role;

typedef struct Point {
        Role role;
        bool window; /* between attaching to a thread and letting it go */
        bool end;
        uint64_t nr, request;
        unsigned ordinal;
        unsigned seen, deaths, missed;
} Point;

typedef struct Process {
        pid_t pid;
        Role role;
        bool window, in_call, gone;
        uint64_t nr, request;
        unsigned ordinals[CALLS_MAX]; /* of each call since the last attaching */
} Process;

typedef struct Death {
        Point *target;
        unsigned skip;         /* how often to pass it alive */
        unsigned instructions; /* to do beyond it */
        int whom;              /* 0 both, 1 the one that is there, 2 the parent */
} Death;

static Point points[POINTS_MAX];
static size_t n_points;
static pid_t subject;
static unsigned long deaths, runs, instructions_done, attached;
static uint64_t slowest_ns;
static const char *helper, *deadline = "1000";

static _Noreturn void give_up(const char *what) {
        printf("FAIL %s: %s\n", what, strerror(errno));
        exit(1);
}

static uint64_t now(void) {
        struct timespec ts;

        clock_gettime(CLOCK_MONOTONIC, &ts);
        return (uint64_t) ts.tv_sec * 1000000000U + (uint64_t) ts.tv_nsec;
}

static uint64_t random_next(void) {
        static uint64_t state;

        if (state == 0)
                state = UINT64_C(0x9e3779b97f4a7c15) * (uint64_t) (random() + 1);
        state ^= state << 13;
        state ^= state >> 7;
        return state ^= state << 17;
}

static const char *request_name(uint64_t request) {
        static const struct {
                uint64_t request;
                const char *name;
        } names[] = {
                { PTRACE_SEIZE, "SEIZE" },
                { PTRACE_INTERRUPT, "INTERRUPT" },
                { PTRACE_DETACH, "DETACH" },
                { PTRACE_SYSCALL, "SYSCALL" },
                { PTRACE_GETREGSET, "GETREGSET" },
                { PTRACE_SETREGSET, "SETREGSET" },
                { PTRACE_GETSIGMASK, "GETSIGMASK" },
                { PTRACE_SETSIGMASK, "SETSIGMASK" },
                { PTRACE_SETOPTIONS, "SETOPTIONS" },
                { PTRACE_PEEKDATA, "PEEKDATA" },
                { PTRACE_POKEDATA, "POKEDATA" },
                { 0x420c, "SECCOMP_GET_FILTER" },
                { 0x420f, "GET_RSEQ_CONFIGURATION" },
                { 0x4211, "GET_SYSCALL_USER_DISPATCH_CONFIG" },
        };

        for (size_t i = 0; i < ELEMENTSOF(names); i++)
                if (names[i].request == request)
                        return names[i].name;
        return "?";
}

static const char *point_name(const Point *p) {
        static char name[160];
        char call[64];

        if (p->nr == SYS_ptrace)
                snprintf(call, sizeof(call), "ptrace(%s)", request_name(p->request));
        else
                snprintf(call, sizeof(call), "call %u", (unsigned) p->nr);
        snprintf(name, sizeof(name), "%s%s %s#%u %s", p->role == ROLE_PARENT ? "parent" : "worker",
                 p->window ? " attached" : "", call, p->ordinal, p->end ? "end" : "entry");
        return name;
}

/* A number for each call and each request of ptrace(), those from 0x4200 on beside the old ones. */
static unsigned *process_ordinal(Process *p) {
        const uint64_t i = p->nr != SYS_ptrace ? p->nr % 512 : 512 + p->request % 128 + (p->request >= 0x4200 ? 128 : 0);

        return &p->ordinals[i];
}

static Point *point_at(Process *p, bool end) {
        const Point now_at = { .role = p->role, .window = p->window, .end = end, .nr = p->nr, .request = p->request,
                               .ordinal = *process_ordinal(p) };

        for (size_t i = 0; i < n_points; i++)
                if (points[i].role == now_at.role && points[i].window == now_at.window && points[i].end == end &&
                    points[i].nr == now_at.nr && points[i].request == now_at.request &&
                    points[i].ordinal == now_at.ordinal)
                        return &points[i];
        if (n_points == POINTS_MAX)
                give_up("too many points");
        points[n_points] = now_at;
        return &points[n_points++];
}

/* Without a death: but for one that few runs pass, to wait a fifth time for a stop, say. */
static bool point_is_missing(const Point *p) {
        return p->window && p->deaths == 0 && p->seen >= 2 && p->seen >= runs / 2 && p->missed < MISSED_MAX;
}

static size_t points_missing(void) {
        size_t n = 0;

        for (size_t i = 0; i < n_points; i++)
                n += point_is_missing(&points[i]);
        return n;
}

/* The point with the fewest deaths for its weight, and in the end of those only that are missing; of equals any. */
static Point *point_choose(bool missing) {
        Point *best = NULL;
        uint64_t best_cost = UINT64_MAX, ties = 0;

        for (size_t i = 0; i < n_points; i++) {
                Point *p = &points[i];
                const unsigned tries = p->deaths + p->missed;
                uint64_t cost = p->window ? tries : tries * WINDOW_WEIGHT + WINDOW_WEIGHT - 1;

                if (missing && !point_is_missing(p))
                        continue;
                if (cost < best_cost)
                        ties = 0;
                if (cost <= best_cost && random_next() % ++ties == 0) {
                        best = p;
                        best_cost = cost;
                }
        }
        return best;
}

/* Follows the helper's call that begins or ends here. */
static Point *process_stop(Process *p) {
        struct __ptrace_syscall_info info;

        if (ptrace(PTRACE_GET_SYSCALL_INFO, p->pid, sizeof(info), &info) <= 0)
                return NULL;
        if (info.op == PTRACE_SYSCALL_INFO_ENTRY) {
                unsigned *ordinal;

                p->nr = info.entry.nr;
                p->request = p->nr == SYS_ptrace ? info.entry.args[0] : 0;
                if (p->role == ROLE_WORKER && p->nr == SYS_ptrace && p->request == PTRACE_SEIZE) {
                        memset(p->ordinals, 0, sizeof(p->ordinals));
                        p->window = true;
                        attached++;
                }
                ordinal = process_ordinal(p);
                if (*ordinal < ORDINAL_MAX)
                        (*ordinal)++;
                p->in_call = true;
                return point_at(p, false);
        }
        if (info.op == PTRACE_SYSCALL_INFO_EXIT && p->in_call) {
                Point *point = point_at(p, true);

                p->in_call = false;
                if (p->window && p->nr == SYS_ptrace && p->request == PTRACE_DETACH) {
                        p->window = false;
                        memset(p->ordinals, 0, sizeof(p->ordinals));
                }
                return point;
        }
        return NULL;
}

/* Up to its next system call at most: that may wait for another process, which waits for us. */
static int process_step(Process *p, unsigned count) {
        for (unsigned i = 0; i < count; i++) {
                struct __ptrace_syscall_info info;
                int status;
                long code;

                if (ptrace(PTRACE_GET_SYSCALL_INFO, p->pid, sizeof(info), &info) <= 0)
                        return -1;
                code = ptrace(PTRACE_PEEKTEXT, p->pid, (void *) info.instruction_pointer, NULL);
                if (info.op == PTRACE_SYSCALL_INFO_ENTRY || (code & INSTRUCTION_MASK) == INSTRUCTION_CALL)
                        return 0;
                if (ptrace(PTRACE_SINGLESTEP, p->pid, NULL, NULL) < 0 || waitpid(p->pid, &status, __WALL) != p->pid)
                        return -1;
                if (!WIFSTOPPED(status))
                        return -1;
                instructions_done++;
        }
        return 0;
}

static Process *process_find(Process *all, size_t *n, pid_t pid) {
        for (size_t i = 0; i < *n; i++)
                if (all[i].pid == pid)
                        return &all[i];
        if (*n == PROCESSES_MAX)
                give_up("too many workers");
        all[*n] = (Process) { .pid = pid, .role = *n == 0 ? ROLE_PARENT : ROLE_WORKER };
        return &all[(*n)++];
}

static uint64_t start_time(void) {
        char path[64], text[4096], *p;
        FILE *f;
        size_t k;

        snprintf(path, sizeof(path), "/proc/%d/stat", (int) subject);
        f = fopen(path, "r");
        if (!f)
                give_up("the process is gone");
        k = fread(text, 1, sizeof(text) - 1, f);
        fclose(f);
        text[k] = 0;
        p = strrchr(text, ')');
        for (int i = 2; p && i < 22; i++)
                p = strchr(p + 1, ' ');
        if (!p)
                give_up("stat");
        return strtoull(p, NULL, 10);
}

static pid_t helper_start(bool set, bool traced) {
        static char number[16], start[32], descriptor[16];
        pid_t pid;
        int fd;

        fd = (int) syscall(SYS_pidfd_open, subject, 0);
        if (fd < 0)
                give_up("pidfd_open");
        snprintf(number, sizeof(number), "%d", (int) subject);
        snprintf(start, sizeof(start), "%llu", (unsigned long long) start_time());
        snprintf(descriptor, sizeof(descriptor), "%d", fd);
        fflush(stdout);
        pid = fork();
        if (pid < 0)
                give_up("fork");
        if (pid == 0) {
                int null = open("/dev/null", O_WRONLY);

                dup2(null, STDOUT_FILENO);
                fcntl(fd, F_SETFD, 0);
                if (traced) {
                        ptrace(PTRACE_TRACEME, 0, NULL, NULL);
                        raise(SIGSTOP);
                } else
                        setpgid(0, 0);
                execl(helper, helper, "--pid", number, "--start", start, "--pidfd", descriptor,
                      set ? "--set" : "--clear", "--deadline-ms", deadline, (char *) NULL);
                _exit(127);
        }
        close(fd);
        if (!traced) {
                (void) setpgid(pid, pid);
                return pid;
        }
        if (waitpid(pid, NULL, __WALL) != pid ||
            ptrace(PTRACE_SETOPTIONS, pid, NULL,
                   (void *) (PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEFORK | PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL)) < 0)
                give_up("the helper does not start");
        return pid;
}

/* True if the one that is here is among the dead. */
static bool processes_kill(Process *all, size_t n, Process *here, int whom) {
        for (size_t i = 0; i < n; i++)
                if (!all[i].gone && (whom == 0 || (whom == 1 && &all[i] == here) || (whom == 2 && i == 0)))
                        kill(all[i].pid, SIGKILL);
        return whom != 2 || here == all;
}

/* One run of the helper; true if it died where it was to. */
static bool helper_run(bool set, Death *death) {
        static Process all[PROCESSES_MAX];
        size_t n = 0;
        bool dead = false;
        pid_t pid = helper_start(set, true);

        process_find(all, &n, pid);
        if (ptrace(PTRACE_SYSCALL, pid, NULL, NULL) < 0)
                give_up("PTRACE_SYSCALL");
        for (;;) {
                int status, sig = 0;
                pid_t who = waitpid(-1, &status, __WALL);
                Process *p;

                if (who < 0 && errno == ECHILD)
                        break;
                if (who < 0)
                        continue;
                p = process_find(all, &n, who);
                if (!WIFSTOPPED(status)) {
                        p->gone = true;
                        continue;
                }
                if (WSTOPSIG(status) == (SIGTRAP | 0x80)) {
                        Point *point = process_stop(p);

                        if (point) {
                                point->seen++;
                                if (!dead && point == death->target && death->skip-- == 0) {
                                        dead = true;
                                        (void) process_step(p, death->instructions);
                                        if (processes_kill(all, n, p, death->whom))
                                                continue;
                                }
                        }
                } else if (status >> 16 == 0 && WSTOPSIG(status) != SIGSTOP && WSTOPSIG(status) != SIGTRAP)
                        sig = WSTOPSIG(status);
                (void) ptrace(PTRACE_SYSCALL, who, NULL, (void *) (long) sig);
        }
        return dead;
}

/* Whether a thread is traced or stopped; -1 if it is gone. */
static int thread_is_held(const char *tid) {
        char path[320], line[256];
        int held = 0;
        FILE *f;

        snprintf(path, sizeof(path), "/proc/%d/task/%s/status", (int) subject, tid);
        f = fopen(path, "r");
        if (!f)
                return -1;
        while (fgets(line, sizeof(line), f))
                if ((strncmp(line, "TracerPid:", 10) == 0 && atoi(line + 10) != 0) ||
                    (strncmp(line, "State:\tT", 8) == 0 || strncmp(line, "State:\tt", 8) == 0))
                        held = 1;
        fclose(f);
        return held;
}

/* The number of threads seen, or 0 while one of them is held. */
static size_t subject_look(void) {
        struct dirent *e;
        char path[64];
        size_t n = 0;
        DIR *d;

        snprintf(path, sizeof(path), "/proc/%d/task", (int) subject);
        d = opendir(path);
        if (!d)
                give_up("the process is dead");
        while ((e = readdir(d))) {
                if (e->d_name[0] == '.')
                        continue;
                if (thread_is_held(e->d_name) > 0) {
                        n = 0;
                        break;
                }
                n++;
        }
        closedir(d);
        return n;
}

static void subject_check(const char *where) {
        const uint64_t began = now();

        while (subject_look() == 0) {
                if (now() - began > UINT64_C(1000000000)) {
                        errno = 0;
                        printf("after a death at %s:\n", where);
                        give_up("still traced or stopped after a second");
                }
                usleep(200);
        }
        slowest_ns = MAX(slowest_ns, now() - began);
}

static void death_plan(unsigned long run, bool missing, Death *ret) {
        *ret = (Death) { .target = point_choose(missing), .whom = (int) (random_next() % 8) };
        ret->skip = !missing && random_next() % 4 == 0 ? 1 : 0;
        ret->instructions = run % 4 == 3 ? (unsigned) (random_next() % INSTRUCTIONS_MAX) : 0;
        if (ret->whom > 2)
                ret->whom = 0;
}

/* The helper's worker, its only child; 0 if there is none. */
static pid_t worker_find(pid_t pid) {
        char path[64], text[32] = "";
        FILE *f;

        snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int) pid, (int) pid);
        f = fopen(path, "r");
        if (!f)
                return 0;
        if (!fgets(text, sizeof(text), f))
                text[0] = 0;
        fclose(f);
        return atoi(text);
}

/* Kills both at once, or one; workers left behind come to us. */
static void timed_kill(pid_t pid) {
        const unsigned whom = (unsigned) (random_next() % 4);
        const pid_t worker = whom == 0 ? worker_find(pid) : 0;

        if (worker > 0)
                kill(worker, SIGKILL);
        else if (whom > 1)
                kill(-pid, SIGKILL);
        kill(pid, SIGKILL);
        while (waitpid(-1, NULL, __WALL) > 0)
                ;
}

/* One of the threads there are now. */
static void thread_choose(char ret[static 32]) {
        struct dirent *e;
        char path[64];
        uint64_t n = 0;
        DIR *d;

        snprintf(path, sizeof(path), "/proc/%d/task", (int) subject);
        d = opendir(path);
        if (!d)
                give_up("the process is dead");
        while ((e = readdir(d)))
                if (e->d_name[0] != '.' && random_next() % ++n == 0)
                        snprintf(ret, 32, "%.20s", e->d_name);
        closedir(d);
}

/* True if it was still there to be killed. 'life' is how long it lives if nobody kills it. */
static bool timed_run(bool set, uint64_t life) {
        const bool aim = random_next() % 4 != 0;
        /* a thread is attached for microseconds, or in an emulator for milliseconds */
        const uint64_t delay = random_next() % (aim ? UINT64_C(1) << (random_next() % 23) : life);
        char tid[32] = "";
        bool ended = false;
        uint64_t from;
        pid_t pid;

        thread_choose(tid);
        pid = helper_start(set, false);
        while (aim && !ended && thread_is_held(tid) == 0)
                ended = waitpid(pid, NULL, WNOHANG) == pid;
        from = now();
        while (!ended && now() - from < delay)
                ended = waitpid(pid, NULL, WNOHANG) == pid;
        if (ended)
                return false;
        attached += thread_is_held(tid) > 0;
        timed_kill(pid);
        return true;
}

/* How long it lives, at least. */
static uint64_t timed_life(void) {
        uint64_t least = UINT64_MAX;

        for (int i = 0; i < 6; i++) {
                const uint64_t began = now();
                const pid_t pid = helper_start(i % 2 == 0, false);

                while (waitpid(pid, NULL, __WALL) != pid)
                        ;
                least = MIN(least, now() - began);
        }
        return least;
}

static int timed(unsigned long wanted, unsigned long seconds, unsigned pause_us) {
        const uint64_t life = timed_life(), began = now();
        bool set = true;

        attached = 0;
        while (deaths < wanted && runs++ < 4 * wanted && (seconds == 0 || now() - began < seconds * UINT64_C(1000000000))) {
                /* one that lives has perhaps nothing to do this way */
                if (timed_run(set, life))
                        deaths++;
                else
                        set = !set;
                subject_check("a random instant");
                usleep(pause_us);
        }
        printf("deaths %lu attached %lu slowest-ms %llu\n", deaths, attached, (unsigned long long) (slowest_ns / 1000000));
        return deaths == 0 || attached == 0;
}

static int summary(bool list, bool complete) {
        const size_t missing = points_missing();
        size_t steps = 0, covered = 0, windows = 0;

        for (size_t i = 0; i < n_points; i++) {
                const Point *p = &points[i];

                steps++;
                covered += p->deaths > 0;
                windows += p->window;
                if (list || (p->deaths == 0 && p->window))
                        printf("point %s: passed %u deaths %u\n", point_name(p), p->seen, p->deaths);
        }
        printf("deaths %lu steps %zu covered %zu windows %zu slowest-ms %llu instructions %lu\n", deaths, steps, covered,
               windows, (unsigned long long) (slowest_ns / 1000000), instructions_done);
        if (windows == 0)
                printf("FAIL it never attached to anything\n");
        else if (missing > 0 && complete)
                printf("FAIL %zu steps without a death\n", missing);
        return windows == 0 || deaths == 0 || (missing > 0 && complete);
}

int main(int argc, char *argv[]) {
        static const struct option options[] = {
                { "deaths", required_argument, NULL, 'd' },
                { "seconds", required_argument, NULL, 's' },
                { "seed", required_argument, NULL, 'r' },
                { "deadline-ms", required_argument, NULL, 'l' },
                { "pause-ms", required_argument, NULL, 'w' },
                { "points", no_argument, NULL, 'p' },
                { "timed", no_argument, NULL, 't' },
                {},
        };
        unsigned long wanted = 1000, seconds = 0, attached_before;
        bool set = true;
        const uint64_t began = now();
        unsigned pause_us = 0;
        bool list = false, by_time = false;
        int c;

        srandom(1);
        while ((c = getopt_long(argc, argv, "", options, NULL)) != -1)
                switch (c) {
                case 'd': wanted = strtoul(optarg, NULL, 10); break;
                case 's': seconds = strtoul(optarg, NULL, 10); break;
                case 'r': srandom((unsigned) strtoul(optarg, NULL, 10)); break;
                case 'w': pause_us = (unsigned) atoi(optarg) * 1000; break;
                case 'l': deadline = optarg; break;
                case 'p': list = true; break;
                case 't': by_time = true; break;
                default: return 2;
                }
        if (argc - optind != 2)
                return 2;
        helper = argv[optind];
        subject = atoi(argv[optind + 1]);
        /* orphaned workers are to be waited for, too */
        prctl(PR_SET_CHILD_SUBREAPER, 1);
        setvbuf(stdout, NULL, _IOLBF, 0);
        if (by_time)
                return timed(wanted, seconds, pause_us);
        /* what there is to die at, both ways */
        for (int i = 0; i < 4; i++)
                (void) helper_run(i % 2 == 0, &(Death) {});
        for (; runs < 4 * wanted + 1000; runs++) {
                const bool enough = deaths >= wanted || (seconds > 0 && now() - began > seconds * UINT64_C(1000000000));
                Death death;

                if (enough && (points_missing() == 0 || deaths >= wanted + EXTRA_MAX || (seconds > 0 && deaths < wanted)))
                        break;
                death_plan(runs, enough, &death);
                attached_before = attached;
                if (helper_run(set, &death)) {
                        death.target->deaths++;
                        deaths++;
                } else if (!death.target->window || attached > attached_before)
                        death.target->missed++;
                /* nothing to do this way */
                if (attached == attached_before || random_next() % 4 == 0)
                        set = !set;
                subject_check(point_name(death.target));
                usleep(pause_us);
        }
        return summary(list, deaths >= wanted);
}
