/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Every superblock that is mounted anywhere is one layer, however many mounts and namespaces show it. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "common/text.h"
#include "daemon/source/scan.h"

static int compare_strings(const void *a, const void *b) {
        return strcmp(*(char *const *) a, *(char *const *) b);
}

/* Mount points in the machine's own namespace; those of others only where it has none. */
static int collect_targets(const MountTable *t, size_t first, size_t n, char ***ret) {
        _cleanup_strv_free_ char **targets = NULL;
        size_t count = 0;
        int r;

        for (int others = 0; others <= 1 && count == 0; others++)
                for (size_t i = first; i < first + n; i++) {
                        const Mount *m = &t->mounts[t->by_device[i]];

                        if ((m->space == 0) == others || strv_contains(targets, m->target))
                                continue;
                        r = strv_append(&targets, &count, m->target);
                        if (r < 0)
                                return r;
                }
        if (count > 1)
                qsort(targets, count, sizeof(char *), compare_strings);
        *ret = TAKE_PTR(targets);
        return 0;
}

/* All members of a multi-device btrfs: /sys/fs/btrfs/FSID/devices/KNAME; the mount's source names only one. */
static int add_btrfs_members(Scan *s, FactSet *f, const char *id, const Mount *m, bool *ret_found) {
        const Block *source = block_table_resolve(s->root, &s->blocks, m->source);
        _cleanup_strv_free_ char **fsids = NULL;
        int r;

        if (!source)
                return 0;
        r = sysroot_list(s->root, AREA_SYS, "fs/btrfs", &fsids);
        if (r < 0)
                return r == -ENOMEM ? r : 0;
        for (char **fsid = fsids; *fsid; fsid++) {
                _cleanup_strv_free_ char **members = NULL;

                if (sysroot_list(s->root, AREA_SYS, PATH("fs/btrfs/%s/devices", *fsid), &members) < 0 ||
                    !strv_contains(members, source->name))
                        continue;
                for (char **name = members; *name; name++) {
                        const Block *b = block_table_find(&s->blocks, *name);
                        _cleanup_free_ char *lower = b ? block_id(b->device) : NULL;

                        if (!lower)
                                continue;
                        r = factset_add_edge(f, id, lower, ROLE_BACKING, CERTAINTY_PROVEN, 0,
                                             PATH("/sys/fs/btrfs/%s/devices/%s", *fsid, *name));
                        if (r < 0)
                                return r;
                        *ret_found = true;
                }
        }
        return 0;
}

/* EROFS reads an image file without a loop device in between (Linux 6.12, fs/erofs/super.c). Its path is as whoever
 * mounted it wrote it, perhaps relative, perhaps renamed since. */
static int add_image(Scan *s, FactSet *f, const char *id, const Mount *m) {
        const Mount *below = mount_table_resolve(&s->mounts, m->space, m->source);
        _cleanup_free_ char *file = NULL;
        int r;

        if (!below || below->device == m->device)
                return 0;
        r = scan_add_file(f, below, 0, m->source, 0, CERTAINTY_INFERRED, "/proc/1/mountinfo: source", &file);
        return r < 0 ? r : factset_add_edge(f, id, file, ROLE_BACKING, CERTAINTY_INFERRED, 0, "/proc/1/mountinfo: source");
}

static int add_lower(Scan *s, FactSet *f, const char *id, const Mount *m, bool *ret_unknown) {
        _cleanup_free_ char *lower = NULL;
        const Block *source;
        bool found = false;
        int r;

        if (streq(m->type, "overlay"))
                return overlay_add_layers(s, f, id, m, ret_unknown);
        if (startswith(m->type, "fuseblk")) /* or "fuseblk.SUBTYPE" */
                return 0; /* its device is used by the process that serves it, not by the kernel */
        if (major(m->device) != 0) {
                lower = block_id(m->device);
                return lower ? factset_add_edge(f, id, lower, ROLE_BACKING, CERTAINTY_PROVEN, 0, "/proc/1/mountinfo")
                             : -ENOMEM;
        }
        if (streq(m->type, "btrfs")) {
                r = add_btrfs_members(s, f, id, m, &found);
                if (r < 0 || found)
                        return r;
        }
        if (streq(m->type, "erofs"))
                return add_image(s, f, id, m);
        /* An anonymous device number over a block device: the source names it. It means nothing for other types: a
         * user's own tmpfs may have any. */
        if (!streq(m->type, "btrfs") && !streq(m->type, "bcachefs"))
                return 0;
        source = block_table_resolve(s->root, &s->blocks, m->source);
        if (!source)
                return 0;
        lower = block_id(source->device);
        return lower ? factset_add_edge(f, id, lower, ROLE_BACKING, CERTAINTY_UNIQUE, 0, "/proc/1/mountinfo") : -ENOMEM;
}

static int add_filesystem(Scan *s, FactSet *f, size_t first, size_t n) {
        const Mount *m = &s->mounts.mounts[s->mounts.by_device[first]];
        _cleanup_node_fact_ NodeFact node = { .kind = NODE_FILESYSTEM };
        _cleanup_free_ char *id = filesystem_id(m->device);
        bool unknown = false;
        int r;

        node.id = filesystem_id(m->device);
        node.type = strdup(m->type);
        node.name = strdup(m->source);
        node.device = text_format("%u:%u", major(m->device), minor(m->device));
        if (!id || !node.id || !node.type || !node.name || !node.device)
                return -ENOMEM;
        r = collect_targets(&s->mounts, first, n, &node.mounts);
        if (r < 0)
                return r;
        r = add_lower(s, f, id, m, &unknown);
        if (r < 0)
                return r;
        if (unknown) {
                node.incomplete = strdup("some of its layers are not where its mount options say, as far as can be seen");
                if (!node.incomplete)
                        return -ENOMEM;
        }
        return factset_add_node(f, &node);
}

int source_filesystem_scan(Scan *s, FactSet *f) {
        const MountTable *t = &s->mounts;
        size_t n;
        int r;

        for (size_t i = 0; i < t->n; i += n) {
                dev_t device = t->mounts[t->by_device[i]].device;

                for (n = 1; i + n < t->n && t->mounts[t->by_device[i + n]].device == device; n++)
                        ;
                r = add_filesystem(s, f, i, n);
                if (r < 0)
                        return r;
        }
        return 0;
}
