/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cli/fetch.h"
#include "cli/model.h"
#include "cli/output-gap.h"
#include "cli/output-hazard.h"
#include "cli/output-json.h"
#include "cli/output-tree.h"
#include "cli/output.h"
#include "cli/verb.h"

static void print_nothing_nested(Output *o, const Model *m, const char *what) {
        if (what)
                output_wrapped(o, 0, 0, "Nothing is known to stand on it or below it.");
        else if (m->n_nodes + m->n_folded == 0)
                output_wrapped(o, 0, 0, "No layers: stackd sees no file system, no swap and no block device.");
        else
                output_wrapped(o, 0, 0, "Nothing is nested: no file system or swap area stands on another one, and "
                                        "no process serves any.");
}

static void print_legend(Output *o, const TreeSummary *s) {
        if (s->n_folded > 0 || s->n_stacks > 0)
                output_raw(o, "\n");
        if (s->n_folded > 0)
                output_raw(o, "%zu layer%s not nested: 'stackctl list layers' shows %s.\n", s->n_folded,
                           s->n_folded == 1 ? "" : "s", s->n_folded == 1 ? "it" : "them");
        if (s->n_stacks > 0)
                output_wrapped(o, 0, 12, "DEPTH: how many file systems and swap areas need it to write.");
        if (s->needy) {
                output_wrapped(o, 0, 12, "IO_FLUSHER: the kernel gives the thread memory without waiting for storage.");
                output_wrapped(o, 0, 12, "Reservation: memory that the kernel leaves to it when others need some.");
        }
        if (s->inferred)
                output_wrapped(o, 0, 3, "?: a link that is guessed, not proven: 'stackctl show' tells why.");
}

static int print_hazards(Output *o, const Model *m) {
        if (m->n_hazards > 0)
                output_raw(o, "\n");
        for (size_t i = 0; i < m->n_hazards; i++) {
                int r = output_hazard(o, m, m->hazards + i, 0, false);

                if (r < 0)
                        return r;
        }
        return 0;
}

static void print_summary(Output *o, const Model *m, const TreeSummary *s) {
        size_t n = 0, marked = 0;

        output_raw(o, "\n");
        for (size_t i = m->n_layers; i < m->n_nodes; i++) {
                if (m->nodes[i].recovery_only)
                        continue;
                n += m->nodes[i].depth > 0;
                marked += m->nodes[i].depth > 0 && node_is_marked(m->nodes + i);
        }
        if (s->n_stacks > 0) {
                output_raw(o, "%zu stack%s, ", s->n_stacks, s->n_stacks == 1 ? "" : "s");
                if (s->depth > 0)
                        output_raw(o, "depth up to %lli; ", (long long) s->depth);
                else
                        output_raw(o, "nothing nested; ");
        }
        if (n > 0) {
                output_style_begin(o, marked == n ? STYLE_GOOD : STYLE_BAD);
                output_raw(o, "%zu of %zu backing process%s marked", marked, n, n == 1 ? "" : "es");
                output_style_end(o);
                output_raw(o, "; ");
        }
        if (m->n_hazards > 0)
                output_raw(o, "%zu hazard%s", m->n_hazards, m->n_hazards == 1 ? "" : "s");
        else
                output_raw(o, s->n_stacks > 0 || n > 0 ? "no hazards" : "No hazards");
        output_raw(o, gap_count(m) > 0 ? " in what could be seen.\n" : ".\n");
}

static int print_status(Output *o, const Model *m, const char *what, bool all, bool legend) {
        TreeSummary summary;
        int r;

        r = output_tree(o, m, all || what, legend, &summary);
        if (r < 0)
                return r;
        if (summary.n_stacks == 0)
                print_nothing_nested(o, m, what);
        if (legend)
                print_legend(o, &summary);
        r = print_hazards(o, m);
        if (r < 0)
                return r;
        if (gap_count(m) > 0)
                output_raw(o, "\n");
        output_gaps(o, m);
        print_summary(o, m, &summary);
        return 0;
}

int verb_status(const Invocation *invocation, char **arguments) {
        _cleanup_(model_freep) Model *m = NULL;
        _cleanup_(output_freep) Output *o = NULL;
        int r;

        if (arguments[0] || invocation->all || invocation->json != JSON_OFF)
                r = fetch_model(invocation, arguments[0], &m);
        else
                r = fetch_nested(invocation, &m);
        if (r < 0)
                return r;
        r = output_new(&o);
        if (r < 0)
                return r;
        if (invocation->json != JSON_OFF)
                r = output_json(o, m->document, invocation->json);
        else
                r = print_status(o, m, arguments[0], invocation->all, invocation->legend);
        if (r < 0)
                return r;
        r = output_flush(o, invocation->pager);
        return r < 0 ? r : exit_with_gaps(m, EXIT_FINE);
}
