/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "common/cgroup-path.h"
#include "common/text.h"
#include "daemon/analysis/hazard-internal.h"

/* "error": a stack can stop for good; "warning": it can stop for a while, fail or lose data; "notice": good to know. */
static const struct {
        const char *name, *severity;
} kinds[_HAZARD_KIND_MAX] = {
        [HAZARD_NOFS_MISSING] = { "nofs-missing", "error" },
        [HAZARD_NOFS_PARTIAL] = { "nofs-partial", "error" },
        [HAZARD_NOFS_DENIED] = { "nofs-denied", "error" },
        [HAZARD_SWAP_ON_SELF] = { "swap-on-self", "error" },
        [HAZARD_SWAP_PRIORITY] = { "swap-priority", "error" },
        [HAZARD_SELF_HOSTED] = { "self-hosted", "warning" },
        [HAZARD_CYCLE] = { "cycle", "warning" },
        [HAZARD_LIMIT_IN_PATH] = { "limit-in-path", "warning" },
        [HAZARD_UNBOUNDED_WRITEBACK] = { "unbounded-writeback", "warning" },
        [HAZARD_RESERVATION_INEFFECTIVE] = { "reservation-ineffective", "warning" },
        [HAZARD_FREEZABLE] = { "freezable", "warning" },
        [HAZARD_STOP_ORDER] = { "stop-order", "warning" },
        [HAZARD_BACKING_DELETED] = { "backing-deleted", "warning" },
        [HAZARD_OOM_KILLABLE] = { "oom-killable", "notice" },
        [HAZARD_RESERVATION_MISSING] = { "reservation-missing", "notice" },
        [HAZARD_DOUBLE_CACHE] = { "double-cache", "notice" },
        [HAZARD_FOREIGN_USER] = { "foreign-user", "notice" },
};

const char *hazard_kind_to_string(HazardKind kind) {
        return kinds[kind].name;
}

const char *hazard_severity(HazardKind kind) {
        return kinds[kind].severity;
}

char *hazard_key(const Hazard *h) {
        return text_format("%s %s %s", hazard_kind_to_string(h->kind), h->process ?: "-", h->layer ?: "-");
}

static void hazard_done(Hazard *h) {
        free(h->process);
        free(h->layer);
        strv_free(h->path);
        free(h->message);
        free(h->cure);
}

void hazard_list_done(HazardList *l) {
        for (size_t i = 0; i < l->n; i++)
                hazard_done(&l->hazards[i]);
        free(l->hazards);
        *l = (HazardList) {};
}

void hazard_list_drop(HazardList *l, bool (*condition)(const Hazard *h, void *userdata), void *userdata) {
        size_t kept = 0;

        for (size_t i = 0; i < l->n; i++)
                if (condition(&l->hazards[i], userdata))
                        hazard_done(&l->hazards[i]);
                else
                        l->hazards[kept++] = l->hazards[i];
        l->n = kept;
}

static int nodes_to_ids(Node *const *nodes, size_t n, char ***ret) {
        _cleanup_strv_free_ char **ids = NULL;
        size_t count = 0;
        int r;

        for (size_t i = 0; i < n; i++) {
                r = strv_append(&ids, &count, nodes[i]->id);
                if (r < 0)
                        return r;
        }
        *ret = TAKE_PTR(ids);
        return 0;
}

int hazard_add(HazardSearch *s, HazardKind kind, const Node *process, const Node *layer, Node *const *path, size_t n_path, HazardText text) {
        HazardList *l = s->list;
        Hazard h = {
                .kind = kind,
                .pid = process ? process->fact->pid : 0,
                .process = process ? strdup(process->id) : NULL,
                .layer = layer ? strdup(layer->id) : NULL,
                .message = text.message,
                .cure = text.cure,
        };
        int r = -ENOMEM;

        if (h.message && h.cure && (!process || h.process) && (!layer || h.layer))
                r = nodes_to_ids(path, n_path, &h.path);
        if (r >= 0)
                r = ARRAY_APPEND(l->hazards, l->n, l->capacity, h);
        if (r < 0)
                hazard_done(&h);
        return r;
}

int hazard_add_on_route(HazardSearch *s, HazardKind kind, const Node *process, Node *layer, Node *lower, HazardText text) {
        _cleanup_free_ Node **path = NULL;
        size_t n_path;
        int r;

        r = analysis_route(s->analysis, layer, lower, &path, &n_path);
        if (r >= 0)
                return hazard_add(s, kind, process, layer, path, n_path, text);
        free(text.message);
        free(text.cure);
        return r == -ENOENT ? 0 : r;
}

/* For a process that cannot be marked while it runs. */
static char *cure_by_start(const NodeFact *f) {
        const bool service = f->unit && endswith(f->unit, ".service") && f->cgroup && cgroup_path_is_system_service(f->cgroup);

        if (service && f->in_user_namespace)
                return text_format("PrivateUsers=no for %s, and then 'stackctl adopt %s': nobody is privileged enough in a user namespace of its "
                                   "own", f->unit, f->unit);
        if (service)
                return text_format("stackctl adopt %s, and restart it when nothing stands on it; or start it already marked, "
                                   "with CAP_SYS_RESOURCE in the initial user namespace", f->unit);
        return strdup("start it already marked, with CAP_SYS_RESOURCE in the initial user namespace");
}

int hazard_note_refusal(Hazard *h, const NodeFact *process, const char *why) {
        char *message = text_format("%s; they cannot be marked while it runs: %s", h->message, why), *cure = cure_by_start(process);

        if (!message || !cure) {
                free(message);
                free(cure);
                return -ENOMEM;
        }
        free(h->message);
        free(h->cure);
        h->message = message;
        h->cure = cure;
        return 0;
}

static int check_flags(HazardSearch *s, Node *n, Node **path, size_t n_path) {
        const NodeFact *f = n->fact;

        if (f->refusal)
                return hazard_add(s, HAZARD_NOFS_DENIED, n, path[0], path, n_path, (HazardText) {
                        text_format("%s[%d] is at depth %u and cannot be marked while it runs: %s", f->comm, f->pid, n->analysis.depth,
                                    f->refusal),
                        cure_by_start(f),
                });
        if (f->threads_io_flusher == 0)
                return hazard_add(s, HAZARD_NOFS_MISSING, n, path[0], path, n_path, (HazardText) {
                        text_format("%s[%d] is at depth %u, and none of its %u threads is an IO_FLUSHER", f->comm, f->pid,
                                    n->analysis.depth, f->threads),
                        text_format("stackctl apply %s", n->id),
                });
        return hazard_add(s, HAZARD_NOFS_PARTIAL, n, path[0], path, n_path, (HazardText) {
                text_format("%s[%d] is at depth %u, and only %u of its %u threads are IO_FLUSHERs", f->comm, f->pid,
                            n->analysis.depth, f->threads_io_flusher, f->threads),
                text_format("stackctl apply %s", n->id),
        });
}

#define FOREIGN_PATH_DEPTH 16U

/* A user's file system on which nothing else stands is the user's own affair, and every desktop has some: the kernel lets
 * a FUSE file system have few dirty pages (fs/fuse/inode.c: 1 %, of its own), so that no more than it hangs with it. */
static bool serves_itself_only(const Node *n, Node *const *path, size_t n_path) {
        return n->analysis.depth == 1 && n_path == 2 && node_kind(path[0]) == NODE_FILESYSTEM && startswith(path[0]->fact->type ?: "", "fuse");
}

static int check_foreign(HazardSearch *s, Node *n, const Node *layer, Node *const *path, size_t n_path) {
        const NodeFact *f = n->fact;

        return hazard_add(s, HAZARD_FOREIGN_USER, n, layer, path, n_path, (HazardText) {
                text_format("%s[%d] of user %u is at depth %u; processes of ordinary users are not marked", f->comm, f->pid, f->uid,
                            n->analysis.depth),
                strdup("nothing, if the user may hang what stands on his storage; else run the server as a system service, or name the "
                       "user in a policy with Entitled=yes"),
        });
}

static int check_mark(HazardSearch *s, Node *n) {
        const NodeFact *f = n->fact;
        bool certain = n->analysis.depth_certain > 0;
        _cleanup_free_ Node **path = NULL;
        size_t n_path;
        int r;

        if (f->threads == 0 || f->threads_io_flusher == f->threads)
                return 0;
        /* Whoever stacks a thousand of them gets no thousand paths of a thousand layers. */
        if (!node_is_entitled(n) && n->analysis.depth > FOREIGN_PATH_DEPTH && n->n_upper > 0)
                return check_foreign(s, n, n->upper[0]->upper, (Node *const []) { n->upper[0]->upper, n }, 2);
        r = analysis_path(s->analysis, n, certain, &path, &n_path);
        if (r < 0)
                return r;
        if (node_is_entitled(n))
                return check_flags(s, n, path, n_path);
        return serves_itself_only(n, path, n_path) ? 0 : check_foreign(s, n, path[0], path, n_path);
}

static int check_process(HazardSearch *s, Node *n) {
        int r;

        if (n->analysis.depth == 0 || !node_is_backing(n))
                return 0;
        r = check_mark(s, n);
        if (r >= 0 && n->analysis.depth_certain > 0)
                r = hazards_above_exposed(s, n);
        if (r < 0 || n->analysis.depth_certain == 0 || !node_is_entitled(n))
                return r;
        r = hazards_of_memory(s, n);
        return r < 0 ? r : hazards_of_service(s, n);
}

static int check_file(HazardSearch *s, Node *n) {
        if (!n->fact->path || !endswith(n->fact->path, " (deleted)") || n->analysis.depth == 0)
                return 0;
        return hazard_add(s, HAZARD_BACKING_DELETED, NULL, n, &n, 1, (HazardText) {
                text_format("the backing file %s is deleted: its data is gone when the last user closes it", n->fact->path),
                strdup("copy the data off the device before it is detached"),
        });
}

static int check_cycle(HazardSearch *s, Node *n) {
        _cleanup_free_ Node **path = NULL;
        size_t n_path;
        int r;

        r = analysis_cycle(s->analysis, n, &path, &n_path);
        if (r < 0)
                return r == -ENOENT ? 0 : r;
        return hazard_add(s, HAZARD_CYCLE, NULL, n, path, n_path, (HazardText) {
                text_format("%s needs itself to complete I/O", node_label(n)),
                strdup("move what the process keeps there to a file system that it does not serve"),
        });
}

static int compare_members(const void *a, const void *b) {
        const Node *x = *(Node *const *) a, *y = *(Node *const *) b;

        if (x->analysis.component != y->analysis.component)
                return x->analysis.component < y->analysis.component ? -1 : 1;
        return strcmp(x->id, y->id);
}

/* One hazard a cycle: at its member whose id sorts first, so that the report does not depend on chance. */
static int check_cycles(HazardSearch *s) {
        _cleanup_free_ Node **members = NULL;
        size_t n_members = 0, capacity = 0, position = 0;
        Node *n;
        int r = 0;

        while (r >= 0 && (n = graph_next(s->graph, &position)))
                if (n->analysis.component > 0)
                        r = ARRAY_APPEND(members, n_members, capacity, n);
        if (n_members > 1)
                qsort(members, n_members, sizeof(Node *), compare_members);
        for (size_t i = 0; r >= 0 && i < n_members; i++)
                if (i == 0 || members[i]->analysis.component != members[i - 1]->analysis.component)
                        r = check_cycle(s, members[i]);
        return r;
}

static int compare(const void *a, const void *b) {
        const Hazard *x = a, *y = b;

        if (x->kind != y->kind)
                return (int) x->kind - (int) y->kind;
        if (x->pid != y->pid)
                return x->pid > y->pid ? 1 : -1;
        return strcmp(x->layer ?: "", y->layer ?: "");
}

int hazard_list_find(HazardList *l, Analysis *a, Graph *g, const State *state) {
        HazardSearch s = { .list = l, .analysis = a, .graph = g, .state = state };
        size_t position = 0;
        Node *n;
        int r;

        for (size_t i = 0; i < state->n_readings; i++)
                s.unbounded |= reading_is_unbounded(&state->readings[i]);
        hazard_list_done(l);
        while ((n = graph_next(g, &position))) {
                r = 0;
                if (node_kind(n) == NODE_PROCESS)
                        r = check_process(&s, n);
                else if (node_kind(n) == NODE_FILE)
                        r = check_file(&s, n);
                else if (node_kind(n) == NODE_BLOCK)
                        r = hazards_of_loop(&s, n);
                if (r < 0)
                        return r;
        }
        r = check_cycles(&s);
        if (r < 0)
                return r;
        if (l->n > 1)
                qsort(l->hazards, l->n, sizeof(Hazard), compare);
        return 0;
}
