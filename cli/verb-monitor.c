/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <json-c/json.h>
#include <string.h>

#include "cli/bus-object.h"
#include "cli/client.h"
#include "cli/complain.h"
#include "cli/output-event.h"
#include "cli/output-gap.h"
#include "cli/verb.h"
#include "common/text.h"

enum { EVENT_BACK = 1, EVENT_CLOSED = 2 }; /* what a handler ends client_listen() with */

typedef struct Monitor {
        const Invocation *invocation;
        WatchState *state;
        Output *output;
} Monitor;

static void monitor_clear(Monitor *m) {
        watch_state_free(m->state);
        output_free(m->output);
}

DEFINE_TRIVIAL_CLEANUP_FUNC(json_tokener *, json_tokener_free);

/* Each event goes out at once: whoever reads may act on it. */
static int print_event(const WatchState *w, const WatchEvent *event, void *userdata) {
        Monitor *m = userdata;
        int r;

        r = output_event(m->output, w, event, m->invocation->json);
        if (r >= 0)
                r = output_now(m->output);
        return r == -EPIPE ? EVENT_CLOSED : r;
}

static int print_plain(Monitor *m, const char *what) {
        return print_event(NULL, &(WatchEvent) { .what = what }, m);
}

static int on_presence(bool there, void *userdata) {
        return there ? EVENT_BACK : print_plain(userdata, "daemon-gone");
}

/* What cannot be read is no reason to end: a later version may say more than is understood here. */
static int skip(int r) {
        return r == -ENOMEM ? r : 0;
}

static int on_added(Monitor *monitor, sd_bus_message *m) {
        const char *path, *interface;
        _cleanup_free_ char *id = NULL;
        int r;

        r = sd_bus_message_read(m, "o", &path);
        if (r >= 0)
                r = bus_object_id(path, &id);
        if (r <= 0)
                return skip(r);
        r = sd_bus_message_enter_container(m, 'a', "{sa{sv}}");
        while (r >= 0 && (r = sd_bus_message_enter_container(m, 'e', "sa{sv}")) > 0) {
                _cleanup_(json_object_putp) json_object *o = NULL;

                r = sd_bus_message_read(m, "s", &interface);
                if (r >= 0)
                        r = bus_object_read(m, &o);
                if (r >= 0)
                        r = sd_bus_message_exit_container(m);
                if (r < 0)
                        break;
                if (streq(interface, "org.stackd1.Layer") || streq(interface, "org.stackd1.Process"))
                        return watch_state_node(monitor->state, id, o);
        }
        return skip(r);
}

static int on_removed(Monitor *monitor, sd_bus_message *m) {
        _cleanup_free_ char *id = NULL;
        const char *path;
        int r;

        r = sd_bus_message_read(m, "o", &path);
        if (r >= 0)
                r = bus_object_id(path, &id);
        return r <= 0 ? skip(r) : watch_state_node_gone(monitor->state, id);
}

static int on_changed(Monitor *monitor, sd_bus_message *m) {
        _cleanup_(json_object_putp) json_object *o = NULL;
        _cleanup_free_ char *id = NULL;
        const char *interface;
        int r;

        r = bus_object_id(sd_bus_message_get_path(m), &id);
        if (r > 0)
                r = sd_bus_message_read(m, "s", &interface);
        if (r > 0)
                r = bus_object_read(m, &o);
        return !o ? skip(r) : watch_state_node(monitor->state, id, o);
}

/* The object in the one text of a signal. */
static int read_json(sd_bus_message *m, json_object **ret) {
        _cleanup_(json_tokener_freep) json_tokener *tokener = json_tokener_new();
        const char *text;
        int r;

        if (!tokener)
                return -ENOMEM;
        r = sd_bus_message_read(m, "s", &text);
        if (r < 0)
                return r;
        *ret = json_tokener_parse_ex(tokener, text, (int) strlen(text) + 1);
        return json_object_is_type(*ret, json_type_object) ? 0 : -EBADMSG;
}

static int on_told(Monitor *monitor, sd_bus_message *m) {
        _cleanup_(json_object_putp) json_object *o = NULL;
        int r;

        r = read_json(m, &o);
        if (r < 0)
                return skip(r);
        if (sd_bus_message_is_signal(m, NULL, "ActionDone"))
                return watch_state_action(monitor->state, o);
        return watch_state_hazard(monitor->state, o, sd_bus_message_is_signal(m, NULL, "HazardGone"));
}

static int on_signal(sd_bus_message *m, void *userdata) {
        static const struct {
                const char *interface, *member;
                int (*handle)(Monitor *monitor, sd_bus_message *m);
        } signals[] = {
                { "org.freedesktop.DBus.ObjectManager", "InterfacesAdded", on_added },
                { "org.freedesktop.DBus.ObjectManager", "InterfacesRemoved", on_removed },
                { "org.freedesktop.DBus.Properties", "PropertiesChanged", on_changed },
                { "org.stackd1.Manager", "HazardAppeared", on_told },
                { "org.stackd1.Manager", "HazardGone", on_told },
                { "org.stackd1.Manager", "ActionDone", on_told },
        };

        for (size_t i = 0; i < ELEMENTSOF(signals); i++)
                if (sd_bus_message_is_signal(m, signals[i].interface, signals[i].member))
                        return signals[i].handle(userdata, m);
        return 0;
}

/* What is there now: to begin with, or to compare with what was known when stackd went. */
static int take_all(Monitor *m, Client *c, bool first) {
        _cleanup_(json_object_putp) json_object *document = NULL;
        int r;

        r = client_describe(c, NULL, &document);
        if (r >= 0)
                r = json_check_version(document);
        if (r < 0)
                return r;
        complain_about_gaps(document);
        return watch_state_replace(m->state, document, first);
}

static int come_back(Monitor *m, Client *c) {
        int r;

        r = print_plain(m, "daemon-back");
        if (r == 0)
                r = take_all(m, c, false);
        /* Gone again before it answered: that has its own event to come. */
        return r < 0 && !client_sees_daemon(c) ? print_plain(m, "daemon-gone") : r;
}

static int listen_on(Monitor *m, Client *c) {
        int r;

        do {
                r = client_listen(c, STDOUT_FILENO);
                if (r == EVENT_BACK)
                        r = come_back(m, c) ?: EVENT_BACK;
        } while (r == EVENT_BACK);
        return r;
}

int verb_monitor(const Invocation *invocation, char **arguments) {
        static const ClientEvents events = { .signal = on_signal, .presence = on_presence };
        _cleanup_(monitor_clear) Monitor m = { .invocation = invocation };
        _cleanup_(client_freep) Client *c = NULL;
        int r;

        (void) arguments;
        if (invocation->root)
                return complain("A captured machine does not change: there is nothing to monitor in '%s'.", invocation->root);
        r = watch_state_new(print_event, &m, &m.state);
        if (r >= 0)
                r = output_new(&m.output);
        if (r >= 0)
                r = client_new(invocation, &c);
        if (r >= 0)
                r = client_subscribe(c, &events, &m);
        if (r >= 0)
                r = take_all(&m, c, true);
        if (r >= 0 && invocation->legend)
                r = print_plain(&m, "ready");
        if (r == 0)
                r = listen_on(&m, c);
        return r < 0 ? r : EXIT_FINE;
}
