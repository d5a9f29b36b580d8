/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/file.h"
#include "common/text.h"
#include "daemon/graph/gap.h"

static const struct {
        Gap gap;
        GapText text;
} gaps[] = {
        { GAP_NO_PRIVILEGE, {
                "no-privilege",
                "Some processes could not be read, for lack of privilege. Servers, mounts and hazards may be missing.",
                "Run it as root with all capabilities, outside of containers; or start stackd.service, which answers every user.",
                "Make the capture as root with all capabilities, outside of containers.",
        } },
        { GAP_HIDDEN_PROCESSES, {
                "hidden-processes",
                "/proc hides the processes of other users (hidepid=). Servers, mounts and hazards may be missing.",
                "Run it as root; or start stackd.service, which answers every user.",
                "Make the capture as root.",
        } },
        { GAP_PID_NAMESPACE, {
                "pid-namespace",
                "It ran in a container (a PID namespace): processes outside could not be seen. Servers, mounts and hazards may be missing.",
                "Run it on the host, outside of any container.",
                "Make the capture on the host, outside of any container.",
        } },
        { GAP_PROC_SUBSET, {
                "proc-subset",
                "/proc shows processes only (subset=pid): swap areas and RAID arrays could not be seen. Layers and hazards may be missing.",
                "Mount /proc without subset=pid; for a service, set ProcSubset=all.",
                "Make the capture where /proc is mounted without subset=pid.",
        } },
        { GAP_NO_SYSFS, {
                "no-sysfs",
                "/sys is not mounted: block devices could not be seen. Layers, servers and hazards may be missing.",
                "Run 'mount -t sysfs sysfs /sys'.",
                "Make the capture where /sys is mounted.",
        } },
        { GAP_NAMESPACE_LIMIT, {
                "namespace-limit",
                "User namespaces contain more mounts or sockets than stackd reads. Layers, servers and hazards may be missing.",
                "Find out who made so many: 'lsns --type mnt', 'lsns --type net'.",
                "Find out who made so many, on the machine itself: 'lsns --type mnt', 'lsns --type net'.",
        } },
        { GAP_NO_NAMESPACES, {
                "no-namespaces",
                "It is not known which namespaces there are: mounts in containers could not be seen. Layers, servers and hazards may be missing.",
                "Run it as root, where /proc is mounted.",
                "Make the capture with 'stackctl capture', which keeps them.",
        } },
        { GAP_READ_ERROR, {
                "read-error",
                "Something below /proc, /sys or /dev could not be read. Layers, servers and hazards may be missing.",
                "Try again; if it lasts, the journal of stackd.service (or --direct, on standard error) names the file.",
                "Make the capture again.",
        } },
};

unsigned gap_of_error(int r) {
        if (r >= 0 || error_is_gone(r))
                return 0;
        return r == -EACCES || r == -EPERM ? GAP_NO_PRIVILEGE : GAP_READ_ERROR;
}

const GapText *gap_text(unsigned number, Gap *ret) {
        if (number >= ELEMENTSOF(gaps))
                return NULL;
        *ret = gaps[number].gap;
        return &gaps[number].text;
}

static unsigned gap_from_name(const char *name, size_t n) {
        for (size_t i = 0; i < ELEMENTSOF(gaps); i++)
                if (strlen(gaps[i].text.id) == n && memcmp(gaps[i].text.id, name, n) == 0)
                        return gaps[i].gap;
        return GAP_READ_ERROR;
}

unsigned gaps_from_string(const char *text) {
        unsigned set = 0;

        for (size_t n; *text; text += n + (text[n] == '\n')) {
                n = strcspn(text, "\n");
                if (n > 0)
                        set |= gap_from_name(text, n);
        }
        return set;
}

char *gaps_to_string(unsigned set) {
        char *all = strdup("");

        for (size_t i = 0; all && i < ELEMENTSOF(gaps); i++) {
                char *longer = set & gaps[i].gap ? text_format("%s%s\n", all, gaps[i].text.id) : NULL;

                if (!(set & gaps[i].gap))
                        continue;
                free(all);
                all = longer;
        }
        return all;
}
