/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "cli/complain.h"
#include "cli/service-unit.h"
#include "common/file.h"
#include "common/ini.h"
#include "common/text.h"
#include "common/unit-name.h"

#define SYSTEMD "org.freedesktop.systemd1"
#define SYSTEMD_PATH "/org/freedesktop/systemd1"
#define MANAGER SYSTEMD ".Manager"
#define UNIT SYSTEMD ".Unit"
#define SERVICE SYSTEMD ".Service"
#define FRAGMENT_MAX (1024U * 1024)

void service_unit_done(ServiceUnit *u) {
        free(u->name);
        strv_free(u->fragments);
        strv_free(u->commands);
        free(u->user);
        free(u->preference);
        *u = (ServiceUnit) {};
}

int service_unit_name(const char *what, char **ret) {
        _cleanup_free_ char *name = endswith(what, ".service") ? strdup(what) : text_format("%s.service", what);

        if (!name)
                return -ENOMEM;
        if (what[0] == '.' || strlen(name) > 255 || name[strspn(name, UNIT_NAME_CHARACTERS)] || streq(name, ".service"))
                return complain("'%s' is not the name of a service.", what);
        if (strstr(name, "@."))
                return complain("'%s' is a template: name one of its instances.", name);
        *ret = TAKE_PTR(name);
        return 0;
}

/* ---- asking systemd ---- */

static int load_unit(sd_bus *bus, const char *name, char **ret_path) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        const char *path;
        int r;

        r = sd_bus_call_method(bus, SYSTEMD, SYSTEMD_PATH, MANAGER, "LoadUnit", NULL, &reply, "s", name);
        if (r >= 0)
                r = sd_bus_message_read(reply, "o", &path);
        if (r < 0)
                return r;
        *ret_path = strdup(path);
        return *ret_path ? 0 : -ENOMEM;
}

int unit_get_texts(sd_bus *bus, const char *name, const char *property, char ***ret) {
        _cleanup_free_ char *path = NULL;
        int r;

        r = load_unit(bus, name, &path);
        return r < 0 ? r : sd_bus_get_property_strv(bus, SYSTEMD, path, UNIT, property, NULL, ret);
}

int unit_get_text(sd_bus *bus, const char *name, const char *property, char **ret) {
        _cleanup_free_ char *path = NULL;
        int r;

        r = load_unit(bus, name, &path);
        return r < 0 ? r : sd_bus_get_property_string(bus, SYSTEMD, path, UNIT, property, NULL, ret);
}

int service_units_reload(sd_bus *bus) {
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        int r;

        r = sd_bus_call_method(bus, SYSTEMD, SYSTEMD_PATH, MANAGER, "Reload", &error, NULL, NULL);
        return r < 0 ? complain("systemd cannot reload its units: %s. Try 'systemctl daemon-reload'.", error.message ?: strerror(-r)) : 0;
}

static int read_properties(sd_bus *bus, const char *path, ServiceUnit *u) {
        int flag = 0, r;

        r = sd_bus_get_property_string(bus, SYSTEMD, path, SERVICE, "User", NULL, &u->user);
        if (r >= 0)
                r = sd_bus_get_property_string(bus, SYSTEMD, path, SERVICE, "ManagedOOMPreference", NULL, &u->preference);
        if (r >= 0)
                r = sd_bus_get_property_trivial(bus, SYSTEMD, path, SERVICE, "CapabilityBoundingSet", NULL, 't', &u->bounding);
        if (r >= 0)
                r = sd_bus_get_property_trivial(bus, SYSTEMD, path, SERVICE, "AmbientCapabilities", NULL, 't', &u->ambient);
        if (r >= 0)
                r = sd_bus_get_property_trivial(bus, SYSTEMD, path, SERVICE, "MemoryMin", NULL, 't', &u->memory_min);
        if (r >= 0)
                r = sd_bus_get_property_trivial(bus, SYSTEMD, path, SERVICE, "OOMScoreAdjust", NULL, 'i', &u->oom_score_adjust);
        if (r >= 0)
                r = sd_bus_get_property_trivial(bus, SYSTEMD, path, SERVICE, "DynamicUser", NULL, 'b', &flag);
        if (r < 0)
                return r;
        u->dynamic_user = flag;
        u->private_users = sd_bus_get_property_trivial(bus, SYSTEMD, path, SERVICE, "PrivateUsers", NULL, 'b', &flag) >= 0 && flag;
        return 0;
}

/* ---- reading its files ---- */

static int read_commands(ServiceUnit *u, const char *path) {
        _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
        _cleanup_free_ char *text = NULL;
        int kind, r;

        r = fd < 0 ? -errno : file_read_fd(fd, FRAGMENT_MAX, &text, NULL);
        if (r < 0)
                return complain("Cannot read %s: %s.", path, strerror(-r));
        _cleanup_ini_ Ini i = INI_BEGIN(text);
        while ((kind = ini_next(&i)) != INI_END) {
                if (kind < 0)
                        return kind;
                if (kind != INI_ASSIGNMENT || !streq(i.section, "Service") || !streq(i.key, "ExecStart"))
                        continue;
                r = 0;
                if (*i.value)
                        r = strv_append(&u->commands, &u->n_commands, i.value);
                else {
                        u->commands = strv_free(u->commands);
                        u->n_commands = 0;
                }
                if (r < 0)
                        return r;
        }
        return 0;
}

static int check_state(sd_bus *bus, const char *path, const char *name) {
        _cleanup_free_ char *state = NULL;
        int r;

        r = sd_bus_get_property_string(bus, SYSTEMD, path, UNIT, "LoadState", NULL, &state);
        if (r >= 0 && streq(state, "not-found"))
                return complain("There is no unit '%s'. 'systemctl list-units --type=service' shows those that run.", name);
        if (r >= 0 && !streq(state, "loaded"))
                return complain("systemd cannot use '%s', which is %s. See 'systemctl status %s'.", name, state, name);
        return r;
}

static int collect_fragments(sd_bus *bus, const char *path, const char *name, const char *own, ServiceUnit *u) {
        _cleanup_strv_free_ char **drop_ins = NULL;
        _cleanup_free_ char *fragment = NULL;
        int r;

        r = sd_bus_get_property_string(bus, SYSTEMD, path, UNIT, "FragmentPath", NULL, &fragment);
        if (r >= 0)
                r = sd_bus_get_property_strv(bus, SYSTEMD, path, UNIT, "DropInPaths", NULL, &drop_ins);
        if (r < 0)
                return r;
        if (!*fragment || strstr(fragment, "/systemd/transient/"))
                return complain("'%s' has no unit file that lasts: it was made at run time. Start it with 'stackctl run -- COMMAND'.", name);
        r = strv_append(&u->fragments, &u->n_fragments, fragment);
        for (char **d = drop_ins; r >= 0 && d && *d; d++)
                if (!streq(*d, own))
                        r = strv_append(&u->fragments, &u->n_fragments, *d);
        for (char **f = u->fragments; r >= 0 && f && *f; f++)
                r = read_commands(u, *f);
        return r;
}

int service_unit_load(sd_bus *bus, const char *name, const char *own, ServiceUnit *ret) {
        _cleanup_(service_unit_done) ServiceUnit u = { .name = strdup(name) };
        _cleanup_free_ char *path = NULL;
        int r;

        if (!u.name)
                return -ENOMEM;
        r = load_unit(bus, name, &path);
        if (r >= 0)
                r = check_state(bus, path, name);
        if (r >= 0)
                r = read_properties(bus, path, &u);
        if (r >= 0)
                r = collect_fragments(bus, path, name, own, &u);
        if (r < 0)
                return r == REPORTED || r == -ENOMEM ? r : complain("systemd does not tell about '%s': %s.", name, strerror(-r));
        if (u.n_commands == 0)
                return complain("'%s' starts no command (ExecStart=).", name);
        *ret = u;
        u = (ServiceUnit) {};
        return 0;
}
