/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The one way to the daemon: org.stackd1.Manager over the system bus, or over a socket pair to a private
 * stackd. */

#include <json-c/json_object.h>
#include <stdbool.h>
#include <systemd/sd-bus.h>

#include "cli/invocation.h"
#include "common/cleanup.h"

typedef struct Client Client;

int client_new(const Invocation *invocation, Client **ret);
/* Takes the private daemon along. Where a signal interrupted a call, the process ends of it here. */
Client *client_free(Client *c);
DEFINE_TRIVIAL_CLEANUP_FUNC(Client *, client_free);

/* The whole document, or the stacks that 'what' is part of (NULL: all). */
int client_describe(Client *c, const char *what, json_object **ret);
/* What is nested, without the rest, which is counted. */
int client_describe_nested(Client *c, json_object **ret);
/* The ids that all of the operands name; never empty unless there are no operands. */
int client_look_up(Client *c, char **operands, char ***ret_ids);
/* "Plan", "Explain", "Apply" or "Revert"; NULL or empty: everything. */
int client_act(Client *c, const char *method, char **ids, json_object **ret);

/* Whether the daemon is one of our own, which ends with us. */
bool client_is_private(const Client *c);
/* What configuration holds, line by line. */
int client_configuration(Client *c, json_object **ret);
/* Has it read again. The warnings are the caller's; 'complete': everything was taken. */
int client_reload(Client *c, char ***ret_warnings, bool *ret_complete);

/* What stackd says by itself. */
typedef struct ClientEvents {
        /* A signal of stackd's: of the manager, or of the object manager and its objects. */
        int (*signal)(sd_bus_message *m, void *userdata);
        /* It is gone from the bus, or back there. Handlers make no calls: they return, and client_listen() does. */
        int (*presence)(bool there, void *userdata);
} ClientEvents;

/* From here on; 'events' is borrowed. */
int client_subscribe(Client *c, const ClientEvents *events, void *userdata);
bool client_sees_daemon(const Client *c);
/* Until a handler returns something other than 0, which is returned, or a signal ends it: 0, and that signal is
 * dealt with. 'fd': ends it with 0 too when its other end is closed. Complains where the private daemon ends. */
int client_listen(Client *c, int fd);
