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
        const Mount *mount;
        dev_t detached; /* of a file system that is mounted nowhere any more */
        uint64_t inode;
        Certainty certainty;
        const char *evidence;
} Backing;

static void find_backing(Scan *s, const Block *b, Backing *ret) {
        const char *answer = NULL;
        char device_text[32];
        unsigned long long inode;
        dev_t device;

        *ret = (Backing) {
                .mount = mount_table_resolve(&s->mounts, 0, b->backing_file),
                .certainty = CERTAINTY_INFERRED,
                .evidence = "loop/backing_file",
        };
        if (s->probes)
                answer = probe_cache_get(s->probes, PATH("loop %u:%u %llu", major(b->device), minor(b->device),
                                                         (unsigned long long) b->diskseq), NULL);
        if (!answer || sscanf(answer, "%31s %llu", device_text, &inode) != 2 || text_to_devno(device_text, &device) < 0)
                return;
        if (mount_table_find_device(&s->mounts, device)) {
                *ret = (Backing) {
                        .mount = mount_table_find_device(&s->mounts, device),
                        .inode = inode,
                        .certainty = CERTAINTY_PROVEN,
                        .evidence = "LOOP_GET_STATUS64",
                };
                return;
        }
        if (major(device) != 0 && block_table_find_device(&s->blocks, device)) {
                *ret = (Backing) { .detached = device, .inode = inode };
                return;
        }
        /* btrfs gives each subvolume a device number of its own, which no mount shows. */
        if (ret->mount && streq(ret->mount->type, "btrfs")) {
                ret->inode = inode;
                ret->certainty = CERTAINTY_UNIQUE;
        } else
                ret->mount = NULL; /* a detached mount, or one of a namespace we cannot see */
}

/* Unmounted lazily, a file system lives on for as long as it is used: it is there, on its device, in no table. sysfs
 * tells of some types. */
static int add_detached(Scan *s, FactSet *f, dev_t device) {
        static const char *const types[] = { "ext4", "xfs", "f2fs" };
        _cleanup_node_fact_ NodeFact n = { .kind = NODE_FILESYSTEM, .id = filesystem_id(device) };
        const Block *b = block_table_find_device(&s->blocks, device);
        _cleanup_free_ char *id = filesystem_id(device), *lower = block_id(device);
        const char *type = "unknown";
        int r;

        for (size_t i = 0; i < ELEMENTSOF(types); i++)
                if (sysroot_exists(s->root, AREA_SYS, PATH("fs/%s/%s", types[i], b->name)))
                        type = types[i];
        n.type = strdup(type);
        n.name = strdup(b->name);
        n.device = text_format("%u:%u", major(device), minor(device));
        n.incomplete = strdup("it is mounted nowhere that can be seen, and still in use");
        if (!id || !lower || !n.id || !n.type || !n.name || !n.device || !n.incomplete)
                return -ENOMEM;
        r = factset_add_node(f, &n);
        return r < 0 ? r : factset_add_edge(f, id, lower, ROLE_BACKING, CERTAINTY_PROVEN, 0, "LOOP_GET_STATUS64");
}

static int add_loop(Scan *s, FactSet *f, const Block *b) {
        _cleanup_free_ char *upper = block_id(b->device), *file = NULL;
        Backing backing;
        int r;

        if (!upper)
                return -ENOMEM;
        find_backing(s, b, &backing);
        if (backing.detached) {
                const Mount nowhere = { .device = backing.detached };

                r = add_detached(s, f, backing.detached);
                if (r >= 0)
                        r = scan_add_file(f, &nowhere, backing.inode, b->backing_file, b->size, CERTAINTY_PROVEN,
                                          "LOOP_GET_STATUS64", &file);
        } else if (!backing.mount) {
                _cleanup_node_fact_ NodeFact n = { .kind = NODE_FILE };

                file = text_format("file:%s:%s", b->name, b->backing_file);
                n.id = file ? strdup(file) : NULL;
                n.path = strdup(b->backing_file);
                n.type = strdup("file");
                n.incomplete = strdup("the file system that holds this file is not mounted anywhere that can be seen");
                if (!file || !n.id || !n.path || !n.type || !n.incomplete)
                        return -ENOMEM;
                r = factset_add_node(f, &n);
        } else
                r = scan_add_file(f, backing.mount, backing.inode, b->backing_file, b->size, backing.certainty,
                                  PATH("/sys/class/block/%s/loop/backing_file%s%s", b->name,
                                       backing.certainty == CERTAINTY_PROVEN ? ", " : "",
                                       backing.certainty == CERTAINTY_PROVEN ? backing.evidence : ""), &file);
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
