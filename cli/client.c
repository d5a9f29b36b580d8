/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Calls are made asynchronously under an event loop, so that Ctrl-C is an event like the answer: a private
 * daemon that holds a thread of another process is let finish before stackctl goes. */

#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>

#include "cli/client.h"
#include "cli/complain.h"
#include "cli/escape.h"
#include "cli/model.h"
#include "cli/operand.h"
#include "cli/private-daemon.h"
#include "common/text.h"

#define STACKD_NAME "org.stackd1"
#define STACKD_PATH "/org/stackd1"
#define STACKD_INTERFACE "org.stackd1.Manager"

enum { ACT_FACTOR = 4 }; /* changing many processes may take longer than reading */

struct Client {
        sd_event *event;
        sd_bus *bus;
        pid_t daemon;   /* 0: on the bus */
        bool local_dev; /* whether this machine's /dev is the one that is spoken of */
        int interrupted;
        sigset_t old_mask;
        bool masked;
        char *daemon_name; /* who answered last: its unique name on the bus; NULL in private */
        const ClientEvents *events;
        void *userdata;
        int ended; /* what an event's handler returned */
        bool listening, closed, there;
};

typedef struct Call {
        sd_bus_message *reply;
        bool late;
} Call;

DEFINE_TRIVIAL_CLEANUP_FUNC(json_tokener *, json_tokener_free);

static void call_clear(Call *call) {
        call->reply = sd_bus_message_unref(call->reply);
}

static int on_signal(sd_event_source *s, const struct signalfd_siginfo *info, void *userdata) {
        Client *c = userdata;

        (void) s;
        c->interrupted = (int) info->ssi_signo;
        return 0;
}

static int on_reply(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        Call *call = userdata;

        (void) error;
        call->reply = sd_bus_message_ref(m);
        return 0;
}

static int on_late(sd_event_source *s, uint64_t usec, void *userdata) {
        Call *call = userdata;

        (void) s;
        (void) usec;
        call->late = true;
        return 0;
}

static int complain_about_death(Client *c) {
        _cleanup_free_ char *how = NULL;

        if (c->daemon == 0)
                return complain("The connection to the bus broke before stackd answered. Try again, or use --direct.");
        sd_bus_close(c->bus);
        if (private_daemon_end(c->daemon, &how) < 0)
                how = strdup("closed the connection");
        c->daemon = 0;
        if (!how)
                return -ENOMEM;
        return complain("The private stackd %s%s. Its own messages, if any, stand above.", how, c->events ? "" : " before it answered");
}

/* What a D-Bus error means to the user, and what to do. */
static int complain_about_error(Client *c, const char *what, const sd_bus_error *e) {
        const char *message = e->message && *e->message ? e->message : e->name;
        size_t n = strlen(message);
        const char *stop = n > 0 && strchr(".!?", message[n - 1]) ? "" : ".";

        if (sd_bus_error_has_name(e, SD_BUS_ERROR_NO_REPLY) && sd_bus_is_open(c->bus) <= 0)
                return complain_about_death(c);
        if (sd_bus_error_has_name(e, "org.stackd1.Error.NoSuchObject"))
                return complain("%s%s 'stackctl list layers' and 'stackctl list processes' show what there is.",
                                message, stop);
        if (sd_bus_error_has_name(e, SD_BUS_ERROR_ACCESS_DENIED) ||
            sd_bus_error_has_name(e, SD_BUS_ERROR_INTERACTIVE_AUTHORIZATION_REQUIRED))
                return complain("Not permitted to %s: %s%s Run it as root.", what, message, stop);
        if (sd_bus_error_has_name(e, SD_BUS_ERROR_UNKNOWN_METHOD) ||
            sd_bus_error_has_name(e, SD_BUS_ERROR_UNKNOWN_INTERFACE))
                return complain("Cannot %s: the running stackd does not know how (%s). Is it older than stackctl? "
                                "Restart it: systemctl restart stackd.", what, message);
        return complain("Cannot %s: %s%s", what, message, stop);
}

/* Sends and waits: 0 with an answer or an error in *call, -EINTR, -ETIMEDOUT (nothing said so far), or what
 * the connection said. */
static int call_run(Client *c, sd_bus_message *m, uint64_t usec, Call *call) {
        _cleanup_(sd_event_source_unrefp) sd_event_source *timer = NULL;
        _cleanup_(sd_bus_slot_unrefp) sd_bus_slot *slot = NULL;
        int r;

        r = sd_event_add_time_relative(c->event, &timer, CLOCK_MONOTONIC, usec, 0, on_late, call);
        if (r < 0)
                return r;
        r = sd_bus_call_async(c->bus, &slot, m, on_reply, call, UINT64_MAX);
        if (r < 0)
                return r;
        while (!call->reply && !call->late && !c->interrupted) {
                r = sd_event_run(c->event, UINT64_MAX);
                if (r < 0)
                        return r;
        }
        if (call->reply)
                return 0;
        return c->interrupted ? -EINTR : -ETIMEDOUT;
}

/* Signals are believed of whoever answers, and of nobody else on the bus. */
static int client_remember_sender(Client *c, sd_bus_message *reply) {
        const char *sender = sd_bus_message_get_sender(reply);

        if (!sender || streq_ptr(sender, c->daemon_name))
                return 0;
        free(c->daemon_name);
        c->daemon_name = strdup(sender);
        return c->daemon_name ? 0 : -ENOMEM;
}

/* The answer to a call, or a complaint. 'what' completes "Cannot ...". */
static int client_call(Client *c, const char *what, sd_bus_message *m, unsigned factor, sd_bus_message **ret) {
        _cleanup_(call_clear) Call call = {};
        uint64_t usec;
        int r;

        r = sd_bus_get_method_call_timeout(c->bus, &usec);
        if (r < 0)
                return r;
        usec *= factor;
        r = call_run(c, m, usec, &call);
        if (r == -EINTR || r == -ENOMEM)
                return r;
        if (r == -ETIMEDOUT)
                return complain("Cannot %s: stackd did not answer within %u s. %s", what, (unsigned) (usec / 1000000),
                                c->daemon ? "Try again." : "See 'systemctl status stackd', or use --direct.");
        if (r < 0 && sd_bus_is_open(c->bus) <= 0)
                return complain_about_death(c);
        if (r < 0)
                return complain("Cannot %s: %s.", what, strerror(-r));
        if (sd_bus_message_is_method_error(call.reply, NULL))
                return complain_about_error(c, what, sd_bus_message_get_error(call.reply));
        r = client_remember_sender(c, call.reply);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(call.reply);
        return 0;
}

/* Whether an error says that there is no stackd on this bus, rather than one that is broken. */
static bool error_means_absent(Client *c, const sd_bus_error *e) {
        static const char *const names[] = {
                SD_BUS_ERROR_SERVICE_UNKNOWN,
                "org.freedesktop.DBus.Error.Spawn.ServiceNotFound",
                "org.freedesktop.systemd1.NoSuchUnit",
        };

        for (size_t i = 0; i < ELEMENTSOF(names); i++)
                if (sd_bus_error_has_name(e, names[i]))
                        return true;
        return sd_bus_error_has_name(e, SD_BUS_ERROR_NO_REPLY) && sd_bus_is_open(c->bus) <= 0;
}

static bool error_means_broken(const sd_bus_error *e) {
        return startswith(e->name, "org.freedesktop.DBus.Error.Spawn.") || startswith(e->name, "org.freedesktop.systemd1.") ||
               sd_bus_error_has_name(e, SD_BUS_ERROR_NAME_HAS_NO_OWNER) ||
               sd_bus_error_has_name(e, SD_BUS_ERROR_NO_REPLY) ||
               sd_bus_error_has_name(e, "org.freedesktop.DBus.Error.TimedOut") || sd_bus_error_has_name(e, SD_BUS_ERROR_TIMEOUT);
}

/* Has the bus start stackd if it does not run: 1 there, 0 absent. A ping does, whether it can be activated
 * or was started otherwise; StartServiceByName refuses the latter. */
static int bus_activate(Client *c) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        _cleanup_(call_clear) Call call = {};
        const sd_bus_error *e;
        uint64_t usec = 0;
        int r;

        r = sd_bus_message_new_method_call(c->bus, &m, STACKD_NAME, STACKD_PATH, "org.freedesktop.DBus.Peer", "Ping");
        if (r >= 0)
                r = sd_bus_get_method_call_timeout(c->bus, &usec);
        if (r >= 0)
                r = call_run(c, m, usec, &call);
        if (r == -EINTR || r == -ENOMEM)
                return r;
        if (r == -ETIMEDOUT)
                return complain("stackd did not answer on the system bus within %u s. See 'systemctl status stackd', "
                                "or use --direct to do without it.", (unsigned) (usec / 1000000));
        if (r < 0)
                return 0;
        e = sd_bus_message_get_error(call.reply);
        if (e && error_means_absent(c, e))
                return 0;
        if (e && error_means_broken(e))
                return complain("Cannot start stackd: %s. See 'systemctl status stackd', or use --direct to do without it.",
                                e->message ?: e->name);
        return 1;
}

/* 1: on the bus; 0: no bus, or no stackd on it. */
static int client_open_bus(Client *c) {
        int r;

        r = sd_bus_open_system(&c->bus);
        if (r == -ENOMEM)
                return r;
        if (r < 0)
                return 0;
        r = sd_bus_attach_event(c->bus, c->event, SD_EVENT_PRIORITY_NORMAL);
        if (r < 0)
                return r;
        r = bus_activate(c);
        if (r == 0)
                c->bus = sd_bus_close_unref(c->bus);
        return r;
}

static int root_check(const char *root) {
        _cleanup_close_ int fd = -1;

        if (!root)
                return 0;
        fd = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
                return complain(errno == ENOTDIR ? "Cannot use '%s' as root: %s. --root= takes a directory: unpack a capture "
                                                   "with 'mkdir DIR && tar -xf FILE -C DIR'."
                                                 : "Cannot use '%s' as root: %s. --root= takes a directory that holds proc/ and "
                                                   "sys/ of a captured machine.", root, strerror(errno));
        return 0;
}

static int client_open_private(Client *c, const char *root) {
        _cleanup_close_ int fd = -1;
        int r;

        r = private_daemon_start(root, &c->daemon, &fd);
        if (r < 0)
                return r;
        r = sd_bus_new(&c->bus);
        if (r < 0)
                return r;
        r = sd_bus_set_fd(c->bus, fd, fd);
        if (r < 0)
                return r;
        TAKE_FD(fd);
        r = sd_bus_start(c->bus);
        if (r < 0)
                return sd_bus_is_open(c->bus) <= 0 ? complain_about_death(c) : r;
        return sd_bus_attach_event(c->bus, c->event, SD_EVENT_PRIORITY_NORMAL);
}

static int client_watch_signals(Client *c) {
        static const int signals[] = { SIGINT, SIGTERM, SIGHUP };
        sigset_t set;

        sigemptyset(&set);
        for (size_t i = 0; i < ELEMENTSOF(signals); i++)
                sigaddset(&set, signals[i]);
        if (sigprocmask(SIG_BLOCK, &set, &c->old_mask) < 0)
                return -errno;
        c->masked = true;
        for (size_t i = 0; i < ELEMENTSOF(signals); i++) {
                int r = sd_event_add_signal(c->event, NULL, signals[i], on_signal, c);

                if (r < 0)
                        return r;
        }
        return 0;
}

static int client_open(Client *c, const Invocation *invocation) {
        int r;

        r = sd_event_new(&c->event);
        if (r < 0)
                return r;
        r = client_watch_signals(c);
        if (r < 0)
                return r;
        if (!invocation->direct && !invocation->root) {
                r = client_open_bus(c);
                if (r != 0)
                        return r;
        }
        return client_open_private(c, invocation->root);
}

int client_new(const Invocation *invocation, Client **ret) {
        _cleanup_(client_freep) Client *c = NULL;
        int r;

        r = root_check(invocation->root);
        if (r < 0)
                return r;
        c = calloc(1, sizeof(*c));
        if (!c)
                return -ENOMEM;
        c->local_dev = !invocation->root;
        r = client_open(c, invocation);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(c);
        return 0;
}

Client *client_free(Client *c) {
        int signal_number;

        if (!c)
                return NULL;
        sd_bus_close_unref(c->bus);
        if (c->daemon > 0)
                (void) private_daemon_end(c->daemon, NULL);
        sd_event_unref(c->event);
        if (c->masked)
                (void) sigprocmask(SIG_SETMASK, &c->old_mask, NULL);
        signal_number = c->interrupted;
        free(c->daemon_name);
        free(c);
        if (signal_number > 0)
                raise(signal_number);
        return NULL;
}

/* Makes an operand what the daemon takes: absolute, resolved, UTF-8. */
static int client_resolve(Client *c, const char *what, char **ret) {
        _cleanup_free_ char *cwd = getcwd(NULL, 0), *resolved = NULL;
        _cleanup_close_ int dev_fd = -1;
        int r;

        if (!*what)
                return complain("An empty name names nothing.");
        if (c->local_dev)
                dev_fd = open("/dev", O_PATH | O_DIRECTORY | O_CLOEXEC);
        r = operand_resolve(what, cwd && *cwd == '/' ? cwd : "/", dev_fd, &resolved);
        if (r < 0)
                return r;
        if (!escape_is_utf8(resolved)) /* D-Bus takes nothing else */
                return complain("'%s' is not valid UTF-8. Name it by its id: see 'stackctl list layers'.", resolved);
        *ret = TAKE_PTR(resolved);
        return 0;
}

static int client_message(Client *c, const char *method, sd_bus_message **ret) {
        return sd_bus_message_new_method_call(c->bus, ret, c->daemon ? NULL : STACKD_NAME, STACKD_PATH,
                                              STACKD_INTERFACE, method);
}

/* The JSON object in an answer of one string. */
static int reply_parse(sd_bus_message *reply, json_object **ret) {
        _cleanup_(json_tokener_freep) json_tokener *tokener = json_tokener_new();
        _cleanup_(json_object_putp) json_object *object = NULL;
        enum json_tokener_error error;
        const char *text;
        int r;

        if (!tokener)
                return -ENOMEM;
        r = sd_bus_message_read(reply, "s", &text);
        if (r < 0)
                return complain("stackd answered with something other than a text. Do its version and stackctl's differ?");
        /* JSON_TOKENER_STRICT would refuse every letter outside ASCII in json-c 0.18 (its issue 875). */
        object = json_tokener_parse_ex(tokener, text, (int) strlen(text) + 1);
        error = json_tokener_get_error(tokener);
        if (error == json_tokener_success && json_object_is_type(object, json_type_object) &&
            json_tokener_get_parse_end(tokener) == strlen(text)) {
                *ret = TAKE_PTR(object);
                return 0;
        }
        return complain("stackd's answer is not valid JSON: %s at byte %zu of %zu. Please report it.",
                        error == json_tokener_success ? "not one object" : json_tokener_error_desc(error),
                        json_tokener_get_parse_end(tokener), strlen(text));
}

int client_describe(Client *c, const char *what, json_object **ret) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL, *reply = NULL;
        _cleanup_free_ char *resolved = NULL;
        int r;

        if (what) {
                r = client_resolve(c, what, &resolved);
                if (r < 0)
                        return r;
        }
        r = client_message(c, "Describe", &m);
        if (r < 0)
                return r;
        r = sd_bus_message_append(m, "s", resolved ?: "");
        if (r < 0)
                return r;
        r = client_call(c, "describe the stacks", m, 1, &reply);
        if (r < 0)
                return r;
        return reply_parse(reply, ret);
}

int client_describe_nested(Client *c, json_object **ret) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL, *reply = NULL;
        int r;

        r = client_message(c, "DescribeNested", &m);
        if (r >= 0)
                r = client_call(c, "describe the stacks", m, 1, &reply);
        return r < 0 ? r : reply_parse(reply, ret);
}

static int client_look_up_one(Client *c, const char *what, char ***ids, size_t *n) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL, *reply = NULL;
        _cleanup_free_ char *resolved = NULL;
        _cleanup_strv_free_ char **found = NULL;
        int r;

        r = client_resolve(c, what, &resolved);
        if (r < 0)
                return r;
        r = client_message(c, "LookUp", &m);
        if (r < 0)
                return r;
        r = sd_bus_message_append(m, "s", resolved);
        if (r < 0)
                return r;
        r = client_call(c, "look up that name", m, 1, &reply);
        if (r < 0)
                return r;
        r = sd_bus_message_read_strv(reply, &found);
        if (r < 0)
                return r;
        if (!found || !*found) /* handed on, an empty list would mean everything */
                return complain("stackd found nothing under '%s'. 'stackctl list layers' shows what there is.", what);
        for (char **id = found; *id; id++)
                if (!strv_contains(*ids, *id)) {
                        r = strv_append(ids, n, *id);
                        if (r < 0)
                                return r;
                }
        return 0;
}

int client_look_up(Client *c, char **operands, char ***ret_ids) {
        _cleanup_strv_free_ char **ids = NULL;
        size_t n = 0;

        for (char **what = operands; what && *what; what++) {
                int r = client_look_up_one(c, *what, &ids, &n);

                if (r < 0)
                        return r;
        }
        *ret_ids = TAKE_PTR(ids);
        return 0;
}

int client_act(Client *c, const char *method, char **ids, json_object **ret) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL, *reply = NULL;
        static char *const none[] = { NULL };
        const char *what;
        int r;

        what = streq(method, "Plan") ? "plan"
                : streq(method, "Explain") ? "explain"
                : streq(method, "Apply") ? "apply protection"
                                         : "revert protection";
        r = client_message(c, method, &m);
        if (r < 0)
                return r;
        r = sd_bus_message_append_strv(m, ids ?: (char **) none);
        if (r < 0)
                return r;
        if (c->daemon == 0) {
                r = sd_bus_message_set_allow_interactive_authorization(m, true);
                if (r < 0)
                        return r;
        }
        r = client_call(c, what, m, streq(method, "Plan") || streq(method, "Explain") ? 1 : ACT_FACTOR, &reply);
        if (r < 0)
                return r;
        return reply_parse(reply, ret);
}

bool client_is_private(const Client *c) {
        return c->daemon > 0;
}

int client_configuration(Client *c, json_object **ret) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL, *reply = NULL;
        int r;

        r = client_message(c, "DumpConfiguration", &m);
        if (r >= 0)
                r = client_call(c, "show the configuration", m, 1, &reply);
        return r < 0 ? r : reply_parse(reply, ret);
}

int client_reload(Client *c, char ***ret_warnings, bool *ret_complete) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL, *reply = NULL;
        _cleanup_strv_free_ char **warnings = NULL;
        int complete, r;

        r = client_message(c, "Reload", &m);
        if (r >= 0 && c->daemon == 0)
                r = sd_bus_message_set_allow_interactive_authorization(m, true);
        if (r >= 0)
                r = client_call(c, "reload the configuration", m, ACT_FACTOR, &reply);
        if (r < 0)
                return r;
        r = sd_bus_message_read_strv(reply, &warnings);
        if (r >= 0)
                r = sd_bus_message_read(reply, "b", &complete);
        if (r < 0)
                return complain("stackd answered with something other than warnings. Do its version and stackctl's differ?");
        *ret_warnings = TAKE_PTR(warnings);
        *ret_complete = complete;
        return 0;
}

static int on_bus_signal(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        const char *sender = sd_bus_message_get_sender(m);
        Client *c = userdata;

        (void) error;
        /* What comes during a call is in its answer. */
        if (c->listening && c->ended == 0 && (c->daemon > 0 || (sender && streq_ptr(sender, c->daemon_name))))
                c->ended = c->events->signal(m, c->userdata);
        return 0;
}

static int on_owner(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        const char *name, *old, *new;
        Client *c = userdata;

        (void) error;
        if (sd_bus_message_read(m, "sss", &name, &old, &new) < 0)
                return 0;
        c->there = *new;
        if (c->listening && c->ended == 0)
                c->ended = c->events->presence(c->there, c->userdata);
        return 0;
}

static int client_match(Client *c) {
        int r;

        if (c->daemon > 0)
                return sd_bus_add_match(c->bus, NULL, "type='signal',path_namespace='" STACKD_PATH "'", on_bus_signal, c);
        r = sd_bus_add_match(c->bus, NULL, "type='signal',sender='" STACKD_NAME "',path_namespace='" STACKD_PATH "'", on_bus_signal, c);
        if (r < 0)
                return r;
        return sd_bus_add_match(c->bus, NULL, "type='signal',sender='org.freedesktop.DBus',interface='org.freedesktop.DBus',"
                                "member='NameOwnerChanged',path='/org/freedesktop/DBus',arg0='" STACKD_NAME "'", on_owner, c);
}

int client_subscribe(Client *c, const ClientEvents *events, void *userdata) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL, *reply = NULL;
        int r;

        c->events = events;
        c->userdata = userdata;
        c->there = true;
        r = client_match(c);
        if (r < 0)
                return complain("Cannot listen to the bus: %s.", strerror(-r));
        if (c->daemon == 0)
                return 0;
        r = client_message(c, "Subscribe", &m);
        return r < 0 ? r : client_call(c, "listen to stackd", m, 1, &reply);
}

bool client_sees_daemon(const Client *c) {
        return c->there;
}

static int on_closed(sd_event_source *s, int fd, uint32_t revents, void *userdata) {
        Client *c = userdata;

        (void) s;
        (void) fd;
        (void) revents;
        c->closed = true;
        return 0;
}

int client_listen(Client *c, int fd) {
        _cleanup_(sd_event_source_unrefp) sd_event_source *closed = NULL;
        int r;

        /* No event is asked for: a closed end is told anyway. Files have none. */
        r = sd_event_add_io(c->event, &closed, fd, 0, on_closed, c);
        if (r < 0 && r != -EPERM)
                return r;
        c->ended = 0;
        c->listening = true;
        while (c->ended == 0 && !c->closed && !c->interrupted) {
                r = sd_event_run(c->event, UINT64_MAX);
                if (r < 0)
                        return r;
                if (sd_bus_is_open(c->bus) <= 0)
                        return c->daemon > 0 ? complain_about_death(c) : complain("The connection to the bus broke. Try again.");
        }
        c->listening = false;
        c->interrupted = 0;
        return c->ended;
}
