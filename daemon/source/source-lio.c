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

static int add_servers(Scan *s, FactSet *f, const char *disk, const char *identity, const Backstore *b, Certainty certainty) {
        size_t n;
        const Holder *holders = process_table_holders(&s->processes, b->uio, &n);
        bool found = false;
        int r;

        for (size_t i = 0; i < n; i++) {
                const Holder *h = &holders[i];

                if (!holder_is_authentic(s, h))
                        continue;
                r = scan_add_server(s, f, disk, h->pid, h->start, ROLE_BACKING, certainty, 0,
                                    PATH("%s is %s in configfs, /sys/class/uio/%s/name, /proc/%s/fd/%d", identity, b->place,
                                         b->uio, h->place.path, h->fd));
                if (r < 0)
                        return r;
                found = true;
        }
        s->unserved |= !found;
        return 0;
}

/* ".../tcm_loop_adapter_0/host2/target2:0:1/2:0:1:0/block/sda" */
static int read_address(const Block *b, char **ret) {
        const char *end = strstr(b->directory, "/tcm_loop_") ? strstr(b->directory, "/block/") : NULL;
        const char *begin = end ? memrchr(b->directory, '/', end - b->directory) : NULL;

        if (!begin)
                return -ENODEV;
        *ret = strndup(begin + 1, end - begin - 1);
        return *ret ? 0 : -ENOMEM;
}

/* A disk of LIO has such an identity; other targets of this machine do not use it. */
static int read_identity(Scan *s, const Block *b, char **ret) {
        _cleanup_free_ char *wwid = NULL;
        const char *digits;
        int r;

        if (b->parent || !strstr(b->directory, "/host"))
                return -ENODEV;
        r = sysroot_read(s->root, AREA_SYS, PATH("%s/device/wwid", b->directory), &wwid);
        if (r < 0) {
                s->gaps |= r == -EINVAL ? 0 : gap_of_error(r); /* which means that it has none */
                return read_address(b, ret);
        }
        digits = startswith(wwid, LIO_WWID_PREFIX);
        if (!digits || digits[strspn(digits, "0123456789abcdef")] != 0)
                return read_address(b, ret);
        *ret = TAKE_PTR(wwid);
        return 0;
}

static int add_disk(Scan *s, FactSet *f, const Block *b) {
        _cleanup_(backstores_done) Backstores stores = {};
        _cleanup_free_ char *identity = NULL, *id = NULL;
        const char *answer;
        int r;

        if (read_identity(s, b, &identity) < 0)
                return 0;
        answer = probe_cache_get(s->probes, PATH(LIO_KIND " %u:%u %llu %s", major(b->device), minor(b->device),
                                                 (unsigned long long) block_sequence(s->root, b), identity), NULL);
        if (!answer || answer[0] == '!') {
                s->gaps |= answer ? GAP_READ_ERROR : scan_gap_of_silence(s);
                return 0;
        }
        id = block_id(b->device);
        if (!id)
                return -ENOMEM;
        r = lio_parse(answer, &stores);
        for (size_t i = 0; r >= 0 && i < stores.n; i++) {
                /* The serial can be set by hand, twice the same. */
                Certainty certainty = stores.n == 1 ? CERTAINTY_PROVEN : CERTAINTY_INFERRED;

                r = stores.items[i].uio ? add_servers(s, f, id, identity, &stores.items[i], certainty)
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
