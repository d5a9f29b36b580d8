/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <linux/capability.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/file.h"
#include "common/text.h"
#include "daemon/source/visibility.h"

#define INITIAL_PID_NAMESPACE "pid:[4026531836]" /* PROC_PID_INIT_INO of include/linux/proc_ns.h */
#define GROUPS_MAX 65536
#define PF_EXITING 0x4UL /* include/linux/sched.h */

int process_error(const Sysroot *s, pid_t pid, int r) {
        _cleanup_free_ char *text = NULL;
        unsigned long flags = 0;
        const char *end;
        char state = 0;
        int k;

        if ((r != -EACCES && r != -EPERM) || !sysroot_is_machine(s))
                return r;
        k = sysroot_read(s, AREA_PROC, PATH("%d/stat", pid), &text);
        if (k < 0)
                return error_is_gone(k) ? -ESRCH : r;
        end = strrchr(text, ')');
        if (!end || sscanf(end + 1, " %c %*d %*d %*d %*d %*d %lu", &state, &flags) != 2)
                return r;
        return state == 'Z' || state == 'X' || flags & PF_EXITING ? -ESRCH : r;
}

/* pid 1's, whose /proc this is; or, where that may not be known, our own. */
static bool is_in_container(const Sysroot *s) {
        _cleanup_free_ char *link = NULL;

        return (sysroot_peek_link(s, AREA_PROC, "1/ns/pid", &link) >= 0 || sysroot_peek_link(s, AREA_PROC, "self/ns/pid", &link) >= 0) &&
                !streq(link, INITIAL_PID_NAMESPACE);
}

static bool may_trace(const Sysroot *s) {
        _cleanup_free_ char *text = NULL;
        unsigned long long capabilities;
        const char *line;

        if (sysroot_read(s, AREA_PROC, "self/status", &text) < 0)
                return false;
        line = strstr(text, "\nCapEff:");
        return line && sscanf(line, "\nCapEff: %llx", &capabilities) == 1 && capabilities & (1ULL << CAP_SYS_PTRACE);
}

static bool is_member(gid_t group) {
        _cleanup_free_ gid_t *groups = calloc(GROUPS_MAX, sizeof(gid_t));
        int n = groups ? getgroups(GROUPS_MAX, groups) : 0;

        for (int i = 0; i < n; i++)
                if (groups[i] == group)
                        return true;
        return getegid() == group;
}

/* Of the options of a /proc: without them, everybody sees all; with gid=, so does who is in that group. */
static bool options_hide(const char *options) {
        static const char *const words[] = { "hidepid=2", "hidepid=4", "hidepid=invisible", "hidepid=ptraceable" };
        const char *group = strstr(options, "gid=");
        bool hides = false;

        for (size_t i = 0; i < ELEMENTSOF(words); i++)
                hides |= strstr(options, words[i]) != NULL;
        return hides && !(group && is_member((gid_t) strtoul(group + strlen("gid="), NULL, 10)));
}

/* By the mount that we look through: that of pid 1 may be another one. */
static bool proc_hides(const Sysroot *s) {
        _cleanup_free_ char *table = NULL;
        bool hides = false;
        char *rest = NULL;

        if (sysroot_read(s, AREA_PROC, "self/mountinfo", &table) < 0)
                return false;
        for (char *line = strtok_r(table, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
                const char *type = strstr(line, " - proc ");

                if (type && strstr(line, " / /proc ")) /* the last one is on top */
                        hides = options_hide(type);
        }
        return hides;
}

unsigned visibility_gaps(const Sysroot *s) {
        unsigned gaps = 0;

        if (!sysroot_is_machine(s))
                return 0;
        if (is_in_container(s))
                gaps |= GAP_PID_NAMESPACE;
        if (!sysroot_exists(s, AREA_PROC, "1") || (!may_trace(s) && proc_hides(s)))
                gaps |= GAP_HIDDEN_PROCESSES;
        if (!sysroot_exists(s, AREA_PROC, "meminfo")) /* which a kernel has whatever its configuration */
                gaps |= GAP_PROC_SUBSET;
        if (!sysroot_exists(s, AREA_SYS, "kernel"))
                gaps |= GAP_NO_SYSFS;
        return gaps;
}
