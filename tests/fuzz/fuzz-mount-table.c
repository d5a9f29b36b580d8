/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* mountinfo, and paths followed through what comes of it. */
#include "common/text.h"
#include "daemon/source/mount-table.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/memory-root.h"

static void check_indices(const MountTable *t) {
        for (size_t i = 0; i < t->n; i++) {
                const Mount *m = &t->mounts[i], *found = mount_table_find_id(t, m->id);
                size_t n, first = mount_table_device_range(t, m->device, &n);
                bool there = false;

                MUST(found && found->id == m->id);
                MUST(mount_table_find_device(t, m->device)->device == m->device);
                for (size_t k = first; k < first + n; k++)
                        there |= t->by_device[k] == i;
                MUST(there);
                MUST(m->root && m->target && m->type && m->source && m->flags && m->options && m->space < t->n_spaces);
                (void) mount_is_pseudo(m);
        }
}

/* As it is meant, without an index. */
static const Mount *resolve_slowly(const MountTable *t, unsigned space, const char *path) {
        const Mount *current = NULL;

        for (size_t steps = 0; steps < t->n; steps++) {
                const Mount *next = NULL;

                for (size_t i = 0; i < t->n; i++) {
                        const Mount *m = &t->mounts[i];
                        bool child;

                        if (m->space != space || !path_is_below(path, m->target))
                                continue;
                        child = current ? m->parent == current->id && m != current
                                        : streq(m->target, "/") && (m->parent == m->id || !mount_table_find_id(t, m->parent));
                        if (child && (!next || strlen(m->target) < strlen(next->target)))
                                next = m;
                }
                if (!next || (current && strlen(next->target) < strlen(current->target)))
                        break;
                current = next;
        }
        return current;
}

static void resolve(const MountTable *t, unsigned space, const char *path) {
        const Mount *m = mount_table_resolve(t, space, path);

        MUST(!m || (m->space == space && path_is_below(path, m->target)));
        MUST(m == resolve_slowly(t, space, path));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        static const char prefix[] = "@proc/1/mountinfo\n";
        _cleanup_free_ char *text = malloc(sizeof(prefix) + size);
        _cleanup_(sysroot_freep) Sysroot *s = NULL;
        MountTable t = {};

        MUST(text);
        memcpy(text, prefix, sizeof(prefix) - 1);
        memcpy(text + sizeof(prefix) - 1, data, size);
        text[sizeof(prefix) - 1 + size] = 0;
        s = memory_root_new(text);
        if (mount_table_read(s, &t) < 0)
                return 0;
        check_indices(&t);
        for (size_t i = 0; i < t.n && i < 64; i++) {
                resolve(&t, t.mounts[i].space, t.mounts[i].target);
                resolve(&t, t.mounts[i].space, t.mounts[i].source);
                resolve(&t, 0, t.mounts[i].root);
        }
        mount_table_done(&t);
        return 0;
}
