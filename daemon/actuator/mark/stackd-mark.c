/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Makes every thread of one process call prctl(PR_SET_IO_FLUSHER), which each can only do itself, one at a time and
 * without the process noticing. What is safe at which instant stands in thread.c, the path that a thread takes in
 * the file of its architecture. Threads come and go meanwhile, so passes are made until one finds nothing to do;
 * a thread inherits the state of its creator, so they get fewer. */

#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "common/array.h"
#include "common/text.h"
#include "daemon/actuator/mark/action.h"
#include "daemon/actuator/mark/serve.h"
#include "daemon/actuator/mark/step.h"
#include "daemon/actuator/mark/worker.h"

#define PASSES_MAX 1000U
#define NAP_MAX_MS 50
#define PATIENCE_FIRST_NS UINT64_C(2000000) /* doubled with each pass: threads that are easy to stop come first */
#define PATIENCE_MAX_NS UINT64_C(256000000)
#define DEADLINE_MAX_MS 600000U
#define EXIT_TROUBLE 2

typedef struct Arguments {
        pid_t pid;
        uint64_t start, deadline_ms;
        int pidfd;
        int set; /* -1: not said */
        bool serve;
} Arguments;

/* What became of the threads that needed work, ascending. */
typedef struct Run {
        Target target;
        bool set;
        uint64_t began_ns, deadline_ns;
        ThreadReport *reports;
        size_t n, capacity;
        unsigned total, marked, passes, done_in_pass, cut;
} Run;

static ThreadReport *run_find(Run *run, pid_t tid, size_t *ret_at) {
        size_t low = 0, high = run->n;

        while (low < high) {
                size_t middle = low + (high - low) / 2;

                if (run->reports[middle].tid < tid)
                        low = middle + 1;
                else
                        high = middle;
        }
        *ret_at = low;
        return low < run->n && run->reports[low].tid == tid ? &run->reports[low] : NULL;
}

static int on_report(const ThreadReport *report, void *userdata) {
        Run *run = userdata;
        ThreadReport *old;
        size_t at;
        int r;

        run->done_in_pass += report->result == MARK_DONE;
        run->cut += report->cut;
        old = run_find(run, report->tid, &at);
        if (old) {
                uint64_t stopped = MAX(old->stopped_ns, report->stopped_ns);

                *old = *report;
                old->stopped_ns = stopped;
                return 0;
        }
        r = array_reserve((void **) &run->reports, &run->capacity, run->n + 1, sizeof(run->reports[0]));
        if (r < 0)
                return r;
        memmove(run->reports + at + 1, run->reports + at, (run->n - at) * sizeof(run->reports[0]));
        run->reports[at] = *report;
        run->n++;
        return 0;
}

static const ThreadReport *run_previous(pid_t tid, void *userdata) {
        size_t at;

        return run_find(userdata, tid, &at);
}

/* A result with which the thread need not be tried again in this run. */
static bool run_is_settled(Run *run, pid_t tid) {
        size_t at;
        ThreadReport *report = run_find(run, tid, &at);

        return report && !report->again && report->result != MARK_DONE && report->result != MARK_GONE;
}

/* Counts, and lists what is to be done. */
static int run_survey(Run *run, pid_t **ret, size_t *ret_n) {
        _cleanup_free_ pid_t *tids = NULL;
        unsigned total = 0, marked = 0;
        size_t n, todo = 0;
        int r;

        r = target_check(&run->target);
        if (r < 0)
                return r;
        r = target_threads(&run->target, &tids, &n);
        if (r < 0)
                return r;
        for (size_t i = 0; i < n; i++) {
                ThreadStat stat;

                r = thread_stat_read(&run->target, tids[i], &stat);
                if (r >= 0)
                        r = action_is_in_state(&run->target, tids[i], &stat, run->set);
                if (r == -ESRCH)
                        continue;
                if (r < 0)
                        return r;
                total++;
                marked += r > 0;
                if (r == 0 && !run_is_settled(run, tids[i]))
                        tids[todo++] = tids[i];
        }
        if (total == 0)
                return -ESRCH;
        run->total = total;
        run->marked = marked;
        *ret = TAKE_PTR(tids);
        *ret_n = todo;
        return 0;
}

static int run_passes(Run *run) {
        int nap = 1;

        while (run->passes < PASSES_MAX) {
                _cleanup_free_ pid_t *tids = NULL;
                const uint64_t now = now_ns();
                WorkerTask task;
                size_t n;
                int r;

                r = run_survey(run, &tids, &n);
                if (r < 0)
                        return r;
                if (n == 0 || now >= run->deadline_ns)
                        return 0;
                run->passes++;
                run->done_in_pass = 0;
                task = (WorkerTask) {
                        .target = &run->target,
                        .set = run->set,
                        .patience_ns = MIN(PATIENCE_FIRST_NS << MIN(run->passes - 1, 16U), PATIENCE_MAX_NS),
                        .deadline_ns = run->deadline_ns,
                        .tids = tids,
                        .n = n,
                        .previous = run_previous,
                        .on_report = on_report,
                        .userdata = run,
                };
                r = worker_run(&task);
                if (r < 0)
                        return r;
                if (run->done_in_pass > 0) {
                        nap = 1;
                        continue;
                }
                (void) poll(NULL, 0, nap);
                nap = MIN(nap * 2, NAP_MAX_MS);
        }
        return 0;
}

/* Nothing is marked: is it all for one kind of reason? */
static MarkState run_why_none(const Run *run) {
        unsigned denied = 0, busy = 0, unsupported = 0, all = 0;

        for (size_t i = 0; i < run->n; i++) {
                MarkResult result = run->reports[i].result;

                if (result == MARK_GONE)
                        continue;
                all++;
                denied += result == MARK_DENIED || result == MARK_SECCOMP;
                busy += result == MARK_BUSY || result == MARK_TRACED;
                unsupported += result == MARK_UNSUPPORTED || result == MARK_FOREIGN_STACK || result == MARK_USER_WORKER;
        }
        if (run->n == 0) /* there was no time to begin */
                return MARK_STATE_BUSY;
        if (all == 0)
                return MARK_STATE_GONE;
        return denied == all      ? MARK_STATE_DENIED
                : busy == all     ? MARK_STATE_BUSY
                : unsupported == all ? MARK_STATE_UNSUPPORTED
                                  : MARK_STATE_NONE;
}

static int line_print(const MarkLine *line) {
        char buffer[160];
        int n = mark_line_format(line, buffer, sizeof(buffer));

        return n < 0 ? n : fputs(buffer, stdout) < 0 ? -EIO : 0;
}

static int run_print(Run *run, MarkState state) {
        MarkLine last = {
                .final = true,
                .state = state,
                .total = run->total,
                .marked = run->marked,
                .passes = run->passes,
                .cut = run->cut,
        };
        int r;

        for (size_t i = 0; i < run->n; i++) {
                ThreadReport *report = &run->reports[i];
                ThreadStat stat;

                if (report->result != MARK_DONE && thread_stat_read(&run->target, report->tid, &stat) == -ESRCH)
                        report->result = MARK_GONE; /* since it was tried */
                const MarkLine line = {
                        .tid = report->tid,
                        .result = report->result,
                        .error = report->error,
                        .stopped_ns = report->stopped_ns,
                };

                last.max_stopped_ns = MAX(last.max_stopped_ns, report->stopped_ns);
                r = line_print(&line);
                if (r < 0)
                        return r;
        }
        r = line_print(&last);
        return r < 0 ? r : fflush(stdout) < 0 ? -EIO : 0;
}

static int run_all(Run *run, const Arguments *a, MarkState *ret) {
        int r;

        run->set = a->set;
        run->began_ns = now_ns();
        run->deadline_ns = run->began_ns + a->deadline_ms * 1000000;
        r = target_open(a->pid, a->start, a->pidfd, &run->target);
        if (r >= 0) {
                r = arch_init();
                if (r >= 0)
                        r = run_passes(run);
                else if (r == -EOPNOTSUPP) {
                        *ret = MARK_STATE_UNSUPPORTED;
                        return 0;
                }
        }
        if (r == -ESRCH) {
                run->total = run->marked = 0;
                *ret = MARK_STATE_GONE;
                return 0;
        }
        if (r < 0)
                return r;
        *ret = run->marked == run->total ? MARK_STATE_ALL : run->marked > 0 ? MARK_STATE_PARTIAL : run_why_none(run);
        return 0;
}

static int number_option(const char *option, const char *s, uint64_t max, uint64_t *ret) {
        uint64_t v;

        if (text_to_u64(s, 10, &v) < 0 || v > max) {
                fprintf(stderr, "stackd-mark: --%s: not a number in range\n", option);
                return -EINVAL;
        }
        *ret = v;
        return 0;
}

static int option_parse(const struct option *o, Arguments *a) {
        uint64_t v = 0;
        int r = 0;

        if (o->has_arg) {
                r = number_option(o->name, optarg,
                                  o->val == 's' ? UINT64_MAX : o->val == 'd' ? DEADLINE_MAX_MS : INT32_MAX, &v);
                if (r < 0)
                        return r;
        }
        switch (o->val) {
        case 'p': a->pid = (pid_t) v; break;
        case 's': a->start = v; break;
        case 'f': a->pidfd = (int) v; break;
        case 'd': a->deadline_ms = v; break;
        case 'L': a->serve = true; break;
        case 'S':
        case 'C':
                if (a->set >= 0)
                        return -EINVAL;
                a->set = o->val == 'S';
                break;
#ifdef MARK_TEST
        case 'x': step_die_at((Step) v); break;
#endif
        }
        return 0;
}

static int arguments_parse(int argc, char *argv[], Arguments *ret) {
        static const struct option options[] = {
                { "pid", required_argument, NULL, 'p' },
                { "start", required_argument, NULL, 's' },
                { "pidfd", required_argument, NULL, 'f' },
                { "deadline-ms", required_argument, NULL, 'd' },
                { "set", no_argument, NULL, 'S' },
                { "clear", no_argument, NULL, 'C' },
                { "serve", no_argument, NULL, 'L' },
#ifdef MARK_TEST
                { "die-at-step", required_argument, NULL, 'x' },
#endif
                {},
        };
        Arguments a = { .pidfd = -1, .set = -1, .deadline_ms = 2000 };
        int index = -1, c;

        optind = 0; /* of a request it is not the first command line */
        while ((c = getopt_long(argc, argv, "", options, &index)) != -1) {
                if (c == '?' || index < 0 || option_parse(&options[index], &a) < 0)
                        return -EINVAL;
                index = -1;
        }
        if (optind != argc)
                return -EINVAL;
        if (!a.serve && (a.pid <= 1 || a.pid == getpid() || a.start == 0 || a.pidfd < 0 || a.set < 0))
                return -EINVAL;
        *ret = a;
        return 0;
}

static int mark(const Arguments *a) {
        Run run = { .target.proc_fd = -1 };
        MarkState state = MARK_STATE_NONE;
        int r;

        r = run_all(&run, a, &state);
        if (r >= 0)
                r = run_print(&run, state);
        target_done(&run.target);
        free(run.reports);
        if (r < 0) {
                fprintf(stderr, "stackd-mark: process %d: %s\n", (int) a->pid, strerror(-r));
                return EXIT_TROUBLE;
        }
        return state == MARK_STATE_ALL ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* We may be all that keeps a thread stopped which memory reclaim waits for. Without the capability we
 * go on: then we cannot mark others either, but say so. */
static void protect_self(void) {
        (void) action_apply_self();
        (void) mlockall(MCL_CURRENT | MCL_FUTURE);
}

/* What is locked in memory a child does not inherit. */
static int serve_request(int argc, char *argv[]) {
        Arguments a;

        if (arguments_parse(argc, argv, &a) < 0 || a.serve) {
                fprintf(stderr, "stackd-mark: a request that is none was refused\n");
                return EXIT_TROUBLE;
        }
        protect_self();
        return mark(&a);
}

static int serve(void) {
        int r = serve_run(STDIN_FILENO, serve_request);

        fprintf(stderr, "stackd-mark: cannot serve: %s\n", strerror(-r));
        return EXIT_TROUBLE;
}

int main(int argc, char *argv[]) {
        Arguments a;

        if (arguments_parse(argc, argv, &a) < 0) {
                fprintf(stderr, "usage: stackd-mark --pid PID --start TICKS --pidfd FD --set|--clear "
                                "[--deadline-ms N]\n"
                                "       stackd-mark --serve <LISTENING-SOCKET\n");
                return EXIT_TROUBLE;
        }
        protect_self();
        return a.serve ? serve() : mark(&a);
}
