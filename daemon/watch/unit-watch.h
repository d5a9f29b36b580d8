/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Tells when jobs of the system's service manager end: a server that was stopped may be there again, by its signal JobRemoved
 * (org.freedesktop.systemd1(5)). Only while somebody wants to know: else nobody is woken up. */

#include <stdbool.h>
#include <systemd/sd-event.h>

typedef struct UnitWatch UnitWatch;

typedef void (*UnitJobEnded)(void *userdata);

/* 0 or -ENOMEM. It tells nothing yet. */
int unit_watch_new(sd_event *event, UnitJobEnded ended, void *userdata, UnitWatch **ret);
/* Returns NULL. */
UnitWatch *unit_watch_free(UnitWatch *w);

/* Whether it is to tell from now on. Without a bus, and until that is there, it does not. */
void unit_watch_set(UnitWatch *w, bool on);
