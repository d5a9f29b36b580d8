/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/array.h"
#include "common/file.h"
#include "common/text.h"
#include "daemon/source/block-table.h"

static void block_done(Block *b) {
        free(b->name);
        free(b->directory);
        free(b->parent);
        strv_free(b->slaves);
        free(b->dm_name);
        free(b->dm_uuid);
        free(b->backing_file);
        *b = (Block) {};
}

void block_table_done(BlockTable *t) {
        for (size_t i = 0; i < t->n; i++)
                block_done(&t->blocks[i]);
        free(t->blocks);
        hashmap_free(t->by_name);
        hashmap_free(t->by_dm_name);
        *t = (BlockTable) {};
}

static int read_u64(const Sysroot *s, const char *path, uint64_t *ret) {
        _cleanup_free_ char *text = NULL;
        int r;

        r = sysroot_read(s, AREA_SYS, path, &text);
        return r < 0 ? r : text_to_u64(text, 10, ret);
}

/* "/sys/class/block/NAME" links to ".../block/DISK" or ".../block/DISK/PARTITION". */
static int read_place(const Sysroot *s, const char *name, Block *b) {
        _cleanup_free_ char *link = NULL;
        char *p;
        int r;

        r = sysroot_readlink(s, AREA_SYS, PATH("class/block/%s", name), &link);
        if (r < 0)
                return r;
        for (p = link; startswith(p, "../"); p += 3)
                ;
        b->directory = strdup(p);
        if (!b->directory)
                return -ENOMEM;
        if (!sysroot_exists(s, AREA_SYS, PATH("class/block/%s/partition", name)))
                return 0;
        p = strrchr(link, '/');
        if (p) {
                *p = 0;
                p = strrchr(link, '/');
        }
        if (p) {
                b->parent = strdup(p + 1);
                if (!b->parent)
                        return -ENOMEM;
        }
        return 0;
}

static int block_read(const Sysroot *s, const char *name, Block *b) {
        _cleanup_free_ char *devno = NULL;
        int r;

        r = sysroot_read(s, AREA_SYS, PATH("class/block/%s/dev", name), &devno);
        if (r < 0)
                return r;
        r = text_to_devno(devno, &b->device);
        if (r < 0)
                return r;
        b->name = strdup(name);
        if (!b->name)
                return -ENOMEM;
        r = read_place(s, name, b);
        if (r < 0)
                return r;
        if (read_u64(s, PATH("class/block/%s/size", name), &b->size) >= 0)
                b->size *= 512; /* sectors: Documentation/ABI/stable/sysfs-block */
        (void) read_u64(s, PATH("class/block/%s/diskseq", name), &b->diskseq);
        if (b->parent)
                return 0;
        r = sysroot_list(s, AREA_SYS, PATH("class/block/%s/slaves", name), &b->slaves);
        if (r == -ENOMEM)
                return r;
        if (startswith(name, "dm-")) {
                (void) sysroot_read(s, AREA_SYS, PATH("class/block/%s/dm/name", name), &b->dm_name);
                (void) sysroot_read(s, AREA_SYS, PATH("class/block/%s/dm/uuid", name), &b->dm_uuid);
        }
        if (startswith(name, "nbd")) {
                _cleanup_free_ char *pid = NULL;

                if (sysroot_read(s, AREA_SYS, PATH("class/block/%s/pid", name), &pid) >= 0)
                        (void) text_to_pid(pid, &b->nbd_pid);
        }
        if (startswith(name, "loop"))
                (void) sysroot_read(s, AREA_SYS, PATH("class/block/%s/loop/backing_file", name), &b->backing_file);
        return 0;
}

static int index_blocks(BlockTable *t) {
        t->by_name = hashmap_new();
        t->by_dm_name = hashmap_new();
        if (!t->by_name || !t->by_dm_name)
                return -ENOMEM;
        for (size_t i = 0; i < t->n; i++) {
                int r;

                r = hashmap_put(t->by_name, t->blocks[i].name, &t->blocks[i]);
                if (r >= 0 && t->blocks[i].dm_name)
                        r = hashmap_put(t->by_dm_name, t->blocks[i].dm_name, &t->blocks[i]);
                if (r == -ENOMEM)
                        return r;
        }
        return 0;
}

int block_table_read(const Sysroot *s, BlockTable *ret) {
        _cleanup_(block_table_done) BlockTable t = {};
        _cleanup_strv_free_ char **names = NULL;
        int r;

        r = sysroot_list(s, AREA_SYS, "class/block", &names);
        if (r < 0)
                return r;
        for (char **name = names; *name; name++) {
                Block b = {};

                r = block_read(s, *name, &b);
                if (r >= 0)
                        r = ARRAY_APPEND(t.blocks, t.n, t.capacity, b);
                if (r < 0)
                        block_done(&b);
                if (r == -ENOMEM)
                        return r;
                t.incomplete |= r < 0 && !error_is_gone(r);
        }
        r = index_blocks(&t);
        if (r < 0)
                return r;
        *ret = t;
        t = (BlockTable) {};
        return 0;
}

const Block *block_table_find(const BlockTable *t, const char *name) {
        return t->by_name ? hashmap_get(t->by_name, name) : NULL;
}

const Block *block_table_find_device(const BlockTable *t, dev_t device) {
        for (size_t i = 0; i < t->n; i++)
                if (t->blocks[i].device == device)
                        return &t->blocks[i];
        return NULL;
}

const Block *block_table_find_path(const BlockTable *t, const char *path) {
        const char *name = startswith(path, "/dev/mapper/");

        if (name)
                return t->by_dm_name ? hashmap_get(t->by_dm_name, name) : NULL;
        name = startswith(path, "/dev/");
        return name ? block_table_find(t, name) : NULL;
}
