/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Every superblock is one layer, however many mounts and namespaces show it, and also where none does. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "common/text.h"
#include "daemon/source/scan.h"

/* File systems that whoever may make a user namespace has mounted in it: he makes as many as he likes. */
#define FOREIGN_MAX 16384U

static int compare_strings(const void *a, const void *b) {
        return strcmp(*(char *const *) a, *(char *const *) b);
}

/* Mount points in the machine's own namespace; those of others only where it has none. Sorted, each once: a volume
 * may be mounted thousands of times, and in hundreds of namespaces at the same place. */
static int collect_targets(const MountTable *t, size_t first, size_t n, char ***ret) {
        _cleanup_strv_free_ char **targets = NULL;
        _cleanup_free_ char **sorted = malloc(n * sizeof(char *));
        size_t n_sorted = 0, count = 0;
        int r;

        if (!sorted)
                return -ENOMEM;
        for (int others = 0; others <= 1 && n_sorted == 0; others++)
                for (size_t i = first; i < first + n; i++) {
                        const Mount *m = &t->mounts[t->by_device[i]];

                        if (m->space != SPACE_NONE && (m->space != 0) == others)
                                sorted[n_sorted++] = m->target;
                }
        qsort(sorted, n_sorted, sizeof(char *), compare_strings);
        for (size_t i = 0; i < n_sorted; i++) {
                if (i > 0 && streq(sorted[i], sorted[i - 1]))
                        continue;
                r = strv_append(&targets, &count, sorted[i]);
                if (r < 0)
                        return r;
        }
        *ret = TAKE_PTR(targets);
        return 0;
}

/* All members of a multi-device btrfs; the mount's source names only one. */
static int add_btrfs_members(Scan *s, FactSet *f, const char *id, const Mount *m, bool *ret_found) {
        _cleanup_strv_free_ char **members = NULL;
        int r;

        if (!m->uuid)
                return 0;
        r = sysroot_list(s->root, AREA_SYS, PATH("fs/btrfs/%s/devices", m->uuid), &members);
        if (r < 0)
                return r == -ENOMEM ? r : 0;
        for (char **name = members; *name; name++) {
                const Block *b = block_table_find(&s->blocks, *name);
                _cleanup_free_ char *lower = b ? block_id(b->device) : NULL;

                if (!b)
                        continue;
                r = lower ? factset_add_edge(f, id, lower, ROLE_BACKING, CERTAINTY_PROVEN, 0,
                                             PATH("/sys/fs/btrfs/%s/devices/%s", m->uuid, *name)) : -ENOMEM;
                if (r < 0)
                        return r;
                *ret_found = true;
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
        if (type_is_fuseblk(m->type))
                return 0; /* its device is used by the process that serves it, not by the kernel */
        if (major(m->device) != 0) {
                lower = block_id(m->device);
                return lower ? factset_add_edge(f, id, lower, ROLE_BACKING, CERTAINTY_PROVEN, 0,
                                                m->space == SPACE_NONE ? PATH("/sys/fs/%s/%s", m->type, m->source) : "/proc/1/mountinfo")
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
        _cleanup_free_ char *id = mount_filesystem_id(m);
        bool unknown = false;
        int r;

        node.id = mount_filesystem_id(m);
        node.type = strdup(m->type);
        node.name = strdup(m->source);
        node.device = m->device != 0 ? text_of_devno("", m->device) : NULL;
        if (!id || !node.id || !node.type || !node.name || (m->device != 0 && !node.device))
                return -ENOMEM;
        r = collect_targets(&s->mounts, first, n, &node.mounts);
        if (r < 0)
                return r;
        r = add_lower(s, f, id, m, &unknown);
        if (r < 0)
                return r;
        s->unwatched |= m->space == SPACE_NONE && !unmounted_has_event(m);
        if (m->space == SPACE_NONE || unknown || scan_is_deserted(s, m->device)) {
                node.incomplete = strdup(unknown                           ? "some of its layers are not where its mount options say, as far as can be seen"
                                         : scan_is_deserted(s, m->device) ? "nobody that can be seen serves it"
                                                                           : UNMOUNTED);
                if (!node.incomplete)
                        return -ENOMEM;
        }
        return factset_add_node(f, &node);
}

/* Whether it is there only for processes in user namespaces of their own. */
static bool is_foreign(const MountTable *t, size_t first, size_t n) {
        for (size_t i = first; i < first + n; i++)
                if (!t->mounts[t->by_device[i]].foreign)
                        return false;
        return true;
}

int source_filesystem_scan(Scan *s, FactSet *f) {
        const MountTable *t = &s->mounts;
        size_t n, n_foreign = 0;
        int r;

        for (size_t i = 0; i < t->n; i += n) {
                const Mount *m = &t->mounts[t->by_device[i]];

                for (n = 1; i + n < t->n && mount_same_filesystem(&t->mounts[t->by_device[i + n]], m); n++)
                        ;
                if (is_foreign(t, i, n) && n_foreign++ >= FOREIGN_MAX) {
                        s->gaps |= GAP_NAMESPACE_LIMIT;
                        continue;
                }
                r = add_filesystem(s, f, i, n);
                if (r < 0)
                        return r;
        }
        return 0;
}
