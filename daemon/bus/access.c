/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Who may change things. Root may. Others are referred to polkit (org.freedesktop.PolicyKit1.Authority,
 * CheckAuthorization). All of it asynchronously: stackd never waits for a password dialogue, nor for the bus. */
#include <errno.h>
#include <string.h>

#include "common/log.h"
#include "daemon/bus/bus-internal.h"

#define POLKIT_TIMEOUT_USEC (5ULL * 60 * 1000 * 1000)

typedef struct Query {
        BusServer *server;
        const char *action;
        sd_bus_message *call;
        AccessGranted granted;
        AccessRefused refused;
        AccessTold told; /* instead of both */
        void *userdata;
} Query;

static void refuse(Query *q, const char *name, const char *text) {
        if (q->told) {
                q->told(false, q->userdata);
                return;
        }
        (void) sd_bus_reply_method_errorf(q->call, name, "%s", text);
        q->refused(q->userdata);
}

static void query_free(void *userdata) {
        Query *q = userdata;

        sd_bus_message_unref(q->call);
        free(q);
}

/* Takes the query over: it lives until 'handler' has returned. What cannot be sent is refused. */
static void query_send(Query *q, sd_bus_message *m, sd_bus_message_handler_t handler, uint64_t timeout) {
        _cleanup_(sd_bus_slot_unrefp) sd_bus_slot *slot = NULL;
        int r;

        r = sd_bus_call_async(q->server->bus, &slot, m, handler, q, timeout);
        if (r >= 0)
                r = sd_bus_slot_set_floating(slot, true);
        if (r >= 0)
                r = sd_bus_slot_set_destroy_callback(slot, query_free);
        if (r < 0) {
                refuse(q, SD_BUS_ERROR_ACCESS_DENIED, "Only root may do that");
                query_free(q);
        }
}

static int on_polkit(sd_bus_message *reply, void *userdata, sd_bus_error *error _unused_) {
        Query *q = userdata;
        int authorized = 0, challenge = 0, r = 0;

        if (sd_bus_message_is_method_error(reply, NULL)) {
                refuse(q, SD_BUS_ERROR_ACCESS_DENIED, "Only root may do that: polkit, which could let others, did not answer");
                return 0;
        }
        r = sd_bus_message_enter_container(reply, SD_BUS_TYPE_STRUCT, "bba{ss}");
        if (r >= 0)
                r = sd_bus_message_read(reply, "bb", &authorized, &challenge);
        if (r >= 0 && authorized)
                (void) q->granted(q->userdata);
        else if (challenge)
                refuse(q, SD_BUS_ERROR_INTERACTIVE_AUTHORIZATION_REQUIRED, "Authentication is required to do that");
        else
                refuse(q, SD_BUS_ERROR_ACCESS_DENIED, "Not authorized to do that");
        return 0;
}

static Query *query_new(const Query *from) {
        Query *q = malloc(sizeof(Query));

        if (!q)
                return NULL;
        *q = *from;
        sd_bus_message_ref(q->call);
        return q;
}

static void ask_polkit(Query *q) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        uint32_t flags = sd_bus_message_get_allow_interactive_authorization(q->call) > 0;
        int r;

        r = sd_bus_message_new_method_call(q->server->bus, &m, "org.freedesktop.PolicyKit1", "/org/freedesktop/PolicyKit1/Authority",
                                           "org.freedesktop.PolicyKit1.Authority", "CheckAuthorization");
        if (r >= 0)
                r = sd_bus_message_append(m, "(sa{sv})sa{ss}us", "system-bus-name", 1, "name", "s",
                                          sd_bus_message_get_sender(q->call), q->action, 0, flags, "");
        /* Without a message sd_bus_call_async() fails. */
        query_send(q, r < 0 ? NULL : m, on_polkit, POLKIT_TIMEOUT_USEC);
}

static int on_user(sd_bus_message *reply, void *userdata, sd_bus_error *error _unused_) {
        Query *q = userdata, *next;
        uint32_t uid = UINT32_MAX;
        bool root = !sd_bus_message_is_method_error(reply, NULL) && sd_bus_message_read(reply, "u", &uid) >= 0 && uid == 0;

        if (q->told)
                q->told(root, q->userdata);
        else if (root)
                (void) q->granted(q->userdata);
        if (q->told || root)
                return 0;
        next = query_new(q); /* this one is the answered call's */
        if (next)
                ask_polkit(next);
        else
                refuse(q, SD_BUS_ERROR_NO_MEMORY, "Out of memory");
        return 0;
}

static int ask_user(const Query *query) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        BusServer *b = query->server;
        Query *q = query_new(query);
        int r;

        if (!q)
                return -ENOMEM;
        /* sd_bus_query_sender_creds() would wait for the answer. */
        r = sd_bus_message_new_method_call(b->bus, &m, "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus",
                                           "GetConnectionUnixUser");
        if (r >= 0)
                r = sd_bus_message_append(m, "s", sd_bus_message_get_sender(q->call));
        query_send(q, r < 0 ? NULL : m, on_user, 0);
        return 1;
}

int access_check(BusServer *b, sd_bus_message *call, const char *action, AccessGranted granted, AccessRefused refused, void *userdata) {
        Query query = { .server = b, .call = call, .action = action, .granted = granted, .refused = refused, .userdata = userdata };
        int r;

        /* At the end of a socket pair is whoever started us, with the privileges that we have. */
        if (b->private)
                return granted(userdata);
        r = ask_user(&query);
        if (r < 0)
                refused(userdata);
        return r;
}

int access_look(BusServer *b, sd_bus_message *call, AccessTold told, void *userdata) {
        Query query = { .server = b, .call = call, .told = told, .userdata = userdata };

        if (!b->private)
                return ask_user(&query);
        told(true, userdata);
        return 1;
}
