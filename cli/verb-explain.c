/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Why something has its depth, how that is known, what policy chose for it, what came of that, and what is still wrong:
 * in sentences. Everything is in the answers of Describe() and Explain(). */

#include <errno.h>
#include <string.h>
#include <time.h>

#include "cli/complain.h"
#include "cli/escape.h"
#include "cli/fetch.h"
#include "cli/model.h"
#include "cli/output-gap.h"
#include "cli/output-gap.h"
#include "cli/output-hazard.h"
#include "cli/output-json.h"
#include "cli/output-tree.h"
#include "cli/output.h"
#include "cli/verb.h"
#include "common/array.h"
#include "common/text.h"

enum { INDENT = 2 };

/* Of one object, with the object. */
typedef struct Reason {
        json_object *json; /* borrowed */
        const Node *node;
} Reason;

static void heading(Output *o, const char *text) {
        output_raw(o, "\n%*s", INDENT, "");
        output_styled(o, STYLE_BOLD, text);
        output_raw(o, "\n");
}

/* Takes 'sentence' over; NULL means that memory has run out. */
static int say(Output *o, unsigned indent, char *sentence) {
        if (!sentence)
                return -ENOMEM;
        output_raw(o, "%*s", (int) indent, "");
        output_wrapped(o, indent, indent + INDENT, sentence);
        free(sentence);
        return 0;
}

/* ---- depth ---- */

static const Node *path_node(const Model *m, json_object *path, size_t i) {
        return model_node(m, json_object_get_string(json_object_array_get_idx(path, i)));
}

static int list_reclaim_layers(Output *o, const Model *m, json_object *path) {
        for (size_t i = 0; i + 1 < json_length(path); i++) {
                const Node *n = path_node(m, path, i);
                _cleanup_free_ char *label = NULL;

                if (!n || !node_is_reclaim(n))
                        continue;
                label = node_label(n, o->utf8);
                if (!label)
                        return -ENOMEM;
                output_raw(o, "%*s%s\n", 2 * INDENT, "", label);
        }
        return 0;
}

static int explain_depth(Output *o, const Model *m, const Reason *r) {
        json_object *path = json_array(r->json, "path");
        long long depth = r->node->depth, certain = r->node->depth_certain;
        int k;

        if (depth == 0)
                return say(o, INDENT, strdup("It is at depth 0: no file system and no swap area stands on it, so that memory reclaim "
                                             "never waits for it on behalf of another."));
        k = say(o, INDENT, text_format("It is at depth %lli: %s cannot write without it:", depth,
                                       depth == 1 ? "this file system or swap area" : "these file systems or swap areas"));
        if (k >= 0)
                k = list_reclaim_layers(o, m, path);
        if (k >= 0 && certain < depth)
                k = say(o, INDENT, text_format("That counts links that are guessed. Certain is a depth of %lli, and that is what stackd acts "
                                               "on.", certain));
        return k;
}

/* ---- how it is known ---- */

static const Edge *edge_to(const Node *upper, const Node *lower) {
        for (size_t i = 0; upper && lower && i < upper->n_lower; i++)
                if (upper->lower[i].node == lower)
                        return upper->lower + i;
        return NULL;
}

/* "needs" what serves or holds it. */
static int explain_edge(Output *o, const Node *upper, const Edge *e) {
        _cleanup_free_ char *from = node_label(upper, o->utf8), *to = NULL;
        int r;

        to = e->node ? node_label(e->node, o->utf8) : escape_text(e->id, o->utf8);
        if (!from || !to)
                return -ENOMEM;
        output_raw(o, "%*s%s\n%*s%s %s%s\n", 2 * INDENT, "", from, 2 * INDENT, "", o->glyphs->arrow, to,
                   e->error_path ? ", to recover only" : "");
        output_style_begin(o, e->inferred ? STYLE_WARN : STYLE_DIM);
        r = say(o, 4 * INDENT, text_format("%s: %s", !e->certainty ? "known" : e->inferred ? "a guess" : streq(e->certainty, "unique")
                                           ? "the only candidate" : e->certainty, e->evidence ?: "it is not told from what"));
        output_style_end(o);
        return r;
}

static int explain_path(Output *o, const Model *m, const Reason *r) {
        json_object *path = json_array(r->json, "path");

        if (json_length(path) < 2)
                return 0;
        heading(o, "How that is known");
        for (size_t i = 0; i + 1 < json_length(path); i++) {
                const Node *upper = path_node(m, path, i);
                const Edge *e = edge_to(upper, path_node(m, path, i + 1));
                int k;

                k = e ? explain_edge(o, upper, e) : say(o, 2 * INDENT, strdup("a link that was gone a moment later"));
                if (k < 0)
                        return k;
        }
        return 0;
}

static int explain_needs(Output *o, const Reason *r) {
        bool first = true;

        for (size_t i = 0; i < r->node->n_lower; i++) {
                int k;

                if (r->node->lower[i].redundant)
                        continue;
                if (first)
                        heading(o, "What it needs itself");
                first = false;
                k = explain_edge(o, r->node, r->node->lower + i);
                if (k < 0)
                        return k;
        }
        return 0;
}

/* ---- protection ---- */

static int explain_process(Output *o, const Node *p) {
        int r = 0;

        if (p->kind != NODE_PROCESS)
                return 0;
        output_raw(o, "%*s", INDENT, "");
        output_protection(o, p);
        output_raw(o, "\n");
        if (p->depth > 0 && !p->recovery_only && p->refusal && !node_is_marked(p))
                r = say(o, INDENT, text_format("It cannot be marked while it runs: %s.", p->refusal));
        if (r >= 0 && p->depth > 0 && !p->recovery_only && !p->entitled)
                r = say(o, INDENT, text_format("It is a process of user %lli, and left alone: anyone can serve a file system. A policy that names "
                                               "the user or the unit, with Entitled=yes, changes that.", (long long) p->uid));
        if (r >= 0 && p->incomplete)
                r = say(o, INDENT, text_format("Not all of it could be seen: %s.", p->incomplete));
        return r;
}

static int explain_policy(Output *o, const Reason *r) {
        json_object *settings = json_array(r->json, "settings");
        int k = 0;

        if (json_length(settings) == 0)
                return 0;
        heading(o, "What policy says");
        for (size_t i = 0; k >= 0 && i < json_length(settings); i++) {
                json_object *s = json_object_array_get_idx(settings, i);
                const char *section = json_text(s, "section"), *key = json_text(s, "key"), *value = json_text(s, "value");

                if (!section || !key || !value)
                        return complain("stackd's answer has a setting without a name. Please report it.");
                k = say(o, 2 * INDENT, text_format("[%s] %s=%s", section, key, value));
                if (k >= 0)
                        k = say(o, 4 * INDENT, text_format("from %s", json_text(s, "source") ?: "no file"));
        }
        return k;
}

/* ---- actions ---- */

static bool is_about(json_object *action, const Node *n) {
        const char *unit = json_text(action, "target") ? startswith(json_text(action, "target"), "unit:") : NULL;

        return streq_ptr(json_text(action, "subject"), n->id) || streq_ptr(json_text(action, "target"), n->id) ||
                (n->kind == NODE_PROCESS && unit && streq_ptr(unit, n->unit));
}

static char *action_time(json_object *action) {
        int64_t when = json_int(action, "when", 0);
        time_t seconds = when / 1000000;
        char text[32];
        struct tm tm;

        if (when <= 0 || !localtime_r(&seconds, &tm) || strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S", &tm) == 0)
                return NULL;
        return strdup(text);
}

static int explain_action(Output *o, json_object *action) {
        const char *state = json_text(action, "state"), *key = json_text(action, "key"), *target = json_text(action, "target");
        const char *unit = target ? startswith(target, "unit:") : NULL;
        bool failed = streq_ptr(state, "failed"), planned = streq_ptr(state, "planned");
        _cleanup_free_ char *time = action_time(action), *from = action_setting(action, "from"), *to = action_setting(action, "to");
        int r;

        if (!from || !to)
                return -ENOMEM;
        r = say(o, 2 * INDENT, text_format("%s%s%s%s%s: %s %s %s", json_text(action, "kind") ?: "?", key ? " " : "", key ?: "", unit ? " of " : "",
                                           unit ?: "", from, o->glyphs->arrow, to));
        if (r >= 0)
                r = say(o, 4 * INDENT, text_format("%s%s%s%s%s", failed ? "refused" : planned ? "to be done" : state ?: "?", time ? ", " : "",
                                                   time ?: "", json_text(action, "error") ? ": " : "", json_text(action, "error") ?: ""));
        if (r >= 0 && json_text(action, "reason"))
                r = say(o, 4 * INDENT, text_format("because %s", json_text(action, "reason")));
        if (r >= 0 && json_text(action, "rule"))
                r = say(o, 4 * INDENT, text_format("asked for by %s", json_text(action, "rule")));
        return r;
}

static int explain_actions(Output *o, const Model *m, const Reason *r) {
        json_object *actions = json_array(m->document, "actions");
        bool first = true;

        for (size_t i = 0; i < json_length(actions); i++) {
                json_object *action = json_object_array_get_idx(actions, i);
                int k;

                if (!json_object_is_type(action, json_type_object) || !is_about(action, r->node))
                        continue;
                if (first)
                        heading(o, "What stackd does about it");
                first = false;
                k = explain_action(o, action);
                if (k < 0)
                        return k;
        }
        if (!first && !json_flag(r->json, "held"))
                return 0;
        if (first && (r->node->kind != NODE_PROCESS || r->node->depth == 0))
                return 0;
        if (first)
                heading(o, "What stackd does about it");
        return say(o, 2 * INDENT, json_flag(r->json, "held")
                   ? text_format("It is left alone, since an administrator reverted it; 'stackctl apply %s' ends that.", r->node->id)
                   : strdup("Nothing: it is as policy wants it without that, or policy leaves it alone."));
}

/* ---- hazards ---- */

static bool json_contains(json_object *array, const char *text) {
        for (size_t i = 0; i < json_length(array); i++)
                if (streq_ptr(json_object_get_string(json_object_array_get_idx(array, i)), text))
                        return true;
        return false;
}

static bool touches(const Hazard *h, const Node *n) {
        return h->process == n || h->layer == n || json_contains(json_array(h->json, "path"), n->id);
}

static int explain_hazards(Output *o, const Model *m, const Node *n) {
        bool first = true;

        for (size_t i = 0; i < m->n_hazards; i++) {
                int r;

                if (!touches(m->hazards + i, n))
                        continue;
                if (first)
                        heading(o, "Hazards");
                first = false;
                r = output_hazard(o, m, m->hazards + i, 2 * INDENT, false);
                if (r < 0)
                        return r;
        }
        if (first) {
                heading(o, "Hazards");
                return say(o, 2 * INDENT, strdup(gap_count(m) > 0 ? "None in what could be seen." : "None touches it."));
        }
        return 0;
}

/* ---- all ---- */

static int explain_one(Output *o, const Model *m, const Reason *r) {
        _cleanup_free_ char *label = node_label(r->node, o->utf8);
        int k;

        if (!label)
                return -ENOMEM;
        output_heading(o, label);
        k = explain_depth(o, m, r);
        if (k >= 0)
                k = explain_process(o, r->node);
        if (k >= 0)
                k = explain_path(o, m, r);
        if (k >= 0)
                k = explain_needs(o, r);
        if (k >= 0)
                k = explain_policy(o, r);
        if (k >= 0)
                k = explain_actions(o, m, r);
        return k < 0 ? k : explain_hazards(o, m, r->node);
}

static int read_reasons(const Model *m, json_object *answer, Reason **ret, size_t *ret_n) {
        json_object *objects = json_array(answer, "objects");
        _cleanup_free_ Reason *reasons = calloc(json_length(objects) + 1, sizeof(Reason));
        size_t n = 0;

        if (!reasons)
                return -ENOMEM;
        if (!objects)
                return complain("stackd's answer lacks its objects. Please report it.");
        for (size_t i = 0; i < json_length(objects); i++) {
                json_object *o = json_object_array_get_idx(objects, i);
                const Node *node;

                if (!json_object_is_type(o, json_type_object) || !json_text(o, "id"))
                        return complain("stackd's answer has an object without an id. Please report it.");
                node = model_node(m, json_text(o, "id"));
                if (node)
                        reasons[n++] = (Reason) { .json = o, .node = node };
        }
        if (n == 0)
                return complain("It vanished while it was looked at.");
        *ret = TAKE_PTR(reasons);
        *ret_n = n;
        return 0;
}

static int print_text(Output *o, const Model *m, const Reason *reasons, size_t n) {
        for (size_t i = 0; i < n; i++) {
                int r;

                if (i > 0)
                        output_raw(o, "\n");
                r = explain_one(o, m, reasons + i);
                if (r < 0)
                        return r;
        }
        if (gap_count(m) > 0)
                output_raw(o, "\n");
        output_gaps(o, m);
        return 0;
}

static int append(json_object *array, json_object *element) {
        json_object_get(element);
        if (json_object_array_add(array, element) == 0)
                return 0;
        json_object_put(element);
        return -ENOMEM;
}

static bool touches_any(const Hazard *h, const Reason *reasons, size_t n) {
        for (size_t i = 0; i < n; i++)
                if (touches(h, reasons[i].node))
                        return true;
        return false;
}

static bool is_about_any(json_object *action, const Reason *reasons, size_t n) {
        for (size_t i = 0; i < n; i++)
                if (is_about(action, reasons[i].node))
                        return true;
        return false;
}

static int print_json(Output *o, const Model *m, const Reason *reasons, size_t n, JsonMode mode) {
        static const char *const names[] = { "reasons", "layers", "processes", "actions", "hazards" };
        json_object *arrays[ELEMENTSOF(names)] = {}, *actions = json_array(m->document, "actions");
        _cleanup_(json_object_putp) json_object *part = NULL;
        int r;

        r = output_json_part(&part);
        for (size_t i = 0; r >= 0 && i < ELEMENTSOF(names); i++) {
                arrays[i] = json_object_new_array();
                if (!arrays[i] || json_object_object_add(part, names[i], arrays[i]) < 0)
                        r = -ENOMEM;
        }
        for (size_t i = 0; r >= 0 && i < n; i++) {
                r = append(arrays[0], reasons[i].json);
                if (r >= 0)
                        r = append(arrays[reasons[i].node->kind == NODE_PROCESS ? 2 : 1], reasons[i].node->json);
        }
        for (size_t i = 0; r >= 0 && i < json_length(actions); i++)
                if (json_object_is_type(json_object_array_get_idx(actions, i), json_type_object) &&
                    is_about_any(json_object_array_get_idx(actions, i), reasons, n))
                        r = append(arrays[3], json_object_array_get_idx(actions, i));
        for (size_t i = 0; r >= 0 && i < m->n_hazards; i++)
                if (touches_any(m->hazards + i, reasons, n))
                        r = append(arrays[4], m->hazards[i].json);
        if (r >= 0)
                r = output_json_gaps(part, m);
        return r < 0 ? r : output_json(o, part, mode);
}

int verb_explain(const Invocation *invocation, char **arguments) {
        _cleanup_(json_object_putp) json_object *answer = NULL;
        _cleanup_strv_free_ char **ids = NULL;
        _cleanup_free_ Reason *reasons = NULL;
        _cleanup_(model_freep) Model *m = NULL;
        _cleanup_(client_freep) Client *c = NULL;
        _cleanup_(output_freep) Output *o = NULL;
        size_t n = 0;
        int r;

        r = fetch_operands(invocation, arguments, &c, &ids, &m);
        if (r >= 0)
                r = client_act(c, "Explain", ids, &answer);
        if (r >= 0)
                r = json_check_version(answer);
        if (r >= 0)
                r = read_reasons(m, answer, &reasons, &n);
        if (r >= 0)
                r = output_new(&o);
        if (r < 0)
                return r;
        r = invocation->json == JSON_OFF ? print_text(o, m, reasons, n) : print_json(o, m, reasons, n, invocation->json);
        if (r < 0)
                return r;
        r = output_flush(o, invocation->pager);
        return r < 0 ? r : exit_with_gaps(m, EXIT_FINE);
}
