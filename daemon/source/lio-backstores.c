/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Why not over the links of the fabric in configfs: the directories above them are those that stay locked. */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/array.h"
#include "common/text.h"
#include "daemon/source/lio-backstores.h"
#include "daemon/sysroot.h"

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

static bool place_matches(const Sysroot *s, const char *place, const char *wwid) {
        _cleanup_free_ char *serial = NULL;

        return sysroot_read(s, AREA_SYS, PATH("kernel/config/target/%s/wwn/vpd_unit_serial", place), &serial) >= 0 &&
                serial_matches(strrchr(serial, ':') ? strrchr(serial, ':') + 1 : serial, wwid);
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

static int find_user(const Sysroot *s, const char *wwid, Backstores *l) {
        _cleanup_strv_free_ char **names = NULL;
        int r;

        r = sysroot_list(s, AREA_SYS, "class/uio", &names);
        for (char **name = names; r >= 0 && *name; name++) {
                _cleanup_free_ char *text = NULL, *place = NULL;

                if (sysroot_read(s, AREA_SYS, PATH("class/uio/%s/name", *name), &text) >= 0)
                        place = uio_to_place(text);
                if (place && place_matches(s, place, wwid))
                        r = add_backstore(l, (Backstore) { .place = TAKE_PTR(place), .uio = strdup(*name) });
        }
        return r;
}

static int find_kernel_of(const Sysroot *s, const char *hba, const char *wwid, Backstores *l) {
        _cleanup_strv_free_ char **stores = NULL;
        int r;

        r = sysroot_list(s, AREA_SYS, PATH("kernel/config/target/core/%s", hba), &stores);
        for (char **store = stores; r >= 0 && *store; store++) {
                _cleanup_free_ char *place = text_format("core/%s/%s", hba, *store), *path = NULL;

                if (!place)
                        return -ENOMEM;
                if (place_matches(s, place, wwid) &&
                    sysroot_read(s, AREA_SYS, PATH("kernel/config/target/%s/udev_path", place), &path) >= 0)
                        r = add_backstore(l, (Backstore) { .place = TAKE_PTR(place), .path = TAKE_PTR(path) });
        }
        return r;
}

static int find_kernel(const Sysroot *s, const char *wwid, Backstores *l) {
        _cleanup_strv_free_ char **hbas = NULL;
        int r;

        r = sysroot_list(s, AREA_SYS, "kernel/config/target/core", &hbas);
        for (char **hba = hbas; r >= 0 && *hba; hba++)
                if (startswith(*hba, "fileio_") || startswith(*hba, "iblock_"))
                        r = find_kernel_of(s, *hba, wwid, l);
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

int lio_ask(const char *wwid, char **ret) {
        _cleanup_(backstores_done) Backstores l = {};
        _cleanup_(sysroot_freep) Sysroot *s = NULL;
        int r;

        if (!startswith(wwid, LIO_WWID_PREFIX))
                return -EINVAL;
        r = sysroot_open(NULL, &s, NULL);
        if (r >= 0)
                r = find_user(s, wwid, &l);
        if (r >= 0)
                r = find_kernel(s, wwid, &l);
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
