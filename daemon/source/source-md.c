/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What sysfs tells of md arrays and zram besides slaves: the container of an array whose metadata are kept by
 * user space, mdmon, which writes these metadata and without which the array accepts no first write after a
 * pause, and the device that zram writes idle pages back to. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/text.h"
#include "daemon/source/scan.h"

static int add_container(Scan *s, FactSet *f, const char *id, const Block *b) {
        _cleanup_free_ char *version = NULL, *lower = NULL;
        const Block *container;
        char *name;

        if (sysroot_read(s->root, AREA_SYS, PATH("%s/md/metadata_version", b->directory), &version) < 0)
                return 0;
        /* "external:/md126/0", or with '-' instead of '/' while it is read-only */
        name = startswith(version, "external:");
        if (!name || (*name != '/' && *name != '-'))
                return 0;
        name++;
        name[strcspn(name, "/")] = 0;
        container = block_table_find(&s->blocks, name);
        if (!container)
                return 0;
        lower = block_id(container->device);
        return lower ? factset_add_edge(f, id, lower, ROLE_BACKING, CERTAINTY_PROVEN, 0,
                                        PATH("/sys/class/block/%s/md/metadata_version", b->name)) : -ENOMEM;
}

static int add_monitor(Scan *s, FactSet *f, const char *id, const Block *b) {
        size_t n;
        const Holder *holders = process_table_holders(&s->processes, b->name, &n);
        int r;

        for (size_t i = 0; i < n; i++) {
                const Holder *h = &holders[i];

                r = scan_add_server(s, f, id, h->pid, h->start, ROLE_BACKING, CERTAINTY_PROVEN, 0,
                                    PATH("/proc/%s/fd/%d -> md/array_state", h->place.path, h->fd));
                if (r < 0)
                        return r;
        }
        return 0;
}

static int add_zram(Scan *s, FactSet *f, const char *id, const Block *b) {
        _cleanup_free_ char *path = NULL, *lower = NULL;
        const Block *backing;

        if (sysroot_read(s->root, AREA_SYS, PATH("%s/backing_dev", b->directory), &path) < 0)
                return 0;
        backing = block_table_resolve(s->root, &s->blocks, path);
        if (!backing)
                return 0; /* "none" */
        lower = block_id(backing->device);
        return lower ? factset_add_edge(f, id, lower, ROLE_BACKING, CERTAINTY_PROVEN, 0,
                                        PATH("/sys/class/block/%s/backing_dev", b->name)) : -ENOMEM;
}

int source_md_scan(Scan *s, FactSet *f) {
        for (size_t i = 0; i < s->blocks.n; i++) {
                const Block *b = &s->blocks.blocks[i];
                bool md = startswith(b->name, "md"), zram = startswith(b->name, "zram");
                _cleanup_free_ char *id = NULL;
                int r = 0;

                if (b->parent || (!md && !zram))
                        continue;
                id = block_id(b->device);
                if (!id)
                        return -ENOMEM;
                if (md)
                        r = add_container(s, f, id, b);
                if (r >= 0 && md)
                        r = add_monitor(s, f, id, b);
                if (r >= 0 && zram)
                        r = add_zram(s, f, id, b);
                if (r < 0)
                        return r;
        }
        return 0;
}
