/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Starts a command as an IO_FLUSHER: from its first instruction on, whatever threads it makes, and also where nobody can
 * mark it from outside, since the kernel asks for the capability of the process itself (an ordinary user's service, an
 * empty capability set). The capability is needed for that only, and gone when the command begins; so it cannot
 * take the mark off again, as some have done by mistake. */

#include <errno.h>
#include <getopt.h>
#include <linux/capability.h>
#include <linux/prctl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cli/run-command.h"
#include "common/cleanup.h"
#include "common/text.h"

#ifndef PR_SET_IO_FLUSHER
#define PR_SET_IO_FLUSHER 57
#define PR_GET_IO_FLUSHER 58
#endif

#define CAPABILITY(c) (UINT64_C(1) << (c))

typedef struct RunOptions {
        bool attempt; /* go on unmarked */
        bool argv0, unmarked, self_test;
        bool own_word;                /* the capabilities to drop were said */
        uint64_t drop, drop_bounding; /* from the sets of the process, and from its bounding set */
} RunOptions;

static int say(const char *usage, const char *format, ...) _printf_(2, 3);

static int say(const char *usage, const char *format, ...) {
        _cleanup_free_ char *text = NULL, *escaped = NULL;
        va_list ap;

        va_start(ap, format);
        if (vasprintf(&text, format, ap) < 0)
                text = NULL;
        va_end(ap);
        if (text)
                escaped = text_escape(text);
        fprintf(stderr, "%.*s: %s\n", (int) strcspn(usage, " "), usage, escaped ?: "Out of memory.");
        return -ECANCELED;
}

static const char *last_word(const char *usage) {
        const char *blank = strrchr(usage, ' ');

        return blank ? blank + 1 : usage;
}

/* ---- what the command line says ---- */

static int parse_capabilities(const char *list, uint64_t *ret) {
        static const struct {
                const char *name;
                uint64_t bit;
        } names[] = { { "CAP_SYS_RESOURCE", CAPABILITY(CAP_SYS_RESOURCE) }, { "CAP_SETPCAP", CAPABILITY(CAP_SETPCAP) } };
        uint64_t set = 0;

        while (*list) {
                size_t length = strcspn(list, ","), i = 0;

                while (i < ELEMENTSOF(names) && (strlen(names[i].name) != length || strncmp(names[i].name, list, length) != 0))
                        i++;
                if (i == ELEMENTSOF(names))
                        return -EINVAL;
                set |= names[i].bit;
                list += length;
                list += *list == ',';
        }
        *ret = set;
        return 0;
}

static int parse_option(const char *usage, int option, const char *word, RunOptions *o) {
        int r = 0;

        switch (option) {
        case 'k':
                o->own_word = true;
                o->drop = o->drop_bounding = 0;
                break;
        case 't':
                o->attempt = true;
                break;
        case 'a':
                o->argv0 = true;
                break;
        case 'u':
                o->unmarked = true;
                break;
        case 's':
                o->self_test = true;
                break;
        case 'd':
        case 'b':
                if (!o->own_word)
                        o->drop = o->drop_bounding = 0;
                o->own_word = true;
                r = parse_capabilities(optarg, option == 'd' ? &o->drop : &o->drop_bounding);
                break;
        default:
                r = -EINVAL;
        }
        return r < 0 ? say(usage, "'%s' has no option '%s': %s [--keep-capability] [--try] [--argv0] [--] COMMAND...", last_word(usage), word, usage) : 0;
}

static int parse_run_options(const char *usage, int argc, char **argv, RunOptions *ret) {
        static const struct option options[] = {
                { "keep-capability", no_argument, NULL, 'k' },
                { "try", no_argument, NULL, 't' },
                { "argv0", no_argument, NULL, 'a' },
                /* for the drop-ins of 'stackctl adopt' */
                { "unmarked", no_argument, NULL, 'u' },
                { "drop", required_argument, NULL, 'd' },
                { "drop-bounding", required_argument, NULL, 'b' },
                { "self-test", no_argument, NULL, 's' },
                {},
        };
        int option, r;

        opterr = 0;
        /* '+': what follows the command is the command's. */
        while ((option = getopt_long(argc, argv, "+", options, NULL)) >= 0) {
                r = parse_option(usage, option, argv[optind - 1], ret);
                if (r < 0)
                        return r;
        }
        if (!ret->self_test && argc - optind < 1 + ret->argv0)
                return say(usage, "'%s' needs a command: %s [--] COMMAND...", last_word(usage), usage);
        return 0;
}

/* ---- doing it ---- */

static int become_io_flusher(void) {
        if (prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0) < 0)
                return -errno;
        return prctl(PR_GET_IO_FLUSHER, 0, 0, 0, 0) == 1 ? 0 : -EIO;
}

static int mark(const char *usage, bool attempt) {
        int r = become_io_flusher();

        if (r < 0 && attempt)
                say(usage, "Cannot become an IO_FLUSHER: %s. The command is started without.", strerror(-r));
        if (r >= 0 || attempt)
                return 0;
        return r == -EPERM ? say(usage, "Not permitted to become an IO_FLUSHER: it needs CAP_SYS_RESOURCE in the initial user "
                                        "namespace. Run it as root, or give the service AmbientCapabilities=CAP_SYS_RESOURCE.")
                           : say(usage, "Cannot become an IO_FLUSHER: %s. The kernel can since Linux 5.6.", strerror(-r));
}

/* Root would have a capability back after exec, but for the bounding set; that can be changed only with CAP_SETPCAP, so
 * that goes last. */
static int shrink_bounding(uint64_t set) {
        for (int c = 63; c >= 0; c--)
                if (set & CAPABILITY(c) && c != CAP_SETPCAP && prctl(PR_CAPBSET_DROP, c, 0, 0, 0) < 0)
                        return -errno;
        return set & CAPABILITY(CAP_SETPCAP) && prctl(PR_CAPBSET_DROP, CAP_SETPCAP, 0, 0, 0) < 0 ? -errno : 0;
}

static int lower_ambient(uint64_t set) {
        for (int c = 0; c < 64; c++)
                if (set & CAPABILITY(c) && prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_LOWER, c, 0, 0) < 0 && errno != EINVAL)
                        return -errno;
        return 0;
}

static uint64_t ambient_set(void) {
        uint64_t set = 0;

        for (int c = 0; c < 64; c++)
                if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, c, 0, 0) == 1)
                        set |= CAPABILITY(c);
        return set;
}

/* 'inheritable' is what may stay so. */
static int clear_sets(uint64_t set, uint64_t inheritable) {
        struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
        struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {};

        if (syscall(SYS_capget, &header, data) < 0)
                return -errno;
        for (size_t i = 0; i < ELEMENTSOF(data); i++) {
                data[i].effective &= ~(uint32_t) (set >> (32 * i));
                data[i].permitted &= ~(uint32_t) (set >> (32 * i));
                data[i].inheritable &= ~(uint32_t) (set >> (32 * i)) & (uint32_t) (inheritable >> (32 * i));
        }
        return syscall(SYS_capset, &header, data) < 0 ? -errno : 0;
}

static int drop_capabilities(const char *usage, const RunOptions *o) {
        int r;

        r = shrink_bounding(o->drop_bounding);
        /* Somebody who runs a command by hand may have no CAP_SETPCAP. */
        if ((r == -EPERM || r == -EINVAL) && !o->own_word)
                r = 0;
        if (r >= 0)
                r = lower_ambient(o->drop);
        if (r < 0)
                return say(usage, "Cannot drop CAP_SYS_RESOURCE: %s.", strerror(-r));
        /* In a service, what is inheritable is what is ambient; with an ambient set, systemd leaves there what it needed itself
         * to set a filter (CAP_SYS_ADMIN, CAP_SETPCAP; seen with version 257). */
        r = o->drop ? clear_sets(o->drop, o->own_word ? ambient_set() : UINT64_MAX) : 0;
        if (r >= 0)
                return 0;
        say(usage, "Cannot drop CAP_SYS_RESOURCE from this process: %s.", strerror(-r));
        /* Without root, exec leaves only what is ambient: the command does not have it. */
        return o->attempt && geteuid() != 0 ? 0 : -ECANCELED;
}

int run_command(const char *usage, int argc, char **argv) {
        RunOptions o = { .drop = CAPABILITY(CAP_SYS_RESOURCE), .drop_bounding = CAPABILITY(CAP_SYS_RESOURCE) };
        char **command;
        int r;

        r = parse_run_options(usage, argc, argv, &o);
        if (r < 0 || o.self_test)
                return r;
        r = o.unmarked ? 0 : mark(usage, o.attempt);
        if (r >= 0)
                r = drop_capabilities(usage, &o);
        if (r < 0)
                return r;
        command = argv + optind;
        (void) execvp(command[0], command + o.argv0);
        r = -errno;
        say(usage, "Cannot run '%s': %s.", command[0], strerror(-r));
        return -ENOEXEC;
}
