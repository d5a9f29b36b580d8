/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-bus.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "daemon/watch/unit-watch.h"

#define SYSTEMD_NAME "org.freedesktop.systemd1"
#define SYSTEMD_PATH "/org/freedesktop/systemd1"
#define SYSTEMD_MANAGER SYSTEMD_NAME ".Manager"

struct UnitWatch {
        sd_event *event;
        sd_bus *bus; /* while it tells */
        bool failed; /* it does not tell after all */
        UnitJobEnded ended;
        void *userdata;
};

static int on_job(sd_bus_message *message _unused_, void *userdata, sd_bus_error *error _unused_) {
        const UnitWatch *w = userdata;

        w->ended(w->userdata);
        return 0;
}

/* Without a subscription the service manager sends no signals. */
static int on_subscribed(sd_bus_message *message, void *userdata, sd_bus_error *error _unused_) {
        const sd_bus_error *e = sd_bus_message_get_error(message);
        UnitWatch *w = userdata;

        if (e)
                log_debug("Cannot follow the jobs of units: %s", e->message);
        w->failed = e != NULL;
        return 0;
}

static int open_bus(UnitWatch *w) {
        _cleanup_(sd_bus_close_unrefp) sd_bus *bus = NULL;
        int r;

        r = sd_bus_open_system(&bus);
        if (r >= 0) /* at the end nobody waits until it is there */
                r = sd_bus_set_close_on_exit(bus, false);
        if (r >= 0)
                r = sd_bus_attach_event(bus, w->event, SD_EVENT_PRIORITY_NORMAL);
        if (r >= 0)
                r = sd_bus_match_signal_async(bus, NULL, SYSTEMD_NAME, SYSTEMD_PATH, SYSTEMD_MANAGER, "JobRemoved", on_job, NULL, w);
        if (r >= 0)
                r = sd_bus_call_method_async(bus, NULL, SYSTEMD_NAME, SYSTEMD_PATH, SYSTEMD_MANAGER, "Subscribe", on_subscribed, w, "");
        if (r >= 0)
                w->bus = TAKE_PTR(bus);
        return r;
}

void unit_watch_set(UnitWatch *w, bool on) {
        int r;

        if (!on || w->failed || (w->bus && sd_bus_is_open(w->bus) <= 0))
                w->bus = sd_bus_close_unref(w->bus);
        w->failed = false;
        if (!on || w->bus)
                return;
        r = open_bus(w);
        if (r < 0)
                log_debug("Cannot follow the jobs of units: %s", strerror(-r));
}

int unit_watch_new(sd_event *event, UnitJobEnded ended, void *userdata, UnitWatch **ret) {
        UnitWatch *w = calloc(1, sizeof(UnitWatch));

        if (!w)
                return -ENOMEM;
        *w = (UnitWatch) { .event = event, .ended = ended, .userdata = userdata };
        *ret = w;
        return 0;
}

UnitWatch *unit_watch_free(UnitWatch *w) {
        if (!w)
                return NULL;
        sd_bus_close_unref(w->bus);
        free(w);
        return NULL;
}
