/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The union of what all origins say, as nodes with edges both ways. Replacing one origin's facts changes
 * just what differs, and says what that was; nothing here notifies anybody or reads the machine. */

#include "common/hashmap.h"
#include "daemon/graph/fact.h"

typedef struct Node Node;
typedef struct Edge Edge;
typedef struct Graph Graph;

/* What one origin says of an edge. */
typedef struct Claim {
        unsigned origin;
        unsigned alternative; /* unique over all origins; 0 = none */
        EdgeRole role;
        Certainty certainty;
        char *evidence;
} Claim;

struct Edge {
        Node *upper, *lower;
        size_t in_upper, in_lower; /* where it stands in upper->lower and in lower->upper */
        Claim *claims; /* never empty; the first is the best: backing before error path, then certainty */
        size_t n_claims, claims_capacity;
};

typedef struct Definition {
        unsigned origin;
        const NodeFact *fact; /* owned by the origin's fact set */
} Definition;

/* Results of analysis, kept with the node and recomputed only where something changed. */
typedef struct NodeAnalysis {
        unsigned depth;         /* over all backing edges */
        unsigned depth_certain; /* over proven and unique ones, and alternatives that leave no way out */
        unsigned height;        /* reclaim layers strictly below */
        unsigned component;     /* nodes of one cycle share a number; 0 = in no cycle */
} NodeAnalysis;

struct Node {
        char *id;
        const NodeFact *fact; /* what the first origin that defines it says; NULL while only referred to */
        Definition *definitions;
        size_t n_definitions, definitions_capacity;
        Edge **upper, **lower;
        size_t n_upper, upper_capacity, n_lower, lower_capacity;
        NodeAnalysis analysis;
        bool granted; /* a process that is entitled by an administrator's policy */
        bool touched; /* in the current change record */
        bool fresh;   /* born in the current change record */
        unsigned mark, scratch, link; /* working space of analysis */
};

#define GRAPH_ORIGINS_MAX 32U

/* What a replacement changed. 'touched' nodes had their attributes or edges changed; removed ones are only
 * named, since they are gone. */
typedef struct GraphChanges {
        Node **touched;
        size_t n_touched, touched_capacity;
        char **removed;
        size_t n_removed;
} GraphChanges;

/* Adds a node to the record unless it is there. 0 or -ENOMEM. */
int graph_changes_touch(GraphChanges *c, Node *n);
void graph_changes_done(GraphChanges *c);
#define _cleanup_graph_changes_ _cleanup_(graph_changes_done)

Graph *graph_new(void);
Graph *graph_free(Graph *g);
DEFINE_TRIVIAL_CLEANUP_FUNC(Graph *, graph_free);

/* Replaces all that 'origin' (0 .. GRAPH_ORIGINS_MAX - 1; a smaller number takes precedence in defining a
 * node) has said by 'facts', which is taken over, also on failure. Adds to 'changes', which collects over
 * several replacements until graph_changes_done(). 0, or -ENOMEM: the origin then says nothing any more. */
int graph_replace(Graph *g, unsigned origin, FactSet *facts, GraphChanges *changes);

Node *graph_find(const Graph *g, const char *id);
size_t graph_size(const Graph *g);
/* In no particular order; start with *position = 0. */
Node *graph_next(const Graph *g, size_t *position);

static inline NodeKind node_kind(const Node *n) {
        return n->fact ? n->fact->kind : NODE_UNKNOWN;
}
/* What people call it, borrowed from the node. */
const char *node_label(const Node *n);
static inline bool node_is_reclaim(const Node *n) {
        return node_kind_is_reclaim(node_kind(n));
}
/* Whether something above cannot do without it. A process for which that is not so is needed only to recover
 * a layer, and looks after itself (iscsid) or waits in the kernel, where it allocates nothing (nbd-client). */
bool node_is_backing(const Node *n);

/* Whether it serves what is certainly below something, and cannot or may not be marked: what stands on it needs a limit of its own. */
bool node_is_exposing(const Node *n);

/* Whether kernel privileges and reservations may be given to this process. */
static inline bool node_is_entitled(const Node *n) {
        return n->granted || (n->fact && n->fact->entitled);
}

static inline const Claim *edge_claim(const Edge *e) {
        return &e->claims[0];
}
