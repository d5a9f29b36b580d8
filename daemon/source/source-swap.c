/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Swap areas: on a block device, or in a file. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "common/text.h"
#include "daemon/source/scan.h"

static int add_area(Scan *s, FactSet *f, const char *path, const char *type, uint64_t size) {
        _cleanup_node_fact_ NodeFact n = { .kind = NODE_SWAP, .size = size };
        const Block *b = streq(type, "partition") ? block_table_find_path(&s->blocks, path) : NULL;
        _cleanup_free_ char *id = NULL, *lower = NULL;
        const Mount *m;
        int r;

        id = b ? text_format("swap:%u:%u", major(b->device), minor(b->device)) : text_format("swap:%s", path);
        n.id = id ? strdup(id) : NULL;
        n.type = strdup("swap");
        n.path = strdup(path);
        n.name = strdup(b ? b->name : path);
        n.device = b ? text_format("%u:%u", major(b->device), minor(b->device)) : NULL;
        if (!id || !n.id || !n.type || !n.path || !n.name || (b && !n.device))
                return -ENOMEM;
        r = factset_add_node(f, &n);
        if (r < 0)
                return r;
        if (b) {
                lower = block_id(b->device);
                return lower ? factset_add_edge(f, id, lower, ROLE_BACKING, CERTAINTY_PROVEN, 0, "/proc/swaps") : -ENOMEM;
        }
        m = mount_table_resolve(&s->mounts, 0, path);
        if (!m)
                return 0;
        r = scan_add_file(f, m, 0, path, size, CERTAINTY_UNIQUE, "/proc/swaps", &lower);
        return r < 0 ? r : factset_add_edge(f, id, lower, ROLE_BACKING, CERTAINTY_PROVEN, 0, "/proc/swaps");
}

int source_swap_scan(Scan *s, FactSet *f) {
        _cleanup_free_ char *text = NULL;
        char *state = NULL, *line;
        int r;

        r = sysroot_read(s->root, AREA_PROC, "swaps", &text);
        if (r < 0)
                return r == -ENOENT ? 0 : r;
        line = strtok_r(text, "\n", &state); /* heading */
        while (line && (line = strtok_r(NULL, "\n", &state))) {
                char *fields = NULL, *path = strtok_r(line, " \t", &fields), *type = strtok_r(NULL, " \t", &fields);
                char *kilobytes = strtok_r(NULL, " \t", &fields);
                uint64_t size = 0;

                if (!path || !type)
                        continue;
                text_unescape_octal(path);
                if (kilobytes && text_to_u64(kilobytes, 10, &size) >= 0)
                        size *= 1024;
                r = add_area(s, f, path, type, size);
                if (r < 0)
                        return r;
        }
        return 0;
}
