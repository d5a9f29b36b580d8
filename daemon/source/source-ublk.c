/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* /dev/ublkbN is served by whoever holds /dev/ublkcN (drivers/block/ublk_drv.c: one process at a time). */
#include <errno.h>
#include <stdio.h>

#include "common/text.h"
#include "daemon/source/scan.h"

int source_ublk_scan(Scan *s, FactSet *f) {
        for (size_t i = 0; i < s->blocks.n; i++) {
                const Block *b = &s->blocks.blocks[i];
                const char *number = b->parent ? NULL : startswith(b->name, "ublkb");
                _cleanup_free_ char *id = NULL;
                const Holder *holders;
                bool found = false;
                size_t n;
                int r;

                if (!number)
                        continue;
                id = block_id(b->device);
                if (!id)
                        return -ENOMEM;
                holders = process_table_holders(&s->processes, PATH("ublkc%s", number), &n);
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
