/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "common/text.h"
#include "daemon/source/cgroup-state.h"

static int read_bytes(const Sysroot *s, const char *path, const char *file, uint64_t *ret) {
        _cleanup_free_ char *text = NULL;
        int r;

        r = sysroot_read(s, AREA_SYS, PATH("fs/cgroup%s/%s", path, file), &text);
        if (r < 0)
                return r;
        if (streq(text, "max")) {
                *ret = MEMORY_UNLIMITED;
                return 0;
        }
        return text_to_u64(text, 10, ret);
}

/* A line "KEY VALUE"; 0 when there is none. */
static uint64_t stat_value(const char *stat, const char *key) {
        size_t n = strlen(key);

        for (const char *line = stat; line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL)
                if (strncmp(line, key, n) == 0 && line[n] == ' ')
                        return strtoull(line + n + 1, NULL, 10);
        return 0;
}

/* What is gone for good when it is reclaimed, or must be read back from where the unit's own work is needed.
 * Before Linux 5.18 what the kernel holds is not summed up. */
static uint64_t used_memory(const char *stat) {
        uint64_t kernel = stat_value(stat, "kernel");

        if (kernel == 0)
                kernel = stat_value(stat, "kernel_stack") + stat_value(stat, "pagetables") + stat_value(stat, "percpu") +
                        stat_value(stat, "sock") + stat_value(stat, "slab_unreclaimable");
        return stat_value(stat, "anon") + stat_value(stat, "shmem") + stat_value(stat, "file_mapped") + kernel;
}

static unsigned count_lines(const char *text) {
        unsigned n = *text != 0;

        for (; *text; text++)
                n += *text == '\n';
        return n;
}

static int read_all(const Sysroot *s, CgroupState *c) {
        _cleanup_free_ char *stat = NULL, *processes = NULL;
        uint64_t swapped;
        int r;

        r = read_bytes(s, c->path, "memory.min", &c->min);
        if (r >= 0)
                r = read_bytes(s, c->path, "memory.low", &c->low);
        if (r >= 0)
                r = read_bytes(s, c->path, "memory.max", &c->max);
        if (r >= 0)
                r = read_bytes(s, c->path, "memory.high", &c->high);
        if (r >= 0)
                r = read_bytes(s, c->path, "memory.current", &c->current);
        if (r >= 0)
                r = sysroot_read(s, AREA_SYS, PATH("fs/cgroup%s/memory.stat", c->path), &stat);
        if (r < 0)
                return r;
        c->used = used_memory(stat);
        /* It is the unit's all the same, and must find room when it is needed. */
        if (read_bytes(s, c->path, "memory.swap.current", &swapped) >= 0)
                c->used += swapped;
        c->has_swap_max = read_bytes(s, c->path, "memory.swap.max", &c->swap_max) >= 0;
        if (sysroot_read(s, AREA_SYS, PATH("fs/cgroup%s/cgroup.procs", c->path), &processes) >= 0)
                c->processes = count_lines(processes);
        c->described = true;
        return 0;
}

/* One that is there with its own values only, as somebody's neighbour, is completed. */
static int add_described(const Sysroot *s, const char *path, State *state) {
        CgroupState *present = state_find_cgroup(state, path), new = {};
        int r;

        if (present)
                return present->described ? 0 : read_all(s, present);
        new.path = strdup(path);
        if (!new.path)
                return -ENOMEM;
        r = read_all(s, &new);
        if (r < 0) {
                free(new.path);
                return r;
        }
        return state_add_cgroup(state, &new);
}

static bool is_attribute(const char *name) {
        static const char *const prefixes[] = { "cgroup.", "memory.", "cpu.", "cpuset.", "io.", "pids.", "hugetlb.", "rdma.", "misc.", "irq." };

        for (size_t i = 0; i < ELEMENTSOF(prefixes); i++)
                if (startswith(name, prefixes[i]))
                        return true;
        return false;
}

static int add_children(const Sysroot *s, const char *path, State *state) {
        _cleanup_strv_free_ char **names = NULL;
        int r;

        r = sysroot_list(s, AREA_SYS, PATH("fs/cgroup%s", path), &names);
        if (r < 0)
                return r;
        for (char **name = names; *name; name++) {
                CgroupState child = {};

                if (is_attribute(*name) || state_find_cgroup(state, PATH("%s/%s", path, *name)))
                        continue;
                if (read_bytes(s, PATH("%s/%s", path, *name), "memory.min", &child.min) < 0 ||
                    read_bytes(s, PATH("%s/%s", path, *name), "memory.low", &child.low) < 0)
                        continue;
                child.path = text_format("%s/%s", path, *name);
                r = state_add_cgroup(state, &child);
                if (r < 0)
                        return r;
        }
        return 0;
}

int cgroup_state_read(const Sysroot *s, const char *path, State *state) {
        _cleanup_free_ char *p = strdup(path);
        bool leaf = true;

        if (!p)
                return -ENOMEM;
        for (char *slash; (slash = strrchr(p, '/')) && p[0] == '/' && p[1]; *slash = 0) {
                CgroupState *known = state_find_cgroup(state, p);
                int r = 0;

                if (known && known->described && !leaf)
                        return 0; /* and so are those above it */
                r = add_described(s, p, state);
                if (r >= 0 && !leaf)
                        r = add_children(s, p, state);
                if (r == -ENOMEM)
                        return r;
                leaf = false;
        }
        return 0;
}

static bool children_claim(const Sysroot *s, const char *path) {
        _cleanup_strv_free_ char **names = NULL;
        uint64_t min;

        if (sysroot_list(s, AREA_SYS, PATH("fs/cgroup%s", path), &names) < 0)
                return true;
        for (char **name = names; *name; name++)
                if (!is_attribute(*name) && read_bytes(s, PATH("%s/%s", path, *name), "memory.min", &min) >= 0 && min > 0)
                        return true;
        return false;
}

/* Up to the first ancestor that has something: all between must be of those whose children claim nothing. */
uint64_t cgroup_inherited_min(const Sysroot *s, const char *path) {
        _cleanup_free_ char *p = strdup(path);
        uint64_t effective = 0, min;

        for (char *slash; p && (slash = strrchr(p, '/')) && slash != p;) {
                *slash = 0;
                if (read_bytes(s, p, "memory.min", &min) < 0)
                        return 0;
                if (effective > 0)
                        effective = MIN(effective, min);
                else if (children_claim(s, p))
                        return 0;
                else
                        effective = min;
        }
        return effective;
}
