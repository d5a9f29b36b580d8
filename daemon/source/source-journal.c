/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Further devices of a file system, which no holder, slave or mount source names: the external journal of an ext4,
 * the log and the real-time device of an XFS, the second device of an f2fs and those after it.
 *
 * ext4 says only which kernel thread writes its journal, and that is named after the journal's device: "jbd2/sdb1"
 * on a device of its own, "jbd2/sda2-8" in inode 8 of the file system's (fs/jbd2/journal.c). XFS has both in the
 * options of the superblock, as they were given; f2fs, from Linux 6.10 on, in /proc, as they were named when it was made. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "common/text.h"
#include "daemon/source/scan.h"

static int add_device(FactSet *f, const Mount *m, const Block *b, Certainty certainty, const char *evidence) {
        _cleanup_free_ char *upper = filesystem_id(m->device), *lower = block_id(b->device);

        if (!upper || !lower)
                return -ENOMEM;
        return factset_add_edge(f, upper, lower, ROLE_BACKING, certainty, 0, evidence);
}

static int add_ext4_journal(Scan *s, FactSet *f, const Mount *m) {
        const Block *b = block_table_find_device(&s->blocks, m->device), *journal;
        _cleanup_free_ char *text = NULL, *comm = NULL;
        char *name;
        pid_t pid;

        if (!b || sysroot_read(s->root, AREA_SYS, PATH("fs/ext4/%s/journal_task", b->name), &text) < 0 || text_to_pid(text, &pid) < 0)
                return 0; /* no journal: "<none>" */
        if (sysroot_read(s->root, AREA_PROC, PATH("%d/comm", pid), &comm) < 0)
                return 0;
        name = startswith(comm, "jbd2/");
        journal = name ? block_table_find(&s->blocks, name) : NULL;
        return journal ? add_device(f, m, journal, CERTAINTY_PROVEN, PATH("/sys/fs/ext4/%s/journal_task, /proc/%d/comm", b->name, pid)) : 0;
}

/* Whoever mounts writes these names, and only root mounts XFS; but a name can be another device's by now. */
static int add_xfs_devices(Scan *s, FactSet *f, const Mount *m) {
        _cleanup_free_ char *options = strdup(m->options);
        char *state = NULL;
        int r;

        if (!options)
                return -ENOMEM;
        for (char *o = strtok_r(options, ",", &state); o; o = strtok_r(NULL, ",", &state)) {
                const char *path = startswith(o, "logdev=") ?: startswith(o, "rtdev=");
                const Block *b = path ? block_table_resolve(s->root, &s->blocks, path) : NULL;

                if (!b)
                        continue;
                r = add_device(f, m, b, CERTAINTY_UNIQUE, PATH("/proc/1/mountinfo: %.*s", (int) strcspn(o, "="), o));
                if (r < 0)
                        return r;
        }
        return 0;
}

/* "Disk: 1 (zoned=0): 0x000000c800 - 0x0000018fff on /dev/sdb" (fs/f2fs/sysfs.c, disk_map_seq_show()) */
static int add_f2fs_devices(Scan *s, FactSet *f, const Mount *m) {
        const Block *own = block_table_find_device(&s->blocks, m->device);
        const char *place = own ? PATH("fs/f2fs/%s/disk_map", own->name) : NULL;
        _cleanup_free_ char *map = NULL;
        char *state = NULL;
        int r;

        if (!own || sysroot_read(s->root, AREA_PROC, place, &map) < 0)
                return 0;
        for (char *line = strtok_r(map, "\n", &state); line; line = strtok_r(NULL, "\n", &state)) {
                const char *path = startswith(line, "Disk:") ? strstr(line, " on /") : NULL;
                const Block *b = path ? block_table_resolve(s->root, &s->blocks, path + strlen(" on ")) : NULL;

                if (!b || b == own)
                        continue;
                r = add_device(f, m, b, CERTAINTY_UNIQUE, PATH("/proc/%s", place));
                if (r < 0)
                        return r;
        }
        return 0;
}

int source_journal_scan(Scan *s, FactSet *f) {
        const MountTable *t = &s->mounts;

        for (size_t i = 0; i < t->n; i++) {
                const Mount *m = &t->mounts[t->by_device[i]];
                int r = 0;

                if (i > 0 && t->mounts[t->by_device[i - 1]].device == m->device)
                        continue;
                if (streq(m->type, "ext4") || streq(m->type, "ext3") || streq(m->type, "ext2"))
                        r = add_ext4_journal(s, f, m);
                else if (streq(m->type, "xfs"))
                        r = add_xfs_devices(s, f, m);
                else if (streq(m->type, "f2fs"))
                        r = add_f2fs_devices(s, f, m);
                if (r < 0)
                        return r;
        }
        return 0;
}
