/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Depth of every node: the largest number of reclaim layers strictly above it on any path.
 *
 * A graph of storage may hold cycles (a FUSE daemon whose log is on its own mount). Depth is a longest path
 * and therefore computed on the condensed graph, in which each cycle (strongly connected component) is one
 * node: a member of a component has all reclaim layers of the component above it but itself.
 *
 * Only what a change can reach is computed again: depth flows down from the changed nodes and height up. */

#include "daemon/graph/graph.h"

typedef struct Analysis {
        unsigned epoch;          /* marks nodes of the pass under way */
        unsigned next_component; /* component numbers are never used twice */
} Analysis;

/* Brings the analysis of all nodes up to date after 'changes'; nodes whose result differs are added to
 * them. 0 or -ENOMEM (then call it again: nothing is lost but time). */
int analysis_update(Analysis *a, GraphChanges *changes);

/* The chain from a topmost node down to 'n' that gives 'n' its depth. The array is the caller's, the nodes
 * the graph's. 'certain': over certain edges only, for the certain depth; so it is too where both depths are the same. */
int analysis_path(Analysis *a, Node *n, bool certain, Node ***ret, size_t *ret_n);

/* All nodes above 'n', itself not among them, by backing edges; 'certain': by certain ones only. The array is the
 * caller's. */
int analysis_above(Analysis *a, Node *n, bool certain, Node ***ret, size_t *ret_n);

/* A shortest chain of certain backing edges from 'upper' down to 'lower', both included; -ENOENT when there is none. */
int analysis_route(Analysis *a, Node *upper, Node *lower, Node ***ret, size_t *ret_n);

/* A shortest cycle through 'n' (first and last element are n); -ENOENT when it is in none. */
int analysis_cycle(Analysis *a, Node *n, Node ***ret, size_t *ret_n);
