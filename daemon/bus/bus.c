/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "common/log.h"
#include "common/text.h"
#include "daemon/bus/bus-internal.h"
#include "daemon/bus/describe.h"
#include "daemon/bus/lookup.h"

#define LOOKED_UP_MAX 64U /* names in one call that are no ids */

/* A method call that waits for the manager. */
typedef struct Pending {
        BusServer *server;
        sd_bus_message *call;
        enum {
                PENDING_DESCRIBE,
                PENDING_DESCRIBE_NESTED,
                PENDING_LOOK_UP,
                PENDING_PLAN,
                PENDING_EXPLAIN,
                PENDING_APPLY,
                PENDING_REVERT,
                PENDING_REFRESH,
                PENDING_RELOAD,
                PENDING_CONFIGURATION,
        } kind;
        char *what; /* of Describe and LookUp */
        char **ids; /* of the others; NULL means all */
        struct Pending *next;
} Pending;

static Pending *pending_free(Pending *p) {
        if (!p)
                return NULL;
        for (Pending **q = &p->server->pending; *q; q = &(*q)->next)
                if (*q == p) {
                        *q = p->next;
                        break;
                }
        sd_bus_message_unref(p->call);
        free(p->what);
        strv_free(p->ids);
        free(p);
        return NULL;
}
DEFINE_TRIVIAL_CLEANUP_FUNC(Pending *, pending_free);

static int reply_error(sd_bus_message *call, int error, const char *doing) {
        switch (error) {
        case -EROFS:
                return sd_bus_reply_method_errorf(call, SD_BUS_ERROR_NOT_SUPPORTED, "A captured machine cannot be changed");
        case -EBUSY:
                return sd_bus_reply_method_errorf(call, BUS_NAME ".Error.Busy",
                                                  "Another stackd is running, and is the one that changes things: leave --direct away");
        case -EACCES:
        case -EPERM: /* only in private mode: on the bus access_check() comes first */
                return sd_bus_reply_method_errorf(call, SD_BUS_ERROR_ACCESS_DENIED, "/run/stackd cannot be written");
        case -EOPNOTSUPP:
                return sd_bus_reply_method_errorf(call, SD_BUS_ERROR_NOT_SUPPORTED,
                                                  "This kernel's task flags are not what stackd knows: nothing is marked, since it could not be verified");
        default:
                return sd_bus_reply_method_errnof(call, -error, "Cannot %s: %s", doing, strerror(-error));
        }
}

/* An answer that could not be made, or sent: that is told at least, for it takes less. */
static void tell_unanswered(sd_bus_message *call, int error) {
        log_warning("Cannot answer a client: %s", strerror(-error));
        (void) reply_error(call, error, "answer");
}

static int reply_not_found(sd_bus_message *call, const char *what) {
        _cleanup_free_ char *safe = text_to_utf8(what);

        return sd_bus_reply_method_errorf(call, BUS_NAME ".Error.NoSuchObject",
                                          "No layer, process or unit of a storage stack is called '%s'", safe ?: "?");
}

static int reply_describe(Pending *p) {
        _cleanup_strv_free_ char **ids = NULL;
        _cleanup_(plan_done) Plan actions = {};
        _cleanup_free_ char *json = NULL;
        BusServer *b = p->server;
        int r = 0;

        if (p->what[0])
                r = lookup(b->view.graph, p->what, &ids);
        if (r == -ENOENT)
                return reply_not_found(p->call, p->what);
        if (r >= 0)
                r = b->requests.actions(b->manager, &actions);
        if (r >= 0)
                r = describe_view(&b->view, ids, &actions, &json);
        return r < 0 ? reply_error(p->call, r, "describe the machine") : sd_bus_reply_method_return(p->call, "s", json);
}

static int reply_describe_nested(Pending *p) {
        _cleanup_(plan_done) Plan actions = {};
        _cleanup_free_ char *json = NULL;
        BusServer *b = p->server;
        int r;

        r = b->requests.actions(b->manager, &actions);
        if (r >= 0)
                r = describe_nested(&b->view, &actions, &json);
        return r < 0 ? reply_error(p->call, r, "describe the machine") : sd_bus_reply_method_return(p->call, "s", json);
}

static int reply_look_up(Pending *p) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        _cleanup_strv_free_ char **ids = NULL, **safe = NULL;
        size_t n = 0;
        int r;

        r = lookup(p->server->view.graph, p->what, &ids);
        if (r == -ENOENT)
                return reply_not_found(p->call, p->what);
        for (char **id = ids; r >= 0 && *id; id++) {
                _cleanup_free_ char *utf8 = text_to_utf8(*id);

                r = utf8 ? strv_append(&safe, &n, utf8) : -ENOMEM;
        }
        if (r < 0)
                return reply_error(p->call, r, "look that up");
        r = sd_bus_message_new_method_return(p->call, &reply);
        if (r >= 0)
                r = sd_bus_message_append_strv(reply, safe);
        return r < 0 ? r : sd_bus_send(NULL, reply, NULL);
}

static int reply_plan(Pending *p) {
        _cleanup_(plan_done) Plan plan = {};
        _cleanup_free_ char *json = NULL;
        BusServer *b = p->server;
        int r;

        r = b->requests.plan(b->manager, p->ids, &plan);
        if (r >= 0)
                r = describe_actions(&b->view, &plan, &json);
        return r < 0 ? reply_error(p->call, r, "make a plan") : sd_bus_reply_method_return(p->call, "s", json);
}

static int reply_explain(Pending *p) {
        _cleanup_free_ char *json = NULL;
        BusServer *b = p->server;
        int r;

        r = describe_reasons(&b->view, &b->requests, b->manager, p->ids, &json);
        return r < 0 ? reply_error(p->call, r, "explain that") : sd_bus_reply_method_return(p->call, "s", json);
}

static int reply_actions(Pending *p, const Plan *actions) {
        _cleanup_free_ char *json = NULL;
        int r;

        r = describe_actions(&p->server->view, actions, &json);
        return r < 0 ? reply_error(p->call, r, "report what was done") : sd_bus_reply_method_return(p->call, "s", json);
}

static void on_ready(int result, const Plan *actions, void *userdata) {
        _cleanup_(pending_freep) Pending *p = userdata;
        int r;

        if (result < 0)
                r = reply_error(p->call, result, "do that");
        else
                r = p->kind == PENDING_DESCRIBE ? reply_describe(p)
                        : p->kind == PENDING_DESCRIBE_NESTED ? reply_describe_nested(p)
                        : p->kind == PENDING_LOOK_UP ? reply_look_up(p)
                        : p->kind == PENDING_PLAN ? reply_plan(p)
                        : p->kind == PENDING_EXPLAIN ? reply_explain(p)
                        : p->kind == PENDING_REFRESH ? sd_bus_reply_method_return(p->call, NULL)
                                                     : reply_actions(p, actions);
        if (r < 0)
                tell_unanswered(p->call, r);
}

/* Names of files stand in remarks: escaped, and so UTF-8. */
static int reply_remarks(Pending *p) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        BusServer *b = p->server;
        const Remarks *remarks;
        int refused, r;

        refused = b->requests.remarks(b->manager, &remarks);
        r = sd_bus_message_new_method_return(p->call, &reply);
        if (r >= 0)
                r = sd_bus_message_append_strv(reply, remarks->lines);
        if (r >= 0)
                r = sd_bus_message_append(reply, "b", refused <= 0);
        return r < 0 ? r : sd_bus_send(NULL, reply, NULL);
}

static void on_reloaded(int result, void *userdata) {
        _cleanup_(pending_freep) Pending *p = userdata;
        int r;

        r = result < 0 ? reply_error(p->call, result, "read the configuration") : reply_remarks(p);
        if (r < 0)
                tell_unanswered(p->call, r);
}

static int on_reload_granted(void *userdata) {
        Pending *p = userdata;
        BusServer *b = p->server;
        int r;

        r = b->requests.reload(b->manager, on_reloaded, p);
        if (r < 0) {
                r = reply_error(p->call, r, "read the configuration");
                pending_free(p);
                return r;
        }
        return 1;
}

unsigned bus_count_pending(const BusServer *b, const char *sender) {
        unsigned n = 0;

        for (const Pending *p = b->pending; p; p = p->next)
                n += streq_ptr(sd_bus_message_get_sender(p->call), sender);
        return n;
}

static int pending_new(BusServer *b, sd_bus_message *call, int kind, Pending **ret) {
        Pending *p = calloc(1, sizeof(Pending));

        if (!p)
                return -ENOMEM;
        *p = (Pending) { .server = b, .call = sd_bus_message_ref(call), .kind = kind, .next = b->pending };
        b->pending = p;
        *ret = p;
        return 0;
}

/* What is changed is planned on a view that is up to date. */
static void on_settled(int result, const Plan *actions _unused_, void *userdata) {
        Pending *p = userdata;
        BusServer *b = p->server;
        int r = result;

        if (r >= 0)
                r = p->kind == PENDING_APPLY ? b->requests.apply(b->manager, p->ids, on_ready, p)
                                             : b->requests.revert(b->manager, p->ids, on_ready, p);
        if (r < 0) {
                (void) reply_error(p->call, r, p->kind == PENDING_REVERT ? "undo that" : "do that");
                pending_free(p);
        }
}

/* Hands the call to the manager, which ends in on_ready(), now or later. */
static int pending_submit(Pending *p) {
        bool changes = p->kind == PENDING_APPLY || p->kind == PENDING_REVERT;
        BusServer *b = p->server;
        const char *trouble = b->requests.trouble(b->manager);
        int r;

        if (trouble) {
                r = sd_bus_reply_method_errorf(p->call, BUS_NAME ".Error.NotReadable", "%s", trouble);
                pending_free(p);
                return r;
        }
        if (p->kind == PENDING_REFRESH) {
                b->requests.rescan(b->manager);
                r = b->requests.finish(b->manager, on_ready, p);
        } else {
                if (changes || p->kind == PENDING_PLAN)
                        b->requests.look(b->manager);
                r = b->requests.settle(b->manager, changes ? on_settled : on_ready, p);
        }
        if (r < 0) {
                r = reply_error(p->call, r, "do that");
                pending_free(p);
                return r;
        }
        return 1;
}

static int on_granted(void *userdata) {
        return pending_submit(userdata);
}

static void on_refused(void *userdata) {
        pending_free(userdata);
}

static int method_with_text(sd_bus_message *call, void *userdata, int kind) {
        Pending *p = NULL;
        const char *what;
        int r;

        r = sd_bus_message_read(call, "s", &what);
        if (r < 0)
                return r;
        r = pending_new(userdata, call, kind, &p);
        if (r < 0)
                return r;
        p->what = strdup(what);
        if (!p->what) {
                pending_free(p);
                return -ENOMEM;
        }
        return pending_submit(p);
}

static int method_describe(sd_bus_message *call, void *userdata, sd_bus_error *error _unused_) {
        return method_with_text(call, userdata, PENDING_DESCRIBE);
}

static int method_describe_nested(sd_bus_message *call, void *userdata, sd_bus_error *error _unused_) {
        Pending *p = NULL;
        int r;

        r = pending_new(userdata, call, PENDING_DESCRIBE_NESTED, &p);
        return r < 0 ? r : pending_submit(p);
}

static int method_look_up(sd_bus_message *call, void *userdata, sd_bus_error *error _unused_) {
        return method_with_text(call, userdata, PENDING_LOOK_UP);
}

/* An id is found by an index; for anything else each layer has to be looked at. */
static int read_name(BusServer *b, const char *name, unsigned *n_looked_up, char ***ret) {
        size_t n = 0;

        if (graph_find(b->view.graph, name))
                return strv_append(ret, &n, name);
        return ++*n_looked_up > LOOKED_UP_MAX ? -E2BIG : lookup(b->view.graph, name, ret);
}

/* Ids, or what LookUp() takes; all must exist. */
static int read_ids(BusServer *b, Pending *p, sd_bus_message *call) {
        _cleanup_strv_free_ char **names = NULL;
        unsigned n_looked_up = 0;
        size_t n = 0;
        int r;

        r = sd_bus_message_read_strv(call, &names);
        if (r < 0)
                return r;
        for (char **name = names; name && *name; name++) {
                _cleanup_strv_free_ char **ids = NULL;

                r = read_name(b, *name, &n_looked_up, &ids);
                if (r == -ENOENT) {
                        (void) reply_not_found(call, *name);
                        return -ENOENT;
                }
                for (char **id = ids; r >= 0 && *id; id++)
                        r = strv_append(&p->ids, &n, *id);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int method_with_ids(sd_bus_message *call, void *userdata, int kind) {
        BusServer *b = userdata;
        Pending *p = NULL;
        int r;

        r = pending_new(b, call, kind, &p);
        if (r < 0)
                return r;
        r = b->requests.trouble(b->manager) ? 0 : read_ids(b, p, call);
        if (r < 0) {
                pending_free(p);
                return r == -ENOENT ? 1 : r;
        }
        if (kind == PENDING_PLAN || kind == PENDING_EXPLAIN)
                return pending_submit(p);
        return access_check(b, call, kind == PENDING_APPLY ? BUS_NAME ".apply" : BUS_NAME ".revert",
                            on_granted, on_refused, p);
}

static int method_plan(sd_bus_message *call, void *userdata, sd_bus_error *error _unused_) {
        return method_with_ids(call, userdata, PENDING_PLAN);
}

static int method_explain(sd_bus_message *call, void *userdata, sd_bus_error *error _unused_) {
        return method_with_ids(call, userdata, PENDING_EXPLAIN);
}

static int method_apply(sd_bus_message *call, void *userdata, sd_bus_error *error _unused_) {
        return method_with_ids(call, userdata, PENDING_APPLY);
}

static int method_revert(sd_bus_message *call, void *userdata, sd_bus_error *error _unused_) {
        return method_with_ids(call, userdata, PENDING_REVERT);
}

static int method_refresh(sd_bus_message *call, void *userdata, sd_bus_error *error _unused_) {
        Pending *p = NULL;
        int r;

        r = pending_new(userdata, call, PENDING_REFRESH, &p);
        return r < 0 ? r : pending_submit(p);
}

static int method_reload(sd_bus_message *call, void *userdata, sd_bus_error *error _unused_) {
        BusServer *b = userdata;
        Pending *p = NULL;
        int r;

        r = pending_new(b, call, PENDING_RELOAD, &p);
        return r < 0 ? r : access_check(b, call, BUS_NAME ".reload", on_reload_granted, on_refused, p);
}

static void on_caller_known(bool root, void *userdata) {
        _cleanup_(pending_freep) Pending *p = userdata;
        _cleanup_free_ char *json = NULL;
        BusServer *b = p->server;
        int r;

        r = b->requests.configuration(b->manager, root, &json);
        r = r < 0 ? reply_error(p->call, r, "show the configuration") : sd_bus_reply_method_return(p->call, "s", json);
        if (r < 0)
                tell_unanswered(p->call, r);
}

static int method_dump_configuration(sd_bus_message *call, void *userdata, sd_bus_error *error _unused_) {
        Pending *p = NULL;
        int r;

        r = pending_new(userdata, call, PENDING_CONFIGURATION, &p);
        if (r < 0)
                return r;
        r = access_look(userdata, call, on_caller_known, p);
        if (r < 0)
                pending_free(p);
        return r;
}

/* On a bus signals reach whoever matches them; the one peer of private mode has to say that it listens. */
static int method_subscribe(sd_bus_message *call, void *userdata, sd_bus_error *error _unused_) {
        BusServer *b = userdata;
        int r;

        if (!b->subscribed) {
                r = b->private ? bus_hazards_remember(b, false) : 0;
                if (r < 0)
                        return r;
                b->subscribed = true;
        }
        return sd_bus_reply_method_return(call, NULL);
}

static int get_mark_count(
                sd_bus *bus _unused_,
                const char *path _unused_,
                const char *interface _unused_,
                const char *property,
                sd_bus_message *reply,
                void *userdata,
                sd_bus_error *error _unused_) {

        const BusServer *b = userdata;
        const MarkCounts none = {}, *counts = b->view.marks ?: &none;

        return sd_bus_message_append(reply, "t", streq(property, "MarkCount") ? counts->marks : counts->cut);
}

static int get_count(
                sd_bus *bus _unused_,
                const char *path _unused_,
                const char *interface _unused_,
                const char *property,
                sd_bus_message *reply,
                void *userdata,
                sd_bus_error *error _unused_) {

        BusServer *b = userdata;

        return sd_bus_message_append(reply, "u", streq(property, "LayerAndProcessCount") ? (uint32_t) graph_size(b->view.graph)
                                                                                        : (uint32_t) b->view.hazards->n);
}

static int get_version(
                sd_bus *bus _unused_,
                const char *path _unused_,
                const char *interface _unused_,
                const char *property _unused_,
                sd_bus_message *reply,
                void *userdata _unused_,
                sd_bus_error *error _unused_) {

        return sd_bus_message_append(reply, "s", STACKD_VERSION);
}

/* (identifier, message, cure) */
static int get_gaps(
                sd_bus *bus _unused_,
                const char *path _unused_,
                const char *interface _unused_,
                const char *property _unused_,
                sd_bus_message *reply,
                void *userdata,
                sd_bus_error *error _unused_) {

        const BusServer *b = userdata;
        const Gaps *gaps = b->view.gaps;
        const GapText *text;
        Gap gap;
        int r;

        r = sd_bus_message_open_container(reply, 'a', "(sss)");
        for (unsigned i = 0; r >= 0 && (text = gap_text(i, &gap)); i++)
                if (gaps->set & gap)
                        r = sd_bus_message_append(reply, "(sss)", text->id, text->message, gaps->captured ? text->capture : text->cure);
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

/* Every method is open to everyone as far as sd-bus is concerned; those that change something ask
 * access_check(). */
static const sd_bus_vtable manager_vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_METHOD_WITH_ARGS("Describe", SD_BUS_ARGS("s", what), SD_BUS_RESULT("s", json), method_describe, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("DescribeNested", SD_BUS_NO_ARGS, SD_BUS_RESULT("s", json), method_describe_nested, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("LookUp", SD_BUS_ARGS("s", what), SD_BUS_RESULT("as", ids), method_look_up, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Plan", SD_BUS_ARGS("as", ids), SD_BUS_RESULT("s", json), method_plan, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Explain", SD_BUS_ARGS("as", ids), SD_BUS_RESULT("s", json), method_explain, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Apply", SD_BUS_ARGS("as", ids), SD_BUS_RESULT("s", json), method_apply, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Revert", SD_BUS_ARGS("as", ids), SD_BUS_RESULT("s", json), method_revert, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Refresh", SD_BUS_NO_ARGS, SD_BUS_NO_RESULT, method_refresh, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Reload", SD_BUS_NO_ARGS, SD_BUS_RESULT("as", warnings, "b", complete), method_reload, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("DumpConfiguration", SD_BUS_NO_ARGS, SD_BUS_RESULT("s", json), method_dump_configuration, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Subscribe", SD_BUS_NO_ARGS, SD_BUS_NO_RESULT, method_subscribe, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_SIGNAL_WITH_ARGS("HazardAppeared", SD_BUS_ARGS("s", json), 0),
        SD_BUS_SIGNAL_WITH_ARGS("HazardGone", SD_BUS_ARGS("s", json), 0),
        SD_BUS_SIGNAL_WITH_ARGS("ActionDone", SD_BUS_ARGS("s", json), 0),
        SD_BUS_PROPERTY("Version", "s", get_version, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("LayerAndProcessCount", "u", get_count, 0, 0),
        SD_BUS_PROPERTY("HazardCount", "u", get_count, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("MarkCount", "t", get_mark_count, 0, 0),
        SD_BUS_PROPERTY("CallsCutCount", "t", get_mark_count, 0, 0),
        SD_BUS_PROPERTY("Gaps", "a(sss)", get_gaps, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_VTABLE_END,
};

static int on_disconnected(sd_bus_message *message _unused_, void *userdata, sd_bus_error *error _unused_) {
        BusServer *b = userdata;

        /* The one client of private mode is gone, or the bus is: without either there is nothing to do. */
        return sd_event_exit(b->event, b->private ? EXIT_SUCCESS : EXIT_FAILURE);
}

static int on_name(sd_bus_message *reply, void *userdata, sd_bus_error *error _unused_) {
        const sd_bus_error *refused = sd_bus_message_get_error(reply);
        BusServer *b = userdata;
        uint32_t result = 0;

        if (!refused && sd_bus_message_read(reply, "u", &result) >= 0 && (result == 1 || result == 4)) /* owner, already */
                return 0;
        log_error("Cannot be " BUS_NAME " on the bus: %s", refused && refused->message ? refused->message : "another program is");
        return sd_event_exit(b->event, EXIT_FAILURE);
}

static int open_private(BusServer *b, int fd) {
        sd_id128_t id;
        int r;

        r = sd_id128_randomize(&id);
        if (r >= 0)
                r = sd_bus_new(&b->bus);
        if (r >= 0)
                r = sd_bus_set_fd(b->bus, fd, fd);
        if (r >= 0)
                r = sd_bus_set_server(b->bus, true, id);
        if (r >= 0)
                r = sd_bus_start(b->bus);
        return r;
}

int bus_server_new(
                sd_event *event,
                int private_fd,
                const BusView *view,
                const BusRequests *requests,
                void *manager,
                BusServer **ret) {

        _cleanup_(bus_server_freep) BusServer *b = calloc(1, sizeof(BusServer));
        int r;

        if (!b)
                return -ENOMEM;
        b->event = event;
        b->view = *view;
        b->requests = *requests;
        b->manager = manager;
        b->private = private_fd >= 0;
        b->gaps = view->gaps->set;
        r = b->private ? open_private(b, private_fd) : sd_bus_open_system(&b->bus);
        if (r < 0)
                return r;
        r = bus_hazards_remember(b, false);
        if (r < 0)
                return r;
        r = sd_bus_add_object_vtable(b->bus, NULL, BUS_PATH, BUS_NAME ".Manager", manager_vtable, b);
        if (r >= 0)
                r = bus_objects_register(b);
        if (r >= 0)
                r = bus_turns_new(b);
        if (r < 0) {
                /* Where memory ran out half-way, libsystemd aborts when it frees the bus (bus_free() asserts that there
                 * are no objects left); and we are about to end. */
                b->bus = NULL;
                return r;
        }
        r = sd_bus_match_signal(b->bus, NULL, "org.freedesktop.DBus.Local", "/org/freedesktop/DBus/Local",
                                "org.freedesktop.DBus.Local", "Disconnected", on_disconnected, b);
        if (r >= 0)
                r = sd_bus_attach_event(b->bus, event, SD_EVENT_PRIORITY_NORMAL);
        if (r >= 0 && !b->private)
                /* Without waiting: the bus may be what waits for the storage that we are here for. */
                r = sd_bus_request_name_async(b->bus, NULL, BUS_NAME, 0, on_name, b);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(b);
        return 0;
}

BusServer *bus_server_free(BusServer *b) {
        if (!b)
                return NULL;
        while (b->pending)
                pending_free(b->pending);
        bus_hazards_forget(b);
        bus_turns_free(b->turns);
        sd_bus_close_unref(b->bus);
        free(b);
        return NULL;
}
