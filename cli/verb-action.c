/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* plan, apply and revert: the same question and the same answer, but for what has happened by then. */

#include <errno.h>

#include "cli/complain.h"
#include "cli/escape.h"
#include "cli/fetch.h"
#include "cli/model.h"
#include "cli/output-gap.h"
#include "cli/output-json.h"
#include "cli/output.h"
#include "cli/verb.h"
#include "common/text.h"

typedef struct Deed {
        const char *method;
        const char *state;  /* of an action that went as asked */
        const char *none;   /* what to say of an empty answer */
        const char *none_seen; /* ... where not everything could be seen; NULL: that does not matter */
        const char *title;
        const char *undone; /* completes "NAME of TARGET ..." */
} Deed;

static const Deed deed_plan = {
        "Plan", "planned", "Nothing to do: everything is as policy wants it.", "Nothing to do in what could be seen.", "would change", "would not change",
};
static const Deed deed_apply = {
        "Apply", "applied", "Nothing to do: everything was as policy wants it already.", "Nothing to do in what could be seen.", "changed", "was not applied",
};
static const Deed deed_revert = {
        "Revert", "reverted", "Nothing to revert: stackd has changed nothing here.", NULL, "reverted", "was not reverted",
};

static bool action_went(const Deed *d, json_object *action) {
        return streq_ptr(json_text(action, "state"), d->state);
}

/* What is in force already is no part of a plan, and no failure of one. */
static bool action_failed(const Deed *d, json_object *action) {
        return !action_went(d, action) && !(d == &deed_plan && streq_ptr(json_text(action, "state"), "applied"));
}

/* Whom it is about, as a human calls it. */
static char *action_target(const Model *m, json_object *action, bool utf8) {
        const char *target = json_text(action, "target"), *name = json_text(action, "comm");
        const Node *n = model_node(m, target) ?: model_process_by_pid(m, json_int(action, "pid", -1));
        _cleanup_free_ char *text = NULL;

        if (n)
                return node_label(n, utf8);
        /* A unit is called by its name, other things by what they belong to. */
        if (target && name && !startswith(target, "unit:")) {
                text = text_format("%s %s", name, target);
                return text ? escape_text(text, utf8) : NULL;
        }
        return escape_text(name ?: target ?: "?", utf8);
}

static void print_detail(Output *o, const char *key, const char *untrusted) {
        if (!untrusted)
                return;
        output_raw(o, "    %-6s  ", key);
        output_wrapped(o, 12, 12, untrusted);
}

static int print_path(Output *o, const Model *m, json_object *path) {
        for (size_t i = 0; i < json_length(path); i++) {
                const char *id = json_text_at(path, i);
                _cleanup_free_ char *label = model_label(m, id, o->utf8);

                if (!label)
                        return -ENOMEM;
                if (i == 0)
                        output_raw(o, "    below   %s\n", label);
                else
                        output_raw(o, "            %s %s\n", o->glyphs->arrow, label);
        }
        return 0;
}

static int print_action(Output *o, const Model *m, const Deed *d, json_object *action) {
        _cleanup_free_ char *target = action_target(m, action, o->utf8), *from = action_setting(action, "from"), *to = action_setting(action, "to");

        if (!target || !from || !to)
                return -ENOMEM;
        output_style_begin(o, STYLE_BOLD);
        output_raw(o, "%s", target);
        output_style_end(o);
        output_raw(o, "\n  ");
        output_text(o, json_text(action, "kind"));
        if (json_text(action, "key")) {
                output_raw(o, " ");
                output_text(o, json_text(action, "key"));
        }
        output_raw(o, ": ");
        output_text(o, from);
        output_raw(o, " %s ", o->glyphs->arrow);
        output_text(o, to);
        output_raw(o, "\n");
        print_detail(o, "but", json_text(action, "error"));
        if (d != &deed_plan)
                return 0;
        print_detail(o, "why", json_text(action, "reason"));
        print_detail(o, "rule", json_text(action, "rule"));
        return print_path(o, m, json_array(action, "path"));
}

/* Those that went as asked, and their number. */
static int print_actions(Output *o, const Model *m, const Deed *d, json_object *actions) {
        bool gaps = d->none_seen && gap_count(m) > 0;
        bool failed = false;
        size_t n = 0;

        for (size_t i = 0; i < json_length(actions); i++) {
                json_object *action = json_object_array_get_idx(actions, i);
                int r;

                failed = failed || action_failed(d, action);
                if (!action_went(d, action))
                        continue;
                r = print_action(o, m, d, action);
                if (r < 0)
                        return r;
                n++;
        }
        if (n == 0 && !failed)
                output_raw(o, "%s\n", gaps ? d->none_seen : d->none);
        else
                output_raw(o, "%s%zu thing%s %s.\n", n > 0 ? "\n" : "", n, n == 1 ? "" : "s", d->title);
        if (gaps) {
                output_raw(o, "\n");
                output_gaps(o, m);
        }
        return 0;
}

static int complain_about_failures(const Model *m, const Deed *d, json_object *actions) {
        int n = 0;

        for (size_t i = 0; i < json_length(actions); i++) {
                json_object *action = json_object_array_get_idx(actions, i);
                _cleanup_free_ char *target = NULL;
                const char *error = json_text(action, "error");

                if (!action_failed(d, action))
                        continue;
                target = action_target(m, action, true);
                if (!target)
                        return -ENOMEM;
                complain("%s%s%s of %s %s: %s", json_text(action, "kind") ?: "?", json_text(action, "key") ? " " : "",
                         json_text(action, "key") ?: "", target, d->undone,
                         error ?: "stackd does not say why.");
                n++;
        }
        return n;
}

static int check_actions(json_object *answer) {
        json_object *actions = json_array(answer, "actions");
        int r;

        r = json_check_version(answer);
        if (r < 0)
                return r;
        if (!actions)
                return complain("stackd's answer lacks its actions. Please report it.");
        for (size_t i = 0; i < json_length(actions); i++)
                if (!json_object_is_type(json_object_array_get_idx(actions, i), json_type_object))
                        return complain("stackd's answer has an action that is no object. Please report it.");
        return 0;
}

/* The model is of before: after a revert, what was below something may be gone. */
static int ask(const Invocation *invocation, const Deed *d, char **arguments, json_object **ret_answer, Model **ret) {
        _cleanup_(json_object_putp) json_object *answer = NULL;
        _cleanup_strv_free_ char **ids = NULL;
        _cleanup_(model_freep) Model *m = NULL;
        _cleanup_(client_freep) Client *c = NULL;
        int r;

        r = fetch_operands(invocation, arguments, &c, &ids, &m);
        if (r < 0)
                return r;
        r = client_act(c, d->method, ids, &answer);
        if (r < 0)
                return r;
        r = check_actions(answer);
        if (r < 0)
                return r;
        *ret_answer = TAKE_PTR(answer);
        *ret = TAKE_PTR(m);
        return 0;
}

static int act(const Invocation *invocation, const Deed *d, char **arguments) {
        _cleanup_(json_object_putp) json_object *answer = NULL;
        _cleanup_(model_freep) Model *m = NULL;
        _cleanup_(output_freep) Output *o = NULL;
        int r, failures;

        r = ask(invocation, d, arguments, &answer, &m);
        if (r < 0)
                return r;
        r = output_new(&o);
        if (r < 0)
                return r;
        if (invocation->json != JSON_OFF)
                r = output_json(o, answer, invocation->json);
        else
                r = print_actions(o, m, d, json_array(answer, "actions"));
        if (r < 0)
                return r;
        r = output_flush(o, invocation->pager);
        failures = complain_about_failures(m, d, json_array(answer, "actions"));
        if (r < 0)
                return r;
        if (failures != 0)
                return failures < 0 ? failures : EXIT_NO;
        return d == &deed_plan ? exit_with_gaps(m, EXIT_FINE) : EXIT_FINE;
}

int verb_plan(const Invocation *invocation, char **arguments) {
        return act(invocation, &deed_plan, arguments);
}

int verb_apply(const Invocation *invocation, char **arguments) {
        return act(invocation, &deed_apply, arguments);
}

int verb_revert(const Invocation *invocation, char **arguments) {
        return act(invocation, &deed_revert, arguments);
}
