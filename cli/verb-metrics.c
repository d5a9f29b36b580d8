/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* OpenMetrics 1.0, of the part that Prometheus' older text format has too, which is what node_exporter's textfile
 * collector reads. Layers that are not nested are counted only: their number has no bound. */

#include <errno.h>
#include <string.h>

#include "cli/complain.h"
#include "cli/escape.h"
#include "cli/fetch.h"
#include "cli/output-tree.h"
#include "cli/output.h"
#include "cli/save.h"
#include "cli/verb.h"
#include "common/array.h"
#include "common/text.h"

/* A label and its value, which is untrusted. */
typedef struct Label {
        const char *name, *value;
} Label;

static void put_label_value(FILE *f, const char *untrusted) {
        _cleanup_free_ char *safe = escape_text(untrusted, true);

        for (const char *p = safe; p && *p; p++) {
                if (*p == '"' || *p == '\\')
                        fputc('\\', f);
                fputc(*p, f);
        }
}

static void put_family(FILE *f, const char *name, const char *unit, const char *help) {
        fprintf(f, "# TYPE %s gauge\n", name);
        if (unit)
                fprintf(f, "# UNIT %s %s\n", name, unit);
        fprintf(f, "# HELP %s %s\n", name, help);
}

static void put_sample(FILE *f, const char *name, const Label *labels, size_t n, int64_t value) {
        fputs(name, f);
        for (size_t i = 0; i < n; i++) {
                fprintf(f, "%s%s=\"", i == 0 ? "{" : ",", labels[i].name);
                put_label_value(f, labels[i].value ?: "");
                fputc('"', f);
        }
        fprintf(f, "%s %lli\n", n > 0 ? "}" : "", (long long) value);
}

static void put_layer_counts(FILE *f, const Model *m) {
        static const char *const kinds[] = {
                [NODE_FILESYSTEM] = "filesystem", [NODE_SWAP] = "swap", [NODE_BLOCK] = "block", [NODE_FILE] = "file",
                [NODE_ENDPOINT] = "endpoint", [NODE_OTHER] = "other",
        };

        put_family(f, "stackd_layers", NULL, "Layers that stackd sees, nested or not.");
        for (size_t k = 0; k < ELEMENTSOF(kinds); k++) {
                int64_t n = 0;

                for (size_t i = 0; i < m->n_layers; i++)
                        n += (size_t) m->nodes[i].kind == k;
                put_sample(f, "stackd_layers", &(Label) { "kind", kinds[k] }, 1, n);
        }
}

/* A mount point, a path, or a name. */
static const char *layer_where(const Node *n) {
        json_object *mounts = json_array(n->json, "mounts");

        if (json_length(mounts) > 0)
                return json_text_at(mounts, 0);
        return n->path ?: n->name;
}

static void put_layer_depths(FILE *f, const Model *m, const bool *visible) {
        int64_t deepest = 0;

        put_family(f, "stackd_layer_depth", NULL, "How many file systems and swap areas need this nested one to write.");
        for (size_t i = 0; i < m->n_layers; i++) {
                const Node *n = m->nodes + i;
                const Label labels[] = { { "layer", n->id }, { "kind", json_text(n->json, "kind") }, { "type", n->type },
                                         { "where", layer_where(n) } };

                if (!visible[i] || !node_is_reclaim(n))
                        continue;
                put_sample(f, "stackd_layer_depth", labels, ELEMENTSOF(labels), n->depth);
                deepest = MAX(deepest, n->depth);
        }
        put_family(f, "stackd_depth_max", NULL, "The largest depth of all.");
        put_sample(f, "stackd_depth_max", NULL, 0, deepest);
}

static int64_t process_depth(const Node *n) {
        return n->depth;
}
static int64_t process_threads(const Node *n) {
        return n->threads;
}
static int64_t process_marked_threads(const Node *n) {
        return n->threads_marked;
}
static int64_t process_marked(const Node *n) {
        return node_is_marked(n);
}
static int64_t process_protected(const Node *n) {
        return n->protected;
}
static int64_t process_memory_min(const Node *n) {
        return n->memory_min_effective;
}

static const struct {
        const char *name, *unit, *help;
        int64_t (*value)(const Node *n); /* negative: not told */
} process_families[] = {
        { "stackd_process_depth", NULL, "How many file systems and swap areas need the process to write.", process_depth },
        { "stackd_process_threads", NULL, "Threads of the process.", process_threads },
        { "stackd_process_marked_threads", NULL, "Threads that are IO_FLUSHERs, as read from the kernel.", process_marked_threads },
        { "stackd_process_marked", NULL, "Whether all threads are IO_FLUSHERs.", process_marked },
        { "stackd_process_protected", NULL, "Whether it is marked and has an effective memory reservation.", process_protected },
        { "stackd_process_memory_min_bytes", "bytes", "Effective memory.min of its control group.", process_memory_min },
};

static void put_processes(FILE *f, const Model *m) {
        for (size_t k = 0; k < ELEMENTSOF(process_families); k++) {
                put_family(f, process_families[k].name, process_families[k].unit, process_families[k].help);
                for (size_t i = m->n_layers; i < m->n_nodes; i++) {
                        const Node *n = m->nodes + i;
                        char pid[24];
                        const Label labels[] = { { "process", n->id }, { "pid", pid }, { "command", n->comm }, { "unit", n->unit },
                                                 { "role", n->recovery_only ? "error-path" : "backing" } };

                        snprintf(pid, sizeof(pid), "%lli", (long long) n->pid);
                        if (process_families[k].value(n) >= 0)
                                put_sample(f, process_families[k].name, labels, ELEMENTSOF(labels), process_families[k].value(n));
                }
        }
}

static void put_hazard_counts(FILE *f, const Model *m) {
        put_family(f, "stackd_hazards", NULL, "Hazards, by severity.");
        for (Severity s = 0; s < _SEVERITY_MAX; s++) {
                int64_t n = 0;

                for (size_t i = 0; i < m->n_hazards; i++)
                        n += m->hazards[i].severity == s;
                put_sample(f, "stackd_hazards", &(Label) { "severity", severity_to_string(s) }, 1, n);
        }
}

static bool same_hazard(const Hazard *a, const Hazard *b) {
        return streq(a->id, b->id) && a->process == b->process && streq_ptr(json_text(a->json, "layer"), json_text(b->json, "layer"));
}

static void put_hazards(FILE *f, const Model *m) {
        put_hazard_counts(f, m);
        put_family(f, "stackd_hazard", NULL, "A hazard; stackctl check says what would cure it.");
        for (size_t i = 0; i < m->n_hazards; i++) {
                const Hazard *h = m->hazards + i;
                const Label labels[] = { { "hazard", h->id }, { "severity", severity_to_string(h->severity) },
                                         { "layer", json_text(h->json, "layer") }, { "process", h->process ? h->process->id : NULL },
                                         { "command", h->process ? h->process->comm : NULL },
                                         { "unit", h->process ? h->process->unit : NULL } };
                bool again = false;

                for (size_t k = 0; k < i; k++) /* the same labels twice are an error */
                        again = again || same_hazard(m->hazards + k, h);
                if (!again)
                        put_sample(f, "stackd_hazard", labels, ELEMENTSOF(labels), 1);
        }
}

/* What stands for one of these has come from the daemon; another word is left out, as it has no place to be told. */
static void put_actions(FILE *f, const Model *m) {
        static const char *const states[] = { "planned", "applied", "failed", "reverted" };
        json_object *actions = json_array(m->document, "actions");

        put_family(f, "stackd_actions", NULL, "Changes in force, to be made, or failed, by state.");
        for (size_t s = 0; s < ELEMENTSOF(states); s++) {
                int64_t n = 0;

                for (size_t i = 0; i < json_length(actions); i++) {
                        json_object *o = json_object_array_get_idx(actions, i);

                        n += json_object_is_type(o, json_type_object) && streq_ptr(json_text(o, "state"), states[s]);
                }
                put_sample(f, "stackd_actions", &(Label) { "state", states[s] }, 1, n);
        }
}

static void put_marking(FILE *f, const Model *m) {
        json_object *marking = NULL;

        if (!json_object_object_get_ex(m->document, "marking", &marking) || !json_object_is_type(marking, json_type_object))
                return;
        put_family(f, "stackd_marks", NULL, "Processes that stackd has marked or unmarked since it started.");
        put_sample(f, "stackd_marks", NULL, 0, json_int(marking, "marks", 0));
        put_family(f, "stackd_calls_cut", NULL, "System calls that marking has ended early since stackd started.");
        put_sample(f, "stackd_calls_cut", NULL, 0, json_int(marking, "calls_cut", 0));
}

static void put_gaps(FILE *f, const Model *m) {
        json_object *gaps = json_array(m->document, "gaps");

        put_family(f, "stackd_visibility_gap", NULL, "Something that stackd could not see: layers, servers and hazards may be missing.");
        for (size_t i = 0; i < json_length(gaps); i++) {
                json_object *o = json_object_array_get_idx(gaps, i);
                const char *id = json_object_is_type(o, json_type_object) ? json_text(o, "id") : NULL;

                if (id)
                        put_sample(f, "stackd_visibility_gap", &(Label) { "gap", id }, 1, 1);
        }
}

static int put_metrics(FILE *f, const Model *m) {
        _cleanup_free_ bool *visible = NULL;
        size_t folded;
        int r;

        r = output_tree_select(m, false, &visible, &folded);
        if (r < 0)
                return r;
        put_family(f, "stackd_build_info", NULL, "The version of stackctl.");
        put_sample(f, "stackd_build_info", &(Label) { "version", STACKD_VERSION }, 1, 1);
        put_layer_counts(f, m);
        put_layer_depths(f, m, visible);
        put_processes(f, m);
        put_hazards(f, m);
        put_gaps(f, m);
        put_actions(f, m);
        put_marking(f, m);
        fputs("# EOF\n", f);
        return 0;
}

static int deliver(const Invocation *invocation, Output *o) {
        int r;

        if (!invocation->output || streq(invocation->output, "-"))
                return output_flush(o, invocation->pager);
        r = output_complete(o);
        return r < 0 ? r : save_file(invocation->output, "metrics", o->buffer, o->size, 0644);
}

int verb_metrics(const Invocation *invocation, char **arguments) {
        _cleanup_(model_freep) Model *m = NULL;
        _cleanup_(output_freep) Output *o = NULL;
        int r;

        (void) arguments;
        if (invocation->json != JSON_OFF)
                return complain("Metrics are OpenMetrics text. 'stackctl status --json=%s' has what they are made of.",
                                invocation->json == JSON_SHORT ? "short" : "pretty");
        r = fetch_model(invocation, NULL, &m);
        if (r >= 0)
                r = output_new(&o);
        if (r >= 0)
                r = put_metrics(o->stream, m);
        if (r >= 0)
                r = deliver(invocation, o);
        return r < 0 ? r : EXIT_FINE;
}
