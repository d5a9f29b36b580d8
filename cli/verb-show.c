/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Every property, those of later versions included: what is not laid out specially is printed as it stands
 * in the document. */

#include <errno.h>
#include <json-c/json.h>
#include <string.h>

#include "cli/complain.h"
#include "cli/escape.h"
#include "cli/fetch.h"
#include "cli/model.h"
#include "cli/output-gap.h"
#include "cli/output-json.h"
#include "cli/output-tree.h"
#include "cli/output.h"
#include "cli/verb.h"
#include "common/text.h"

enum { KEY_WIDTH = 20 };

/* As in the document, so that what is read here can be looked for there. */
static void print_key(Output *o, const char *key) {
        output_style_begin(o, STYLE_DIM);
        output_raw(o, "%*s", (int) (KEY_WIDTH - MIN(strlen(key), (size_t) KEY_WIDTH)), "");
        output_text(o, key);
        output_raw(o, ": ");
        output_style_end(o);
}

static void print_edge(Output *o, const Edge *e, const char *label) {
        output_raw(o, "%s", label);
        if (!streq(e->id, label)) {
                output_raw(o, " (");
                output_text(o, e->id);
                output_raw(o, ")");
        }
        if (e->error_path)
                output_raw(o, ", for recovery only");
        output_raw(o, "\n");
        if (!e->certainty && !e->evidence)
                return;
        output_raw(o, "%*s", KEY_WIDTH + 4, "");
        output_style_begin(o, e->inferred ? STYLE_WARN : STYLE_DIM);
        output_text(o, e->certainty ?: "known");
        output_raw(o, " by ");
        output_text(o, e->evidence ?: "what is not told");
        output_style_end(o);
        output_raw(o, "\n");
}

/* The edges to processes, or those to layers. */
static int print_edges(Output *o, const Node *n, bool processes) {
        bool first = true;

        for (size_t i = 0; i < n->n_lower; i++) {
                const Edge *e = n->lower + i;
                _cleanup_free_ char *label = NULL;

                if ((e->node ? e->node->kind == NODE_PROCESS : startswith(e->id, "process:") != NULL) != processes)
                        continue;
                label = e->node ? node_label(e->node, o->utf8) : escape_text(e->id, o->utf8);
                if (!label)
                        return -ENOMEM;
                if (!first)
                        output_raw(o, "%*s", KEY_WIDTH + 2, "");
                print_edge(o, e, label);
                first = false;
        }
        if (first)
                output_raw(o, "-\n");
        return 0;
}

/* Labels of an array of ids ("upper", "serves"). */
static int print_ids(Output *o, const Model *m, json_object *ids) {
        for (size_t i = 0; i < json_length(ids); i++) {
                const char *id = json_text_at(ids, i);
                const Node *n = model_node(m, id);
                _cleanup_free_ char *label = model_label(m, id, o->utf8);

                if (!label)
                        return -ENOMEM;
                output_raw(o, "%*s%s", i > 0 ? KEY_WIDTH + 2 : 0, "", label);
                if (n) {
                        output_raw(o, " (");
                        output_text(o, id);
                        output_raw(o, ")");
                }
                output_raw(o, "\n");
        }
        if (json_length(ids) == 0)
                output_raw(o, "-\n");
        return 0;
}

static int print_value(Output *o, json_object *value) {
        _cleanup_free_ char *escaped = NULL;
        const char *text;

        if (json_object_is_type(value, json_type_string)) {
                output_text(o, json_object_get_string(value));
                output_raw(o, "\n");
                return 0;
        }
        if (json_object_is_type(value, json_type_null) ||
            (json_object_is_type(value, json_type_array) && json_length(value) == 0)) {
                output_raw(o, "-\n");
                return 0;
        }
        if (json_object_is_type(value, json_type_boolean)) {
                output_raw(o, "%s\n", json_object_get_boolean(value) ? "yes" : "no");
                return 0;
        }
        text = json_object_to_json_string_ext(value, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
        escaped = text ? escape_json(text) : NULL;
        if (!escaped)
                return -ENOMEM;
        output_raw(o, "%s\n", escaped);
        return 0;
}

/* An array of strings, each on its own line. */
static int print_strings(Output *o, json_object *strings) {
        for (size_t i = 0; i < json_length(strings); i++) {
                output_raw(o, "%*s", i > 0 ? KEY_WIDTH + 2 : 0, "");
                output_text(o, json_text_at(strings, i));
                output_raw(o, "\n");
        }
        if (json_length(strings) == 0)
                output_raw(o, "-\n");
        return 0;
}

static int print_property(Output *o, const Model *m, const Node *n, const char *key, json_object *value) {
        print_key(o, key);
        if (streq(key, "lower"))
                return print_edges(o, n, false);
        if (streq(key, "processes"))
                return print_edges(o, n, true);
        if (streq(key, "upper") || streq(key, "serves"))
                return print_ids(o, m, value);
        if (streq(key, "mounts"))
                return print_strings(o, value);
        return print_value(o, value);
}

static int print_hazards(Output *o, const Model *m, const Node *n) {
        for (size_t i = 0; i < m->n_hazards; i++) {
                const Hazard *h = m->hazards + i;

                if (h->process != n && h->layer != n)
                        continue;
                print_key(o, "hazard");
                output_text(o, h->id);
                output_raw(o, " (%s)\n", severity_to_string(h->severity));
                if (h->message) {
                        output_raw(o, "%*s", KEY_WIDTH + 4, "");
                        output_wrapped(o, KEY_WIDTH + 4, KEY_WIDTH + 4, h->message);
                }
        }
        return 0;
}

static int print_node(Output *o, const Model *m, const Node *n) {
        _cleanup_free_ char *label = node_label(n, o->utf8);
        int r;

        if (!label)
                return -ENOMEM;
        output_heading(o, label);
        if (n->kind == NODE_PROCESS) {
                print_key(o, "state");
                output_protection(o, n);
                output_raw(o, "\n");
        }
        json_object_object_foreach(n->json, key, value) {
                r = print_property(o, m, n, key, value);
                if (r < 0)
                        return r;
        }
        return print_hazards(o, m, n);
}

static int print_text(Output *o, const Model *m, char **ids) {
        for (char **id = ids; *id; id++) {
                const Node *n = model_node(m, *id);
                int r;

                if (!n)
                        return complain("'%s' vanished while it was looked at.", *id);
                if (id != ids)
                        output_raw(o, "\n");
                r = print_node(o, m, n);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int print_json(Output *o, const Model *m, char **ids, JsonMode mode) {
        _cleanup_(json_object_putp) json_object *part = NULL, *layers = json_object_new_array(),
                                                *processes = json_object_new_array();
        int r;

        if (!layers || !processes)
                return -ENOMEM;
        for (char **id = ids; *id; id++) {
                const Node *n = model_node(m, *id);

                if (!n)
                        return complain("'%s' vanished while it was looked at.", *id);
                json_object_get(n->json);
                if (json_object_array_add(n->kind == NODE_PROCESS ? processes : layers, n->json) < 0) {
                        json_object_put(n->json);
                        return -ENOMEM;
                }
        }
        r = output_json_part(&part);
        if (r >= 0)
                r = output_json_keep(part, "layers", layers);
        if (r >= 0)
                r = output_json_keep(part, "processes", processes);
        if (r >= 0)
                r = output_json_gaps(part, m);
        return r < 0 ? r : output_json(o, part, mode);
}

int verb_show(const Invocation *invocation, char **arguments) {
        _cleanup_strv_free_ char **ids = NULL;
        _cleanup_(model_freep) Model *m = NULL;
        _cleanup_(output_freep) Output *o = NULL;
        int r;

        r = fetch_operands(invocation, arguments, NULL, &ids, &m);
        if (r < 0)
                return r;
        r = output_new(&o);
        if (r < 0)
                return r;
        r = invocation->json == JSON_OFF ? print_text(o, m, ids) : print_json(o, m, ids, invocation->json);
        if (r < 0)
                return r;
        r = output_flush(o, invocation->pager);
        if (r < 0)
                return r;
        if (invocation->json == JSON_OFF)
                complain_about_gaps(m->document);
        return exit_with_gaps(m, EXIT_FINE);
}
