/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A SCSI disk that LIO exports from a user-space backstore (tcmu), and the process that handles it.
 *
 * disk -> backstore by the disk's identity: a LIO disk's wwid is "naa.6001405" followed by the first 25
 * hexadecimal digits of the backstore's unit serial (drivers/target/target_core_spc.c). The other way, over
 * configfs links of the fabric, lists directories that stay locked while a LUN is being added, that is, while
 * the kernel waits for the very process that may hang; so it is not gone.
 * backstore -> process by the uio device, named tcm-user/HBA/NAME/CONFIG, that the handler holds open. */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/text.h"
#include "daemon/source/scan.h"

#define NAA_PREFIX "naa.6001405"
#define NAA_DIGITS 25

typedef struct Backstore {
        char *uio;  /* "uio0" */
        char *wwid; /* of the disks that it is exported as */
        char *place; /* "core/user_N/NAME" */
} Backstore;

typedef struct Backstores {
        Backstore *items;
        size_t n, capacity;
} Backstores;

static void backstore_done(Backstore *b) {
        free(b->uio);
        free(b->wwid);
        free(b->place);
}

static void backstores_done(Backstores *l) {
        for (size_t i = 0; i < l->n; i++)
                backstore_done(&l->items[i]);
        free(l->items);
}

static int serial_to_wwid(const char *serial, char **ret) {
        char digits[NAA_DIGITS + 1] = {};
        size_t n = 0;

        for (; *serial && n < NAA_DIGITS; serial++)
                if (isxdigit((unsigned char) *serial))
                        digits[n++] = (char) tolower((unsigned char) *serial);
        *ret = text_format("%s%s", NAA_PREFIX, digits);
        return *ret ? 0 : -ENOMEM;
}

static int read_backstore(Scan *s, const char *uio, Backstore *ret) {
        _cleanup_free_ char *name = NULL, *serial = NULL;
        char *state = NULL, *hba, *store;
        Backstore b = {};
        int r;

        r = sysroot_read(s->root, AREA_SYS, PATH("class/uio/%s/name", uio), &name);
        if (r < 0)
                return r;
        if (!startswith(name, "tcm-user/"))
                return -ENOENT;
        (void) strtok_r(name, "/", &state);
        hba = strtok_r(NULL, "/", &state);
        store = strtok_r(NULL, "/", &state);
        if (!hba || !store)
                return -EINVAL;
        b.uio = strdup(uio);
        b.place = text_format("core/user_%s/%s", hba, store);
        r = b.uio && b.place ? 0 : -ENOMEM;
        if (r >= 0)
                r = sysroot_read(s->root, AREA_SYS, PATH("kernel/config/target/%s/wwn/vpd_unit_serial", b.place), &serial);
        if (r >= 0)
                r = serial_to_wwid(strrchr(serial, ':') ? strrchr(serial, ':') + 1 : serial, &b.wwid);
        if (r < 0) {
                backstore_done(&b);
                return r;
        }
        *ret = b;
        return 0;
}

static int read_backstores(Scan *s, Backstores *ret) {
        _cleanup_strv_free_ char **names = NULL;
        int r;

        r = sysroot_list(s->root, AREA_SYS, "class/uio", &names);
        if (r < 0)
                return r;
        for (char **name = names; *name; name++) {
                Backstore b;

                r = read_backstore(s, *name, &b);
                if (r == -ENOMEM)
                        return r;
                if (r < 0)
                        continue;
                r = ARRAY_APPEND(ret->items, ret->n, ret->capacity, b);
                if (r < 0) {
                        backstore_done(&b);
                        return r;
                }
        }
        return 0;
}

static int add_servers(Scan *s, FactSet *f, const char *disk, const char *name, const Backstore *b, Certainty certainty) {
        bool found = false;
        int r;

        for (size_t i = 0; i < s->processes.n; i++) {
                const Holder *h = &s->processes.holders[i];

                if (!streq(h->device, b->uio))
                        continue;
                r = scan_add_server(s, f, disk, h->pid, h->start, ROLE_BACKING, certainty, 0,
                                    PATH("/sys/class/block/%s/device/wwid = %s/wwn/vpd_unit_serial, /sys/class/uio/%s/name, "
                                          "/proc/%d/fd/%d", name, b->place, b->uio, h->pid, h->fd));
                if (r < 0)
                        return r;
                found = true;
        }
        s->unserved |= !found;
        return 0;
}

static int add_disk(Scan *s, FactSet *f, const Block *b, const Backstores *stores) {
        _cleanup_free_ char *wwid = NULL, *id = NULL;
        size_t matches = 0;
        int r;

        if (b->parent || !strstr(b->directory, "/host"))
                return 0;
        if (sysroot_read(s->root, AREA_SYS, PATH("%s/device/wwid", b->directory), &wwid) < 0)
                return 0;
        id = block_id(b->device);
        if (!id)
                return -ENOMEM;
        for (size_t i = 0; i < stores->n; i++)
                matches += streq(stores->items[i].wwid, wwid);
        for (size_t i = 0; i < stores->n; i++) {
                if (!streq(stores->items[i].wwid, wwid))
                        continue;
                /* The serial can be set by hand, twice the same. */
                r = add_servers(s, f, id, b->name, &stores->items[i], matches == 1 ? CERTAINTY_PROVEN : CERTAINTY_INFERRED);
                if (r < 0)
                        return r;
        }
        return 0;
}

int source_tcmu_scan(Scan *s, FactSet *f) {
        _cleanup_(backstores_done) Backstores stores = {};
        int r;

        r = read_backstores(s, &stores);
        if (r < 0)
                return r;
        for (size_t i = 0; stores.n > 0 && i < s->blocks.n; i++) {
                r = add_disk(s, f, &s->blocks.blocks[i], &stores);
                if (r < 0)
                        return r;
        }
        return 0;
}
