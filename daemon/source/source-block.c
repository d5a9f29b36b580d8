/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Block devices, partitions on their disks, and devices on their slaves. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "common/text.h"
#include "daemon/source/scan.h"

/* Numbers with nothing behind them: unbound loops and unconnected nbds, of which a driver makes many in advance, and
 * arrays without members, which md makes of whatever node is opened (md_probe() in drivers/md/md.c): mdadm --monitor, that
 * looks once more at an array just stopped, leaves one behind. */
static bool is_idle(const Block *b) {
        if (b->size > 0)
                return false;
        if (startswith(b->name, "md"))
                return !b->slaves || !b->slaves[0];
        return !b->backing_file && (startswith(b->name, "loop") || startswith(b->name, "nbd"));
}

static const char *type_of(const Block *b) {
        static const struct {
                const char *prefix, *type;
        } by_name[] = {
                { "loop", "loop" }, { "dm-", "dm" },     { "md", "md" },     { "nbd", "nbd" },
                { "ublkb", "ublk" }, { "zram", "zram" }, { "bcache", "bcache" }, { "rbd", "rbd" },
                { "sr", "rom" },
        };

        if (b->parent)
                return "partition";
        for (size_t i = 0; i < ELEMENTSOF(by_name); i++)
                if (startswith(b->name, by_name[i].prefix))
                        return by_name[i].type;
        return strstr(b->directory, "/tcm_loop_") ? "tcm_loop" : "disk";
}

/* What a device-mapper device is, by the prefix that its maker puts before the uuid. */
static const char *dm_type(const Block *b) {
        static const struct {
                const char *prefix, *type;
        } by_uuid[] = {
                { "CRYPT-", "dm-crypt" }, { "LVM-", "lvm" },       { "mpath-", "dm-multipath" },
                { "dmz-", "dm-zoned" },   { "part", "dm-linear" },
        };

        for (size_t i = 0; b->dm_uuid && i < ELEMENTSOF(by_uuid); i++)
                if (startswith(b->dm_uuid, by_uuid[i].prefix))
                        return by_uuid[i].type;
        return "dm";
}

/* The targets themselves, where the table has been read. */
static int dm_describe(Scan *s, const Block *b, NodeFact *n) {
        const char *answer = NULL;
        bool hung = false;

        if (s->probes && b->dm_name)
                answer = probe_cache_get(s->probes, PATH("dm %u:%u %llu", major(b->device), minor(b->device),
                                                         (unsigned long long) b->diskseq), &hung);
        if (hung) {
                n->incomplete = strdup("the device-mapper table could not be read in time");
                if (!n->incomplete)
                        return -ENOMEM;
        }
        n->type = answer && *answer != '!' ? text_format("dm-%.*s", (int) strcspn(answer, " "), answer) : strdup(dm_type(b));
        return n->type ? 0 : -ENOMEM;
}

static int describe(Scan *s, const Block *b, NodeFact *n) {
        const char *type = type_of(b);

        n->id = block_id(b->device);
        n->name = strdup(b->name);
        n->device = text_of_devno("", b->device);
        n->size = b->size;
        if (!n->id || !n->name || !n->device)
                return -ENOMEM;
        if (b->dm_name) {
                n->label = strdup(b->dm_name);
                if (!n->label)
                        return -ENOMEM;
        }
        if (streq(type, "dm"))
                return dm_describe(s, b, n);
        n->type = strdup(type);
        return n->type ? 0 : -ENOMEM;
}

static int add_lower(Scan *s, FactSet *f, const Block *b, const char *lower_name, const char *evidence) {
        const Block *lower = block_table_find(&s->blocks, lower_name);
        _cleanup_free_ char *upper_id = block_id(b->device), *lower_id = lower ? block_id(lower->device) : NULL;

        if (!lower)
                return 0; /* gone between two reads; its event comes */
        if (!upper_id || !lower_id)
                return -ENOMEM;
        return factset_add_edge(f, upper_id, lower_id, ROLE_BACKING, CERTAINTY_PROVEN, 0, evidence);
}

int source_block_scan(Scan *s, FactSet *f) {
        for (size_t i = 0; i < s->blocks.n; i++) {
                _cleanup_node_fact_ NodeFact n = { .kind = NODE_BLOCK };
                const Block *b = &s->blocks.blocks[i];
                int r;

                if (is_idle(b))
                        continue;
                r = describe(s, b, &n);
                if (r >= 0)
                        r = factset_add_node(f, &n);
                if (r >= 0 && b->parent)
                        r = add_lower(s, f, b, b->parent, PATH("/sys/class/block/%s/partition", b->name));
                for (char **slave = b->slaves; r >= 0 && slave && *slave; slave++)
                        r = add_lower(s, f, b, *slave, PATH("/sys/class/block/%s/slaves/%s", b->name, *slave));
                if (r < 0)
                        return r;
        }
        return 0;
}
