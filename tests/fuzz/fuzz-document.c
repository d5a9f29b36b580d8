/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What stackctl makes of whatever stackd answers. The client is replaced: it answers with the input, two JSON documents with a
 * 0x1e between them (the second is what has changed, for monitor). Nothing that is written, to standard output or as a
 * complaint, may hold what moves a cursor, and JSON must be JSON. */
#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <locale.h>
#include <sys/mman.h>

#include "cli/client.h"
#include "cli/complain.h"
#include "cli/escape.h"
#include "cli/model.h"
#include "cli/output-event.h"
#include "cli/verb.h"
#include "cli/watch-state.h"
#include "common/file.h"
#include "common/text.h"
#include "tests/fuzz/fuzz.h"

/* ---- instead of client.c ---- */

static json_object *document;

struct Client {
        int unused;
};

int client_new(const Invocation *invocation _unused_, Client **ret) {
        *ret = calloc(1, sizeof(Client));
        return *ret ? 0 : -ENOMEM;
}

Client *client_free(Client *c) {
        free(c);
        return NULL;
}

int client_describe(Client *c _unused_, const char *what _unused_, json_object **ret) {
        *ret = json_object_get(document);
        return 0;
}

int client_describe_nested(Client *c, json_object **ret) {
        return client_describe(c, NULL, ret);
}

/* Everything that has an id. */
int client_look_up(Client *c _unused_, char **operands _unused_, char ***ret_ids) {
        static const char *const keys[] = { "layers", "processes" };
        char **ids = calloc(1, sizeof(char *));
        size_t n = 0;

        MUST(ids);
        for (size_t k = 0; k < ELEMENTSOF(keys); k++) {
                json_object *list = json_array(document, keys[k]);

                for (size_t i = 0; i < json_length(list); i++) {
                        const char *id = json_text(json_object_array_get_idx(list, i), "id");

                        if (id)
                                MUST(strv_append(&ids, &n, id) >= 0);
                }
        }
        if (n == 0) {
                free(ids);
                return -ENOENT;
        }
        *ret_ids = ids;
        return 0;
}

int client_act(Client *c _unused_, const char *method _unused_, char **ids _unused_, json_object **ret) {
        *ret = json_object_get(document);
        return 0;
}

bool client_is_private(const Client *c _unused_) {
        return false;
}

int client_configuration(Client *c _unused_, json_object **ret) {
        *ret = json_object_get(document);
        return 0;
}

int client_reload(Client *c _unused_, char ***ret_warnings, bool *ret_complete) {
        json_object *warnings = json_array(document, "warnings");
        char **lines = calloc(1, sizeof(char *));
        size_t n = 0;

        MUST(lines);
        for (size_t i = 0; i < json_length(warnings); i++)
                MUST(strv_append(&lines, &n, json_object_get_string(json_object_array_get_idx(warnings, i)) ?: "") >= 0);
        *ret_warnings = lines;
        *ret_complete = n == 0;
        return 0;
}

static void check_text(const char *text, size_t size) {
        MUST(strlen(text) == size && escape_is_utf8(text));
        for (const char *p = text; *p; p++)
                MUST(((unsigned char) *p >= 0x20 || *p == '\n') && *p != 0x7f);
        MUST(!strstr(text, "\xc2\x9b") && !strstr(text, "\xe2\x80\xae") && !strstr(text, "\xe2\x80\xa8"));
}

/* ---- what is written ---- */

static int screen = -1, own_output = -1;

static void begin_output(void) {
        if (screen < 0) {
                MUST(setlocale(LC_ALL, "C.UTF-8"));
                screen = memfd_create("screen", MFD_CLOEXEC);
                own_output = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
        }
        MUST(screen >= 0 && ftruncate(screen, 0) == 0 && lseek(screen, 0, SEEK_SET) == 0 && dup2(screen, STDOUT_FILENO) >= 0);
}

static char *end_output(void) {
        char *text = NULL;
        size_t size = 0;

        if (own_output >= 0)
                MUST(dup2(own_output, STDOUT_FILENO) >= 0);
        MUST(lseek(screen, 0, SEEK_SET) == 0 && file_read_fd(screen, 1 << 28, &text, &size) >= 0);
        check_text(text, size);
        return text;
}

static json_object *parse(const char *text) {
        json_tokener *t = json_tokener_new();
        json_object *o;

        MUST(t);
        o = json_tokener_parse_ex(t, text, (int) strlen(text) + 1);
        if (json_tokener_get_error(t) != json_tokener_success || !json_object_is_type(o, json_type_object)) {
                json_object_put(o);
                o = NULL;
        }
        json_tokener_free(t);
        return o;
}

static void run(int (*verb)(const Invocation *, char **), const Invocation *invocation, const char *argument) {
        char *arguments[] = { (char *) argument, NULL };
        _cleanup_free_ char *text = NULL;
        int r;

        begin_output();
        r = verb(invocation, arguments);
        text = end_output();
        MUST(r != -EINVAL && r != -ENOMEM);
        MUST(r >= 0 || !*text);
        if (r >= 0 && invocation->json != JSON_OFF) {
                json_object *o = parse(text);

                MUST(o);
                json_object_put(o);
        }
}

/* In DOT nothing ends a string or a label but what is meant to: outside of them stand only a few characters. */
static void check_dot(const char *text) {
        unsigned depth = 0, braces = 0;
        bool quoted = false;

        for (const char *p = text; *p; p++) {
                if (quoted) {
                        if (*p == '\\')
                                MUST(*++p);
                        else if (*p == '"')
                                quoted = false;
                } else if (depth > 0) {
                        if (*p == '&')
                                MUST(startswith(p, "&amp;") || startswith(p, "&lt;") || startswith(p, "&gt;") || startswith(p, "&quot;"));
                        depth += *p == '<';
                        depth -= *p == '>';
                } else {
                        quoted = *p == '"';
                        depth += *p == '<';
                        braces += *p == '{';
                        MUST(*p != '}' || braces > 0);
                        braces -= *p == '}';
                        MUST((unsigned char) *p < 0x80 && *p != '&' && *p != '`' && *p != '$' && *p != '\\');
                }
        }
        MUST(!quoted && depth == 0 && braces == 0);
}

static void draw(const Invocation *invocation) {
        char *arguments[] = { NULL, NULL };
        _cleanup_free_ char *text = NULL;
        int r;

        begin_output();
        r = verb_graph(invocation, arguments);
        text = end_output();
        if (r >= 0)
                check_dot(text);
}

static int on_event(const WatchState *w, const WatchEvent *event, void *userdata) {
        MUST(output_event(userdata, w, event, JSON_OFF) >= 0);
        MUST(output_event(userdata, w, event, JSON_SHORT) >= 0);
        return 0;
}

static void watch_elements(WatchState *w, json_object *o) {
        json_object *layers = json_array(o, "layers"), *hazards = json_array(o, "hazards"), *actions = json_array(o, "actions");

        for (size_t i = 0; i < json_length(layers); i++) {
                json_object *layer = json_object_array_get_idx(layers, i);
                const char *id = json_text(layer, "id");

                if (id && i % 2 == 0)
                        (void) watch_state_node(w, id, layer);
                else if (id)
                        (void) watch_state_node_gone(w, id);
        }
        for (size_t i = 0; i < json_length(hazards); i++)
                if (json_object_is_type(json_object_array_get_idx(hazards, i), json_type_object))
                        (void) watch_state_hazard(w, json_object_array_get_idx(hazards, i), i % 2);
        for (size_t i = 0; i < json_length(actions); i++)
                if (json_object_is_type(json_object_array_get_idx(actions, i), json_type_object))
                        (void) watch_state_action(w, json_object_array_get_idx(actions, i));
}

static void watch(json_object *before, json_object *now) {
        _cleanup_(watch_state_freep) WatchState *w = NULL;
        _cleanup_(output_freep) Output *o = NULL;

        MUST(output_new(&o) >= 0 && watch_state_new(on_event, o, &w) >= 0);
        if (watch_state_replace(w, before, true) >= 0 && watch_state_replace(w, now, false) >= 0)
                watch_elements(w, now);
        MUST(fflush(o->stream) == 0);
        check_text(o->buffer, o->size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        static int (*const verbs[])(const Invocation *, char **) = { verb_status, verb_check, verb_show, verb_plan, verb_apply, verb_cat_config };
        static const char *const lists[] = { "layers", "processes", "hazards" };
        FuzzInput in = { data, size };
        _cleanup_free_ char *first = fuzz_part(&in, 0x1e), *second = fuzz_part(&in, 0x1e);
        json_object *before;

        /* Nothing else comes over D-Bus. */
        if (!escape_is_utf8(first) || !escape_is_utf8(second))
                return 0;
        before = parse(first);
        document = before;
        if (!document)
                return 0;
        for (JsonMode mode = 0; mode < _JSON_MAX; mode++) {
                Invocation invocation = { .json = mode, .legend = true, .all = size % 2 };

                for (size_t i = 0; i < ELEMENTSOF(verbs); i++)
                        run(verbs[i], &invocation, verbs[i] == verb_show || verbs[i] == verb_apply ? "x" : NULL);
                for (size_t i = 0; i < ELEMENTSOF(lists); i++)
                        run(verb_list, &invocation, lists[i]);
                invocation.output_all = true;
                if (mode == JSON_OFF) {
                        for (size_t i = 0; i < ELEMENTSOF(lists); i++)
                                run(verb_list, &invocation, lists[i]);
                        run(verb_metrics, &invocation, NULL);
                        run(verb_reload, &invocation, NULL);
                        invocation.output_all = false;
                        draw(&invocation);
                }
        }
        document = parse(second);
        watch(before, document ?: before);
        json_object_put(document);
        json_object_put(before);
        return 0;
}
