/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
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
        free(t->by_device);
        *t = (BlockTable) {};
}

static int read_text(const Sysroot *s, const Block *b, const char *attribute, char **ret) {
        return sysroot_read(s, AREA_SYS, PATH("%s/%s", b->directory, attribute), ret);
}

static int read_u64(const Sysroot *s, const Block *b, const char *attribute, uint64_t *ret) {
        _cleanup_free_ char *text = NULL;
        int r;

        r = read_text(s, b, attribute, &text);
        return r < 0 ? r : text_to_u64(text, 10, ret);
}

/* 'entry' (in dev/block, or class/block) links to ".../block/DISK", ".../block/DISK/PARTITION", or, of an NVMe device,
 * ".../nvme0/DISK" and what is below. */
static int read_place(const Sysroot *s, int dir_fd, const char *directory, const char *entry, Block *b) {
        _cleanup_free_ char *link = NULL;
        char *p, *parent;
        int r;

        r = sysroot_readlink_at(s, AREA_SYS, dir_fd, directory, entry, &link);
        if (r < 0)
                return r;
        for (p = link; startswith(p, "../"); p += 3)
                ;
        b->directory = strdup(p);
        p = strrchr(link, '/');
        if (!p)
                return b->directory ? -EINVAL : -ENOMEM;
        *p++ = 0;
        parent = strrchr(link, '/');
        b->name = strdup(p);
        if (!b->directory || !b->name)
                return -ENOMEM;
        if (parent && !streq(parent, "/block") && sysroot_exists(s, AREA_SYS, PATH("%s/partition", b->directory))) {
                b->parent = strdup(parent + 1);
                if (!b->parent)
                        return -ENOMEM;
        }
        return 0;
}

/* Only device-mapper, md and bcache take others as their slaves (block/holder.c), and are made by no bus. */
static bool may_have_slaves(const Block *b) {
        return startswith(b->directory, "devices/virtual/") && !startswith(b->name, "loop") && !startswith(b->name, "nbd") &&
                !startswith(b->name, "zram");
}

static int read_kind(const Sysroot *s, Block *b) {
        _cleanup_free_ char *pid = NULL;

        if (startswith(b->name, "dm-")) {
                (void) read_text(s, b, "dm/name", &b->dm_name);
                (void) read_text(s, b, "dm/uuid", &b->dm_uuid);
        }
        if (startswith(b->name, "nbd") && read_text(s, b, "pid", &pid) >= 0)
                (void) text_to_pid(pid, &b->nbd_pid);
        if (startswith(b->name, "loop"))
                (void) read_text(s, b, "loop/backing_file", &b->backing_file);
        return 0;
}

/* In dev/block the name of the entry is the number. */
static int read_number(const Sysroot *s, const char *name, Block *b) {
        _cleanup_free_ char *number = NULL;
        int r;

        if (text_to_devno(name, &b->device) >= 0)
                return 0;
        r = read_text(s, b, "dev", &number);
        return r < 0 ? r : text_to_devno(number, &b->device);
}

/* A capture is one for lsblk --sysroot as well, which goes from block/ by holders and partitions, and reads a little more. */
static int record_for_others(const Sysroot *s, const Block *b) {
        static const char *const attributes[] = { "dev", "ro", "removable", "start", "diskseq" };
        static const char *const directories[] = { "holders", "slaves" };
        int r = 0;

        if (!b->parent)
                sysroot_record_link(s, AREA_SYS, PATH("block/%s", b->name), PATH("../%s", b->directory));
        for (size_t i = 0; r != -ENOMEM && i < ELEMENTSOF(attributes); i++) {
                _cleanup_free_ char *text = NULL;

                r = read_text(s, b, attributes[i], &text);
        }
        for (size_t i = 0; r != -ENOMEM && i < ELEMENTSOF(directories); i++) {
                _cleanup_strv_free_ char **names = NULL;

                r = sysroot_list(s, AREA_SYS, PATH("%s/%s", b->directory, directories[i]), &names);
        }
        return r == -ENOMEM ? r : 0;
}

static int block_read(const Sysroot *s, int dir_fd, const char *directory, const char *name, Block *b) {
        int r;

        r = read_place(s, dir_fd, directory, name, b);
        if (r >= 0)
                r = read_number(s, name, b);
        if (r >= 0 && sysroot_is_recorded(s))
                r = record_for_others(s, b);
        if (r < 0)
                return r;
        if (read_u64(s, b, "size", &b->size) >= 0)
                b->size *= 512; /* sectors: Documentation/ABI/stable/sysfs-block */
        if (b->parent)
                return 0;
        if (startswith(b->directory, "devices/virtual/"))
                b->diskseq = block_sequence(s, b);
        r = may_have_slaves(b) ? sysroot_list(s, AREA_SYS, PATH("%s/slaves", b->directory), &b->slaves) : 0;
        return r == -ENOMEM ? r : read_kind(s, b);
}

uint64_t block_sequence(const Sysroot *s, const Block *b) {
        uint64_t sequence;

        return read_u64(s, b, "diskseq", &sequence) >= 0 ? sequence : 0;
}

static int compare_device(const void *a, const void *b) {
        const Block *x = *(const Block *const *) a, *y = *(const Block *const *) b;

        return (x->device > y->device) - (x->device < y->device);
}

static int index_blocks(BlockTable *t) {
        t->by_name = hashmap_new();
        t->by_dm_name = hashmap_new();
        t->by_device = malloc((t->n + 1) * sizeof(const Block *));
        if (!t->by_name || !t->by_dm_name || !t->by_device)
                return -ENOMEM;
        for (size_t i = 0; i < t->n; i++) {
                int r;

                t->by_device[i] = &t->blocks[i];
                r = hashmap_put(t->by_name, t->blocks[i].name, &t->blocks[i]);
                if (r >= 0 && t->blocks[i].dm_name)
                        r = hashmap_put(t->by_dm_name, t->blocks[i].dm_name, &t->blocks[i]);
                if (r == -ENOMEM)
                        return r;
        }
        if (t->n > 1)
                qsort(t->by_device, t->n, sizeof(const Block *), compare_device);
        return 0;
}

int block_table_read(const Sysroot *s, BlockTable *ret) {
        _cleanup_(block_table_done) BlockTable t = {};
        _cleanup_strv_free_ char **names = NULL;
        const char *directory = "dev/block";
        _cleanup_close_ int dir_fd = -1;
        int r;

        r = sysroot_list(s, AREA_SYS, directory, &names);
        if (r >= 0 && !names[0]) {
                /* Captures of earlier versions have only this one. */
                strv_free(names);
                names = NULL;
                directory = "class/block";
                r = sysroot_list(s, AREA_SYS, directory, &names);
        }
        if (r < 0)
                return r;
        dir_fd = names[0] ? sysroot_open_at(s, AREA_SYS, directory, O_PATH | O_DIRECTORY) : -1;
        if (names[0] && dir_fd < 0)
                return dir_fd;
        for (char **name = names; *name; name++) {
                Block b = {};

                r = block_read(s, dir_fd, directory, *name, &b);
                if (r >= 0)
                        r = ARRAY_APPEND(t.blocks, t.n, t.capacity, b);
                if (r < 0)
                        block_done(&b);
                if (r == -ENOMEM)
                        return r;
                t.gaps |= gap_of_error(r);
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
        const Block key = { .device = device }, *of_key = &key, **found;

        found = t->by_device ? bsearch(&of_key, t->by_device, t->n, sizeof(const Block *), compare_device) : NULL;
        return found ? *found : NULL;
}

const Block *block_table_find_path(const BlockTable *t, const char *path) {
        const char *name = startswith(path, "/dev/mapper/");

        if (name)
                return t->by_dm_name ? hashmap_get(t->by_dm_name, name) : NULL;
        name = startswith(path, "/dev/");
        return name ? block_table_find(t, name) : NULL;
}

/* As udev escapes a name that is to be a directory's: '/' and '\\' as \x2f and \x5c. */
static char *escape_link(const char *name) {
        char *escaped = malloc(4 * strlen(name) + 1), *p = escaped;

        for (; escaped && *name; name++)
                if (*name == '/' || *name == '\\')
                        p += sprintf(p, "\\x%02x", (unsigned) *name);
                else
                        *p++ = *name;
        if (escaped)
                *p = 0;
        return escaped;
}

/* Which device has which of these names is udev's to say: /run/udev/links/NAME/bMAJ:MIN -> "PRIORITY:/dev/..."
 * (systemd, src/udev/udev-node.c). The highest priority has it; two that have the same are not told apart. */
const Block *block_table_resolve(const Sysroot *s, const BlockTable *t, const char *path) {
        const Block *found = block_table_find_path(t, path);
        const char *name = found ? NULL : startswith(path, "/dev/");
        _cleanup_free_ char *escaped = name && strlen(name) < NAME_MAX / 4 ? escape_link(name) : NULL;
        _cleanup_strv_free_ char **claims = NULL;
        bool tie = false;
        int best = 0;

        if (!escaped || sysroot_list(s, AREA_RUN, PATH("udev/links/%s", escaped), &claims) < 0)
                return found;
        for (char **claim = claims; *claim; claim++) {
                _cleanup_free_ char *target = NULL;
                const Block *b;
                dev_t device;
                int priority;

                if ((*claim)[0] != 'b' || text_to_devno(*claim + 1, &device) < 0 ||
                    sysroot_readlink(s, AREA_RUN, PATH("udev/links/%s/%s", escaped, *claim), &target) < 0 ||
                    sscanf(target, "%d:", &priority) != 1)
                        continue;
                b = block_table_find_device(t, device);
                if (!b || (found && priority < best))
                        continue;
                tie = found && priority == best;
                found = b;
                best = priority;
        }
        return tie ? NULL : found;
}
