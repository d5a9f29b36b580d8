/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What keeps a server from the memory that it needs to go on, although its threads are marked. */
#include <errno.h>
#include <string.h>

#include "common/text.h"
#include "daemon/analysis/hazard-internal.h"

/* Memory as people say it. */
static char *size_text(uint64_t bytes) {
        return bytes >= 1 << 20 ? text_format("%llu MiB", (unsigned long long) (bytes >> 20))
                                : text_format("%llu KiB", (unsigned long long) (bytes >> 10));
}

static int add_for_process(HazardSearch *s, HazardKind kind, Node *n, HazardText text) {
        _cleanup_free_ Node **path = NULL;
        size_t n_path;
        int r;

        r = analysis_path(s->analysis, n, true, &path, &n_path);
        if (r < 0) {
                free(text.message);
                free(text.cure);
                return r;
        }
        return hazard_add(s, kind, n, path[0], path, n_path, text);
}

/* ---- reservation ---- */

static char *where(const NodeFact *f) {
        return strdup(f->unit ?: f->cgroup);
}

static int check_missing(HazardSearch *s, Node *n) {
        _cleanup_free_ char *place = where(n->fact);

        return add_for_process(s, HAZARD_RESERVATION_MISSING, n, (HazardText) {
                place ? text_format("%s, in which %s[%d] runs, has no memory reserved (memory.min): when memory is short the server's "
                                    "is taken too, and has to be read back before it goes on", place, n->fact->comm, n->fact->pid) : NULL,
                text_format("run it as a service of the system, and 'stackctl apply %s'; 'stackctl explain %s' says what was refused",
                            n->id, n->id),
        });
}

/* Why none can be made, and what would help. 'place' may be NULL. */
static HazardText unreservable_text(const NodeFact *f, const char *place, Unreservable why) {
        if (why == ROOT_CGROUP)
                return (HazardText) {
                        text_format("%s[%d] runs in the root control group, where no memory can be reserved for it.", f->comm, f->pid),
                        strdup("Run it as a system service."),
                };
        return (HazardText) {
                text_format("cgroup2's memory controller is not available to %s, so no memory can be reserved for %s[%d].",
                            place ?: "its control group", f->comm, f->pid),
                why == NOT_ENABLED ? text_format("Set MemoryAccounting=yes in %s.", place ?: "its unit")
                                   : strdup("Boot with systemd.unified_cgroup_hierarchy=1, and without cgroup_disable=memory. In a container: "
                                            "have its manager mount cgroup2."),
        };
}

static int check_unreservable(HazardSearch *s, Node *n, Unreservable why) {
        const char *place = n->fact->unit ?: n->fact->cgroup && n->fact->cgroup[1] ? n->fact->cgroup : NULL;

        return add_for_process(s, HAZARD_RESERVATION_MISSING, n, unreservable_text(n->fact, place, why));
}

/* Of the cgroups above the one with the smallest reservation, which all below it have to share. */
static const CgroupState *weakest_ancestor(const State *s, const char *path) {
        _cleanup_free_ char *p = strdup(path);
        const CgroupState *weakest = NULL;

        for (char *slash; p && (slash = strrchr(p, '/')) && slash != p;) {
                const CgroupState *c;

                *slash = 0;
                c = state_find_cgroup(s, p);
                if (c && c->described && (!weakest || c->min < weakest->min))
                        weakest = c;
        }
        return weakest;
}

static int check_ineffective(HazardSearch *s, Node *n, uint64_t needed) {
        const NodeFact *f = n->fact;
        const CgroupState *weakest = weakest_ancestor(s->state, f->cgroup);
        _cleanup_free_ char *reserved = size_text(f->memory_min), *effective = size_text(f->memory_min_effective), *used = size_text(needed);

        if (!reserved || !effective || !used)
                return -ENOMEM;
        return add_for_process(s, HAZARD_RESERVATION_INEFFECTIVE, n, (HazardText) {
                text_format("of the %s that are reserved for %s (%s[%d]) %s are in effect, and it needs %s: %s above it does not carry more",
                            reserved, f->unit ?: f->cgroup, f->comm, f->pid, effective, used, weakest ? weakest->path : "a control group"),
                weakest ? text_format("give %s a MemoryMin= of at least the sum of what is reserved below it, or 'stackctl apply %s'",
                                      weakest->path, n->id)
                        : text_format("stackctl apply %s", n->id),
        });
}

static int check_reservation(HazardSearch *s, Node *n) {
        const NodeFact *f = n->fact;
        const CgroupState *c = f->cgroup ? state_find_cgroup(s->state, f->cgroup) : NULL;
        Unreservable why = state_unreservable(s->state, f->cgroup);
        uint64_t needed;

        if (why != RESERVABLE)
                return check_unreservable(s, n, why);
        if (!c || !c->described)
                return 0; /* it is gone */
        if (f->memory_min == 0)
                return f->memory_min_effective > 0 ? 0 : check_missing(s, n);
        /* More may be reserved than is used, or even "max". */
        needed = MIN(f->memory_min, c->used);
        return f->memory_min_effective >= needed ? 0 : check_ineffective(s, n, needed);
}

/* ---- swap ---- */

static bool is_kept_off_swap(const State *s, const NodeFact *f) {
        _cleanup_free_ char *p = f->cgroup ? strdup(f->cgroup) : NULL;

        if (f->locked)
                return true;
        for (char *slash; p && (slash = strrchr(p, '/')); *slash = 0) {
                const CgroupState *c = state_find_cgroup(s, p);

                if (c && c->described && c->has_swap_max && c->swap_max == 0)
                        return true;
        }
        return false;
}

/* What is swapped out makes memory free, and takes some itself (bio, socket buffer). Of those that may wait, only real-time threads
 * may go below the mark at which all others do (gfp_to_alloc_flags() in mm/page_alloc.c). */
static int check_swap(HazardSearch *s, Node *n, Node *const *above, size_t n_above) {
        const NodeFact *f = n->fact;
        Node *swap = NULL;
        int r = 0;

        for (size_t i = 0; i < n_above; i++)
                if (node_kind(above[i]) == NODE_SWAP && (!swap || strcmp(above[i]->id, swap->id) < 0))
                        swap = above[i];
        if (!swap)
                return 0;
        if (!is_kept_off_swap(s->state, f))
                r = hazard_add_on_route(s, HAZARD_SWAP_ON_SELF, n, swap, n, (HazardText) {
                        text_format("memory of %s[%d] can be swapped out to the swap area that it serves: to read it back it would have to run",
                                    f->comm, f->pid),
                        state_unreservable(s->state, f->cgroup) == RESERVABLE
                                ? text_format("MemorySwapMax=0 for its unit (stackctl apply %s), or a server that locks its memory (mlockall)", n->id)
                                : strdup("a server that locks its memory (mlockall)"),
                });
        if (r < 0 || f->threads_realtime == f->threads)
                return r;
        return hazard_add_on_route(s, HAZARD_SWAP_PRIORITY, n, swap, n, (HazardText) {
                text_format("%s[%d] serves swap, and %u of its %u threads are scheduled as any other: when memory is short they wait for some, "
                            "which only they make free", f->comm, f->pid, f->threads - f->threads_realtime, f->threads),
                text_format("chrt --fifo --all-tasks --pid 5 %d, and for its next start CPUSchedulingPolicy=fifo and CPUSchedulingPriority=5 in its "
                            "unit; what it uses should be a disk or a partition, not a file", f->pid),
        });
}

/* ---- limits ---- */

static int check_limit(HazardSearch *s, Node *n) {
        /* Where a group may hold less than what may be dirty on the machine, dirty pages can fill it. */
        const CgroupState *c = state_find_limit(s->state, n->fact->cgroup, s->state->dirty_limit, LIMIT_ANY);

        for (const Sight *sight = NULL; c && (sight = state_next_sight(s->state, n->id, sight));) {
                Node *layer = sight->kind == SIGHT_WRITER ? graph_find(s->graph, sight->other) : NULL;
                _cleanup_free_ char *limit = size_text(MIN(c->max, c->high));

                if (!layer)
                        continue;
                if (!limit)
                        return -ENOMEM;
                return hazard_add_on_route(s, HAZARD_LIMIT_IN_PATH, n, layer, n, (HazardText) {
                        text_format("%s may hold %s only, and %s[%d] shares that with %s, which writes to what it serves: dirty pages can "
                                    "fill it, and then the server, which alone can clean them, gets no memory", c->path, limit,
                                    n->fact->comm, n->fact->pid, sight->what),
                        text_format("run the server outside of %s, in a unit of its own, or lift the limit (%s)", c->path,
                                    c->max <= c->high ? "memory.max" : "memory.high"),
                });
        }
        return 0;
}

/* ---- the OOM killer ---- */

static int check_oom(HazardSearch *s, Node *n) {
        const CgroupState *limit;

        if (n->fact->oom_score_adj < 0)
                return 0;
        limit = state_find_limit(s->state, n->fact->cgroup, s->state->memory_total, LIMIT_MAX);
        return add_for_process(s, HAZARD_OOM_KILLABLE, n, (HazardText) {
                text_format("when memory has run out, %s[%d] is killed as soon as any other process (oom_score_adj %d), and all that is "
                            "above it fails", n->fact->comm, n->fact->pid, n->fact->oom_score_adj),
                limit ? text_format("lift the limit of %s, then 'stackctl apply %s': while it may hold less than the machine, a process "
                                    "that is not to be killed in it is a danger of its own", limit->path, n->id)
                      : text_format("stackctl apply %s, or OOMScoreAdjust=-900 in its unit", n->id),
        });
}

int hazards_of_memory(HazardSearch *s, Node *n) {
        _cleanup_free_ Node **above = NULL;
        size_t n_above;
        int r;

        r = analysis_above(s->analysis, n, true, &above, &n_above);
        if (r >= 0)
                r = check_reservation(s, n);
        if (r >= 0)
                r = check_swap(s, n, above, n_above);
        if (r >= 0)
                r = check_limit(s, n);
        return r < 0 ? r : check_oom(s, n);
}

/* ---- dirty pages ---- */

bool reading_is_unbounded(const Reading *r) {
        return streq(r->key, "strict_limit") && streq(r->value, "0");
}

/* A server that cannot be marked is throttled together with those who dirty pages above it, unless these have a limit of
 * their own (mm/page-writeback.c). A kernel without strict_limit has no cure. */
static const Reading *unbounded_reading(const State *s, const Node *layer) {
        const Reading *r = NULL;

        while ((r = state_next_reading(s, layer->id, r)))
                if (reading_is_unbounded(r))
                        return r;
        return NULL;
}

static int add_unbounded(HazardSearch *s, Node *server, Node *layer) {
        return hazard_add_on_route(s, HAZARD_UNBOUNDED_WRITEBACK, server, layer, server, (HazardText) {
                text_format("as much may be dirty here as on the whole machine, and %s[%d] below it, which cleans it, cannot be marked: it "
                            "can be made to wait for its own work", server->fact->comm, server->fact->pid),
                text_format("MaxRatio=auto and StrictLimit=auto in a policy, then 'stackctl apply %s'; or have the server marked", layer->id),
        });
}

int hazards_above_exposed(HazardSearch *s, Node *n) {
        _cleanup_free_ Node **above = NULL;
        size_t n_above;
        int r;

        if (!s->unbounded || !node_is_exposing(n))
                return 0;
        r = analysis_above(s->analysis, n, true, &above, &n_above);
        for (size_t i = 0; r >= 0 && i < n_above; i++)
                if (node_kind(above[i]) == NODE_FILESYSTEM && unbounded_reading(s->state, above[i]))
                        r = add_unbounded(s, n, above[i]);
        return r;
}

/* ---- the page cache ---- */

int hazards_of_loop(HazardSearch *s, Node *n) {
        for (const Sight *sight = NULL; (sight = state_next_sight(s->state, n->id, sight));) {
                Node *lower = sight->kind == SIGHT_CACHED ? graph_find(s->graph, sight->other) : NULL;

                if (!lower)
                        continue;
                return hazard_add_on_route(s, HAZARD_DOUBLE_CACHE, NULL, n, lower, (HazardText) {
                        text_format("what is on %s is cached and written back twice, above it and as %s: its file could be used with direct "
                                    "I/O", node_label(n), sight->what),
                        text_format("losetup --direct-io=on /dev/%s, or DirectIO=yes in a policy", node_label(n)),
                });
        }
        return 0;
}
