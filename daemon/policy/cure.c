/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "common/text.h"
#include "daemon/policy/cure.h"

static const ActionKind cures[_HAZARD_KIND_MAX] = {
        [HAZARD_NOFS_MISSING] = ACTION_IO_FLUSHER,
        [HAZARD_NOFS_PARTIAL] = ACTION_IO_FLUSHER,
        [HAZARD_NOFS_DENIED] = _ACTION_KIND_INVALID,
        [HAZARD_SWAP_ON_SELF] = ACTION_SWAP_MAX,
        [HAZARD_SELF_HOSTED] = _ACTION_KIND_INVALID,
        [HAZARD_CYCLE] = _ACTION_KIND_INVALID,
        [HAZARD_LIMIT_IN_PATH] = _ACTION_KIND_INVALID,
        [HAZARD_UNBOUNDED_WRITEBACK] = ACTION_WRITEBACK_LIMIT,
        [HAZARD_RESERVATION_INEFFECTIVE] = ACTION_MEMORY_MIN,
        [HAZARD_FREEZABLE] = _ACTION_KIND_INVALID,
        [HAZARD_STOP_ORDER] = _ACTION_KIND_INVALID,
        [HAZARD_BACKING_DELETED] = _ACTION_KIND_INVALID,
        [HAZARD_OOM_KILLABLE] = ACTION_OOM_SCORE,
        [HAZARD_RESERVATION_MISSING] = ACTION_MEMORY_MIN,
        [HAZARD_DOUBLE_CACHE] = ACTION_DIRECT_IO,
        [HAZARD_FOREIGN_USER] = _ACTION_KIND_INVALID,
};

/* A setting of a unit or a slice is one of all processes in it, for whichever of them it was asked. */
static bool is_in_unit(const Action *a, const Hazard *h, const Graph *g) {
        const Node *n = h->process ? graph_find(g, h->process) : NULL;

        return a->place && n && n->fact && n->fact->cgroup && path_is_below(n->fact->cgroup, a->place);
}

bool action_cures(const Action *a, const Hazard *h, const Graph *g) {
        if (a->undo || cures[h->kind] != a->kind)
                return false;
        switch (a->kind) {
        case ACTION_IO_FLUSHER:
        case ACTION_OOM_SCORE:
                return streq_ptr(h->process, a->target);
        case ACTION_MEMORY_MIN:
        case ACTION_SWAP_MAX:
                return is_in_unit(a, h, g);
        default:
                return streq_ptr(h->layer, a->subject);
        }
}
