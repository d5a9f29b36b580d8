/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "common/text.h"
#include "daemon/actuator/actuator.h"
#include "daemon/world/observe.h"
#include "daemon/policy/mount-option.h"
#include "daemon/policy/want.h"
#include "daemon/source/cgroup-state.h"

/* Takes over 'value'. */
static int add_reading(State *s, const Node *n, const char *target, const char *key, char *value, const char *place) {
        Reading reading = {
                .node = strdup(n->id),
                .target = strdup(target),
                .key = strdup(key),
                .value = value,
                .place = place ? strdup(place) : NULL,
        };

        return state_add_reading(s, &reading);
}

/* Reads it by its actuator, so that both mean the same. */
static int read_setting(const Scan *scan, State *s, const Node *n, ActionKind kind, const char *target, const char *key) {
        char *value = NULL;
        int r;

        r = actuator_read(scan->root, kind, target, key, &value);
        if (r < 0)
                return r == -ENOMEM ? r : 0;
        return add_reading(s, n, target, key, value, NULL);
}

/* ---- writeback ---- */

/* btrfs has one of its own, which only its directory in sysfs names. */
static int btrfs_bdi(const Scan *scan, const char *device, char **ret) {
        _cleanup_strv_free_ char **fsids = NULL;

        if (!device || sysroot_list(scan->root, AREA_SYS, "fs/btrfs", &fsids) < 0)
                return 0;
        for (char **fsid = fsids; *fsid; fsid++) {
                _cleanup_free_ char *link = NULL;
                const char *name;

                if (!sysroot_exists(scan->root, AREA_SYS, PATH("fs/btrfs/%s/devices/%s", *fsid, device)) ||
                    sysroot_readlink(scan->root, AREA_SYS, PATH("fs/btrfs/%s/bdi", *fsid), &link) < 0)
                        continue;
                name = strrchr(link, '/');
                *ret = strdup(name ? name + 1 : link);
                return *ret ? 0 : -ENOMEM;
        }
        return 0;
}

/* NULL: it has none that is known. 0 or -ENOMEM. */
static int bdi_name(const Scan *scan, const Node *n, char **ret) {
        const NodeFact *f = n->fact;
        const Block *b = NULL;
        dev_t device;

        if (!f->device || text_to_devno(f->device, &device) < 0)
                return 0;
        if (streq_ptr(f->type, "btrfs")) {
                b = f->name ? block_table_find_path(&scan->blocks, f->name) : NULL;
                return btrfs_bdi(scan, b ? b->name : NULL, ret);
        }
        if (f->type && type_is_fuseblk(f->type)) {
                *ret = text_format("%s-fuseblk", f->device);
                return *ret ? 0 : -ENOMEM;
        }
        /* A partition has its disk's. */
        b = block_table_find_device(&scan->blocks, device);
        if (b && b->parent)
                b = block_table_find(&scan->blocks, b->parent);
        *ret = b ? text_format("%u:%u", major(b->device), minor(b->device)) : strdup(f->device);
        return *ret ? 0 : -ENOMEM;
}

static int observe_writeback(const Scan *scan, State *s, const Node *n) {
        _cleanup_free_ char *name = NULL, *target = NULL;
        struct stat st = {};
        int r;

        r = bdi_name(scan, n, &name);
        if (r < 0 || !name)
                return r;
        if (sysroot_is_machine(scan->root)) {
                _cleanup_close_ int fd = sysroot_open_at(scan->root, AREA_SYS, PATH("class/bdi/%s", name), O_RDONLY | O_DIRECTORY);

                if (fd < 0)
                        return 0;
                if (fstat(fd, &st) < 0)
                        return -errno;
        }
        target = text_format("bdi:%s:%llu", name, (unsigned long long) st.st_ino);
        if (!target)
                return -ENOMEM;
        r = read_setting(scan, s, n, ACTION_WRITEBACK_LIMIT, target, "max_ratio");
        return r < 0 ? r : read_setting(scan, s, n, ACTION_WRITEBACK_LIMIT, target, "strict_limit");
}

/* ---- direct I/O ---- */

static int observe_direct_io(const Scan *scan, State *s, const Node *n) {
        _cleanup_free_ char *target = NULL;
        const Block *b;
        dev_t device;

        if (!n->fact->device || text_to_devno(n->fact->device, &device) < 0)
                return 0;
        b = block_table_find_device(&scan->blocks, device);
        if (!b || !b->backing_file)
                return 0;
        target = text_format("block:%s:%llu", n->fact->device, (unsigned long long) b->diskseq);
        return target ? read_setting(scan, s, n, ACTION_DIRECT_IO, target, "dio") : -ENOMEM;
}

/* ---- mount options ---- */

static int observe_option(const Scan *scan, State *s, const Node *n, const MountOption *option) {
        bool superblock = option->scope == MOUNT_SCOPE_SUPERBLOCK;
        size_t first, count;
        uint64_t inode;
        dev_t device;
        int r;

        if (!n->fact->device || text_to_devno(n->fact->device, &device) < 0)
                return 0;
        r = superblock_inode(scan->root, n->fact->type, n->fact->device, &inode);
        if (r < 0)
                return r;
        first = mount_table_device_range(&scan->mounts, device, &count);
        for (size_t i = first; i < first + count; i++) {
                const Mount *m = &scan->mounts.mounts[scan->mounts.by_device[i]];
                _cleanup_free_ char *target = NULL, *value = NULL;

                if (m->space != 0)
                        continue;
                target = superblock ? text_format("fs:%s:%llu", n->fact->device, (unsigned long long) inode)
                                    : text_format("mount:%d:%s:%llu", m->id, n->fact->device, (unsigned long long) inode);
                value = mount_option_value(n->fact->type, option, m->flags, m->options);
                if (!target || !value)
                        return -ENOMEM;
                r = add_reading(s, n, target, option->key, TAKE_PTR(value), m->target);
                if (r < 0 || superblock)
                        return r;
        }
        return 0;
}

static int observe_mount_options(const Scan *scan, State *s, const Node *n, const Setting *setting) {
        _cleanup_strv_free_ char **words = mount_options_split(setting->text ?: "");
        int r = 0;

        if (!words)
                return -ENOMEM;
        for (char **word = words; r >= 0 && *word; word++) {
                MountOption option;

                if (mount_option_find(n->fact->type, *word, &option) >= 0)
                        r = observe_option(scan, s, n, &option);
        }
        return r;
}

/* ---- all ---- */

static int observe_layer(const Scan *scan, State *s, const Node *n, const Policy *policy) {
        const Setting *settings[_SETTING_KIND_MAX] = {};
        bool filesystem = node_kind(n) == NODE_FILESYSTEM, block = node_kind(n) == NODE_BLOCK;
        int r = 0;

        if ((!filesystem && !block) || layer_standing(n) == STANDING_NONE)
                return 0;
        policy_decide(policy, n, settings);
        if (setting_is_set(settings[SETTING_WRITEBACK_MAX_RATIO]) || setting_is_set(settings[SETTING_WRITEBACK_MAX_BYTES]) ||
            setting_is_set(settings[SETTING_WRITEBACK_STRICT_LIMIT]))
                r = observe_writeback(scan, s, n);
        if (r >= 0 && block && setting_is_set(settings[SETTING_DIRECT_IO]))
                r = observe_direct_io(scan, s, n);
        if (r >= 0 && filesystem && n->fact->type && setting_is_set(settings[SETTING_MOUNT_OPTIONS]))
                r = observe_mount_options(scan, s, n, settings[SETTING_MOUNT_OPTIONS]);
        return r;
}

/* What systemd and systemd-oomd keep of it beside its files. */
static int observe_cgroup(const Scan *scan, CgroupState *c) {
        static const ActionKind kinds[_UNIT_SETTING_MAX] = {
                [UNIT_MEMORY_MIN] = ACTION_MEMORY_MIN,
                [UNIT_MEMORY_LOW] = ACTION_MEMORY_LOW,
                [UNIT_SWAP_MAX] = ACTION_SWAP_MAX,
                [UNIT_OOMD_PREFERENCE] = ACTION_OOMD_PREFERENCE,
        };
        const char *name = strrchr(c->path, '/') + 1;
        int r = 0;

        name += name[0] == '_'; /* systemd's, before a name that the kernel reserves */
        for (UnitSetting i = 0; r >= 0 && strchr(name, '.') && i < _UNIT_SETTING_MAX; i++)
                r = unit_read_told(scan->root, kinds[i], name, &c->told[i]);
        if (r < 0)
                return r;
        return cgroup_read_preference(scan->root, c->path, &c->preference) == -ENOMEM ? -ENOMEM : 0;
}

static int observe_process(const Scan *scan, State *s, const Node *n) {
        _cleanup_free_ char *path = NULL;
        int r;

        if (n->analysis.depth == 0 || !n->fact->cgroup || n->fact->cgroup[0] != '/')
                return 0;
        path = strdup(n->fact->cgroup);
        r = path ? cgroup_state_read(scan->root, path, s) : -ENOMEM;
        for (char *slash; r >= 0 && (slash = strrchr(path, '/')); *slash = 0) {
                CgroupState *c = state_find_cgroup(s, path);

                if (c && c->described && !c->preference)
                        r = observe_cgroup(scan, c);
        }
        return r;
}

static uint64_t memory_total(const Sysroot *s) {
        _cleanup_free_ char *text = NULL;
        unsigned long long kib;

        if (sysroot_read(s, AREA_PROC, "meminfo", &text) < 0 || sscanf(text, "MemTotal: %llu kB", &kib) != 1)
                return 0;
        return (uint64_t) kib * 1024;
}

static bool has_memory_controller(const Sysroot *s) {
        _cleanup_free_ char *text = NULL;
        char *rest = NULL;

        /* Captures of older versions lack that file. */
        if (sysroot_read(s, AREA_SYS, "fs/cgroup/cgroup.controllers", &text) < 0)
                return sysroot_exists(s, AREA_SYS, "fs/cgroup/system.slice/memory.min");
        for (char *word = strtok_r(text, " ", &rest); word; word = strtok_r(NULL, " ", &rest))
                if (streq(word, "memory"))
                        return true;
        return false;
}

int observe(const Scan *scan, Graph *g, const Policy *policy, State *ret) {
        State s = { .recursive_protection = scan->recursive_protection, .memory_total = memory_total(scan->root) };
        size_t position = 0;
        Node *n;
        int r = 0;

        s.memory_controller = has_memory_controller(scan->root);
        s.oomd = sysroot_exists(scan->root, AREA_SYS, "fs/cgroup/system.slice/systemd-oomd.service");
        while (r >= 0 && (n = graph_next(g, &position)))
                r = node_kind(n) == NODE_PROCESS ? observe_process(scan, &s, n) : observe_layer(scan, &s, n, policy);
        if (r >= 0)
                r = state_sort_readings(&s);
        if (r < 0) {
                state_done(&s);
                return r;
        }
        *ret = s;
        return 0;
}
