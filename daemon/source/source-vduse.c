/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A virtio disk whose device is a process (vDPA in user space): sysfs has the disk below /devices/virtual/vduse/NAME,
 * and who holds /dev/vduse/NAME serves it (drivers/vdpa/vdpa_user/vduse_dev.c: one process at a time). */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/text.h"
#include "daemon/source/scan.h"

int source_vduse_scan(Scan *s, FactSet *f) {
        for (size_t i = 0; i < s->blocks.n; i++) {
                const Block *b = &s->blocks.blocks[i];
                const char *name = b->parent ? NULL : startswith(b->directory, VDUSE_DIRECTORY);
                int length = name ? (int) strcspn(name, "/") : 0;
                _cleanup_free_ char *id = NULL;
                const Holder *holders;
                bool found = false;
                size_t n;
                int r;

                if (length == 0)
                        continue;
                id = block_id(b->device);
                if (!id)
                        return -ENOMEM;
                holders = process_table_holders(&s->processes, PATH("vduse/%.*s", length, name), &n);
                for (size_t k = 0; k < n; k++) {
                        const Holder *h = &holders[k];

                        if (!holder_is_authentic(s, h))
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
