/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Swap areas: on a block device, or in a file. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "common/text.h"
#include "daemon/source/scan.h"

/* What may hold a swap file. */
static bool holds_swap(const Mount *m) {
        return !mount_is_fuse(m);
}

static bool may_be_elsewhere(const MountTable *t) {
        for (size_t i = t->n_mounted; i < t->n; i++)
                if (holds_swap(&t->mounts[i]))
                        return true;
        return false;
}

/* The kernel prints the path of a swap file on a file system that is mounted nowhere any more as if it began at the root. Where there
 * is such a file system it is asked whether there is a file of that name at all: one that is swapped to cannot be
 * removed. */
static int is_elsewhere(Scan *s, const char *path, bool *ret) {
        _cleanup_free_ char *escaped = NULL;
        const char *answer;
        char *p;

        *ret = false;
        if (!s->probes || !may_be_elsewhere(&s->mounts))
                return 0;
        escaped = p = malloc(4 * strlen(path) + 1);
        if (!escaped)
                return -ENOMEM;
        for (; *path; path++)
                if (strchr(" \t\n\\=", *path))
                        p += sprintf(p, "\\%03o", (unsigned) *path);
                else
                        *p++ = *path;
        *p = 0;
        answer = probe_cache_get(s->probes, PATH("file %s", escaped), NULL);
        *ret = streq_ptr(answer, "no");
        return 0;
}

static int add_area(Scan *s, FactSet *f, const char *path, const char *type, uint64_t size) {
        _cleanup_node_fact_ NodeFact n = { .kind = NODE_SWAP, .size = size };
        const Block *b = streq(type, "partition") ? block_table_find_path(&s->blocks, path) : NULL;
        _cleanup_free_ char *id = NULL, *lower = NULL;
        const Mount *m;
        bool elsewhere;
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
        r = is_elsewhere(s, path, &elsewhere);
        if (r < 0 || !m)
                return r;
        if (elsewhere)
                r = scan_add_lost_file(s, f, "swap", path, holds_swap, "/proc/swaps: no such file", &lower);
        else
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
