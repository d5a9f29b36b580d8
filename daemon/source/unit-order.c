/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Units are stopped in the opposite of the order in which they are started, and only those that are stopped at all wait
 * for one another. */
#include <errno.h>
#include <string.h>
#include <systemd/sd-bus.h>

#include "common/text.h"
#include "daemon/source/unit-order.h"

#define MANAGER "org.freedesktop.systemd1"
#define MANAGER_PATH "/org/freedesktop/systemd1"
#define UNIT MANAGER ".Unit"
#define CALL_TIMEOUT_USEC (10ULL * 1000 * 1000)

static int find_unit(sd_bus *bus, const char *name, char **ret) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        const char *path;
        int r;

        r = sd_bus_call_method(bus, MANAGER, MANAGER_PATH, MANAGER ".Manager", "GetUnit", NULL, &reply, "s", name);
        if (r >= 0)
                r = sd_bus_message_read(reply, "o", &path);
        if (r < 0)
                return r;
        *ret = strdup(path);
        return *ret ? 0 : -ENOMEM;
}

static int get_names(sd_bus *bus, const char *unit, const char *property, char ***ret) {
        return sd_bus_get_property_strv(bus, MANAGER, unit, UNIT, property, NULL, ret);
}

static bool is_active(sd_bus *bus, const char *name) {
        _cleanup_free_ char *unit = NULL, *state = NULL;

        return find_unit(bus, name, &unit) >= 0 && sd_bus_get_property_string(bus, MANAGER, unit, UNIT, "ActiveState", NULL, &state) >= 0 &&
                streq(state, "active");
}

/* Directly, or by something between them that is stopped too: "remote-fs-pre.target" is made for that. */
static int is_ordered(sd_bus *bus, const char *service, const char *service_unit, const char *upper_unit, bool *ret) {
        _cleanup_strv_free_ char **after = NULL, **before = NULL, **conflicts = NULL;
        int r;

        r = get_names(bus, upper_unit, "After", &after);
        if (r >= 0)
                r = get_names(bus, service_unit, "Before", &before);
        if (r >= 0)
                r = get_names(bus, service_unit, "Conflicts", &conflicts);
        if (r < 0)
                return r;
        /* What is not stopped at shutdown outlives the mounts. */
        *ret = strv_contains(after, service) || !strv_contains(conflicts, "shutdown.target");
        for (char **name = before; !*ret && name && *name; name++)
                *ret = strv_contains(after, *name) && is_active(bus, *name);
        return 0;
}

static int ask(sd_bus *bus, const char *service, const char *upper, bool *ret) {
        _cleanup_free_ char *service_unit = NULL, *upper_unit = NULL;
        int r;

        r = find_unit(bus, service, &service_unit);
        if (r >= 0)
                r = find_unit(bus, upper, &upper_unit);
        return r < 0 ? r : is_ordered(bus, service, service_unit, upper_unit, ret);
}

int unit_order_ask(const char *service, const char *upper, char **ret) {
        _cleanup_(sd_bus_flush_close_unrefp) sd_bus *bus = NULL;
        bool ordered = false;
        int r;

        r = sd_bus_open_system(&bus);
        if (r >= 0)
                r = sd_bus_set_method_call_timeout(bus, CALL_TIMEOUT_USEC);
        if (r >= 0)
                r = ask(bus, service, upper, &ordered);
        if (r < 0)
                return r;
        *ret = strdup(ordered ? "yes" : "no");
        return *ret ? 0 : -ENOMEM;
}
