/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a server itself stands on, and when it goes. */
#include <string.h>

#include "common/text.h"
#include "daemon/analysis/hazard-internal.h"

/* One is enough to hang. */
static int check_ground(HazardSearch *s, Node *n) {
        size_t before = s->list->n;

        for (const Sight *sight = NULL; s->list->n == before && (sight = state_next_sight(s->state, n->id, sight));) {
                Node *layer = sight->kind == SIGHT_GROUND ? graph_find(s->graph, sight->other) : NULL;
                int r;

                if (!layer)
                        continue;
                r = hazard_add_on_route(s, HAZARD_SELF_HOSTED, n, layer, n, (HazardText) {
                        text_format("%s[%d] has %s on what it serves itself: when that must be read again, it has to run to read it",
                                    n->fact->comm, n->fact->pid, sight->what),
                        strdup("start it from a file system that does not need it: its program, libraries, and working directory"),
                });
                if (r < 0)
                        return r;
        }
        return 0;
}

static int check_order(HazardSearch *s, Node *n) {
        for (const Sight *sight = NULL; (sight = state_next_sight(s->state, n->id, sight));) {
                Node *layer = sight->kind == SIGHT_UNORDERED ? graph_find(s->graph, sight->other) : NULL;
                int r;

                if (!layer)
                        continue;
                r = hazard_add_on_route(s, HAZARD_STOP_ORDER, n, layer, n, (HazardText) {
                        text_format("nothing has %s stopped before %s: at shutdown the server may go first, and what is not written by "
                                    "then is lost, or waits for it", sight->what, n->fact->unit ?: n->fact->comm),
                        text_format("stackctl adopt %s, or After=%s for %s", n->fact->unit ?: n->fact->comm, n->fact->unit ?: n->fact->comm,
                                    sight->what),
                });
                if (r < 0)
                        return r;
        }
        return 0;
}

/* systemd freezes user.slice before it suspends the machine; what is outside may still want to write. */
static const char *frozen_why(const State *s, const NodeFact *f) {
        const CgroupState *c = f->cgroup ? state_find_cgroup(s, f->cgroup) : NULL;

        if (c && c->frozen)
                return "is frozen, and all that is above it waits for it";
        if (s->suspends && f->cgroup && path_is_below(f->cgroup, "/user.slice"))
                return "is frozen with its session when the machine is suspended, before those that may still write to what it serves";
        return NULL;
}

static int check_freezable(HazardSearch *s, Node *n) {
        const char *why = frozen_why(s->state, n->fact);
        _cleanup_free_ Node **path = NULL;
        size_t n_path;
        int r;

        if (!why)
                return 0;
        r = analysis_path(s->analysis, n, true, &path, &n_path);
        if (r < 0)
                return r;
        return hazard_add(s, HAZARD_FREEZABLE, n, path[0], path, n_path, (HazardText) {
                text_format("%s[%d] in %s %s", n->fact->comm, n->fact->pid, n->fact->cgroup, why),
                strdup("thaw it (systemctl thaw UNIT), and run it as a service of the system, outside of what is frozen"),
        });
}

int hazards_of_service(HazardSearch *s, Node *n) {
        int r;

        r = check_ground(s, n);
        if (r >= 0)
                r = check_order(s, n);
        return r < 0 ? r : check_freezable(s, n);
}
