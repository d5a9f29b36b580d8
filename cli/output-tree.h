/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "cli/model.h"
#include "cli/output.h"

typedef struct TreeSummary {
        size_t n_stacks; /* trees printed */
        size_t n_folded; /* layers left out, because nothing about them is nested */
        int64_t depth;   /* the largest printed */
        bool inferred;   /* some edge is marked "?" */
        bool needy;      /* some process below a file system or swap was printed */
} TreeSummary;

/* Prints each stack from its top downwards; 'all': also those in which nothing is nested. 0 or -ENOMEM. */
int output_tree(Output *o, const Model *m, bool all, bool legend, TreeSummary *ret);

/* What that prints: an array of one truth a node, owned by the caller, and the number of layers left out. */
int output_tree_select(const Model *m, bool all, bool **ret_visible, size_t *ret_folded);

/* In a few words: whether a backing process is safe from reclaim. */
void output_protection(Output *o, const Node *process);
