/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "cli/complain.h"
#include "cli/fetch.h"
#include "cli/model.h"
#include "cli/output-json.h"
#include "cli/output-table.h"
#include "cli/output.h"
#include "cli/verb.h"
#include "common/text.h"

static int compare_nodes(const void *a, const void *b) {
        const Node *x = *(const Node *const *) a, *y = *(const Node *const *) b;

        if (x->kind != y->kind)
                return (int) x->kind - (int) y->kind;
        return strverscmp(x->id, y->id);
}

/* Pointers to some of the nodes, in the order of their ids. */
static const Node **sorted_nodes(const Node *nodes, size_t n) {
        const Node **sorted = calloc(n + 1, sizeof(Node *));

        if (!sorted)
                return NULL;
        for (size_t i = 0; i < n; i++)
                sorted[i] = nodes + i;
        qsort(sorted, n, sizeof(Node *), compare_nodes);
        return sorted;
}

/* Where a human finds it: a mount point, a path, or the names of a device; owned by the caller. */
static char *layer_place(const Node *n) {
        json_object *mounts = json_array(n->json, "mounts");

        if (json_length(mounts) > 0)
                return strdup(json_object_get_string(json_object_array_get_idx(mounts, 0)));
        if (n->path || n->kind == NODE_FILESYSTEM)
                return strdup(n->path ?: "-");
        return text_format("%s%s%s", n->name ?: "-", n->label ? " " : "", n->label ?: "");
}

/* Three digits and a letter, as lsblk has it. */
static int add_size(Table *t, int64_t size) {
        static const char units[] = "BKMGTPE";
        double value = (double) size;
        char text[32];
        size_t i = 0;

        if (size <= 0)
                return table_add(t, NULL);
        for (; value >= 1024 && units[i + 1]; i++)
                value /= 1024;
        snprintf(text, sizeof(text), value < 10 && i > 0 && value != (int) value ? "%.1f%c" : "%.0f%c", value, units[i]);
        return table_add(t, text);
}

/* The first process that serves it: "?" after one that was guessed; "" if there is none. */
static char *layer_server(const Node *n) {
        for (size_t i = 0; i < n->n_lower; i++) {
                const Edge *e = n->lower + i;

                if (e->node && e->node->kind == NODE_PROCESS && !e->error_path)
                        return text_format("%s[%lli]%s", e->node->comm ?: "?", (long long) e->node->pid,
                                           e->inferred ? "?" : "");
        }
        return strdup("");
}

static int list_layers(Output *o, const Model *m, bool header) {
        static const Column columns[] = {
                { "ID", false }, { "KIND", false }, { "TYPE", false }, { "DEPTH", true }, { "SIZE", true },
                { "SERVED BY", false }, { "WHERE", false },
        };
        _cleanup_(table_clear) Table t = { .columns = columns, .n_columns = ELEMENTSOF(columns), .utf8 = o->utf8 };
        _cleanup_free_ const Node **nodes = sorted_nodes(m->nodes, m->n_layers);
        int r = nodes ? 0 : -ENOMEM;

        for (size_t i = 0; r >= 0 && i < m->n_layers; i++) {
                const Node *n = nodes[i];
                _cleanup_free_ char *server = layer_server(n), *place = layer_place(n);

                if (!server || !place)
                        return -ENOMEM;
                r = table_add(&t, n->id);
                if (r >= 0)
                        r = table_add(&t, json_text(n->json, "kind"));
                if (r >= 0)
                        r = table_add(&t, n->type);
                if (r >= 0)
                        r = table_add_number(&t, n->depth);
                if (r >= 0)
                        r = add_size(&t, json_int(n->json, "size", 0));
                if (r >= 0)
                        r = table_add(&t, server);
                if (r >= 0)
                        r = table_add(&t, place);
        }
        return r < 0 ? r : table_print(&t, o, header);
}

static int list_processes(Output *o, const Model *m, bool header) {
        static const Column columns[] = {
                { "PID", true }, { "COMMAND", false }, { "UID", true }, { "DEPTH", true }, { "THREADS", true },
                { "MARKED", true }, { "RESERVED", true }, { "UNIT", false },
        };
        _cleanup_(table_clear) Table t = { .columns = columns, .n_columns = ELEMENTSOF(columns), .utf8 = o->utf8 };
        size_t count = m->n_nodes - m->n_layers;
        _cleanup_free_ const Node **nodes = sorted_nodes(m->nodes + m->n_layers, count);
        int r = nodes ? 0 : -ENOMEM;

        for (size_t i = 0; r >= 0 && i < count; i++) {
                const Node *n = nodes[i];

                r = table_add_number(&t, n->pid);
                if (r >= 0)
                        r = table_add(&t, n->comm);
                if (r >= 0)
                        r = table_add_number(&t, n->uid);
                if (r >= 0)
                        r = table_add_number(&t, n->depth);
                if (r >= 0)
                        r = table_add_number(&t, n->threads);
                if (r >= 0)
                        r = table_add_number(&t, n->threads_marked);
                if (r >= 0)
                        r = add_size(&t, n->memory_min_effective);
                if (r >= 0)
                        r = table_add(&t, n->unit);
        }
        return r < 0 ? r : table_print(&t, o, header);
}

static int list_hazards(Output *o, const Model *m, bool header) {
        static const Column columns[] = {
                { "SEVERITY", false }, { "HAZARD", false }, { "PID", true }, { "LAYER", false }, { "MESSAGE", false },
        };
        _cleanup_(table_clear) Table t = { .columns = columns, .n_columns = ELEMENTSOF(columns), .utf8 = o->utf8 };
        int r = 0;

        for (size_t i = 0; r >= 0 && i < m->n_hazards; i++) {
                const Hazard *h = m->hazards + i;

                r = table_add(&t, severity_to_string(h->severity));
                if (r >= 0)
                        r = table_add(&t, h->id);
                if (r >= 0)
                        r = table_add_number(&t, json_int(h->json, "pid", -1));
                if (r >= 0)
                        r = table_add(&t, json_text(h->json, "layer"));
                if (r >= 0)
                        r = table_add(&t, h->message);
        }
        return r < 0 ? r : table_print(&t, o, header);
}

static const struct {
        const char *name; /* also the document's key */
        int (*print)(Output *o, const Model *m, bool header);
} lists[] = {
        { "layers", list_layers },
        { "processes", list_processes },
        { "hazards", list_hazards },
};

static int print_list(Output *o, const Model *m, size_t list, const Invocation *invocation) {
        _cleanup_(json_object_putp) json_object *part = NULL;
        int r;

        if (invocation->json == JSON_OFF)
                return lists[list].print(o, m, invocation->legend);
        r = output_json_part(&part);
        if (r < 0)
                return r;
        r = output_json_keep(part, lists[list].name, json_array(m->document, lists[list].name));
        return r < 0 ? r : output_json(o, part, invocation->json);
}

int verb_list(const Invocation *invocation, char **arguments) {
        _cleanup_(output_freep) Output *o = NULL;
        _cleanup_(model_freep) Model *m = NULL;
        size_t list = 0;
        int r;

        while (list < ELEMENTSOF(lists) && !streq(lists[list].name, arguments[0]))
                list++;
        if (list == ELEMENTSOF(lists))
                return complain("Unknown list '%s'. There are: layers, processes, hazards.", arguments[0]);
        r = fetch_model(invocation, NULL, &m);
        if (r < 0)
                return r;
        r = output_new(&o);
        if (r < 0)
                return r;
        r = print_list(o, m, list, invocation);
        if (r < 0)
                return r;
        r = output_flush(o, invocation->pager);
        return r < 0 ? r : EXIT_FINE;
}
