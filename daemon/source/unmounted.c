/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "common/text.h"
#include "daemon/source/unmounted.h"

typedef struct Found {
        Mount *mounts;
        size_t n, capacity;
} Found;

static void found_done(Found *f) {
        for (size_t i = 0; i < f->n; i++)
                mount_done(&f->mounts[i]);
        free(f->mounts);
}

static int add(Found *f, dev_t device, const char *type, const char *source, const char *uuid, const char *options) {
        Mount m = {
                .id = -1,
                .parent = -1,
                .device = device,
                .space = SPACE_NONE,
                .root = strdup("/"),
                .target = strdup(""),
                .type = strdup(type),
                .source = strdup(source),
                .uuid = uuid ? strdup(uuid) : NULL,
                .flags = strdup(""),
                .options = strdup(options),
        };
        int r = -ENOMEM;

        if (m.root && m.target && m.type && m.source && m.flags && m.options && (!uuid || m.uuid))
                r = ARRAY_APPEND(f->mounts, f->n, f->capacity, m);
        if (r < 0)
                mount_done(&m);
        return r;
}

/* /sys/fs/TYPE/DEVICE */
static int find_by_device(const Sysroot *s, const BlockTable *blocks, const MountTable *t, Found *f) {
        static const char *const types[] = { "ext4", "xfs", "f2fs" };

        for (size_t i = 0; i < ELEMENTSOF(types); i++) {
                _cleanup_strv_free_ char **names = NULL;
                int r;

                r = sysroot_list(s, AREA_SYS, PATH("fs/%s", types[i]), &names);
                for (char **name = names; r >= 0 && name && *name; name++) {
                        const Block *b = block_table_find(blocks, *name);

                        if (b && !mount_table_find_device(t, b->device))
                                r = add(f, b->device, types[i], b->name, NULL, "");
                }
                if (r == -ENOMEM)
                        return r;
        }
        return 0;
}

/* "v4 7f000001  801 0:71 ..." (fs/nfs/client.c), address and port in hexadecimal; only of pid 1's network namespace,
 * whose sockets are those that are looked at. */
static int nfs_volume(const char *volumes, const char *device, unsigned *ret_version, char **ret_options) {
        for (const char *line = volumes; line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
                char address[33], number[32];
                unsigned version, port, a[8];
                _cleanup_free_ char *ip = NULL;

                if (sscanf(line, "v%u %32s %x %31s", &version, address, &port, number) != 4 || !streq(number, device))
                        continue;
                if (strlen(address) == 8 && sscanf(address, "%2x%2x%2x%2x", a, a + 1, a + 2, a + 3) == 4)
                        ip = text_format("%u.%u.%u.%u", a[0], a[1], a[2], a[3]);
                else if (sscanf(address, "%4x%4x%4x%4x%4x%4x%4x%4x", a, a + 1, a + 2, a + 3, a + 4, a + 5, a + 6, a + 7) == 8)
                        ip = text_format("%x:%x:%x:%x:%x:%x:%x:%x", a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7]);
                else
                        return -EINVAL;
                *ret_options = ip ? text_format("addr=%s,port=%u", ip, port) : NULL;
                *ret_version = version;
                return *ret_options ? 0 : -ENOMEM;
        }
        return -ENOENT;
}

/* A bdi called "MAJ:MIN", of an anonymous number, or "MAJ:MIN-fuseblk". */
static int add_bdi(const Sysroot *s, const char *device, const char *volumes, bool fuseblk, dev_t number, Found *f) {
        _cleanup_free_ char *options = NULL;
        unsigned version = 0;
        int r;

        if (fuseblk)
                return add(f, number, "fuseblk", device, NULL, "");
        /* Where this is not mounted, nothing tells but the servers. */
        if (sysroot_exists(s, AREA_SYS, PATH("fs/fuse/connections/%u", minor(number))))
                return add(f, number, "fuse", device, NULL, "");
        r = volumes ? nfs_volume(volumes, device, &version, &options) : -ENOENT;
        if (r == -ENOMEM)
                return r;
        return r < 0 ? add(f, number, "unknown", device, NULL, "") : add(f, number, version >= 4 ? "nfs4" : "nfs", device, NULL, options);
}

static int find_by_bdi(const Sysroot *s, const MountTable *t, Found *f) {
        _cleanup_strv_free_ char **names = NULL;
        _cleanup_free_ char *volumes = NULL;
        int r;

        r = sysroot_list(s, AREA_SYS, "class/bdi", &names);
        for (char **name = names; r >= 0 && name && *name; name++) {
                bool fuseblk = endswith(*name, "-fuseblk");
                dev_t number;

                (*name)[strcspn(*name, "-")] = 0;
                if (text_to_devno(*name, &number) < 0 || (major(number) == 0) == fuseblk || mount_table_find_device(t, number))
                        continue;
                if (!volumes && sysroot_read(s, AREA_PROC, "1/net/nfsfs/volumes", &volumes) == -ENOMEM)
                        return -ENOMEM;
                r = add_bdi(s, *name, volumes, fuseblk, number, f);
        }
        return r == -ENOMEM ? r : 0;
}

/* ---- btrfs ---- */

/* Its members: /sys/fs/btrfs/UUID/devices/KNAME. The source of a mount is one of them. */
static bool has_member(const Sysroot *s, const char *uuid, const char *name) {
        return sysroot_exists(s, AREA_SYS, PATH("fs/btrfs/%s/devices/%s", uuid, name));
}

static int identify_mounts(const Sysroot *s, const BlockTable *blocks, char **uuids, MountTable *t, bool *ret_all) {
        *ret_all = true;
        for (size_t i = 0; i < t->n; i++) {
                Mount *m = &t->mounts[t->by_device[i]], *previous = i > 0 ? &t->mounts[t->by_device[i - 1]] : NULL;
                const Block *member;

                if (!streq(m->type, "btrfs"))
                        continue;
                free(m->uuid);
                m->uuid = NULL;
                if (previous && previous->device == m->device && previous->uuid) {
                        m->uuid = strdup(previous->uuid);
                        if (!m->uuid)
                                return -ENOMEM;
                        continue;
                }
                member = block_table_resolve(s, blocks, m->source);
                for (char **uuid = uuids; member && *uuid && !m->uuid; uuid++)
                        if (has_member(s, *uuid, member->name)) {
                                m->uuid = strdup(*uuid);
                                if (!m->uuid)
                                        return -ENOMEM;
                        }
                *ret_all &= m->uuid != NULL;
        }
        return 0;
}

static bool is_mounted(const MountTable *t, const char *uuid) {
        for (size_t i = 0; i < t->n; i++)
                if (streq_ptr(t->mounts[i].uuid, uuid))
                        return true;
        return false;
}

static int find_btrfs(const Sysroot *s, const BlockTable *blocks, MountTable *t, Found *f) {
        _cleanup_strv_free_ char **uuids = NULL;
        bool all;
        int r;

        r = sysroot_list(s, AREA_SYS, "fs/btrfs", &uuids);
        if (r < 0)
                return r == -ENOMEM ? r : 0;
        r = identify_mounts(s, blocks, uuids, t, &all);
        /* What is mounted and not known by its uuid may be any of them. */
        for (char **uuid = uuids; r >= 0 && all && *uuid; uuid++) {
                if (!sysroot_exists(s, AREA_SYS, PATH("fs/btrfs/%s/devices", *uuid)) || is_mounted(t, *uuid))
                        continue;
                r = add(f, 0, "btrfs", *uuid, *uuid, "");
        }
        return r;
}

int unmounted_find(const Sysroot *s, const BlockTable *blocks, MountTable *t) {
        _cleanup_(found_done) Found f = {};
        int r;

        r = mount_table_set_unmounted(t, NULL, 0);
        if (r >= 0)
                r = find_by_device(s, blocks, t, &f);
        if (r >= 0)
                r = find_by_bdi(s, t, &f);
        if (r >= 0)
                r = find_btrfs(s, blocks, t, &f);
        if (r < 0)
                return r;
        r = mount_table_set_unmounted(t, f.mounts, f.n);
        f.n = 0;
        return r;
}

bool unmounted_has_event(const Mount *m) {
        return major(m->device) == 0 || type_is_fuseblk(m->type);
}
