/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The stacks as trees. The graph is none: a layer that is reached twice is printed once and then referred
 * to, and the same ends cycles. Depth stands in a column of its own at the left, where long names and deep
 * trees cannot push it away, and what is to be said about a node in lines below its name. */

#include <errno.h>
#include <string.h>

#include "cli/escape.h"
#include "cli/output-tree.h"
#include "common/array.h"
#include "common/text.h"

enum {
        DEPTH_COLUMN = 7,
        LEVELS_MAX = 500, /* of one branch; a stack of real storage has a few dozen */
};

typedef struct Mark {
        unsigned walk; /* the last walk that came by */
        bool nested, printed, open; /* open: being printed, further up in this branch */
} Mark;

typedef struct Tree {
        Output *output;
        const Model *model;
        Mark *marks;
        unsigned walk;
        const Node **roots;
        size_t n_roots;
        char *prefix; /* the lines of the branches to the left */
        size_t prefix_length, prefix_capacity, level;
        TreeSummary summary;
} Tree;

static void tree_clear(Tree *t) {
        free(t->marks);
        free(t->roots);
        free(t->prefix);
}

static bool reached(const Tree *t, const Node *n) {
        return t->marks[n->index].walk == t->walk;
}

/* Marks all that is below a node, itself included, and says whether a stack is nested in it: a process
 * serves something, or one reclaim layer stands on another. Not recursive: depth is the document's to choose. */
static int tree_reach(Tree *t, const Node *top, bool *ret_nested) {
        _cleanup_free_ const Node **todo = NULL;
        size_t n = 0, capacity = 0;
        bool nested = false;
        int r;

        r = ARRAY_APPEND(todo, n, capacity, top);
        if (r < 0)
                return r;
        t->marks[top->index].walk = t->walk;
        while (n > 0) {
                const Node *node = todo[--n];

                nested = nested || node->kind == NODE_PROCESS || (node_is_reclaim(node) && node->depth > 0);
                for (size_t i = 0; i < node->n_lower; i++) {
                        const Node *lower = node->lower[i].node;

                        if (!lower || reached(t, lower))
                                continue;
                        t->marks[lower->index].walk = t->walk;
                        r = ARRAY_APPEND(todo, n, capacity, lower);
                        if (r < 0)
                                return r;
                }
        }
        *ret_nested = nested;
        return 0;
}

static int compare_roots(const void *a, const void *b) {
        const Node *x = *(const Node *const *) a, *y = *(const Node *const *) b;
        json_object *mx = json_array(x->json, "mounts"), *my = json_array(y->json, "mounts");
        int r;

        if (x->kind != y->kind)
                return (int) x->kind - (int) y->kind;
        if (json_length(mx) > 0 && json_length(my) > 0) {
                r = strverscmp(json_text_at(mx, 0), json_text_at(my, 0));
                if (r != 0)
                        return r;
        }
        return strverscmp(x->id, y->id);
}

/* Where cycles have no top: walks from every node that is not reached yet, preferred kinds first. A cycle
 * that nothing leads into is reached from within only, so that its start is the preferred of its nodes, and
 * the last start of all is in such a one: that is why they are taken backwards. */
static int tree_find_cyclic_roots(Tree *t) {
        _cleanup_free_ const Node **starts = NULL;
        size_t n = 0, capacity = 0;
        bool nested;
        int r;

        for (NodeKind kind = 0; kind <= NODE_PROCESS; kind++)
                for (size_t i = 0; i < t->model->n_nodes; i++) {
                        const Node *node = t->model->nodes + i;

                        if (node->kind != kind || reached(t, node))
                                continue;
                        r = ARRAY_APPEND(starts, n, capacity, node);
                        if (r >= 0)
                                r = tree_reach(t, node, &nested);
                        if (r < 0)
                                return r;
                }
        t->walk++;
        for (size_t i = 0; i < t->n_roots; i++) {
                r = tree_reach(t, t->roots[i], &nested);
                if (r < 0)
                        return r;
        }
        while (n > 0) {
                const Node *node = starts[--n];

                if (reached(t, node))
                        continue;
                t->roots[t->n_roots++] = node;
                r = tree_reach(t, node, &nested);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int tree_find_roots(Tree *t) {
        size_t n = t->model->n_nodes;
        bool nested;
        int r;

        t->walk = 1;
        t->marks = calloc(n + 1, sizeof(Mark));
        t->roots = calloc(n + 1, sizeof(Node *));
        if (!t->marks || !t->roots)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++)
                if (t->model->nodes[i].n_upper == 0) {
                        t->roots[t->n_roots++] = t->model->nodes + i;
                        r = tree_reach(t, t->model->nodes + i, &nested);
                        if (r < 0)
                                return r;
                }
        r = tree_find_cyclic_roots(t);
        if (r < 0)
                return r;
        for (size_t i = 0; i < t->n_roots; i++) {
                t->walk++;
                r = tree_reach(t, t->roots[i], &nested);
                if (r < 0)
                        return r;
                t->marks[t->roots[i]->index].nested = nested;
        }
        qsort(t->roots, t->n_roots, sizeof(Node *), compare_roots);
        return 0;
}

/* Where depth changes, or matters. */
static bool shows_depth(const Node *n) {
        return node_is_reclaim(n) || n->kind == NODE_PROCESS;
}

static void start_line(Tree *t, const Node *n) {
        Output *o = t->output;

        if (n && shows_depth(n))
                output_raw(o, "%*lli  ", DEPTH_COLUMN - 2, (long long) n->depth);
        else
                output_raw(o, "%*s", DEPTH_COLUMN, "");
        output_raw(o, "%.*s", (int) t->prefix_length, t->prefix ?: "");
}

static int prefix_push(Tree *t, const char *s) {
        size_t n = strlen(s);
        int r;

        r = array_reserve((void **) &t->prefix, &t->prefix_capacity, t->prefix_length + n + 1, 1);
        if (r < 0)
                return r;
        memcpy(t->prefix + t->prefix_length, s, n);
        t->prefix_length += n;
        return 0;
}

static void print_threads(Output *o, const Node *p) {
        if (p->threads <= 0)
                output_raw(o, ": its threads are not known");
        else if (p->threads_marked < 0)
                output_raw(o, ": flags of its %lli thread%s not known", (long long) p->threads, p->threads == 1 ? "" : "s");
        else
                output_raw(o, ": %lli of %lli thread%s IO_FLUSHER", (long long) p->threads_marked,
                           (long long) p->threads, p->threads == 1 ? "" : "s");
}

void output_protection(Output *o, const Node *p) {
        const Glyphs *g = o->glyphs;

        if (p->depth <= 0) {
                output_style_begin(o, STYLE_DIM);
                output_raw(o, "%s needs no protection: below no file system or swap", g->idle);
                output_style_end(o);
                return;
        }
        if (p->recovery_only && !node_is_marked(p)) {
                output_style_begin(o, STYLE_DIM);
                output_raw(o, "%s left alone: needed only to recover the device", g->idle);
                output_style_end(o);
                return;
        }
        if (node_is_marked(p)) {
                output_style_begin(o, STYLE_GOOD);
                output_raw(o, "%s %s", g->good, p->protected ? "protected" : "marked");
        } else if (p->threads_marked > 0) {
                output_style_begin(o, STYLE_WARN);
                output_raw(o, "%s PARTLY protected", g->partly);
        } else {
                output_style_begin(o, STYLE_BAD);
                output_raw(o, "%s NOT protected", g->bad);
        }
        print_threads(o, p);
        output_style_end(o);
        if (p->memory_min_effective > 0)
                output_raw(o, ", %lli MiB reserved", (long long) p->memory_min_effective >> 20);
        else if (p->memory_min_effective == 0)
                output_styled(o, STYLE_DIM, ", no reservation");
}

/* A line below the name of a node, left of its children. */
static void start_note(Tree *t, const Node *n) {
        start_line(t, NULL);
        output_raw(t->output, "%s", n->n_lower > 0 ? t->output->glyphs->bar : "  ");
}

static void print_warning(Tree *t, const Node *n, const char *untrusted) {
        start_note(t, n);
        output_style_begin(t->output, STYLE_WARN);
        output_raw(t->output, "%s ", t->output->glyphs->note);
        output_text(t->output, untrusted);
        output_style_end(t->output);
        output_raw(t->output, "\n");
}

static void print_notes(Tree *t, const Node *n) {
        char text[128];

        if (n->kind == NODE_PROCESS) {
                start_note(t, n);
                output_protection(t->output, n);
                output_raw(t->output, "\n");
        }
        if (n->kind == NODE_PROCESS && n->depth > 0 && n->refusal && !n->recovery_only && !node_is_marked(n)) {
                _cleanup_free_ char *refusal = text_format("cannot be marked while it runs: %s", n->refusal);

                print_warning(t, n, refusal ?: "cannot be marked while it runs");
        }
        if (n->kind == NODE_PROCESS && n->depth > 0 && !n->entitled && !n->recovery_only) {
                snprintf(text, sizeof(text), "not entitled (uid %lli): left alone unless a policy names it", (long long) n->uid);
                print_warning(t, n, text);
        }
        if (shows_depth(n) && n->depth_certain < n->depth) {
                snprintf(text, sizeof(text), "depth %lli if the link marked \"?\" is real, else %lli", (long long) n->depth,
                         (long long) n->depth_certain);
                print_warning(t, n, text);
        }
        if (n->incomplete) {
                _cleanup_free_ char *incomplete = text_format("incomplete: %s", n->incomplete);

                print_warning(t, n, incomplete ?: "incomplete");
        }
}

static int print_node(Tree *t, const Node *n, const Edge *edge);

static int print_children(Tree *t, const Node *n) {
        const Glyphs *g = t->output->glyphs;
        size_t end = n->n_lower;
        int r;

        while (end > 0 && n->lower[end - 1].redundant)
                end--;
        for (size_t i = 0; i < end; i++) {
                const Edge *e = n->lower + i;
                bool last = i + 1 == end;
                size_t length = t->prefix_length;

                if (e->redundant)
                        continue;
                start_line(t, e->node);
                output_raw(t->output, "%s%s", last ? g->corner : g->branch, e->inferred ? "? " : "");
                t->summary.inferred = t->summary.inferred || e->inferred;
                r = prefix_push(t, last ? "  " : g->bar);
                if (r >= 0)
                        r = print_node(t, e->node, e);
                if (r < 0)
                        return r;
                t->prefix_length = length;
        }
        return 0;
}

/* Whether the rest of the line says all, and nothing below is to be printed. */
static bool print_reference(Tree *t, const Node *n) {
        const Mark *mark = t->marks + n->index;
        Output *o = t->output;

        if (mark->open) {
                output_style_begin(o, STYLE_BAD);
                output_raw(o, "  %s cycle: already above, in this branch", o->glyphs->again);
                output_style_end(o);
        } else if (mark->printed)
                output_styled(o, STYLE_DIM, "  (see above)");
        else if (t->level >= LEVELS_MAX)
                output_styled(o, STYLE_WARN, "  (and more below: too deep to print)");
        else
                return false;
        output_raw(o, "\n");
        return true;
}

/* The rest of the line that stands at a node's name, and all that is below it. */
static int print_node(Tree *t, const Node *n, const Edge *edge) {
        _cleanup_free_ char *label = n ? node_label(n, t->output->utf8) : escape_text(edge->id, t->output->utf8);
        Output *o = t->output;
        Mark *mark;
        int r;

        if (!label)
                return -ENOMEM;
        if (!n) {
                output_raw(o, "%s", label);
                output_styled(o, STYLE_DIM, "  (not described)");
                output_raw(o, "\n");
                return 0;
        }
        if (node_is_reclaim(n))
                output_style_begin(o, STYLE_BOLD);
        output_raw(o, "%s", label);
        if (node_is_reclaim(n))
                output_style_end(o);
        if (edge && edge->error_path)
                output_styled(o, STYLE_DIM, " (for recovery only)");
        if (print_reference(t, n))
                return 0;
        output_raw(o, "\n");
        if (shows_depth(n))
                t->summary.depth = MAX(t->summary.depth, n->depth);
        t->summary.needy = t->summary.needy || (n->kind == NODE_PROCESS && n->depth > 0);
        print_notes(t, n);
        mark = t->marks + n->index;
        mark->printed = mark->open = true;
        t->level++;
        r = print_children(t, n);
        t->level--;
        mark->open = false;
        return r;
}

/* Leaves the roots that are to be printed, and counts the layers that nothing printed stands on. */
static int tree_select(Tree *t, bool all) {
        size_t n = 0;
        bool nested;
        int r;

        t->walk++;
        for (size_t i = 0; i < t->n_roots; i++) {
                if (!all && !t->marks[t->roots[i]->index].nested)
                        continue;
                t->roots[n++] = t->roots[i];
                r = tree_reach(t, t->roots[i], &nested);
                if (r < 0)
                        return r;
        }
        t->n_roots = n;
        t->summary.n_folded = t->model->n_folded;
        for (size_t i = 0; i < t->model->n_layers; i++)
                t->summary.n_folded += !reached(t, t->model->nodes + i);
        return 0;
}

int output_tree_select(const Model *m, bool all, bool **ret_visible, size_t *ret_folded) {
        _cleanup_(tree_clear) Tree t = { .model = m };
        _cleanup_free_ bool *visible = calloc(m->n_nodes + 1, sizeof(bool));
        int r;

        if (!visible)
                return -ENOMEM;
        r = tree_find_roots(&t);
        if (r >= 0)
                r = tree_select(&t, all);
        if (r < 0)
                return r;
        for (size_t i = 0; i < m->n_nodes; i++)
                visible[i] = reached(&t, m->nodes + i);
        *ret_visible = TAKE_PTR(visible);
        *ret_folded = t.summary.n_folded;
        return 0;
}

int output_tree(Output *o, const Model *m, bool all, bool legend, TreeSummary *ret) {
        _cleanup_(tree_clear) Tree t = { .output = o, .model = m };
        int r;

        r = tree_find_roots(&t);
        if (r < 0)
                return r;
        r = tree_select(&t, all);
        if (r < 0)
                return r;
        if (legend && t.n_roots > 0) {
                output_styled(o, STYLE_DIM, "DEPTH  STACK");
                output_raw(o, "\n");
        }
        for (size_t i = 0; i < t.n_roots; i++) {
                if (i > 0)
                        output_raw(o, "\n");
                start_line(&t, t.roots[i]);
                r = print_node(&t, t.roots[i], NULL);
                if (r < 0)
                        return r;
        }
        t.summary.n_stacks = t.n_roots;
        *ret = t.summary;
        return 0;
}
