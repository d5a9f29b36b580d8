/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* As much of systemd on the bus as adopt and release ask. What it says of a unit is in the file FAKE_UNITS/NAME, lines
 * "Property=value"; drop-ins it finds itself. Each reload is a line in FAKE_LOG. */

#include <errno.h>
#include <glob.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <systemd/sd-bus.h>

#include "common/cleanup.h"
#include "common/text.h"

#define UNITS "/org/freedesktop/systemd1/unit"

static char *find_property(const char *unit, const char *property) {
        _cleanup_free_ char *path = text_format("%s/%s", getenv("FAKE_UNITS"), unit), *line = NULL;
        _cleanup_fclose_ FILE *f = fopen(path, "re");
        size_t size = 0;

        if (!f)
                return strdup(streq(property, "LoadState") ? "not-found" : "");
        while (getline(&line, &size, f) > 0) {
                char *value = startswith(line, property);

                line[strcspn(line, "\n")] = 0;
                if (value && *value == '=')
                        return strdup(value + 1);
        }
        return strdup(streq(property, "LoadState") ? "loaded" : "");
}

static int append_drop_ins(sd_bus_message *reply, const char *unit) {
        _cleanup_free_ char *pattern = text_format("/etc/systemd/system/%s.d/*.conf", unit);
        glob_t found = {};
        char *none[] = { NULL };
        int r;

        r = glob(pattern, 0, NULL, &found) == 0 ? sd_bus_message_append_strv(reply, found.gl_pathv) : sd_bus_message_append_strv(reply, none);
        globfree(&found);
        return r;
}

static int append_property(sd_bus_message *reply, const char *unit, const char *property) {
        static const char *const texts[] = { "LoadState", "FragmentPath", "User", "ManagedOOMPreference" };
        _cleanup_free_ char *value = find_property(unit, property);
        bool text = false;
        int r;

        for (size_t i = 0; i < ELEMENTSOF(texts); i++)
                text |= streq(property, texts[i]);
        if (text)
                return sd_bus_message_append(reply, "v", "s", value);
        if (streq(property, "OOMScoreAdjust"))
                return sd_bus_message_append(reply, "v", "i", atoi(value));
        if (streq(property, "DynamicUser") || streq(property, "PrivateUsers"))
                return sd_bus_message_append(reply, "v", "b", streq(value, "yes"));
        if (!streq(property, "DropInPaths") && !streq(property, "Before"))
                return sd_bus_message_append(reply, "v", "t", (uint64_t) strtoull(value, NULL, 16));
        r = sd_bus_message_open_container(reply, 'v', "as");
        if (r >= 0)
                r = streq(property, "DropInPaths") ? append_drop_ins(reply, unit) : sd_bus_message_append(reply, "as", *value ? 1 : 0, value);
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

static int on_get(sd_bus_message *m) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        const char *interface, *property;
        _cleanup_free_ char *unit = NULL;
        int r;

        r = sd_bus_path_decode(sd_bus_message_get_path(m), UNITS, &unit);
        if (r > 0)
                r = sd_bus_message_read(m, "ss", &interface, &property);
        if (r >= 0)
                r = sd_bus_message_new_method_return(m, &reply);
        if (r >= 0)
                r = append_property(reply, unit, property);
        return r < 0 ? r : sd_bus_send(NULL, reply, NULL);
}

static int on_load_unit(sd_bus_message *m) {
        _cleanup_free_ char *path = NULL;
        const char *name;
        int r;

        r = sd_bus_message_read(m, "s", &name);
        if (r >= 0)
                r = sd_bus_path_encode(UNITS, name, &path);
        return r < 0 ? r : sd_bus_reply_method_return(m, "o", path);
}

static int on_reload(sd_bus_message *m) {
        _cleanup_fclose_ FILE *f = fopen(getenv("FAKE_LOG"), "ae");

        if (f)
                fputs("reload\n", f);
        return sd_bus_reply_method_return(m, NULL);
}

static int on_message(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        (void) userdata;
        (void) error;
        if (sd_bus_message_is_method_call(m, "org.freedesktop.DBus.Properties", "Get"))
                return on_get(m) < 0 ? sd_bus_reply_method_errnof(m, EIO, "test") : 1;
        if (sd_bus_message_is_method_call(m, "org.freedesktop.systemd1.Manager", "LoadUnit"))
                return on_load_unit(m) < 0 ? sd_bus_reply_method_errnof(m, EIO, "test") : 1;
        if (sd_bus_message_is_method_call(m, "org.freedesktop.systemd1.Manager", "Reload"))
                return on_reload(m) < 0 ? -EIO : 1;
        return 0;
}

int main(void) {
        _cleanup_(sd_bus_flush_close_unrefp) sd_bus *bus = NULL;
        int r;

        r = sd_bus_open_system(&bus);
        if (r >= 0)
                r = sd_bus_add_filter(bus, NULL, on_message, NULL);
        if (r >= 0)
                r = sd_bus_request_name(bus, "org.freedesktop.systemd1", 0);
        puts(r < 0 ? strerror(-r) : "ready");
        fflush(stdout);
        while (r >= 0) {
                r = sd_bus_process(bus, NULL);
                if (r == 0)
                        r = sd_bus_wait(bus, UINT64_MAX);
        }
        return r != -ENOTCONN && r != -ECONNRESET;
}
