/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "common/text.h"
#include "daemon/graph/fact.h"

const char *node_kind_to_string(NodeKind kind) {
        static const char *const names[_NODE_KIND_MAX] = {
                [NODE_UNKNOWN] = "unknown", [NODE_FILESYSTEM] = "filesystem", [NODE_BLOCK] = "block",
                [NODE_SWAP] = "swap",       [NODE_FILE] = "file",             [NODE_ENDPOINT] = "endpoint",
                [NODE_PROCESS] = "process",
        };

        return names[kind];
}

const char *certainty_to_string(Certainty certainty) {
        static const char *const names[_CERTAINTY_MAX] = {
                [CERTAINTY_INFERRED] = "inferred",
                [CERTAINTY_UNIQUE] = "unique",
                [CERTAINTY_PROVEN] = "proven",
        };

        return names[certainty];
}

const char *edge_role_to_string(EdgeRole role) {
        return role == ROLE_BACKING ? "backing" : "error-path";
}

char *process_id(pid_t pid, uint64_t start) {
        return text_format("process:%d:%llu", pid, (unsigned long long) start);
}

FactSet *factset_new(void) {
        return calloc(1, sizeof(FactSet));
}

void node_fact_done(NodeFact *f) {
        free(f->id);
        free(f->incomplete);
        free(f->type);
        free(f->name);
        free(f->label);
        free(f->device);
        free(f->path);
        strv_free(f->mounts);
        free(f->comm);
        free(f->exe);
        free(f->unit);
        free(f->cgroup);
        free(f->refusal);
        free(f->swap_max);
        *f = (NodeFact) {};
}

const char *io_flusher_to_string(const NodeFact *f) {
        return f->threads_io_flusher == 0 ? "none" : f->threads_io_flusher == f->threads ? "all" : "partial";
}

void edge_fact_done(EdgeFact *e) {
        free(e->upper);
        free(e->lower);
        free(e->evidence);
        *e = (EdgeFact) {};
}

FactSet *factset_free(FactSet *f) {
        if (!f)
                return NULL;
        for (size_t i = 0; i < f->n_nodes; i++)
                node_fact_done(&f->nodes[i]);
        for (size_t i = 0; i < f->n_edges; i++)
                edge_fact_done(&f->edges[i]);
        free(f->nodes);
        free(f->edges);
        free(f);
        return NULL;
}

int factset_add_node(FactSet *f, NodeFact *fact) {
        _cleanup_node_fact_ NodeFact mine = *fact;
        int r;

        *fact = (NodeFact) {};
        if (!mine.id)
                return -ENOMEM;
        r = ARRAY_APPEND(f->nodes, f->n_nodes, f->nodes_capacity, mine);
        if (r < 0)
                return r;
        mine = (NodeFact) {};
        return 0;
}

int factset_add_edge(
                FactSet *f,
                const char *upper,
                const char *lower,
                EdgeRole role,
                Certainty certainty,
                unsigned alternative,
                const char *evidence) {

        EdgeFact e = {
                .upper = strdup(upper),
                .lower = strdup(lower),
                .role = role,
                .certainty = certainty,
                .alternative = alternative,
                .evidence = strdup(evidence),
        };
        int r = -ENOMEM;

        if (e.upper && e.lower && e.evidence)
                r = ARRAY_APPEND(f->edges, f->n_edges, f->edges_capacity, e);
        if (r < 0)
                edge_fact_done(&e);
        return r;
}

bool node_fact_equal(const NodeFact *a, const NodeFact *b) {
        return a->kind == b->kind && streq_ptr(a->id, b->id) && streq_ptr(a->incomplete, b->incomplete) &&
                streq_ptr(a->type, b->type) && streq_ptr(a->name, b->name) && streq_ptr(a->label, b->label) &&
                streq_ptr(a->device, b->device) && streq_ptr(a->path, b->path) &&
                strv_equal(a->mounts, b->mounts) && a->size == b->size && a->pid == b->pid &&
                a->start == b->start && streq_ptr(a->comm, b->comm) && streq_ptr(a->exe, b->exe) &&
                streq_ptr(a->unit, b->unit) && streq_ptr(a->cgroup, b->cgroup) && a->uid == b->uid &&
                a->entitled == b->entitled && streq_ptr(a->refusal, b->refusal) &&
                a->in_user_namespace == b->in_user_namespace && a->threads == b->threads &&
                a->threads_io_flusher == b->threads_io_flusher && a->threads_realtime == b->threads_realtime && a->oom_score_adj == b->oom_score_adj &&
                a->memory_min == b->memory_min && a->memory_min_effective == b->memory_min_effective &&
                streq_ptr(a->swap_max, b->swap_max) && a->locked == b->locked;
}
