/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a device-mapper table itself names, beside sysfs: targets may use devices (metadata, journals) through
 * the table, and both must agree. And the daemons that recover such devices, or make them grow: a process
 * of root's or of a service that holds /dev/mapper/control and is called so. No file says which devices a daemon watches. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "common/text.h"
#include "daemon/source/scan.h"

static int add_dependencies(FactSet *f, const Block *b, const char *answer) {
        _cleanup_free_ char *copy = strdup(answer), *upper = block_id(b->device);
        char *state = NULL, *word;
        int r;

        if (!copy || !upper)
                return -ENOMEM;
        (void) strtok_r(copy, " ", &state); /* the target types */
        while ((word = strtok_r(NULL, " ", &state))) {
                _cleanup_free_ char *lower = NULL;
                dev_t device;

                if (text_to_devno(word, &device) < 0)
                        continue;
                lower = block_id(device);
                if (!lower)
                        return -ENOMEM;
                r = factset_add_edge(f, upper, lower, ROLE_BACKING, CERTAINTY_PROVEN, 0, PATH("DM_TABLE_DEPS of %s", b->name));
                if (r < 0)
                        return r;
        }
        return 0;
}

/* What LVM has its daemon watch (lib/activate/activate.c, monitor_dev_for_events()), and multipath maps. */
static const struct {
        const char *target, *comm;
        Certainty certainty;
} watchers[] = {
        { "multipath", "multipathd", CERTAINTY_UNIQUE }, /* it watches all of them, but those that its configuration excepts */
        { "thin-pool", "dmeventd", CERTAINTY_INFERRED },
        { "snapshot", "dmeventd", CERTAINTY_INFERRED },
        { "mirror", "dmeventd", CERTAINTY_INFERRED },
        { "raid", "dmeventd", CERTAINTY_INFERRED },
};

/* Whether descriptors need to be read for such a device. Told without the table, which takes a probe; of a snapshot, by
 * what it keeps its changes in. */
bool dm_is_watched(const Block *b) {
        const char *uuid = b->dm_uuid ?: "", *name = b->dm_name ?: "";

        return startswith(uuid, "mpath-") ||
                (startswith(uuid, "LVM-") && (endswith(uuid, "-tpool") || endswith(uuid, "-cow") || strstr(name, "_rimage_") || strstr(name, "_mimage_")));
}

static bool has_target(const char *answer, const char *target) {
        size_t n = strlen(target), length;

        for (const char *p = answer; *p && *p != ' '; p += length + (p[length] == ',')) {
                length = strcspn(p, ", ");
                if (length == n && memcmp(p, target, n) == 0)
                        return true;
        }
        return false;
}

/* A name is chosen by whoever has it. */
static bool may_watch(Scan *s, const Holder *h) {
        Authority authority;

        return holder_is_authentic(s, h) && process_read_authority(s->root, h->pid, h->start, &authority) >= 0 && authority >= AUTHORITY_SERVICE;
}

static int add_watchers(Scan *s, FactSet *f, const Block *b, const char *answer) {
        _cleanup_free_ char *id = block_id(b->device);
        size_t n;
        const Holder *holders = process_table_holders(&s->processes, "mapper/control", &n);

        if (!id)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++) {
                const Holder *h = &holders[i];
                _cleanup_free_ char *comm = NULL;

                if (!may_watch(s, h) || sysroot_read(s->root, AREA_PROC, PATH("%d/comm", h->pid), &comm) < 0)
                        continue;
                for (size_t k = 0; k < ELEMENTSOF(watchers); k++) {
                        int r;

                        if (!streq(watchers[k].comm, comm) || !has_target(answer, watchers[k].target))
                                continue;
                        r = scan_add_server(s, f, id, h->pid, h->start, ROLE_ERROR_PATH, watchers[k].certainty, 0,
                                            PATH("/proc/%s/fd/%d -> /dev/mapper/control, /proc/%d/comm", h->place.path, h->fd, h->pid));
                        if (r < 0)
                                return r;
                }
        }
        return 0;
}

int source_dm_scan(Scan *s, FactSet *f) {
        for (size_t i = 0; s->probes && i < s->blocks.n; i++) {
                const Block *b = &s->blocks.blocks[i];
                const char *answer;
                int r;

                if (!b->dm_name)
                        continue;
                answer = probe_cache_get(s->probes, PATH("dm %u:%u %llu", major(b->device), minor(b->device),
                                                         (unsigned long long) b->diskseq), NULL);
                if (!answer || *answer == '!')
                        continue;
                r = add_dependencies(f, b, answer);
                if (r >= 0 && b->dm_uuid && (startswith(b->dm_uuid, "LVM-") || startswith(b->dm_uuid, "mpath-")))
                        r = add_watchers(s, f, b, answer);
                if (r < 0)
                        return r;
        }
        return 0;
}
