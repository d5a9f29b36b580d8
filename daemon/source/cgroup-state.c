/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "common/hashmap.h"
#include "common/text.h"
#include "daemon/source/cgroup-state.h"

#define CGROUP_LEVELS_MAX 128U
#define INHERITED_GRANULARITY (UINT64_C(1) << 20) /* it moves with what the neighbours use */

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

static bool is_frozen(const Sysroot *s, const char *path) {
        _cleanup_free_ char *events = NULL;

        return sysroot_read(s, AREA_SYS, PATH("fs/cgroup%s/cgroup.events", path), &events) >= 0 && stat_value(events, "frozen") == 1;
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
        c->frozen = is_frozen(s, c->path);
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

/* One that is there without the files of the memory controller. One that is gone is left out. */
static int add_uncontrolled(const Sysroot *s, const char *path, State *state) {
        CgroupState *present = state_find_cgroup(state, path), new = { .uncontrolled = true };

        if (!sysroot_exists(s, AREA_SYS, PATH("fs/cgroup%s/cgroup.procs", path)))
                return 0;
        if (present) {
                present->uncontrolled = !present->described;
                return 0;
        }
        new.path = strdup(path);
        return new.path ? state_add_cgroup(state, &new) : -ENOMEM;
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
                if (r == -ENOENT && leaf)
                        r = add_uncontrolled(s, p, state);
                if (r >= 0 && !leaf)
                        r = add_children(s, p, state);
                if (r == -ENOMEM)
                        return r;
                leaf = false;
        }
        return 0;
}

/* Of one directory, and after that, its children's names to the end of the list of what is still to be visited. */
static int list_one(const Sysroot *s, const char *path, size_t most, pid_t **pids, size_t *n, size_t *capacity, char ***paths, size_t *n_paths) {
        _cleanup_free_ char *text = NULL;
        _cleanup_strv_free_ char **names = NULL;
        char *rest = NULL;
        int r = 0;

        if (sysroot_read(s, AREA_SYS, PATH("fs/cgroup%s/cgroup.procs", path), &text) >= 0)
                for (char *line = strtok_r(text, "\n", &rest); r >= 0 && line && *n < most; line = strtok_r(NULL, "\n", &rest)) {
                        pid_t pid;

                        if (text_to_pid(line, &pid) >= 0)
                                r = ARRAY_APPEND(*pids, *n, *capacity, pid);
                }
        if (r < 0 || sysroot_list(s, AREA_SYS, PATH("fs/cgroup%s", path), &names) < 0)
                return r;
        for (char **name = names; r >= 0 && *name && *n_paths < most; name++)
                if (!is_attribute(*name))
                        r = strv_append(paths, n_paths, PATH("%s/%s", path, *name));
        return r;
}

int cgroup_list_processes(const Sysroot *s, const char *path, size_t most, pid_t **ret, size_t *ret_n) {
        _cleanup_strv_free_ char **paths = NULL;
        _cleanup_free_ pid_t *pids = NULL;
        size_t n = 0, capacity = 0, n_paths = 0;
        int r;

        r = strv_append(&paths, &n_paths, path);
        for (size_t i = 0; r >= 0 && i < n_paths && n < most; i++)
                r = list_one(s, paths[i], most, &pids, &n, &capacity, &paths, &n_paths);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(pids);
        *ret_n = n;
        return 0;
}

/* ---- what is in effect ---- */

/* A cgroup, as far as its neighbours' reservations depend on it. */
typedef struct Use {
        char *path;
        uint64_t min, usage;
        uint64_t claimed; /* by its children: what each has reserved, and uses */
        bool counted;     /* 'claimed' is known */
} Use;

struct CgroupUses {
        Hashmap *by_path;
};

CgroupUses *cgroup_uses_new(void) {
        CgroupUses *u = calloc(1, sizeof(CgroupUses));

        if (!u)
                return NULL;
        u->by_path = hashmap_new();
        return u->by_path ? u : cgroup_uses_free(u);
}

CgroupUses *cgroup_uses_free(CgroupUses *u) {
        size_t position = 0;

        if (!u)
                return NULL;
        for (Use *use; u->by_path && (use = hashmap_next(u->by_path, &position));) {
                free(use->path);
                free(use);
        }
        hashmap_free(u->by_path);
        free(u);
        return NULL;
}

static int find_use(const Sysroot *s, CgroupUses *u, const char *path, Use **ret) {
        Use *use = hashmap_get(u->by_path, path);
        int r;

        if (use) {
                *ret = use;
                return 0;
        }
        use = calloc(1, sizeof(Use));
        if (!use)
                return -ENOMEM;
        use->path = strdup(path);
        r = use->path ? read_bytes(s, path, "memory.min", &use->min) : -ENOMEM;
        if (r >= 0) /* captures may lack it: 0 */
                (void) read_bytes(s, path, "memory.current", &use->usage);
        if (r >= 0)
                r = hashmap_put(u->by_path, use->path, use);
        if (r < 0) {
                free(use->path);
                free(use);
                return r;
        }
        *ret = use;
        return 0;
}

static uint64_t add_saturated(uint64_t a, uint64_t b) {
        return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

/* Where nothing is reserved it does not matter to others what is used. */
static int count_child(const Sysroot *s, CgroupUses *u, Use *above, const char *path) {
        uint64_t min;
        Use *use;
        int r;

        if (read_bytes(s, path, "memory.min", &min) < 0 || min == 0)
                return 0;
        r = find_use(s, u, path, &use);
        if (r >= 0)
                above->claimed = add_saturated(above->claimed, MIN(use->usage, use->min));
        return r == -ENOMEM ? r : 0;
}

static int count_children(const Sysroot *s, CgroupUses *u, Use *use) {
        _cleanup_strv_free_ char **names = NULL;
        int r;

        if (use->counted)
                return 0;
        use->claimed = 0;
        r = sysroot_list(s, AREA_SYS, PATH("fs/cgroup%s", use->path), &names);
        for (char **name = names; r >= 0 && *name; name++)
                if (!is_attribute(*name))
                        r = count_child(s, u, use, PATH("%s/%s", use->path, *name));
        use->counted = r >= 0;
        return r;
}

/* a * b / c, with b <= c, a bit of a at a time: the product may be larger than any number of a 32-bit machine. */
static uint64_t share(uint64_t a, uint64_t b, uint64_t c) {
        uint64_t result = 0, rest = 0; /* rest < c */

        for (int bit = 63; bit >= 0; bit--) {
                bool more = rest >= c - rest;

                result = result << 1 | more;
                rest = more ? rest - (c - rest) : rest << 1;
                if (!(a >> bit & 1))
                        continue;
                more = rest >= c - b;
                result += more;
                rest = more ? rest - (c - b) : rest + b;
        }
        return result;
}

/* mm/page_counter.c, effective_protection(), in bytes. */
static uint64_t effective_protection(uint64_t usage, uint64_t above_usage, uint64_t min, uint64_t above, uint64_t claimed, bool recursive) {
        uint64_t protected = MIN(usage, min), effective;

        if (claimed > above)
                return share(protected, above, claimed);
        effective = protected;
        if (recursive && above > claimed && above_usage > claimed && usage > protected)
                effective += share(above - claimed, MIN(usage - protected, above_usage - claimed), above_usage - claimed);
        return effective;
}

/* One step down. 'more': what is used in all of the path when the reservation at its end is used up. */
static int step_down(
                const Sysroot *s,
                CgroupUses *u,
                Use *above,
                const Use *use,
                uint64_t more,
                bool recursive,
                uint64_t *effective) {

        uint64_t usage = add_saturated(use->usage, more), claimed;
        int r;

        r = count_children(s, u, above);
        if (r < 0)
                return r;
        /* It may not have been there when its neighbours were counted. */
        claimed = above->claimed - MIN(above->claimed, MIN(use->usage, use->min));
        claimed = add_saturated(claimed, MIN(usage, use->min));
        *effective = effective_protection(usage, add_saturated(above->usage, more), use->min, *effective, claimed, recursive);
        return 0;
}

/* All in the path, from above, with the least of what they have reserved. */
static int collect_uses(const Sysroot *s, CgroupUses *u, char *path, Use *uses[CGROUP_LEVELS_MAX], size_t *ret_n, uint64_t *ret_least) {
        size_t n = 0;
        int r;

        *ret_least = UINT64_MAX;
        for (char *slash; path[0] == '/' && path[1]; *slash = 0) {
                slash = strrchr(path, '/');
                if (n >= CGROUP_LEVELS_MAX)
                        return -E2BIG;
                r = find_use(s, u, path, &uses[n]);
                if (r == -ENOENT && n == 0)
                        continue; /* without the memory controller: it is charged to the one above */
                if (r < 0)
                        return r;
                *ret_least = MIN(*ret_least, uses[n]->min);
                n++;
        }
        *ret_n = n;
        return 0;
}

int cgroup_effective_min(const Sysroot *s, CgroupUses *u, const char *path, bool recursive, uint64_t *ret) {
        _cleanup_free_ char *copy = strdup(path);
        Use *uses[CGROUP_LEVELS_MAX];
        uint64_t least, effective, more;
        size_t n;
        int r;

        if (!copy)
                return -ENOMEM;
        r = collect_uses(s, u, copy, uses, &n, &least);
        if (r < 0)
                return r;
        if (n == 0 || least == UINT64_MAX) {
                *ret = n == 0 ? 0 : UINT64_MAX;
                return 0;
        }
        more = least - MIN(least, uses[0]->usage);
        effective = uses[n - 1]->min; /* below the root it counts as it is */
        for (size_t i = n - 1; i > 0; i--) {
                r = step_down(s, u, uses[i], uses[i - 1], more, recursive, &effective);
                if (r < 0)
                        return r;
        }
        *ret = uses[0]->min > 0 ? MIN(effective, least) : effective / INHERITED_GRANULARITY * INHERITED_GRANULARITY;
        return 0;
}
