/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Direct I/O of loop devices: nothing is cached a second time below the device. */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/loop.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "common/text.h"
#include "daemon/actuator/actuator.h"

#ifndef BLKGETDISKSEQ
#define BLKGETDISKSEQ _IOR(0x12, 128, __u64)
#endif

/* "block:MAJ:MIN:DISKSEQ" */
static int parse_target(const Action *a, unsigned *ret_major, unsigned *ret_minor, unsigned long long *ret_sequence) {
        return sscanf(a->target, "block:%u:%u:%llu", ret_major, ret_minor, ret_sequence) == 3 ? 0 : -EINVAL;
}

static int direct_io_read(Deed *d, char **ret) {
        _cleanup_free_ char *sequence = NULL, *value = NULL;
        unsigned long long expected;
        unsigned major, minor;
        uint64_t now;
        int r;

        r = parse_target(d->action, &major, &minor, &expected);
        if (r < 0)
                return r;
        if (expected != 0) {
                r = sysroot_read(d->root, AREA_SYS, PATH("dev/block/%u:%u/diskseq", major, minor), &sequence);
                if (r < 0)
                        return r;
                if (text_to_u64(sequence, 10, &now) < 0 || now != expected)
                        return -ENODEV;
        }
        /* Not there while nothing is bound to the device. */
        r = sysroot_read(d->root, AREA_SYS, PATH("dev/block/%u:%u/loop/dio", major, minor), &value);
        if (r < 0)
                return r;
        *ret = strdup(streq(value, "1") ? "yes" : "no");
        return *ret ? 0 : -ENOMEM;
}

/* By its number in sysfs, and held against that when it is open. A descriptor for reading is enough with
 * CAP_SYS_ADMIN, and closing it makes udev look at nothing. */
static int open_device(Deed *d, unsigned major, unsigned minor, unsigned long long expected) {
        _cleanup_free_ char *link = NULL;
        _cleanup_close_ int fd = -1;
        const char *name;
        uint64_t now = 0;
        struct stat st;
        int r;

        r = sysroot_readlink(d->root, AREA_SYS, PATH("dev/block/%u:%u", major, minor), &link);
        if (r < 0)
                return r;
        name = strrchr(link, '/');
        fd = sysroot_open_at(d->root, AREA_DEV, name ? name + 1 : link, O_RDONLY | O_NONBLOCK);
        if (fd < 0)
                return fd;
        if (fstat(fd, &st) < 0)
                return -errno;
        if (!S_ISBLK(st.st_mode) || st.st_rdev != makedev(major, minor))
                return -ENODEV;
        if (expected != 0 && ioctl(fd, BLKGETDISKSEQ, &now) >= 0 && now != expected)
                return -ENODEV;
        return TAKE_FD(fd);
}

static int direct_io_write(Deed *d, const char *value) {
        unsigned long long expected;
        _cleanup_close_ int fd = -1;
        unsigned major, minor;
        int r;

        r = parse_target(d->action, &major, &minor, &expected);
        if (r < 0)
                return r;
        fd = open_device(d, major, minor, expected);
        if (fd < 0)
                return fd;
        if (ioctl(fd, LOOP_SET_DIRECT_IO, (unsigned long) streq(value, "yes")) >= 0)
                return 0;
        r = -errno;
        if (r == -EINVAL)
                d->trouble = strdup("the file system below does not do direct I/O in blocks of the device's size, or not at this offset");
        return r;
}

const Actuator actuator_direct_io = { .kind = ACTION_DIRECT_IO, .read = direct_io_read, .write = direct_io_write };
