/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A loop device, its backing file, and the file system that holds it.
 *
 * sysfs gives a path as text, which another mount may hide, which may belong to another namespace, or end in
 * " (deleted)"; LOOP_GET_STATUS64 gives the file's device and inode, but asks the lower file system and so may
 * hang: that answer comes from a probe. Until it is there, and if it never comes, the path is followed through
 * the mount table, which touches nothing, and what that yields is called inferred. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "common/text.h"
#include "daemon/source/scan.h"

typedef struct Backing {
        const Mount *mount;    /* NULL where the file system is not known */
        const Block *unlisted; /* it is the one on this device, which is in no table */
        bool anonymous;        /* then: its number is known, and no mount has it: a subvolume, perhaps */
        uint64_t inode;
        Certainty certainty;
} Backing;

static bool ask(Scan *s, const Block *b, dev_t *ret_device, uint64_t *ret_inode) {
        const char *answer = NULL;
        char device[32];
        unsigned long long inode;

        if (s->probes)
                answer = probe_cache_get(s->probes, PATH("loop %u:%u %llu", major(b->device), minor(b->device),
                                                         (unsigned long long) b->diskseq), NULL);
        if (!answer || sscanf(answer, "%31s %llu", device, &inode) != 2 || text_to_devno(device, ret_device) < 0)
                return false;
        *ret_inode = inode;
        return true;
}

static bool is_btrfs(const Mount *m) {
        return streq(m->type, "btrfs");
}

static bool is_nothing(const Mount *m _unused_) {
        return false;
}

static bool has_unmounted_btrfs(const MountTable *t) {
        for (size_t i = t->n_mounted; i < t->n; i++)
                if (is_btrfs(&t->mounts[i]))
                        return true;
        return false;
}

static void find_backing(Scan *s, const Block *b, Backing *ret) {
        const Mount *by_path = mount_table_resolve(&s->mounts, 0, b->backing_file), *mount;
        uint64_t inode;
        dev_t device;

        if (!ask(s, b, &device, &inode)) {
                *ret = (Backing) { .mount = by_path, .certainty = CERTAINTY_INFERRED };
                return;
        }
        mount = mount_table_find_device(&s->mounts, device);
        if (mount)
                *ret = (Backing) { .mount = mount, .inode = inode, .certainty = CERTAINTY_PROVEN };
        else if (major(device) != 0 && block_table_find_device(&s->blocks, device))
                *ret = (Backing) { .unlisted = block_table_find_device(&s->blocks, device), .inode = inode };
        /* btrfs gives each subvolume a device number of its own, which no mount shows. */
        else if (major(device) == 0 && by_path && is_btrfs(by_path))
                *ret = (Backing) {
                        .mount = by_path,
                        .inode = inode,
                        .certainty = has_unmounted_btrfs(&s->mounts) ? CERTAINTY_INFERRED : CERTAINTY_UNIQUE,
                };
        else
                *ret = (Backing) { .anonymous = major(device) == 0 };
}

static int add_loop(Scan *s, FactSet *f, const Block *b) {
        _cleanup_free_ char *upper = block_id(b->device), *file = NULL;
        Backing backing;
        int r;

        if (!upper)
                return -ENOMEM;
        find_backing(s, b, &backing);
        if (backing.unlisted) {
                const Mount nowhere = { .device = backing.unlisted->device };

                r = scan_add_unlisted(s, f, backing.unlisted, "LOOP_GET_STATUS64");
                if (r >= 0)
                        r = scan_add_file(f, &nowhere, backing.inode, b->backing_file, b->size, CERTAINTY_PROVEN,
                                          "LOOP_GET_STATUS64", &file);
        } else if (!backing.mount)
                r = scan_add_lost_file(s, f, b->name, b->backing_file, backing.anonymous ? is_btrfs : is_nothing,
                                       "LOOP_GET_STATUS64: a number that no mount has", &file);
        else
                r = scan_add_file(f, backing.mount, backing.inode, b->backing_file, b->size, backing.certainty,
                                  PATH("/sys/class/block/%s/loop/backing_file%s", b->name,
                                       backing.certainty == CERTAINTY_PROVEN ? ", LOOP_GET_STATUS64" : ""), &file);
        if (r < 0)
                return r;
        return factset_add_edge(f, upper, file, ROLE_BACKING, CERTAINTY_PROVEN, 0,
                                PATH("/sys/class/block/%s/loop/backing_file", b->name));
}

int source_loop_scan(Scan *s, FactSet *f) {
        for (size_t i = 0; i < s->blocks.n; i++) {
                int r;

                if (!s->blocks.blocks[i].backing_file)
                        continue;
                r = add_loop(s, f, &s->blocks.blocks[i]);
                if (r < 0)
                        return r;
        }
        return 0;
}
