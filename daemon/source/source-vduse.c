/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A virtio disk whose device is a process (vDPA in user space): sysfs has the disk below /devices/virtual/vduse/NAME,
 * and who holds /dev/vduse/NAME serves it (drivers/vdpa/vdpa_user/vduse_dev.c: one process at a time). */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/text.h"
#include "daemon/source/scan.h"

static bool serves(const Holder *h, const char *name, size_t n) {
        const char *held = startswith(h->device, "vduse/");

        return held && strlen(held) == n && memcmp(held, name, n) == 0;
}

int source_vduse_scan(Scan *s, FactSet *f) {
        for (size_t i = 0; i < s->blocks.n; i++) {
                const Block *b = &s->blocks.blocks[i];
                const char *name = b->parent ? NULL : startswith(b->directory, VDUSE_DIRECTORY);
                size_t n = name ? strcspn(name, "/") : 0;
                _cleanup_free_ char *id = NULL;
                bool found = false;
                int r;

                if (n == 0)
                        continue;
                id = block_id(b->device);
                if (!id)
                        return -ENOMEM;
                for (size_t k = 0; k < s->processes.n; k++) {
                        const Holder *h = &s->processes.holders[k];

                        if (!serves(h, name, n))
                                continue;
                        r = scan_add_server(s, f, id, h->pid, h->start, ROLE_BACKING, CERTAINTY_PROVEN, 0,
                                            PATH("/proc/%s/fd/%d -> /dev/%s", h->place.path, h->fd, h->device));
                        if (r < 0)
                                return r;
                        found = true;
                }
                s->unserved |= !found;
        }
        return 0;
}
