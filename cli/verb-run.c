/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Starts a command as an IO_FLUSHER: from its first instruction on, whatever threads it makes, and also where nobody can
 * mark it from outside, since the kernel asks for the capability of the process itself (an ordinary user's service, an
 * empty capability set). The capability is needed for that only, and gone when the command begins; so it cannot
 * take the mark off again, as some have done by mistake. */

#include <errno.h>
#include <getopt.h>
#include <linux/capability.h>
#include <linux/prctl.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "cli/complain.h"
#include "cli/verb.h"

#ifndef PR_SET_IO_FLUSHER
#define PR_SET_IO_FLUSHER 57
#define PR_GET_IO_FLUSHER 58
#endif

typedef struct RunOptions {
        bool keep;    /* the capability */
        bool attempt; /* go on unmarked */
        bool argv0;
} RunOptions;

static int become_io_flusher(void) {
        if (prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0) < 0)
                return -errno;
        return prctl(PR_GET_IO_FLUSHER, 0, 0, 0, 0) == 1 ? 0 : -EIO;
}

/* Root would have it back after exec, but for the bounding set; that can be changed only with CAP_SETPCAP, which
 * root has unless somebody has thought about it. */
static int drop_capability(void) {
        struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
        struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {};
        uint32_t bit = UINT32_C(1) << (CAP_SYS_RESOURCE % 32);

        if (prctl(PR_CAPBSET_DROP, CAP_SYS_RESOURCE, 0, 0, 0) < 0 && errno != EPERM && errno != EINVAL)
                return -errno;
        if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_LOWER, CAP_SYS_RESOURCE, 0, 0) < 0 && errno != EINVAL)
                return -errno;
        if (syscall(SYS_capget, &header, data) < 0)
                return -errno;
        data[0].effective &= ~bit;
        data[0].permitted &= ~bit;
        data[0].inheritable &= ~bit;
        return syscall(SYS_capset, &header, data) < 0 ? -errno : 0;
}

static int parse_run_options(int argc, char **argv, RunOptions *ret) {
        static const struct option options[] = {
                { "keep-capability", no_argument, NULL, 'k' },
                { "try", no_argument, NULL, 't' },
                { "argv0", no_argument, NULL, 'a' },
                {},
        };
        int option;

        opterr = 0;
        /* '+': what follows the command is the command's. */
        while ((option = getopt_long(argc, argv, "+", options, NULL)) >= 0)
                switch (option) {
                case 'k':
                        ret->keep = true;
                        break;
                case 't':
                        ret->attempt = true;
                        break;
                case 'a':
                        ret->argv0 = true;
                        break;
                default:
                        return complain("'run' has no option '%s': stackctl run [--keep-capability] [--try] [--argv0] [--] COMMAND...",
                                        argv[optind - 1]);
                }
        if (argc - optind < 1 + ret->argv0)
                return complain("'run' needs a command: stackctl run [--] COMMAND...");
        return 0;
}

static int prepare(const RunOptions *o) {
        int r;

        r = become_io_flusher();
        if (r < 0 && !o->attempt)
                return r == -EPERM ? complain("Not permitted to become an IO_FLUSHER: it needs CAP_SYS_RESOURCE in the initial user "
                                              "namespace. Run it as root, or give the service AmbientCapabilities=CAP_SYS_RESOURCE.")
                                   : complain("Cannot become an IO_FLUSHER: %s. The kernel can since Linux 5.6.", strerror(-r));
        if (r < 0)
                complain("Cannot become an IO_FLUSHER: %s. The command is started without.", strerror(-r));
        if (o->keep)
                return 0;
        r = drop_capability();
        return r < 0 ? complain("Cannot drop CAP_SYS_RESOURCE: %s.", strerror(-r)) : 0;
}

int verb_run(int argc, char **argv) {
        RunOptions o = {};
        char **command;
        int r;

        r = parse_run_options(argc, argv, &o);
        if (r >= 0)
                r = prepare(&o);
        if (r < 0)
                return r;
        command = argv + optind;
        (void) execvp(command[0], command + o.argv0);
        return complain("Cannot run '%s': %s.", command[0], strerror(errno));
}
