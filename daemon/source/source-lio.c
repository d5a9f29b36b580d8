/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A SCSI disk that LIO on this machine exports (over tcm_loop, iSCSI or any other fabric), and what is behind it: the
 * process that handles a user-space backstore (tcmu), or a file or device that the kernel itself uses.
 *
 * disk -> backstore: lio-backstores.h, by a probe.
 * backstore -> process by the uio device, named tcm-user/HBA/NAME/CONFIG, that the handler holds open;
 * backstore -> file by udev_path, which is a path as it was when the backstore was made. */
#include <errno.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "common/file.h"
#include "common/text.h"
#include "daemon/source/lio-backstores.h"
#include "daemon/source/scan.h"

static int add_servers(Scan *s, FactSet *f, const char *disk, const char *name, const Backstore *b, Certainty certainty) {
        bool found = false;
        int r;

        for (size_t i = 0; i < s->processes.n; i++) {
                const Holder *h = &s->processes.holders[i];

                if (!streq(h->device, b->uio))
                        continue;
                r = scan_add_server(s, f, disk, h->pid, h->start, ROLE_BACKING, certainty, 0,
                                    PATH("/sys/class/block/%s/device/wwid = %s/wwn/vpd_unit_serial, /sys/class/uio/%s/name, "
                                          "/proc/%s/fd/%d", name, b->place, b->uio, h->place.path, h->fd));
                if (r < 0)
                        return r;
                found = true;
        }
        s->unserved |= !found;
        return 0;
}

/* A disk of LIO has such an identity; other targets of this machine do not use it. */
static int read_wwid(Scan *s, const Block *b, char **ret) {
        const char *digits;
        int r;

        if (b->parent || !strstr(b->directory, "/host"))
                return -ENODEV;
        r = sysroot_read(s->root, AREA_SYS, PATH("%s/device/wwid", b->directory), ret);
        if (r < 0) {
                s->incomplete |= !error_is_gone(r) && r != -EINVAL; /* which means that it has none */
                return r;
        }
        digits = startswith(*ret, LIO_WWID_PREFIX);
        return digits && digits[strspn(digits, "0123456789abcdef")] == 0 ? 0 : -ENODEV;
}

static int add_disk(Scan *s, FactSet *f, const Block *b) {
        _cleanup_(backstores_done) Backstores stores = {};
        _cleanup_free_ char *wwid = NULL, *id = NULL;
        const char *answer;
        bool hung = false;
        int r;

        if (read_wwid(s, b, &wwid) < 0)
                return 0;
        answer = probe_cache_get(s->probes, PATH(LIO_KIND " %u:%u %llu %s", major(b->device), minor(b->device),
                                                 (unsigned long long) b->diskseq, wwid), &hung);
        if (!answer || answer[0] == '!') {
                s->incomplete = true;
                return 0;
        }
        id = block_id(b->device);
        if (!id)
                return -ENOMEM;
        r = lio_parse(answer, &stores);
        for (size_t i = 0; r >= 0 && i < stores.n; i++) {
                /* The serial can be set by hand, twice the same. */
                Certainty certainty = stores.n == 1 ? CERTAINTY_PROVEN : CERTAINTY_INFERRED;

                r = stores.items[i].uio ? add_servers(s, f, id, b->name, &stores.items[i], certainty)
                                        : scan_add_kernel_path(s, f, id, stores.items[i].path, certainty,
                                                               PATH("/sys/kernel/config/target/%s/udev_path", stores.items[i].place));
        }
        return r;
}

int source_lio_scan(Scan *s, FactSet *f) {
        int r = 0;

        for (size_t i = 0; r >= 0 && s->probes && i < s->blocks.n; i++)
                r = add_disk(s, f, &s->blocks.blocks[i]);
        return r;
}
