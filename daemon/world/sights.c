/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "common/text.h"
#include "common/unit-name.h"
#include "daemon/policy/reservation.h"
#include "daemon/world/sights.h"
#include "daemon/source/cgroup-state.h"
#include "daemon/source/process-ground.h"
#include "daemon/source/unit-order.h"

#define WRITERS_MAX 256U /* processes looked at in one limited group */
#define UNIT_NAME_MAX 255U

/* A process, with what is certainly above it. */
typedef struct Server {
        Node *node;
        Node **above;
        size_t n_above;
} Server;

static Node *find_above(const Server *server, const char *id) {
        for (size_t i = 0; id && i < server->n_above; i++)
                if (streq(server->above[i]->id, id))
                        return server->above[i];
        return NULL;
}

/* ---- what it runs from ---- */

static int add_ground(const Scan *scan, State *s, const Server *server) {
        const NodeFact *f = server->node->fact;
        const char *known = scan->probes ? probe_cache_get(scan->probes, PATH(GROUND_KIND " %d %llu", f->pid, (unsigned long long) f->start), NULL)
                                         : NULL;
        _cleanup_free_ char *answer = known ? strdup(known) : NULL;
        char *rest = answer;
        Ground ground;
        int r = 0;

        while (r >= 0 && rest && ground_next(&rest, &ground)) {
                const Mount *m = ground.mount_id >= 0 ? mount_table_find_id(&scan->mounts, ground.mount_id) : NULL;
                _cleanup_free_ char *id = ground.mount_id < 0 ? filesystem_id(ground.device) : m ? filesystem_id(m->device) : NULL;

                if (find_above(server, id))
                        r = state_add_sight(s, SIGHT_GROUND, server->node->id, id, ground.what);
        }
        return r;
}

/* ---- who shares a limit with it ---- */

static int add_writer(const Scan *scan, State *s, const Server *server, pid_t pid, bool *ret_found) {
        _cleanup_(open_files_done) OpenFiles files = {};
        int r;

        r = process_read_files(scan->root, pid, &files);
        if (r < 0)
                return r == -ENOMEM ? r : 0;
        for (size_t i = 0; i < files.n; i++) {
                const OpenFile *file = &files.files[i];
                const Mount *m = mount_table_find_id(&scan->mounts, file->mount_id);
                _cleanup_free_ char *id = m ? filesystem_id(m->device) : NULL, *comm = NULL, *what = NULL;

                if ((file->flags & O_ACCMODE) == O_RDONLY || file->flags & (O_DIRECTORY | O_PATH) || !find_above(server, id) ||
                    sysroot_read(scan->root, AREA_PROC, PATH("%d/comm", pid), &comm) < 0)
                        continue;
                what = text_format("%s[%d]", comm, pid);
                *ret_found = true;
                return what ? state_add_sight(s, SIGHT_WRITER, server->node->id, id, what) : -ENOMEM;
        }
        return 0;
}

static int add_writers(const Scan *scan, State *s, const Server *server) {
        const CgroupState *limit = state_find_limit(s, server->node->fact->cgroup, s->dirty_limit, LIMIT_ANY);
        _cleanup_free_ pid_t *pids = NULL;
        bool found = false;
        size_t n = 0;
        int r;

        if (!limit)
                return 0;
        r = cgroup_list_processes(scan->root, limit->path, WRITERS_MAX, &pids, &n);
        for (size_t i = 0; r >= 0 && !found && i < n; i++)
                if (pids[i] != server->node->fact->pid)
                        r = add_writer(scan, s, server, pids[i], &found);
        return r;
}

/* ---- what is stopped first ---- */

/* What is stopped when the machine stops: a file system's mount point, one where there are several, or a swap area. */
static const char *place_of(const Scan *scan, const Node *n, const char **ret_type) {
        const char *first = NULL;
        size_t begin, count;
        dev_t device;

        *ret_type = node_kind(n) == NODE_SWAP ? "swap" : "mount";
        if (node_kind(n) == NODE_SWAP)
                return n->fact->path;
        if (node_kind(n) != NODE_FILESYSTEM || !n->fact->device || text_to_devno(n->fact->device, &device) < 0)
                return NULL;
        begin = mount_table_device_range(&scan->mounts, device, &count);
        for (size_t i = begin; i < begin + count; i++) {
                const Mount *m = &scan->mounts.mounts[scan->mounts.by_device[i]];

                if (m->space == 0 && streq(m->root, "/"))
                        return m->target;
                if (m->space == 0 && !first)
                        first = m->target;
        }
        return first;
}

/* A FUSE server takes its mount along when it is stopped; the root file system is never unmounted. */
static bool is_stopped_with(const Server *server, const Node *layer, const char *place) {
        if (streq(place, "/"))
                return true;
        for (size_t i = 0; i < server->node->n_upper; i++)
                if (server->node->upper[i]->upper == layer && startswith(layer->fact->type ?: "", "fuse"))
                        return true;
        return false;
}

static bool is_unit_name(const char *name) {
        return strlen(name) <= UNIT_NAME_MAX && name[strspn(name, UNIT_NAME_CHARACTERS)] == 0;
}

/* One of a unit's processes stands for all of them. */
static bool is_told(const State *s, Graph *g, const char *unit, const char *layer) {
        for (size_t i = 0; i < s->n_sights; i++) {
                const Node *n = graph_find(g, s->sights[i].node);

                if (s->sights[i].kind == SIGHT_UNORDERED && streq(s->sights[i].other, layer) && n && streq_ptr(n->fact->unit, unit))
                        return true;
        }
        return false;
}

static int add_order(const Scan *scan, Graph *g, State *s, const Server *server, const char *unit) {
        int r = 0;

        for (size_t i = 0; r >= 0 && i < server->n_above; i++) {
                const Node *layer = server->above[i];
                const char *type, *answer, *place = place_of(scan, layer, &type);
                _cleanup_free_ char *upper = NULL;

                if (!place || is_stopped_with(server, layer, place) || is_told(s, g, unit, layer->id))
                        continue;
                upper = path_unit_name(place, type);
                if (!upper)
                        return -ENOMEM;
                if (!is_unit_name(upper))
                        continue;
                answer = probe_cache_get(scan->probes, PATH(UNIT_ORDER_KIND " %s %s", unit, upper), NULL);
                if (answer && streq(answer, "no"))
                        r = state_add_sight(s, SIGHT_UNORDERED, server->node->id, layer->id, upper);
        }
        return r;
}

static int add_orders(const Scan *scan, Graph *g, State *s, const Server *server) {
        const NodeFact *f = server->node->fact;
        _cleanup_free_ char *unit = NULL;
        const char *why;
        size_t length;
        int r;

        if (!scan->probes || !f->cgroup || f->cgroup[0] != '/')
                return 0;
        r = unit_of_cgroup(f->cgroup, &unit, &length, &why);
        if (r < 0)
                return r == -ENOMEM ? r : 0;
        return endswith(unit, ".service") && is_unit_name(unit) ? add_order(scan, g, s, server, unit) : 0;
}

/* ---- what is cached twice ---- */

static bool reads(const Scan *scan, const char *path, uint64_t *ret) {
        _cleanup_free_ char *text = NULL;

        return sysroot_read(scan->root, AREA_SYS, path, &text) >= 0 && text_to_u64(text, 10, ret) >= 0;
}

/* Direct I/O in blocks smaller than the disk's is refused. */
static bool takes_blocks_of(const Scan *scan, const Block *loop, const Node *lower) {
        const Block *disk;
        uint64_t a, b;
        dev_t device;

        if (!lower->fact->device || text_to_devno(lower->fact->device, &device) < 0)
                return false;
        disk = block_table_find_device(&scan->blocks, device);
        if (!disk)
                return true; /* of several devices; then it is for the kernel to say */
        return reads(scan, PATH("class/block/%s/queue/logical_block_size", loop->name), &a) &&
                reads(scan, PATH("class/block/%s/queue/logical_block_size", disk->parent ?: disk->name), &b) && a >= b;
}

static const Node *only_lower(const Node *n, NodeKind kind) {
        const Node *found = NULL;

        for (size_t i = 0; i < n->n_lower; i++)
                if (node_kind(n->lower[i]->lower) == kind && edge_claim(n->lower[i])->certainty == CERTAINTY_PROVEN) {
                        if (found)
                                return NULL;
                        found = n->lower[i]->lower;
                }
        return found;
}

/* Small images take little of the memory twice, and what is only read is cached below for others that read it. */
static int add_cached(const Scan *scan, Graph *g, State *s, const Block *b) {
        static const char *const types[] = { "ext4", "xfs", "btrfs", "f2fs" };
        _cleanup_free_ char *id = NULL;
        const Node *n, *file, *lower;
        uint64_t direct, read_only;

        if (!b->backing_file || s->memory_total == 0 || b->size < s->memory_total / 4)
                return 0;
        id = block_id(b->device);
        if (!id)
                return -ENOMEM;
        n = graph_find(g, id);
        file = n && n->n_upper > 0 ? only_lower(n, NODE_FILE) : NULL;
        lower = file ? only_lower(file, NODE_FILESYSTEM) : NULL;
        if (!lower || !lower->fact->type || !reads(scan, PATH("class/block/%s/loop/dio", b->name), &direct) || direct != 0 ||
            !reads(scan, PATH("class/block/%s/ro", b->name), &read_only) || read_only != 0)
                return 0;
        for (size_t i = 0; i < ELEMENTSOF(types); i++)
                if (streq(lower->fact->type, types[i]))
                        return takes_blocks_of(scan, b, lower) ? state_add_sight(s, SIGHT_CACHED, id, lower->id, file->fact->path) : 0;
        return 0;
}

/* ---- all ---- */

static uint64_t dirty_limit(const Scan *scan, uint64_t total) {
        _cleanup_free_ char *bytes = NULL, *ratio = NULL;
        uint64_t n;

        if (sysroot_read(scan->root, AREA_PROC, "sys/vm/dirty_bytes", &bytes) >= 0 && text_to_u64(bytes, 10, &n) >= 0 && n > 0)
                return n;
        if (sysroot_read(scan->root, AREA_PROC, "sys/vm/dirty_ratio", &ratio) >= 0 && text_to_u64(ratio, 10, &n) >= 0)
                return total / 100 * n;
        return 0;
}

static bool suspends(const Scan *scan) {
        uint64_t well, badly;

        return (reads(scan, "power/suspend_stats/success", &well) && well > 0) || (reads(scan, "power/suspend_stats/fail", &badly) && badly > 0);
}

static int add_server(const Scan *scan, Analysis *a, Graph *g, State *s, Node *n) {
        _cleanup_free_ Node **above = NULL;
        Server server = { .node = n };
        int r;

        r = analysis_above(a, n, true, &above, &server.n_above);
        if (r < 0)
                return r;
        server.above = above;
        r = add_ground(scan, s, &server);
        if (r >= 0)
                r = add_writers(scan, s, &server);
        return r < 0 ? r : add_orders(scan, g, s, &server);
}

int sights_add(const Scan *scan, Analysis *a, Graph *g, State *s) {
        size_t position = 0;
        Node *n;
        int r = 0;

        s->dirty_limit = dirty_limit(scan, s->memory_total);
        s->suspends = suspends(scan);
        while (r >= 0 && (n = graph_next(g, &position)))
                if (node_kind(n) == NODE_PROCESS && n->analysis.depth_certain > 0 && node_is_backing(n) && node_is_entitled(n))
                        r = add_server(scan, a, g, s, n);
        for (size_t i = 0; r >= 0 && i < scan->blocks.n; i++)
                r = add_cached(scan, g, s, &scan->blocks.blocks[i]);
        return r;
}

void sights_refresh(ProbeCache *probes) {
        probe_cache_refresh(probes, GROUND_KIND " ");
        probe_cache_refresh(probes, UNIT_ORDER_KIND " ");
}
