/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Signals of what is no object: hazards that come and go, and actions that have ended. Their text is that of
 * Describe(). */
#include <errno.h>
#include <string.h>

#include "common/log.h"
#include "common/text.h"
#include "daemon/bus/bus-internal.h"
#include "daemon/bus/describe.h"

#define QUEUED_MAX 4096U

bool bus_takes(BusServer *b, uint64_t unsent_max) {
        uint64_t unsent = 0;

        return sd_bus_get_n_queued_write(b->bus, &unsent) < 0 || unsent <= unsent_max;
}

bool bus_is_heard(BusServer *b) {
        /* A peer without a bus has asked its one question and listens to nothing, unless it says so. */
        if (b->private && !b->subscribed)
                return false;
        /* A bus that takes nothing off our hands must not make them fill the memory. */
        return bus_takes(b, QUEUED_MAX);
}

static void hazards_clear(SeenHazard *seen, size_t n) {
        for (size_t i = 0; i < n; i++) {
                free(seen[i].key);
                free(seen[i].json);
        }
        free(seen);
}

static int hazards_now(BusServer *b, SeenHazard **ret, size_t *ret_n) {
        SeenHazard *seen = calloc(b->view.hazards->n + 1, sizeof(SeenHazard));
        size_t n = 0;
        int r = seen ? 0 : -ENOMEM;

        for (size_t i = 0; r >= 0 && i < b->view.hazards->n; i++) {
                const Hazard *h = &b->view.hazards->hazards[i];

                seen[n].key = hazard_key(h);
                r = describe_hazard_text(h, &seen[n].json);
                if (r >= 0 && !seen[n].key)
                        r = -ENOMEM;
                n++;
        }
        if (r < 0) {
                hazards_clear(seen, seen ? n : 0);
                return r;
        }
        *ret = seen;
        *ret_n = n;
        return 0;
}

static bool hazard_is_in(const char *key, const SeenHazard *seen, size_t n) {
        for (size_t i = 0; i < n; i++)
                if (streq(seen[i].key, key))
                        return true;
        return false;
}

static void emit(BusServer *b, const char *signal, const char *json) {
        int r;

        r = sd_bus_emit_signal(b->bus, BUS_PATH, BUS_NAME ".Manager", signal, "s", json);
        if (r < 0 && r != -ENOTCONN)
                log_debug("Cannot send %s: %s", signal, strerror(-r));
}

int bus_hazards_tell_gone(BusServer *b) {
        SeenHazard *now = NULL;
        size_t n = 0;
        int r;

        r = hazards_now(b, &now, &n);
        if (r < 0)
                return r;
        for (size_t i = 0; i < b->n_hazards; i++)
                if (!hazard_is_in(b->hazards[i].key, now, n))
                        emit(b, "HazardGone", b->hazards[i].json);
        hazards_clear(now, n);
        return 0;
}

int bus_hazards_remember(BusServer *b, bool tell) {
        SeenHazard *now = NULL;
        size_t n = 0;
        int r;

        r = hazards_now(b, &now, &n);
        if (r < 0)
                return r;
        for (size_t i = 0; tell && i < n; i++)
                if (!hazard_is_in(now[i].key, b->hazards, b->n_hazards))
                        emit(b, "HazardAppeared", now[i].json);
        hazards_clear(b->hazards, b->n_hazards);
        b->hazards = now;
        b->n_hazards = n;
        return 0;
}

void bus_hazards_forget(BusServer *b) {
        hazards_clear(b->hazards, b->n_hazards);
        b->hazards = NULL;
        b->n_hazards = 0;
}

void bus_server_publish_action(BusServer *b, const Action *action) {
        _cleanup_free_ char *json = NULL;

        if (!bus_is_heard(b))
                return;
        if (describe_action_text(action, &json) >= 0)
                emit(b, "ActionDone", json);
}
