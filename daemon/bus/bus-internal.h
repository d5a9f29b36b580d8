/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the files of this folder share; no one else includes it. */

#include "daemon/bus/bus.h"

struct Pending;

struct BusServer {
        sd_event *event;
        sd_bus *bus;
        bool private;
        BusView view;
        BusRequests requests;
        void *manager;
        struct Pending *pending;
};


typedef int (*AccessGranted)(void *userdata);
typedef void (*AccessRefused)(void *userdata);

/* Whether the sender may do what 'action' (of polkit) names: root may; anybody else if polkit says so, which
 * may take as long as it takes to type a password. Exactly one of the functions is called, now or later;
 * a refused call has been answered. */
int access_check(BusServer *b, sd_bus_message *call, const char *action, AccessGranted granted, AccessRefused refused, void *userdata);

/* Objects of layers and processes below BUS_PATH. */
int bus_objects_register(BusServer *b);
