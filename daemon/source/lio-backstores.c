/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Why not always over the links of the fabric in configfs: the directories above them are those that stay locked. */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/array.h"
#include "common/text.h"
#include "daemon/source/lio-backstores.h"
#include "daemon/sysroot/sysroot.h"

#define SERIAL_DIGITS 25

static void backstore_done(Backstore *b) {
        free(b->place);
        free(b->uio);
        free(b->path);
}

void backstores_done(Backstores *l) {
        for (size_t i = 0; i < l->n; i++)
                backstore_done(&l->items[i]);
        free(l->items);
        *l = (Backstores) {};
}

/* Takes the strings over, also on failure. */
static int add_backstore(Backstores *l, Backstore b) {
        int r = -ENOMEM;

        if (b.place && (b.uio || b.path))
                r = ARRAY_APPEND(l->items, l->n, l->capacity, b);
        if (r < 0)
                backstore_done(&b);
        return r;
}

/* ---- in the child ---- */

static bool serial_matches(const char *serial, const char *wwid) {
        char digits[SERIAL_DIGITS + 1] = {};
        size_t n = 0;

        memset(digits, '0', SERIAL_DIGITS); /* what a short serial set by hand leaves */
        for (; *serial && n < SERIAL_DIGITS; serial++)
                if (isxdigit((unsigned char) *serial))
                        digits[n++] = (char) tolower((unsigned char) *serial);
        return streq(wwid + strlen(LIO_WWID_PREFIX), digits);
}

/* The LUN's link: "../../../../../../target/core/user_0/NAME" */
static int find_link(const Sysroot *s, const char *directory, char **ret) {
        _cleanup_strv_free_ char **entries = NULL;
        int r;

        r = sysroot_list(s, AREA_SYS, directory, &entries);
        for (char **entry = entries; r >= 0 && *entry; entry++) {
                _cleanup_free_ char *link = NULL;
                const char *place = sysroot_readlink(s, AREA_SYS, PATH("%s/%s", directory, *entry), &link) >= 0 ? strstr(link, "/core/") : NULL;

                if (!place)
                        continue;
                *ret = strdup(place + 1);
                return *ret ? 0 : -ENOMEM;
        }
        return r < 0 ? r : -ENOENT;
}

static int find_lun_of(const Sysroot *s, const char *fabric, const char *nexus, const char *lun, char **ret) {
        _cleanup_strv_free_ char **groups = NULL;
        int r;

        r = sysroot_list(s, AREA_SYS, fabric, &groups);
        for (char **group = groups; r >= 0 && *group; group++) {
                _cleanup_free_ char *address = NULL;

                if (startswith(*group, "tpgt_") && sysroot_read(s, AREA_SYS, PATH("%s/%s/address", fabric, *group), &address) >= 0 &&
                    streq(address, nexus))
                        return find_link(s, PATH("%s/%s/lun/lun_%s", fabric, *group, lun), ret);
        }
        return r < 0 ? r : -ENOENT;
}

/* Where the backstore of the LUN "H:C:T:L" is. */
static int find_lun(const Sysroot *s, const char *address, char **ret) {
        _cleanup_strv_free_ char **fabrics = NULL;
        _cleanup_free_ char *nexus = strdup(address);
        char *lun = nexus ? strrchr(nexus, ':') : NULL;
        int r;

        if (!lun)
                return nexus ? -EINVAL : -ENOMEM;
        *lun++ = 0;
        r = sysroot_list(s, AREA_SYS, "kernel/config/target/loopback", &fabrics);
        for (char **fabric = fabrics; r >= 0 && *fabric; fabric++) {
                r = find_lun_of(s, PATH("kernel/config/target/loopback/%s", *fabric), nexus, lun, ret);
                if (r >= 0)
                        return 0;
                r = r == -ENOMEM ? r : 0;
        }
        return r < 0 ? r : -ENOENT;
}

/* What is looked for: one of them. */
typedef struct Wanted {
        const char *wwid;
        char *place;
} Wanted;

static bool place_matches(const Sysroot *s, const char *place, const Wanted *w) {
        _cleanup_free_ char *serial = NULL;

        if (w->place)
                return streq(place, w->place);
        return sysroot_read(s, AREA_SYS, PATH("kernel/config/target/%s/wwn/vpd_unit_serial", place), &serial) >= 0 &&
                serial_matches(strrchr(serial, ':') ? strrchr(serial, ':') + 1 : serial, w->wwid);
}

/* "tcm-user/HBA/NAME/CONFIG" */
static char *uio_to_place(char *name) {
        char *state = NULL, *hba, *store;

        if (!startswith(name, "tcm-user/"))
                return NULL;
        (void) strtok_r(name, "/", &state);
        hba = strtok_r(NULL, "/", &state);
        store = strtok_r(NULL, "/", &state);
        return hba && store ? text_format("core/user_%s/%s", hba, store) : NULL;
}

static int find_user(const Sysroot *s, const Wanted *w, Backstores *l) {
        _cleanup_strv_free_ char **names = NULL;
        int r;

        r = sysroot_list(s, AREA_SYS, "class/uio", &names);
        for (char **name = names; r >= 0 && *name; name++) {
                _cleanup_free_ char *text = NULL, *place = NULL;

                if (sysroot_read(s, AREA_SYS, PATH("class/uio/%s/name", *name), &text) >= 0)
                        place = uio_to_place(text);
                if (place && place_matches(s, place, w))
                        r = add_backstore(l, (Backstore) { .place = TAKE_PTR(place), .uio = strdup(*name) });
        }
        return r;
}

static int find_kernel_of(const Sysroot *s, const char *hba, const Wanted *w, Backstores *l) {
        _cleanup_strv_free_ char **stores = NULL;
        int r;

        r = sysroot_list(s, AREA_SYS, PATH("kernel/config/target/core/%s", hba), &stores);
        for (char **store = stores; r >= 0 && *store; store++) {
                _cleanup_free_ char *place = text_format("core/%s/%s", hba, *store), *path = NULL;

                if (!place)
                        return -ENOMEM;
                if (place_matches(s, place, w) &&
                    sysroot_read(s, AREA_SYS, PATH("kernel/config/target/%s/udev_path", place), &path) >= 0)
                        r = add_backstore(l, (Backstore) { .place = TAKE_PTR(place), .path = TAKE_PTR(path) });
        }
        return r;
}

static int find_kernel(const Sysroot *s, const Wanted *w, Backstores *l) {
        _cleanup_strv_free_ char **hbas = NULL;
        int r;

        r = sysroot_list(s, AREA_SYS, "kernel/config/target/core", &hbas);
        for (char **hba = hbas; r >= 0 && *hba; hba++)
                if (startswith(*hba, "fileio_") || startswith(*hba, "iblock_"))
                        r = find_kernel_of(s, *hba, w, l);
        return r;
}

/* Names in configfs and paths may hold anything. */
static int format(const Backstores *l, char **ret) {
        _cleanup_free_ char *text = strdup("");

        for (size_t i = 0; text && i < l->n; i++) {
                const Backstore *b = &l->items[i];
                _cleanup_free_ char *place = text_escape_octal(b->place), *what = text_escape_octal(b->uio ?: b->path);
                char *longer = place && what ? text_format("%s%s%s %s:%s", text, i > 0 ? " " : "", place, b->uio ? "uio" : "path", what)
                                             : NULL;

                free(text);
                text = longer;
        }
        if (!text)
                return -ENOMEM;
        *ret = TAKE_PTR(text);
        return 0;
}

static bool is_address(const char *identity) {
        return identity[0] && identity[strspn(identity, "0123456789:")] == 0;
}

int lio_ask(const char *identity, char **ret) {
        _cleanup_(backstores_done) Backstores l = {};
        _cleanup_(sysroot_freep) Sysroot *s = NULL;
        _cleanup_free_ char *place = NULL;
        Wanted w = { .wwid = identity };
        int r;

        if (!startswith(identity, LIO_WWID_PREFIX) && !is_address(identity))
                return -EINVAL;
        r = sysroot_open(NULL, &s, NULL);
        if (r < 0)
                return r;
        if (is_address(identity)) {
                r = find_lun(s, identity, &place);
                w.place = place;
        }
        if (r >= 0)
                r = find_user(s, &w, &l);
        if (r >= 0)
                r = find_kernel(s, &w, &l);
        r = sysroot_result(s, r);
        return r < 0 ? r : format(&l, ret);
}

/* ---- in the source ---- */

int lio_parse(const char *answer, Backstores *ret) {
        _cleanup_free_ char *copy = strdup(answer);
        char *state = NULL, *place, *what;
        Backstores l = {};
        int r = 0;

        if (!copy)
                return -ENOMEM;
        while (r >= 0 && (place = strtok_r(state ? NULL : copy, " ", &state)) && (what = strtok_r(NULL, " ", &state))) {
                const char *uio = startswith(what, "uio:"), *path = startswith(what, "path:");

                text_unescape_octal(place);
                text_unescape_octal(what);
                if (uio || path)
                        r = add_backstore(&l, (Backstore) { .place = strdup(place), .uio = uio ? strdup(uio) : NULL,
                                                            .path = path ? strdup(path) : NULL });
        }
        if (r < 0) {
                backstores_done(&l);
                return r;
        }
        *ret = l;
        return 0;
}
