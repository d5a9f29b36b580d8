/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the files of this folder share; no one else includes it. */

#include "daemon/bus/bus.h"

struct Pending;
struct Turns;

/* A hazard as it was told last. */
typedef struct SeenHazard {
        char *key, *json;
} SeenHazard;

struct BusServer {
        sd_event *event;
        sd_bus *bus;
        bool private;
        BusView view;
        BusRequests requests;
        void *manager;
        struct Pending *pending;
        struct Turns *turns;
        bool subscribed; /* the peer of private mode */
        SeenHazard *hazards;
        size_t n_hazards;
        unsigned gaps; /* as they were told last */
};

typedef int (*AccessGranted)(void *userdata);
typedef void (*AccessRefused)(void *userdata);
typedef void (*AccessTold)(bool root, void *userdata);

/* Whether the sender may do what 'action' (of polkit) names: root may; anybody else if polkit says so, which
 * may take as long as it takes to type a password. Exactly one of the functions is called, now or later;
 * a refused call has been answered. */
int access_check(BusServer *b, sd_bus_message *call, const char *action, AccessGranted granted, AccessRefused refused, void *userdata);

/* Only whether the sender is root; 'told' is called, now or later. */
int access_look(BusServer *b, sd_bus_message *call, AccessTold told, void *userdata);

/* Calls of this client that wait for a pass, an action, or a password. */
unsigned bus_count_pending(const BusServer *b, const char *sender);
/* From now on calls are handed over one at a time, with one client's turn after the other's. */
int bus_turns_new(BusServer *b);
void bus_turns_free(struct Turns *t);

/* Objects of layers and processes below BUS_PATH. */
int bus_objects_register(BusServer *b);

/* Whether no more messages than so many wait for the bus, or the peer, to take them. */
bool bus_takes(BusServer *b, uint64_t unsent_max);
/* Whether anybody takes signals off our hands. */
bool bus_is_heard(BusServer *b);
/* A signal for each known hazard that is no more: before the signals of what it was about, which may be gone too. */
int bus_hazards_tell_gone(BusServer *b);
/* Takes the hazards of now for those that are known; 'tell': with a signal for each that was not. */
int bus_hazards_remember(BusServer *b, bool tell);
void bus_hazards_forget(BusServer *b);
