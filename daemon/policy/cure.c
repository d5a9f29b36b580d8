/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "common/text.h"
#include "daemon/policy/cure.h"

static ActionKind cure_of(HazardKind kind) {
        switch (kind) {
        case HAZARD_NOFS_MISSING:
        case HAZARD_NOFS_PARTIAL:
                return ACTION_IO_FLUSHER;
        case HAZARD_SWAP_ON_SELF:
                return ACTION_SWAP_MAX;
        case HAZARD_UNBOUNDED_WRITEBACK:
                return ACTION_WRITEBACK_LIMIT;
        case HAZARD_RESERVATION_MISSING:
        case HAZARD_RESERVATION_INEFFECTIVE:
                return ACTION_MEMORY_MIN;
        case HAZARD_OOM_KILLABLE:
                return ACTION_OOM_SCORE;
        case HAZARD_DOUBLE_CACHE:
                return ACTION_DIRECT_IO;
        default:
                return _ACTION_KIND_INVALID;
        }
}

/* A setting of a unit or a slice is one of all processes in it, for whichever of them it was asked. */
static bool is_in_unit(const Action *a, const Hazard *h, const Graph *g) {
        const Node *n = h->process ? graph_find(g, h->process) : NULL;

        return a->place && n && n->fact && n->fact->cgroup && path_is_below(n->fact->cgroup, a->place);
}

bool action_cures(const Action *a, const Hazard *h, const Graph *g) {
        if (a->undo || cure_of(h->kind) != a->kind)
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
