/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Who may change things. Root may. Others are referred to polkit (org.freedesktop.PolicyKit1.Authority,
 * CheckAuthorization), asynchronously: stackd never waits for a password dialogue. */
#include <errno.h>
#include <string.h>

#include "common/log.h"
#include "daemon/bus/bus-internal.h"

#define POLKIT_TIMEOUT_USEC (5ULL * 60 * 1000 * 1000)

typedef struct Query {
        sd_bus_message *call;
        AccessGranted granted;
        AccessRefused refused;
        void *userdata;
} Query;

static void refuse(Query *q, const char *name, const char *text) {
        (void) sd_bus_reply_method_errorf(q->call, name, "%s", text);
        q->refused(q->userdata);
}

static int on_polkit(sd_bus_message *reply, void *userdata, sd_bus_error *error _unused_) {
        Query *q = userdata;
        int authorized = 0, challenge = 0, r = 0;

        if (sd_bus_message_is_method_error(reply, NULL))
                refuse(q, SD_BUS_ERROR_ACCESS_DENIED, "Only root may do that: polkit, which could let others, did not answer");
        else {
                r = sd_bus_message_enter_container(reply, SD_BUS_TYPE_STRUCT, "bba{ss}");
                if (r >= 0)
                        r = sd_bus_message_read(reply, "bb", &authorized, &challenge);
                if (r >= 0 && authorized)
                        (void) q->granted(q->userdata);
                else if (challenge)
                        refuse(q, SD_BUS_ERROR_INTERACTIVE_AUTHORIZATION_REQUIRED, "Authentication is required to do that");
                else
                        refuse(q, SD_BUS_ERROR_ACCESS_DENIED, "Not authorized to do that");
        }
        return 0;
}

static void query_free(void *userdata) {
        Query *q = userdata;

        sd_bus_message_unref(q->call);
        free(q);
}

static int ask_polkit(BusServer *b, Query *q, const char *action) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        _cleanup_(sd_bus_slot_unrefp) sd_bus_slot *slot = NULL;
        uint32_t flags = sd_bus_message_get_allow_interactive_authorization(q->call) > 0;
        int r;

        r = sd_bus_message_new_method_call(b->bus, &m, "org.freedesktop.PolicyKit1", "/org/freedesktop/PolicyKit1/Authority",
                                           "org.freedesktop.PolicyKit1.Authority", "CheckAuthorization");
        if (r >= 0)
                r = sd_bus_message_append(m, "(sa{sv})sa{ss}us", "system-bus-name", 1, "name", "s",
                                          sd_bus_message_get_sender(q->call), action, 0, flags, "");
        if (r >= 0)
                r = sd_bus_call_async(b->bus, &slot, m, on_polkit, q, POLKIT_TIMEOUT_USEC);
        if (r >= 0)
                r = sd_bus_slot_set_destroy_callback(slot, query_free);
        if (r >= 0)
                r = sd_bus_slot_set_floating(slot, true);
        return r;
}

int access_check(BusServer *b, sd_bus_message *call, const char *action, AccessGranted granted, AccessRefused refused, void *userdata) {
        _cleanup_(sd_bus_creds_unrefp) sd_bus_creds *creds = NULL;
        uid_t uid = (uid_t) -1;
        Query *q;
        int r;

        /* At the end of a socket pair is whoever started us, with the privileges that we have. */
        if (b->private)
                return granted(userdata);
        r = sd_bus_query_sender_creds(call, SD_BUS_CREDS_EUID, &creds);
        if (r >= 0)
                r = sd_bus_creds_get_euid(creds, &uid);
        if (r >= 0 && uid == 0)
                return granted(userdata);
        q = calloc(1, sizeof(Query));
        if (!q)
                return -ENOMEM;
        *q = (Query) { .call = sd_bus_message_ref(call), .granted = granted, .refused = refused, .userdata = userdata };
        r = ask_polkit(b, q, action);
        if (r < 0) {
                refuse(q, SD_BUS_ERROR_ACCESS_DENIED, "Only root may do that");
                query_free(q);
        }
        return 1;
}
