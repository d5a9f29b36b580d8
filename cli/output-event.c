/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <json-c/json.h>
#include <string.h>
#include <time.h>

#include "cli/escape.h"
#include "cli/output-event.h"
#include "cli/output-json.h"
#include "common/text.h"

static const struct {
        const char *event, *title;
        Style style;
} titles[] = {
        { "ready", "listening", STYLE_DIM },
        { "daemon-gone", "stackd gone", STYLE_WARN },
        { "daemon-back", "stackd back", STYLE_WARN },
        { "layer-appeared", "layer appeared", STYLE_BOLD },
        { "layer-changed", "layer changed", STYLE_DIM },
        { "layer-gone", "layer gone", STYLE_BOLD },
        { "process-appeared", "process appeared", STYLE_BOLD },
        { "process-changed", "process changed", STYLE_DIM },
        { "process-gone", "process gone", STYLE_BOLD },
        { "hazard-appeared", "hazard came", STYLE_BAD },
        { "hazard-gone", "hazard cured", STYLE_GOOD },
        { "action-applied", "applied", STYLE_GOOD },
        { "action-failed", "failed", STYLE_BAD },
        { "action-reverted", "reverted", STYLE_WARN },
};

enum { TITLE_WIDTH = 16 };

static void print_time(Output *o) {
        struct timespec now = {};
        char text[32] = "";
        struct tm tm;

        (void) clock_gettime(CLOCK_REALTIME, &now);
        if (localtime_r(&now.tv_sec, &tm))
                (void) strftime(text, sizeof(text), "%H:%M:%S", &tm);
        output_styled(o, STYLE_DIM, text);
        output_style_begin(o, STYLE_DIM);
        output_raw(o, ".%03u", (unsigned) (now.tv_nsec / 1000000));
        output_style_end(o);
}

static void print_title(Output *o, const char *event) {
        for (size_t i = 0; i < ELEMENTSOF(titles); i++)
                if (streq(titles[i].event, event)) {
                        output_raw(o, "  ");
                        output_style_begin(o, titles[i].style);
                        output_raw(o, "%s", titles[i].title);
                        output_style_end(o);
                        if (streq(event, "ready") || startswith(event, "daemon"))
                                return;
                        output_raw(o, "%*s  ", (int) (TITLE_WIDTH - strlen(titles[i].title)), "");
                        return;
                }
        output_raw(o, "  "); /* of a later version */
        output_text(o, event);
        output_raw(o, "  ");
}

/* A number, a text, or several; nothing is "none". */
static void print_value(Output *o, json_object *v) {
        if (!v)
                output_raw(o, "none");
        else if (!json_object_is_type(v, json_type_array))
                output_text(o, json_object_get_string(v));
        else
                for (size_t i = 0; i < json_object_array_length(v); i++) {
                        output_raw(o, "%s", i > 0 ? ", " : "");
                        output_text(o, json_object_get_string(json_object_array_get_idx(v, i)));
                }
}

/* The certain depth mostly is the depth, and changes with it. */
static bool is_said(json_object *changes, const char *key, json_object *pair) {
        json_object *depth = NULL;

        return streq(key, "depth_certain") && json_object_object_get_ex(changes, "depth", &depth) && json_object_equal(depth, pair);
}

static void print_changes(Output *o, json_object *changes) {
        const char *separator = ": ";

        json_object_object_foreach(changes, key, pair) {
                if (is_said(changes, key, pair))
                        continue;
                output_raw(o, "%s", separator);
                output_text(o, key);
                output_raw(o, " ");
                print_value(o, json_object_array_get_idx(pair, 0));
                output_raw(o, " %s ", o->glyphs->arrow);
                print_value(o, json_object_array_get_idx(pair, 1));
                separator = "; ";
        }
}

static void print_node(Output *o, const WatchEvent *e) {
        const char *kind = json_text(e->object, "kind");

        if (startswith(e->what, "process") || streq_ptr(kind, "filesystem") || streq_ptr(kind, "swap"))
                output_raw(o, ", depth %lli", (long long) json_int(e->object, "depth", 0));
        if (streq(e->what, "process-appeared"))
                output_raw(o, ", %lli of %lli threads IO_FLUSHER", (long long) json_int(e->object, "threads_io_flusher", 0),
                           (long long) json_int(e->object, "threads", 0));
}

static void print_action(Output *o, json_object *action) {
        _cleanup_free_ char *from = action_setting(action, "from"), *to = action_setting(action, "to");
        const char *error = json_text(action, "error");

        if (!from || !to) {
                o->failed = true;
                return;
        }
        output_raw(o, ": ");
        output_text(o, json_text(action, "kind") ?: "?");
        output_raw(o, " ");
        output_text(o, from);
        output_raw(o, " %s ", o->glyphs->arrow);
        output_text(o, to);
        if (error) {
                output_raw(o, ": ");
                output_text(o, error);
        }
}

static void print_details(Output *o, const WatchEvent *e) {
        if (e->changes)
                print_changes(o, e->changes);
        else if (endswith(e->what, "-appeared") && !startswith(e->what, "hazard"))
                print_node(o, e);
        else if (startswith(e->what, "action"))
                print_action(o, e->object);
}

/* Its message names whom it is about; once it is cured, the message is no longer so. */
static void print_hazard(Output *o, const WatchEvent *e, const char *label) {
        output_text(o, json_text(e->object, "severity") ?: "");
        output_raw(o, " ");
        output_text(o, json_text(e->object, "id") ?: "?");
        output_raw(o, ": ");
        if (streq(e->what, "hazard-gone"))
                output_raw(o, "%s", label ?: "-");
        else
                output_text(o, json_text(e->object, "message") ?: "");
}

static int output_line(Output *o, const WatchState *w, const WatchEvent *e) {
        _cleanup_free_ char *label = w && e->id ? watch_state_label(w, e->id, o->utf8) : NULL;

        if (w && e->id && !label)
                return -ENOMEM;
        print_time(o);
        print_title(o, e->what);
        if (e->object && startswith(e->what, "hazard"))
                print_hazard(o, e, label);
        else if (e->object) {
                output_raw(o, "%s", label ?: "");
                print_details(o, e);
        } else if (streq(e->what, "daemon-gone"))
                output_raw(o, ": waiting for it to come back");
        output_raw(o, "\n");
        return 0;
}

static int add_text(json_object *o, const char *key, const char *text) {
        json_object *v = text ? json_object_new_string(text) : NULL;

        return (text && !v) || json_object_object_add(o, key, v) < 0 ? -ENOMEM : 0;
}

static int add_time(json_object *o) {
        struct timespec now = {};
        char text[32] = "", all[64];
        struct tm tm;

        (void) clock_gettime(CLOCK_REALTIME, &now);
        if (gmtime_r(&now.tv_sec, &tm))
                (void) strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm);
        snprintf(all, sizeof(all), "%s.%06uZ", text, (unsigned) (now.tv_nsec / 1000));
        return add_text(o, "time", all);
}

static int output_object(Output *o, const WatchState *w, const WatchEvent *e, JsonMode mode) {
        _cleanup_free_ char *label = w && e->id ? watch_state_label(w, e->id, true) : NULL;
        _cleanup_(json_object_putp) json_object *line = NULL;
        int r;

        r = output_json_part(&line);
        if (r >= 0)
                r = add_time(line);
        if (r >= 0)
                r = add_text(line, "event", e->what);
        if (r >= 0 && e->id)
                r = add_text(line, "id", e->id);
        if (r >= 0 && label)
                r = add_text(line, "label", label);
        if (r >= 0 && e->changes)
                r = output_json_keep(line, "changes", e->changes);
        if (r >= 0 && e->object)
                r = output_json_keep(line, "object", e->object);
        return r < 0 ? r : output_json(o, line, mode);
}

int output_event(Output *o, const WatchState *w, const WatchEvent *event, JsonMode mode) {
        return mode == JSON_OFF ? output_line(o, w, event) : output_object(o, w, event, mode);
}
