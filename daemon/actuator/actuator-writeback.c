/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Limits of writeback in /sys/class/bdi: how much of what may be dirty a device may hold.
 *
 * Whatever it is set by, the kernel keeps a share of what may be dirty in all, in parts of a million
 * (max_ratio_fine, from Linux 6.3 on; before that in per cent only). max_bytes is another way to write that
 * share, and reads back rounded, and differently as memory is used; writing 0 there means a share of 0, not
 * "no limit". So the value that is kept and restored is always the share. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "common/file.h"
#include "common/text.h"
#include "daemon/actuator/actuator.h"

#define FINE_PER_CENT 10000U

/* "bdi:NAME:INODE": the number of a name may be used again, its inode in sysfs is not. 0: not known (capture).
 * The name is *ret_length characters from the returned place on. */
static const char *parse_target(const Action *a, size_t *ret_length, uint64_t *ret_inode) {
        const char *name = startswith(a->target, "bdi:"), *colon = name ? strrchr(name, ':') : NULL;

        if (!colon || colon == name || memchr(name, '/', colon - name) || text_to_u64(colon + 1, 10, ret_inode) < 0)
                return NULL;
        *ret_length = colon - name;
        return name;
}

/* Its directory: stays that of this very bdi, and fails when it is gone. */
static int open_bdi(Deed *d) {
        _cleanup_close_ int fd = -1;
        const char *name;
        uint64_t inode;
        struct stat st;
        size_t n;

        name = parse_target(d->action, &n, &inode);
        if (!name)
                return -EINVAL;
        fd = sysroot_open_at(d->root, AREA_SYS, PATH("class/bdi/%.*s", (int) n, name), O_RDONLY | O_DIRECTORY);
        if (fd < 0)
                return fd;
        if (fstat(fd, &st) < 0)
                return -errno;
        return inode == 0 || st.st_ino == inode ? TAKE_FD(fd) : -ENODEV;
}

/* By its path, so that it becomes part of a capture. */
static int read_number(Deed *d, const char *file, uint64_t *ret) {
        _cleanup_free_ char *text = NULL;
        const char *name;
        uint64_t inode;
        size_t n;
        int r;

        name = parse_target(d->action, &n, &inode);
        if (!name)
                return -EINVAL;
        r = sysroot_read(d->root, AREA_SYS, PATH("class/bdi/%.*s/%s", (int) n, name, file), &text);
        return r < 0 ? r : text_to_u64(text, 10, ret);
}

static int write_text(int bdi, const char *name, const char *value) {
        _cleanup_close_ int fd = openat(bdi, name, O_WRONLY | O_CLOEXEC);

        return fd < 0 ? -errno : file_write_all(fd, value, strlen(value));
}

/* "1%", "0.3111%" */
static char *fine_to_string(uint64_t fine) {
        char fraction[8];
        size_t n;

        n = (size_t) snprintf(fraction, sizeof(fraction), ".%04u", (unsigned) (fine % FINE_PER_CENT));
        while (n > 0 && (fraction[n - 1] == '0' || fraction[n - 1] == '.'))
                fraction[--n] = 0;
        return text_format("%llu%s%%", (unsigned long long) fine / FINE_PER_CENT, fraction);
}

static int fine_from_string(const char *s, uint64_t *ret) {
        unsigned whole, fraction = 0;
        char digits[8] = "";

        if (!endswith(s, "%") || sscanf(s, "%3u.%4[0-9]", &whole, digits) < 1)
                return -EINVAL;
        for (size_t i = 0; i < 4; i++)
                fraction = fraction * 10 + (digits[i] ? (unsigned) (digits[i] - '0') : 0);
        *ret = (uint64_t) whole * FINE_PER_CENT + fraction;
        return 0;
}

static int writeback_read(Deed *d, char **ret) {
        _cleanup_close_ int bdi = -1;
        uint64_t value;
        int r;

        if (sysroot_is_machine(d->root)) {
                bdi = open_bdi(d);
                if (bdi < 0)
                        return bdi;
        }
        if (streq(d->action->key, "strict_limit")) {
                r = read_number(d, "strict_limit", &value);
                *ret = r < 0 ? NULL : strdup(value ? "1" : "0");
                return r < 0 || *ret ? r : -ENOMEM;
        }
        r = read_number(d, "max_ratio_fine", &value);
        if (r == -ENOENT) {
                r = read_number(d, "max_ratio", &value);
                if (r >= 0)
                        value *= FINE_PER_CENT;
        }
        if (r < 0)
                return r;
        *ret = fine_to_string(value);
        return *ret ? 0 : -ENOMEM;
}

static int write_share(Deed *d, int bdi, const char *value) {
        uint64_t fine;
        int r;

        r = fine_from_string(value, &fine);
        if (r < 0)
                return r;
        r = write_text(bdi, "max_ratio_fine", PATH("%llu", (unsigned long long) fine));
        if (r != -ENOENT)
                return r;
        if (fine % FINE_PER_CENT != 0) {
                d->trouble = strdup("this kernel takes whole per cents only");
                return -EINVAL;
        }
        return write_text(bdi, "max_ratio", PATH("%llu", (unsigned long long) fine / FINE_PER_CENT));
}

static int writeback_write(Deed *d, const char *value) {
        _cleanup_close_ int bdi = open_bdi(d);
        int r;

        if (bdi < 0)
                return bdi;
        if (streq(d->action->key, "strict_limit"))
                return write_text(bdi, "strict_limit", value);
        if (!endswith(value, " bytes"))
                return write_share(d, bdi, value);
        r = write_text(bdi, "max_bytes", PATH("%.*s", (int) strcspn(value, " "), value));
        if (r == -ENOENT) {
                d->trouble = strdup("this kernel has no limit in bytes (Linux 6.3 has)");
                return -EOPNOTSUPP;
        }
        return r;
}

const Actuator actuator_writeback = { .kind = ACTION_WRITEBACK_LIMIT, .read = writeback_read, .write = writeback_write };
