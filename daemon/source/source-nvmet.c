/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* An NVMe disk that the kernel's target on this machine exports (over its loop transport, TCP or any other), and the
 * file or device behind it: the disk has the name of the target's subsystem, and the number and uuid of the
 * namespace (drivers/nvme/target/configfs.c). There is no process. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "common/text.h"
#include "daemon/source/nvmet-namespaces.h"
#include "daemon/source/scan.h"

/* "…/nvme-subsystem/nvme-subsys0/nvme0n1", or, of a single path, "…/nvme-fabrics/ctl/nvme0/nvme0n1": the
 * directory above is that of the subsystem or of its controller, and both name it. */
static int read_identity(Scan *s, const Block *b, char **ret) {
        _cleanup_free_ char *nqn = NULL, *nsid = NULL, *uuid = NULL;
        int r;

        r = sysroot_read(s->root, AREA_SYS, PATH("%s/../subsysnqn", b->directory), &nqn);
        if (r >= 0)
                r = sysroot_read(s->root, AREA_SYS, PATH("%s/nsid", b->directory), &nsid);
        if (r >= 0)
                r = sysroot_read(s->root, AREA_SYS, PATH("%s/uuid", b->directory), &uuid);
        if (r < 0)
                return r;
        *ret = nvmet_question(nqn, nsid, uuid);
        return *ret ? 0 : -ENOMEM;
}

static int add_disk(Scan *s, FactSet *f, const Block *b) {
        _cleanup_free_ char *identity = NULL, *id = block_id(b->device), *path = NULL;
        const char *answer;

        if (!id)
                return -ENOMEM;
        if (read_identity(s, b, &identity) < 0)
                return 0;
        answer = probe_cache_get(s->probes, PATH(NVMET_KIND " %u:%u %llu %s", major(b->device), minor(b->device),
                                                 (unsigned long long) block_sequence(s->root, b), identity), NULL);
        if (!answer) {
                s->gaps |= scan_gap_of_silence(s);
                return 0;
        }
        if (answer[0] == '!')
                return 0; /* another machine's */
        path = strdup(answer);
        if (!path)
                return -ENOMEM;
        text_unescape_octal(path);
        return scan_add_kernel_path(s, f, id, path, CERTAINTY_PROVEN, "/sys/kernel/config/nvmet: device_path of that uuid");
}

int source_nvmet_scan(Scan *s, FactSet *f) {
        int r = 0;

        if (!s->probes || !sysroot_exists(s->root, AREA_SYS, "module/nvmet"))
                return 0;
        for (size_t i = 0; r >= 0 && i < s->blocks.n; i++)
                if (startswith(s->blocks.blocks[i].name, "nvme") && !s->blocks.blocks[i].parent)
                        r = add_disk(s, f, &s->blocks.blocks[i]);
        return r;
}
