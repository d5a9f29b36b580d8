/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/prctl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <systemd/sd-daemon.h>

#include "common/log.h"
#include "common/text.h"
#include "daemon/graph/fact.h"
#include "daemon/manager.h"

#ifndef PR_SET_IO_FLUSHER
#define PR_SET_IO_FLUSHER 57
#endif

static int help(void) {
        printf("stackd [OPTIONS...]\n\n"
               "Discovers nested storage stacks and protects the processes that serve them\n"
               "from waiting on themselves in memory reclaim. Started by udev or systemd;\n"
               "see stackctl(1) for the command line.\n\n"
               "     --private-fd=FD   serve one D-Bus client at this socket, and act only when\n"
               "                       it asks for it\n"
               "     --capture-fd=FD   write what discovery reads there as a cpio archive, and end\n"
               "     --no-scrub        leave serial numbers and UUIDs in it\n"
               "     --root=DIR        read a captured machine (with one of the above)\n"
               "     --debug           say what is done and why\n"
               "  -h --help            show this help\n"
               "     --version         show the version\n");
        return 0;
}

static int parse_fd(const char *text, int *ret) {
        uint64_t value;
        int type;
        socklen_t size = sizeof(type);

        if (text_to_u64(text, 10, &value) < 0 || value > INT32_MAX)
                return -EINVAL;
        if (getsockopt((int) value, SOL_SOCKET, SO_TYPE, &type, &size) < 0)
                return -errno;
        *ret = (int) value;
        return 0;
}

static int parse_capture_fd(const char *text, int *ret) {
        uint64_t value;

        if (text_to_u64(text, 10, &value) < 0 || value > INT32_MAX)
                return -EINVAL;
        if (fcntl((int) value, F_GETFD) < 0)
                return -errno;
        *ret = (int) value;
        return 0;
}

/* Returns 1 to go on, 0 when all is said, negative on error. */
static int parse_arguments(int argc, char *argv[], ManagerOptions *o) {
        static const struct option options[] = {
                { "private-fd", required_argument, NULL, 'p' },
                { "capture-fd", required_argument, NULL, 'c' },
                { "no-scrub", no_argument, NULL, 'n' },
                { "root", required_argument, NULL, 'r' },
                { "debug", no_argument, NULL, 'd' },
                { "help", no_argument, NULL, 'h' },
                { "version", no_argument, NULL, 'v' },
                {},
        };
        int c, r;

        while ((c = getopt_long(argc, argv, "h", options, NULL)) >= 0)
                switch (c) {
                case 'p':
                        r = parse_fd(optarg, &o->private_fd);
                        if (r < 0) {
                                fprintf(stderr, "stackd: --private-fd=%s: not a socket: %s\n", optarg, strerror(-r));
                                return r;
                        }
                        break;
                case 'c':
                        r = parse_capture_fd(optarg, &o->capture_fd);
                        if (r < 0) {
                                fprintf(stderr, "stackd: --capture-fd=%s: not an open file: %s\n", optarg, strerror(-r));
                                return r;
                        }
                        break;
                case 'n':
                        o->capture_all = true;
                        break;
                case 'r':
                        o->root = optarg;
                        break;
                case 'd':
                        log_set_max_level(LOG_DEBUG);
                        o->debug = true;
                        break;
                case 'h':
                        return help();
                case 'v':
                        printf("stackd %s\n", STACKD_VERSION);
                        return 0;
                default:
                        return -EINVAL;
                }
        if (optind < argc) {
                fprintf(stderr, "stackd: takes no arguments, but was given '%s'\n", argv[optind]);
                return -EINVAL;
        }
        if (o->private_fd >= 0 && o->capture_fd >= 0) {
                fprintf(stderr, "stackd: --private-fd and --capture-fd exclude each other\n");
                return -EINVAL;
        }
        if (o->root && o->private_fd < 0 && o->capture_fd < 0) {
                fprintf(stderr, "stackd: --root needs --private-fd or --capture-fd: a captured machine is not served on the bus; use 'stackctl --root=DIR'\n");
                return -EINVAL;
        }
        return 1;
}

/* stackd must not need what it protects: it is an IO_FLUSHER itself and stays in memory. That gives the
 * opportunity to see whether the task flags, which are not ABI, are where they are looked for. */
static bool protect_self(void) {
        _cleanup_fclose_ FILE *f = NULL;
        unsigned long flags = 0;
        char line[1024], *end;

        if (mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) < 0)
                log_debug("Cannot lock memory: %s", strerror(errno));
        if (prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0) < 0) {
                log_debug("Cannot become an IO_FLUSHER: %s", strerror(errno));
                return true;
        }
        f = fopen("/proc/thread-self/stat", "re");
        if (!f || !fgets(line, sizeof(line), f))
                return true;
        end = strrchr(line, ')');
        if (!end || sscanf(end + 2, "%*c %*d %*d %*d %*d %*d %lu", &flags) != 1)
                return true;
        return (flags & TASK_FLAGS_IO_FLUSHER) == TASK_FLAGS_IO_FLUSHER;
}

/* A descriptor is held for each process that is watched, and ordinary users can make many of these. */
static void raise_descriptor_limit(void) {
        struct rlimit limit;

        if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
                return;
        limit.rlim_cur = limit.rlim_max;
        if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
                log_debug("Cannot raise the limit of open files: %s", strerror(errno));
}

static int on_signal(sd_event_source *source, const struct signalfd_siginfo *info _unused_, void *userdata _unused_) {
        return sd_event_exit(sd_event_source_get_event(source), EXIT_SUCCESS);
}

static int watch_signals(sd_event *event) {
        sigset_t set;
        int r;

        sigemptyset(&set);
        sigaddset(&set, SIGTERM);
        sigaddset(&set, SIGINT);
        if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
                return -errno;
        (void) signal(SIGPIPE, SIG_IGN);
        r = sd_event_add_signal(event, NULL, SIGTERM, on_signal, NULL);
        return r < 0 ? r : sd_event_add_signal(event, NULL, SIGINT, on_signal, NULL);
}

/* The service has a seccomp filter, with which its child could not mark every process. */
static void choose_marker(ManagerOptions *options) {
        const char *marker = getenv("STACKD_MARK_BINARY");

        options->marker = marker ?: STACKD_MARK_PATH;
        if (!marker && options->private_fd < 0 && options->capture_fd < 0)
                options->marker_socket = STACKD_MARK_SOCKET;
}

static int run(ManagerOptions *options) {
        _cleanup_(sd_event_unrefp) sd_event *event = NULL;
        _cleanup_(manager_freep) Manager *manager = NULL;
        int r;

        choose_marker(options);
        raise_descriptor_limit();
        if (!options->root && options->capture_fd < 0) {
                options->flags_unknown = !protect_self();
                if (options->flags_unknown)
                        log_error("The task flags of this kernel are not where they are known to be: nothing will be marked");
        }
        r = sd_event_new(&event);
        if (r >= 0)
                r = sd_event_set_watchdog(event, true); /* where the service manager asks for it */
        if (r >= 0)
                r = watch_signals(event);
        if (r >= 0)
                r = manager_new(event, options, &manager);
        if (r >= 0)
                r = manager_start(manager);
        if (r < 0) {
                log_error("Cannot start: %s", strerror(-r));
                return r;
        }
        (void) sd_notify(0, "READY=1");
        r = sd_event_loop(event);
        if (r < 0)
                log_error("Cannot go on: %s", strerror(-r));
        (void) sd_notify(0, "STOPPING=1");
        if (options->private_fd >= 0) {
                /* Somebody waits for its end. To give back the memory of thousands of layers one by one takes a tenth of its time. */
                static Manager *left; /* static, so that who looks for leaks finds it */

                left = TAKE_PTR(manager);
                manager_stop(left);
        }
        return r;
}

int main(int argc, char *argv[]) {
        ManagerOptions options = { .private_fd = -1, .capture_fd = -1 };
        int r;

        r = parse_arguments(argc, argv, &options);
        if (r <= 0)
                return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
        log_set_target_journal(options.private_fd < 0 && options.capture_fd < 0 && getenv("JOURNAL_STREAM"));
        r = run(&options);
        return r < 0 ? EXIT_FAILURE : r;
}
