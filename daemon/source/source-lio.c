/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A SCSI disk that LIO on this machine exports (over tcm_loop, iSCSI or any other fabric), and what is behind it: the
 * process that handles a user-space backstore (tcmu), or a file or device that the kernel itself uses.
 *
 * disk -> backstore by the disk's identity: a LIO disk's wwid is "naa.6001405" followed by the first 25
 * hexadecimal digits of the backstore's unit serial (drivers/target/target_core_spc.c). The other way, over
 * configfs links of the fabric, lists directories that stay locked while a LUN is being added, that is, while
 * the kernel waits for the very process that may hang; so it is not gone.
 * backstore -> process by the uio device, named tcm-user/HBA/NAME/CONFIG, that the handler holds open;
 * backstore -> file by udev_path, which is a path as it was when the backstore was made. */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/file.h"
#include "common/text.h"
#include "daemon/source/scan.h"

#define NAA_PREFIX "naa.6001405"
#define NAA_DIGITS 25

typedef struct Backstore {
        char *uio;  /* "uio0", or ... */
        char *path; /* ... of a file or device */
        char *wwid; /* of the disks that it is exported as */
        char *place; /* "core/HBA_N/NAME" */
} Backstore;

typedef struct Backstores {
        Backstore *items;
        size_t n, capacity;
} Backstores;

static void backstore_done(Backstore *b) {
        free(b->uio);
        free(b->path);
        free(b->wwid);
        free(b->place);
}

static void backstores_done(Backstores *l) {
        for (size_t i = 0; i < l->n; i++)
                backstore_done(&l->items[i]);
        free(l->items);
}

static int serial_to_wwid(const char *serial, char **ret) {
        char digits[] = "0000000000000000000000000"; /* what a shorter serial is filled up with */
        size_t n = 0;

        memset(digits, '0', NAA_DIGITS); /* what a short serial set by hand leaves */
        for (; *serial && n < NAA_DIGITS; serial++)
                if (isxdigit((unsigned char) *serial))
                        digits[n++] = (char) tolower((unsigned char) *serial);
        *ret = text_format("%s%s", NAA_PREFIX, digits);
        return *ret ? 0 : -ENOMEM;
}

/* Completes a backstore and adds it; takes its strings over, also on failure. */
static int add_backstore(Scan *s, Backstores *l, Backstore *b) {
        _cleanup_free_ char *serial = NULL;
        int r;

        r = b->place && (b->uio || b->path) ? 0 : -ENOMEM;
        if (r >= 0)
                r = sysroot_read(s->root, AREA_SYS, PATH("kernel/config/target/%s/wwn/vpd_unit_serial", b->place), &serial);
        if (r >= 0)
                r = serial_to_wwid(strrchr(serial, ':') ? strrchr(serial, ':') + 1 : serial, &b->wwid);
        if (r >= 0)
                r = ARRAY_APPEND(l->items, l->n, l->capacity, *b);
        if (r < 0)
                backstore_done(b);
        if (r == -ENOMEM)
                return r;
        s->incomplete |= r < 0 && !error_is_gone(r);
        return 0;
}

static int read_user_backstores(Scan *s, Backstores *l) {
        _cleanup_strv_free_ char **names = NULL;
        int r;

        r = sysroot_list(s->root, AREA_SYS, "class/uio", &names);
        for (char **name = names; r >= 0 && *name; name++) {
                _cleanup_free_ char *text = NULL;
                char *state = NULL, *hba, *store;

                if (sysroot_read(s->root, AREA_SYS, PATH("class/uio/%s/name", *name), &text) < 0 || !startswith(text, "tcm-user/"))
                        continue;
                (void) strtok_r(text, "/", &state);
                hba = strtok_r(NULL, "/", &state);
                store = strtok_r(NULL, "/", &state);
                if (!hba || !store)
                        continue;
                r = add_backstore(s, l, &(Backstore) { .uio = strdup(*name), .place = text_format("core/user_%s/%s", hba, store) });
        }
        return r;
}

static int read_kernel_backstores(Scan *s, Backstores *l) {
        _cleanup_strv_free_ char **hbas = NULL;
        int r;

        r = sysroot_list(s->root, AREA_SYS, "kernel/config/target/core", &hbas);
        for (char **hba = hbas; r >= 0 && *hba; hba++) {
                _cleanup_strv_free_ char **stores = NULL;

                if (!startswith(*hba, "fileio_") && !startswith(*hba, "iblock_"))
                        continue;
                r = sysroot_list(s->root, AREA_SYS, PATH("kernel/config/target/core/%s", *hba), &stores);
                for (char **store = stores; r >= 0 && *store; store++) {
                        Backstore b = { .place = text_format("core/%s/%s", *hba, *store) };

                        if (!b.place)
                                return -ENOMEM;
                        if (sysroot_read(s->root, AREA_SYS, PATH("kernel/config/target/%s/udev_path", b.place), &b.path) < 0) {
                                backstore_done(&b); /* hba_info and the like */
                                continue;
                        }
                        r = add_backstore(s, l, &b);
                }
        }
        return r;
}

static int add_path(Scan *s, FactSet *f, const char *disk, const Backstore *b, Certainty certainty) {
        const Block *device = block_table_find_path(&s->blocks, b->path);
        const Mount *m = device ? NULL : mount_table_resolve(&s->mounts, 0, b->path);
        const char *evidence = PATH("/sys/kernel/config/target/%s/udev_path", b->place);
        _cleanup_free_ char *lower = device ? block_id(device->device) : NULL;
        int r;

        if (!device && !m)
                return 0;
        if (m) {
                r = scan_add_file(f, m, 0, b->path, 0, CERTAINTY_UNIQUE, evidence, &lower);
                if (r < 0)
                        return r;
        }
        return lower ? factset_add_edge(f, disk, lower, ROLE_BACKING, certainty, 0, evidence) : -ENOMEM;
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
        r = sysroot_read(s->root, AREA_SYS, PATH("%s/device/wwid", b->directory), &wwid);
        if (r < 0) {
                s->incomplete |= !error_is_gone(r) && r != -EINVAL; /* which means that it has none */
                return 0;
        }
        id = block_id(b->device);
        if (!id)
                return -ENOMEM;
        for (size_t i = 0; i < stores->n; i++)
                matches += streq(stores->items[i].wwid, wwid);
        for (size_t i = 0; i < stores->n; i++) {
                if (!streq(stores->items[i].wwid, wwid))
                        continue;
                /* The serial can be set by hand, twice the same. */
                Certainty certainty = matches == 1 ? CERTAINTY_PROVEN : CERTAINTY_INFERRED;

                r = stores->items[i].uio ? add_servers(s, f, id, b->name, &stores->items[i], certainty)
                                         : add_path(s, f, id, &stores->items[i], certainty);
                if (r < 0)
                        return r;
        }
        return 0;
}

int source_lio_scan(Scan *s, FactSet *f) {
        _cleanup_(backstores_done) Backstores stores = {};
        int r;

        r = read_user_backstores(s, &stores);
        if (r >= 0)
                r = read_kernel_backstores(s, &stores);
        for (size_t i = 0; r >= 0 && stores.n > 0 && i < s->blocks.n; i++)
                r = add_disk(s, f, &s->blocks.blocks[i], &stores);
        return r;
}
