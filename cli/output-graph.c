/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A drawing that explains itself to somebody who was sent it: what is below needs nothing above, file systems and
 * swap areas of the same depth stand side by side, hazards are red, and the words are below. No colour says
 * anything that is not written too.
 *
 * Names reach DOT in two ways only: as text of HTML-like labels through put_text(), and quoted through
 * put_quoted(). Nodes are numbered. */

#include <errno.h>
#include <string.h>

#include "cli/escape.h"
#include "cli/output-graph.h"
#include "cli/output-tree.h"
#include "common/text-stream.h"
#include "common/text.h"

enum {
        LINE_SOFT = 26,  /* columns after which a line is broken where a name suggests it */
        LINE_HARD = 38,  /* ... and wherever it is */
        TEXT_MAX = 180,  /* of one name */
        MOUNTS_MAX = 3,
        HAZARDS_MAX = 12,
        MESSAGE_COLUMNS = 100,
};

static const char red[] = "#b3261e";

typedef struct Graph {
        FILE *f;
        const Model *model;
        bool *visible;
        Hashmap *hot;      /* "UPPER\nLOWER" of the edges on the path of a hazard */
        char **hot_keys;
        size_t n_folded;
        bool guessed, recovery, swap, endpoint; /* what the legend has to explain */
} Graph;

static void graph_clear(Graph *g) {
        if (g->f)
                fclose(g->f);
        free(g->visible);
        hashmap_free(g->hot);
        strv_free(g->hot_keys);
}

/* One character of text for XML. */
static void put_character(FILE *f, const char *s, size_t n) {
        if (*s == '&')
                fputs("&amp;", f);
        else if (*s == '<')
                fputs("&lt;", f);
        else if (*s == '>')
                fputs("&gt;", f);
        else if (*s == '"')
                fputs("&quot;", f);
        else
                fwrite(s, 1, n, f);
}

/* Untrusted text within an HTML-like label, in lines of about 'soft' to 'hard' columns. */
static void put_lines(FILE *f, const char *untrusted, unsigned soft, unsigned hard, unsigned max, const char *line_break) {
        _cleanup_free_ char *safe = escape_text(untrusted, true);
        unsigned column = 0, total = 0;

        if (safe && !*safe)
                fputc('-', f); /* an element of nothing is an error there */
        for (const char *p = safe; p && *p;) {
                size_t n = 1;

                while ((p[n] & 0xc0) == 0x80)
                        n++;
                if (++total > max) {
                        fputs("…", f);
                        return;
                }
                if (column >= hard || (column >= soft && (strchr("/ ", *p) || strchr("-_.:", p[-1])))) {
                        fputs(line_break, f);
                        column = 0;
                        if (*p == ' ') {
                                p++;
                                continue;
                        }
                }
                put_character(f, p, n);
                column++;
                p += n;
        }
}

static void put_text(Graph *g, const char *untrusted) {
        put_lines(g->f, untrusted, LINE_SOFT, LINE_HARD, TEXT_MAX, "<BR/>");
}

/* A quoted string of DOT, in which a backslash would begin an escape. */
static void put_quoted(Graph *g, const char *untrusted) {
        _cleanup_free_ char *safe = escape_text(untrusted, true);

        fputc('"', g->f);
        for (const char *p = safe; p && *p; p++) {
                if (*p == '"' || *p == '\\')
                        fputc('\\', g->f);
                fputc(*p, g->f);
        }
        fputc('"', g->f);
}

typedef struct Look {
        const char *shape, *fill, *border, *font;
} Look;

static Look layer_look(const Node *n) {
        static const Look looks[] = {
                [NODE_FILESYSTEM] = { "box", "#cfe3f7", "#1f5a94", "black" },
                [NODE_SWAP] = { "box", "#e4d7f5", "#5b3a8e", "black" },
                [NODE_BLOCK] = { "cylinder", "#ececec", "#666666", "black" },
                [NODE_FILE] = { "note", "#fff6d6", "#8a7430", "black" },
                [NODE_ENDPOINT] = { "cds", "#d9f0ee", "#2f7f78", "black" },
                [NODE_OTHER] = { "ellipse", "#ffffff", "#666666", "black" },
        };

        return looks[n->kind];
}

static Look process_look(const Node *n) {
        if (n->depth <= 0 || (n->recovery_only && !node_is_marked(n)))
                return (Look) { "component", "#ffffff", "#888888", "#444444" };
        if (node_is_marked(n))
                return (Look) { "component", "#d5eed8", "#2e7d32", "black" };
        if (n->threads_marked > 0)
                return (Look) { "component", "#ffe3bf", "#a85f00", "black" };
        return (Look) { "component", "#fbd5d2", red, "black" };
}

static void put_small(Graph *g, const char *trusted) {
        fprintf(g->f, "<BR/><FONT POINT-SIZE=\"10\">%s</FONT>", trusted);
}

static void put_small_text(Graph *g, const char *untrusted) {
        fputs("<BR/><FONT POINT-SIZE=\"10\">", g->f);
        put_text(g, untrusted);
        fputs("</FONT>", g->f);
}

static void put_mounts(Graph *g, const Node *n) {
        json_object *mounts = json_array(n->json, "mounts");
        size_t count = json_length(mounts);

        for (size_t i = 0; i < count && i < MOUNTS_MAX; i++) {
                fputs("<BR/>", g->f);
                put_text(g, json_text_at(mounts, i));
        }
        if (count > MOUNTS_MAX)
                fprintf(g->f, "<BR/>and %zu more mounts", count - MOUNTS_MAX);
        if (count == 0)
                put_small(g, "mounted nowhere in sight");
}

static void put_layer_name(Graph *g, const Node *n) {
        const char *name = n->name ?: n->id;

        fputs("<B>", g->f);
        put_text(g, n->kind == NODE_FILE ? n->path ?: name : n->kind == NODE_FILESYSTEM ? n->type ?: "filesystem"
                    : n->kind == NODE_SWAP ? "swap" : name);
        fputs("</B>", g->f);
        if (n->kind == NODE_FILESYSTEM)
                put_mounts(g, n);
        if (n->kind == NODE_SWAP)
                put_small_text(g, n->path ?: name);
        if (n->label && *n->label && !streq(n->label, name))
                put_small_text(g, n->label);
        if (n->kind == NODE_BLOCK && n->type && !startswith(name, n->type))
                put_small_text(g, n->type);
        if (n->kind == NODE_ENDPOINT && n->type)
                put_small_text(g, n->type);
}

static void put_protection(Graph *g, const Node *p) {
        fputs("<BR/><FONT POINT-SIZE=\"10\">", g->f);
        if (p->depth <= 0)
                fputs("needs no protection", g->f);
        else if (p->recovery_only)
                fputs("left alone: for recovery only", g->f);
        else if (p->threads <= 0 || p->threads_marked < 0)
                fputs("flags not known", g->f);
        else
                fprintf(g->f, "%s: %lli of %lli threads IO_FLUSHER",
                        node_is_marked(p) ? p->protected ? "protected" : "marked" : p->threads_marked > 0 ? "PARTLY protected" : "NOT protected",
                        (long long) p->threads_marked, (long long) p->threads);
        fputs("</FONT>", g->f);
        if (p->depth > 0 && !p->recovery_only && p->memory_min_effective >= 0)
                put_small(g, p->memory_min_effective > 0 ? "memory reserved" : "no memory reserved");
}

static void put_process_name(Graph *g, const Node *n) {
        fputs("<B>", g->f);
        put_text(g, n->comm ?: "?");
        fprintf(g->f, "</B>[%lli]", (long long) n->pid);
        if (n->unit)
                put_small_text(g, n->unit);
        put_protection(g, n);
}

/* Whom it is about: the process, or the layer where there is none. */
static const Node *hazard_subject(const Hazard *h) {
        return h->process ?: h->layer;
}

static const Hazard *worst_hazard(const Model *m, const Node *n) {
        for (size_t i = 0; i < m->n_hazards; i++)
                if (hazard_subject(m->hazards + i) == n)
                        return m->hazards + i;
        return NULL;
}

static void put_hazards(Graph *g, const Node *n) {
        for (size_t i = 0; i < g->model->n_hazards; i++) {
                const Hazard *h = g->model->hazards + i;

                if (hazard_subject(h) != n)
                        continue;
                fprintf(g->f, "<BR/><FONT POINT-SIZE=\"11\" COLOR=\"%s\"><B>! ", red);
                put_text(g, h->id);
                fputs("</B></FONT>", g->f);
        }
}

static void put_depth(Graph *g, const Node *n) {
        if (n->depth_certain < n->depth)
                fprintf(g->f, "<BR/><FONT POINT-SIZE=\"10\">depth %lli, or %lli if what is guessed is not so</FONT>",
                        (long long) n->depth, (long long) n->depth_certain);
        else
                fprintf(g->f, "<BR/><FONT POINT-SIZE=\"10\">depth %lli</FONT>", (long long) n->depth);
}

static void put_node(Graph *g, const Node *n) {
        Look look = n->kind == NODE_PROCESS ? process_look(n) : layer_look(n);
        const Hazard *worst = worst_hazard(g->model, n);

        g->swap = g->swap || n->kind == NODE_SWAP;
        g->endpoint = g->endpoint || n->kind == NODE_ENDPOINT;
        fprintf(g->f, "  n%zu [shape=%s, style=\"%s%s\", fillcolor=\"%s\", color=\"%s\", fontcolor=\"%s\", penwidth=%s, tooltip=",
                n->index, look.shape, streq(look.shape, "box") ? "filled,rounded" : "filled",
                n->incomplete ? ",dashed" : "", look.fill, worst ? red : look.border, look.font,
                worst ? "3" : node_is_reclaim(n) ? "2" : "1");
        put_quoted(g, n->id);
        fputs(", label=<", g->f);
        if (n->kind == NODE_PROCESS)
                put_process_name(g, n);
        else
                put_layer_name(g, n);
        if (node_is_reclaim(n) || n->kind == NODE_PROCESS)
                put_depth(g, n);
        if (n->incomplete)
                put_small(g, "not everything could be read");
        put_hazards(g, n);
        fputs(">];\n", g->f);
}

static void put_edge(Graph *g, const Node *upper, const Edge *e) {
        _cleanup_free_ char *key = text_format("%s\n%s", upper->id, e->id);
        bool hot = key && hashmap_get(g->hot, key);

        if (e->redundant || !e->node || !g->visible[e->node->index])
                return;
        g->guessed = g->guessed || e->inferred;
        g->recovery = g->recovery || e->error_path;
        fprintf(g->f, "  n%zu -> n%zu [weight=20, color=\"%s\", penwidth=%s, style=%s%s, edgetooltip=", upper->index, e->node->index,
                hot ? red : "#444444", hot ? "2.5" : "1.2", e->error_path ? "dotted" : e->inferred ? "dashed" : "solid",
                e->inferred ? ", label=\" ?\"" : "");
        put_quoted(g, e->evidence ?: "");
        fputs("];\n", g->f);
}

/* One depth at the left, and what has it beside it. Whether anything has. */
static bool put_rank(Graph *g, int64_t depth, int64_t above) {
        bool any = false;

        for (size_t i = 0; i < g->model->n_layers; i++) {
                if (!g->visible[i] || !node_is_reclaim(g->model->nodes + i) || g->model->nodes[i].depth != depth)
                        continue;
                if (!any)
                        fprintf(g->f, "  depth%lli [shape=plaintext, fontcolor=\"#666666\", label=\"depth %lli\"];\n"
                                      "  { rank=same; depth%lli;", (long long) depth, (long long) depth, (long long) depth);
                /* An edge along the rank: keeps the depth to the left. */
                fprintf(g->f, " depth%lli -> n%zu [style=invis];", (long long) depth, i);
                any = true;
        }
        if (any)
                fputs(" }\n", g->f);
        if (any && above >= 0)
                fprintf(g->f, "  depth%lli -> depth%lli [color=\"#bbbbbb\", arrowhead=none, style=dotted, weight=100];\n",
                        (long long) above, (long long) depth);
        return any;
}

/* The ranks that are compared. */
static void put_depths(Graph *g) {
        int64_t deepest = -1, above = -1;

        for (size_t i = 0; i < g->model->n_layers; i++)
                if (g->visible[i] && node_is_reclaim(g->model->nodes + i))
                        deepest = MAX(deepest, g->model->nodes[i].depth);
        /* There are no more depths than layers, whatever the document says. */
        for (int64_t depth = 0; depth <= MIN(deepest, (int64_t) g->model->n_layers); depth++)
                if (put_rank(g, depth, above))
                        above = depth;
}

static void put_sample(Graph *g, const char *fill, const char *border, const char *words) {
        fprintf(g->f, "<TD BGCOLOR=\"%s\" COLOR=\"%s\" BORDER=\"1\"> %s </TD>\n", fill, border, words);
}

static void put_legend_samples(Graph *g) {
        fputs("<TR><TD><TABLE BORDER=\"0\" CELLBORDER=\"0\" CELLSPACING=\"6\" CELLPADDING=\"3\"><TR>\n", g->f);
        put_sample(g, "#cfe3f7", "#1f5a94", "file system");
        if (g->swap)
                put_sample(g, "#e4d7f5", "#5b3a8e", "swap");
        put_sample(g, "#ececec", "#666666", "block device");
        put_sample(g, "#fff6d6", "#8a7430", "file");
        if (g->endpoint)
                put_sample(g, "#d9f0ee", "#2f7f78", "network endpoint");
        put_sample(g, "#d5eed8", "#2e7d32", "process, marked");
        put_sample(g, "#ffe3bf", "#a85f00", "partly marked");
        put_sample(g, "#fbd5d2", red, "not marked");
        put_sample(g, "#ffffff", "#888888", "needs no mark");
        fputs("</TR></TABLE></TD></TR>\n", g->f);
}

static void put_legend_hazards(Graph *g) {
        const Model *m = g->model;

        if (m->n_hazards == 0)
                return;
        fprintf(g->f, "<TR><TD ALIGN=\"LEFT\" BALIGN=\"LEFT\"><FONT COLOR=\"%s\"><B>%zu hazard%s</B></FONT> (thick red border; the red "
                      "lines are the path that proves it)</TD></TR>\n", red, m->n_hazards, m->n_hazards == 1 ? "" : "s");
        for (size_t i = 0; i < m->n_hazards && i < HAZARDS_MAX; i++) {
                const Hazard *h = m->hazards + i;

                fputs("<TR><TD ALIGN=\"LEFT\" BALIGN=\"LEFT\"><B>", g->f);
                put_text(g, h->id);
                fprintf(g->f, "</B> (%s)<BR/>", severity_to_string(h->severity));
                put_lines(g->f, h->message ?: "", MESSAGE_COLUMNS, MESSAGE_COLUMNS + 20, 4 * MESSAGE_COLUMNS, "<BR/>");
                fputs("<BR/>Cure: ", g->f);
                put_lines(g->f, h->cure ?: "not told", MESSAGE_COLUMNS - 6, MESSAGE_COLUMNS + 14, 4 * MESSAGE_COLUMNS, "<BR/>");
                fputs("</TD></TR>\n", g->f);
        }
        if (m->n_hazards > HAZARDS_MAX)
                fprintf(g->f, "<TR><TD ALIGN=\"LEFT\">and %zu more: stackctl check</TD></TR>\n", m->n_hazards - HAZARDS_MAX);
}

static void put_legend(Graph *g) {
        fputs("  label=<<TABLE BORDER=\"0\" CELLBORDER=\"0\" CELLSPACING=\"2\" CELLPADDING=\"2\">\n", g->f);
        put_legend_samples(g);
        fputs("<TR><TD ALIGN=\"LEFT\" BALIGN=\"LEFT\">An arrow leads to what is needed to write. Depth: how many file systems and swap "
              "areas need it to write.", g->f);
        if (g->guessed)
                fputs("<BR/>Dashed, with a question mark: guessed, not proven.", g->f);
        if (g->recovery)
                fputs("<BR/>Dotted: needed only to recover the device.", g->f);
        if (g->n_folded > 0)
                fprintf(g->f, "<BR/>Left out: %zu layer%s not nested.", g->n_folded, g->n_folded == 1 ? "" : "s");
        fputs("</TD></TR>\n", g->f);
        put_legend_hazards(g);
        fputs("</TABLE>>;\n", g->f);
}

static int graph_find_hot(Graph *g) {
        size_t n = 0;

        g->hot = hashmap_new();
        if (!g->hot)
                return -ENOMEM;
        for (size_t i = 0; i < g->model->n_hazards; i++) {
                json_object *path = json_array(g->model->hazards[i].json, "path");

                for (size_t k = 0; k + 1 < json_length(path); k++) {
                        const char *upper = json_text_at(path, k);
                        const char *lower = json_text_at(path, k + 1);
                        _cleanup_free_ char *key = text_format("%s\n%s", upper ?: "", lower ?: "");
                        int r;

                        if (!key)
                                return -ENOMEM;
                        r = strv_append(&g->hot_keys, &n, key);
                        if (r >= 0)
                                r = hashmap_put(g->hot, g->hot_keys[n - 1], g);
                        if (r < 0 && r != -EEXIST)
                                return r;
                }
        }
        return 0;
}

/* A file that is reached by redundant edges only would stand there without a reason. */
static int graph_hide_redundant(Graph *g) {
        const Model *m = g->model;
        _cleanup_free_ size_t *shown = calloc(m->n_nodes + 1, sizeof(size_t));

        if (!shown)
                return -ENOMEM;
        for (size_t i = 0; i < m->n_nodes; i++)
                for (size_t k = 0; k < m->nodes[i].n_lower; k++) {
                        const Edge *e = m->nodes[i].lower + k;

                        if (e->node)
                                shown[e->node->index] += !e->redundant;
                }
        for (size_t i = 0; i < m->n_nodes; i++)
                if (m->nodes[i].kind == NODE_FILE && m->nodes[i].n_upper > 0 && shown[i] == 0)
                        g->visible[i] = false;
        return 0;
}

static void put_graph(Graph *g, const char *title) {
        const Model *m = g->model;

        fputs("digraph stacks {\n"
              "  graph [rankdir=TB, newrank=true, nodesep=0.35, ranksep=0.35, labelloc=b, labeljust=l, fontsize=11, "
              "charset=\"UTF-8\", fontname=\"Helvetica,Arial,sans-serif\", bgcolor=white];\n"
              "  node [fontname=\"Helvetica,Arial,sans-serif\", fontsize=12, margin=\"0.15,0.07\"];\n"
              "  edge [fontname=\"Helvetica,Arial,sans-serif\", fontsize=12, arrowsize=0.8];\n"
              "  subgraph cluster_stacks {\n  graph [penwidth=0, labelloc=t, labeljust=l, fontsize=15, label=<", g->f);
        put_lines(g->f, title, MESSAGE_COLUMNS, MESSAGE_COLUMNS + 20, 4 * MESSAGE_COLUMNS, "<BR/>");
        fputs(">];\n", g->f);
        put_depths(g);
        for (size_t i = 0; i < m->n_nodes; i++)
                if (g->visible[i])
                        put_node(g, m->nodes + i);
        for (size_t i = 0; i < m->n_nodes; i++)
                for (size_t k = 0; g->visible[i] && k < m->nodes[i].n_lower; k++)
                        put_edge(g, m->nodes + i, m->nodes[i].lower + k);
        fputs("  }\n", g->f);
        put_legend(g);
        fputs("}\n", g->f);
}

int output_graph(const Model *m, bool all, const char *title, char **ret, size_t *ret_size) {
        _cleanup_(graph_clear) Graph g = { .model = m };
        _cleanup_free_ char *text = NULL;
        size_t size = 0;
        FILE *f;
        int r;

        r = output_tree_select(m, all, &g.visible, &g.n_folded);
        if (r >= 0)
                r = graph_hide_redundant(&g);
        if (r >= 0)
                r = graph_find_hot(&g);
        if (r < 0)
                return r;
        g.f = text_stream_open(&text, &size);
        if (!g.f)
                return -ENOMEM;
        put_graph(&g, title);
        f = TAKE_PTR(g.f);
        if (fclose(f) != 0)
                return -ENOMEM;
        *ret = TAKE_PTR(text);
        *ret_size = size;
        return 0;
}
