/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>
#include <strings.h>

#include "cli/complain.h"
#include "cli/fetch.h"
#include "cli/model.h"
#include "cli/output-gap.h"
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
                return strdup(json_text_at(mounts, 0));
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

/* What a column is made of: a node or a hazard. */
typedef union Row {
        const Node *node;
        const Hazard *hazard;
} Row;

typedef struct ListColumn {
        const char *name;
        bool right, standard;
        int (*add)(Table *t, Row row);
        const char *key; /* of add_member() */
} ListColumn;

static int add_id(Table *t, Row row) {
        return table_add(t, row.node->id);
}
static int add_type(Table *t, Row row) {
        return table_add(t, row.node->type);
}
static int add_depth(Table *t, Row row) {
        return table_add_number(t, row.node->depth);
}
static int add_certain(Table *t, Row row) {
        return table_add_number(t, row.node->depth_certain);
}
static int add_layer_size(Table *t, Row row) {
        return add_size(t, json_int(row.node->json, "size", 0));
}
static int add_server(Table *t, Row row) {
        _cleanup_free_ char *server = layer_server(row.node);

        return server ? table_add(t, server) : -ENOMEM;
}
static int add_where(Table *t, Row row) {
        _cleanup_free_ char *place = layer_place(row.node);

        return place ? table_add(t, place) : -ENOMEM;
}
static int add_mounts(Table *t, Row row) {
        json_object *mounts = json_array(row.node->json, "mounts");
        _cleanup_free_ char *all = strdup("");

        for (size_t i = 0; all && i < json_length(mounts); i++) {
                char *longer = text_format("%s%s%s", all, i > 0 ? "," : "",
                                           json_text_at(mounts, i));

                free(all);
                all = longer;
        }
        return all ? table_add(t, all) : -ENOMEM;
}
static int add_pid(Table *t, Row row) {
        return table_add_number(t, row.node->pid);
}
static int add_threads(Table *t, Row row) {
        return table_add_number(t, row.node->threads);
}
static int add_marked(Table *t, Row row) {
        return table_add_number(t, row.node->threads_marked);
}
static int add_reserved(Table *t, Row row) {
        return add_size(t, row.node->memory_min_effective);
}
static int add_state(Table *t, Row row) {
        const Node *n = row.node;

        return table_add(t, n->depth <= 0 ? "not-needed" : n->recovery_only ? "recovery" : n->protected ? "protected" : node_is_marked(n)
                                 ? "marked" : n->threads_marked > 0 ? "partly" : "unprotected");
}
static int add_severity(Table *t, Row row) {
        return table_add(t, severity_to_string(row.hazard->severity));
}
static int add_hazard(Table *t, Row row) {
        return table_add(t, row.hazard->id);
}
static int add_message(Table *t, Row row) {
        return table_add(t, row.hazard->message);
}
static int add_cure(Table *t, Row row) {
        return table_add(t, row.hazard->cure);
}
static int add_hazard_unit(Table *t, Row row) {
        return table_add(t, row.hazard->process ? row.hazard->process->unit : NULL);
}

/* A member of the document as it stands there. */
static int add_member(Table *t, json_object *o, const char *key) {
        json_object *v = NULL;

        if (!json_object_object_get_ex(o, key, &v) || !v)
                return table_add(t, NULL);
        if (json_object_is_type(v, json_type_boolean))
                return table_add(t, json_object_get_boolean(v) ? "yes" : "no");
        return table_add(t, json_object_get_string(v));
}

static const ListColumn layer_columns[] = {
        { "ID", false, true, add_id, NULL },
        { "KIND", false, true, NULL, "kind" },
        { "TYPE", false, true, add_type, NULL },
        { "DEPTH", true, true, add_depth, NULL },
        { "SIZE", true, true, add_layer_size, NULL },
        { "SERVER", false, true, add_server, NULL },
        { "WHERE", false, true, add_where, NULL },
        { "NAME", false, false, NULL, "name" },
        { "LABEL", false, false, NULL, "label" },
        { "DEVICE", false, false, NULL, "device" },
        { "MOUNTS", false, false, add_mounts, NULL },
        { "PATH", false, false, NULL, "path" },
        { "BYTES", true, false, NULL, "size" },
        { "CERTAIN", true, false, add_certain, NULL },
        { "HEIGHT", true, false, NULL, "height" },
        { "INCOMPLETE", false, false, NULL, "incomplete" },
        {},
};

static const ListColumn process_columns[] = {
        { "PID", true, true, add_pid, NULL },
        { "COMMAND", false, true, NULL, "comm" },
        { "UID", true, true, NULL, "uid" },
        { "DEPTH", true, true, add_depth, NULL },
        { "THREADS", true, true, add_threads, NULL },
        { "MARKED", true, true, add_marked, NULL },
        { "RESERVED", true, true, add_reserved, NULL },
        { "UNIT", false, true, NULL, "unit" },
        { "ID", false, false, add_id, NULL },
        { "STATE", false, false, add_state, NULL },
        { "ROLE", false, false, NULL, "role" },
        { "CERTAIN", true, false, add_certain, NULL },
        { "EXE", false, false, NULL, "exe" },
        { "CGROUP", false, false, NULL, "cgroup" },
        { "SWAP-MAX", true, false, NULL, "swap_max" },
        { "OOM-SCORE", true, false, NULL, "oom_score_adj" },
        { "ENTITLED", false, false, NULL, "entitled" },
        { "REFUSAL", false, false, NULL, "refusal" },
        { "INCOMPLETE", false, false, NULL, "incomplete" },
        {},
};

static const ListColumn hazard_columns[] = {
        { "SEVERITY", false, true, add_severity, NULL },
        { "HAZARD", false, true, add_hazard, NULL },
        { "PID", true, true, NULL, "pid" },
        { "LAYER", false, true, NULL, "layer" },
        { "MESSAGE", false, true, add_message, NULL },
        { "PROCESS", false, false, NULL, "process" },
        { "UNIT", false, false, add_hazard_unit, NULL },
        { "CURE", false, false, add_cure, NULL },
        {},
};

static const struct List {
        const char *name; /* also the document's key */
        const ListColumn *columns;
} lists[] = {
        { "layers", layer_columns },
        { "processes", process_columns },
        { "hazards", hazard_columns },
};

/* The columns to print. */
typedef struct Selection {
        const ListColumn **columns;
        Column *titles;
        size_t n;
} Selection;

static void selection_clear(Selection *s) {
        free(s->columns);
        free(s->titles);
}

static void select_column(Selection *s, const ListColumn *c) {
        s->columns[s->n] = c;
        s->titles[s->n++] = (Column) { c->name, c->right };
}

static int complain_unknown_column(const struct List *list, const char *name) {
        _cleanup_free_ char *all = strdup("");

        for (const ListColumn *c = list->columns; c->name && all; c++) {
                char *longer = text_format("%s%s%s", all, *all ? ", " : "", c->name);

                free(all);
                all = longer;
        }
        return complain("Unknown column '%s'. 'list %s' has: %s.", name, list->name, all ?: "?");
}

/* "A,B", or "+A,B" to add to what is printed anyway. */
static int select_named(Selection *s, const struct List *list, const char *names) {
        _cleanup_free_ char *copy = strdup(names);
        char *rest = NULL;

        if (!copy)
                return -ENOMEM;
        for (char *name = strtok_r(copy, ",", &rest); name; name = strtok_r(NULL, ",", &rest)) {
                const ListColumn *c = list->columns;

                while (c->name && strcasecmp(c->name, name) != 0)
                        c++;
                if (!c->name)
                        return complain_unknown_column(list, name);
                select_column(s, c);
        }
        return s->n == 0 ? complain("--output= names no column.") : 0;
}

static int select_columns(const Invocation *invocation, const struct List *list, Selection *s) {
        const char *names = invocation->output;
        size_t room = 1;

        for (const ListColumn *c = list->columns; c->name; c++)
                room++;
        for (const char *p = names; p && *p; p++)
                room += *p == ',';
        s->columns = calloc(room + 1, sizeof(*s->columns));
        s->titles = calloc(room + 1, sizeof(*s->titles));
        if (!s->columns || !s->titles)
                return -ENOMEM;
        for (const ListColumn *c = list->columns; c->name; c++)
                if (invocation->output_all || (c->standard && (!names || *names == '+')))
                        select_column(s, c);
        return names && !invocation->output_all ? select_named(s, list, names + (*names == '+')) : 0;
}

static int add_row(Table *t, const Selection *s, Row row, json_object *o) {
        for (size_t i = 0; i < s->n; i++) {
                const ListColumn *c = s->columns[i];
                int r = c->add ? c->add(t, row) : add_member(t, o, c->key);

                if (r < 0)
                        return r;
        }
        return 0;
}

static int add_rows(Table *t, const Selection *s, const Model *m, const struct List *list) {
        bool layers = list->columns == layer_columns;
        size_t begin = layers ? 0 : m->n_layers, count = (layers ? m->n_layers : m->n_nodes) - begin;
        _cleanup_free_ const Node **nodes = sorted_nodes(m->nodes + begin, count);
        int r = nodes ? 0 : -ENOMEM;

        if (list->columns == hazard_columns) {
                for (size_t i = 0; r >= 0 && i < m->n_hazards; i++)
                        r = add_row(t, s, (Row) { .hazard = m->hazards + i }, m->hazards[i].json);
                return r;
        }
        for (size_t i = 0; r >= 0 && i < count; i++)
                r = add_row(t, s, (Row) { .node = nodes[i] }, nodes[i]->json);
        return r;
}

static int print_table(Output *o, const Model *m, const struct List *list, const Selection *s, bool header) {
        _cleanup_(table_clear) Table t = { .columns = s->titles, .n_columns = s->n, .utf8 = o->utf8 };
        int r;

        r = add_rows(&t, s, m, list);
        return r < 0 ? r : table_print(&t, o, header);
}

static int print_json(Output *o, const Model *m, const struct List *list, JsonMode mode) {
        _cleanup_(json_object_putp) json_object *part = NULL;
        int r;

        r = output_json_part(&part);
        if (r >= 0)
                r = output_json_keep(part, list->name, json_array(m->document, list->name));
        if (r >= 0)
                r = output_json_gaps(part, m);
        return r < 0 ? r : output_json(o, part, mode);
}

int verb_list(const Invocation *invocation, char **arguments) {
        _cleanup_(selection_clear) Selection selection = {};
        _cleanup_(output_freep) Output *o = NULL;
        _cleanup_(model_freep) Model *m = NULL;
        const struct List *list = lists;
        int r;

        while (list < lists + ELEMENTSOF(lists) && !streq(list->name, arguments[0]))
                list++;
        if (list == lists + ELEMENTSOF(lists))
                return complain("Unknown list '%s'. There are: layers, processes, hazards.", arguments[0]);
        if (invocation->json != JSON_OFF && (invocation->output || invocation->output_all))
                return complain("--output= chooses columns of a table; JSON has everything.");
        r = select_columns(invocation, list, &selection);
        if (r >= 0)
                r = fetch_model(invocation, NULL, &m);
        if (r >= 0)
                r = output_new(&o);
        if (r < 0)
                return r;
        if (invocation->json == JSON_OFF)
                r = print_table(o, m, list, &selection, invocation->legend);
        else
                r = print_json(o, m, list, invocation->json);
        if (r < 0)
                return r;
        r = output_flush(o, invocation->pager);
        if (r < 0)
                return r;
        if (invocation->json == JSON_OFF)
                complain_about_gaps(m->document);
        return exit_with_gaps(m, EXIT_FINE);
}
