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

#define UNIT SYSTEMD ".Unit"
#define FRAGMENT_MAX (1024U * 1024)

static const char *const keys[_COMMAND_MAX] = {
        [EXEC_CONDITION] = "ExecCondition",      [EXEC_START_PRE] = "ExecStartPre", [EXEC_START] = "ExecStart",
        [EXEC_START_POST] = "ExecStartPost",     [EXEC_RELOAD] = "ExecReload",      [EXEC_RELOAD_POST] = "ExecReloadPost",
        [EXEC_STOP] = "ExecStop",                [EXEC_STOP_POST] = "ExecStopPost",
};
static const char *const calls[_CALL_MAX] = { [CALL_PRCTL] = "prctl", [CALL_CAPGET] = "capget", [CALL_CAPSET] = "capset" };

const char *command_key(CommandKind kind) {
        return keys[kind];
}

const char *needed_call_name(NeededCall call) {
        return calls[call];
}

bool command_has_flag(const Command *c, const char *flag) {
        return strv_contains(c->flags, flag);
}

static void command_list_done(CommandList *l) {
        strv_free(l->lines);
        for (size_t i = 0; i < l->n_commands; i++) {
                free(l->commands[i].path);
                strv_free(l->commands[i].arguments);
                strv_free(l->commands[i].flags);
        }
        free(l->commands);
}

void service_unit_done(ServiceUnit *u) {
        free(u->name);
        free(u->path);
        strv_free(u->fragments);
        strv_free(u->drop_ins);
        for (CommandKind k = 0; k < _COMMAND_MAX; k++)
                command_list_done(u->commands + k);
        free(u->user);
        free(u->preference);
        free(u->apparmor);
        free(u->selinux);
        free(u->root_directory);
        free(u->root_image);
        *u = (ServiceUnit) {};
}

int service_unit_name(const char *what, char **ret) {
        _cleanup_free_ char *name = endswith(what, ".service") ? strdup(what) : text_format("%s.service", what);

        if (!name)
                return -ENOMEM;
        if (what[0] == '.' || strlen(name) > 255 || name[strspn(name, UNIT_NAME_CHARACTERS)] || streq(name, ".service"))
                return complain("'%s' is not the name of a service.", what);
        *ret = TAKE_PTR(name);
        return 0;
}

/* ---- asking systemd ---- */

static int load_unit(sd_bus *bus, const char *name, char **ret_path) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        const char *path;
        int r;

        r = sd_bus_call_method(bus, SYSTEMD, SYSTEMD_PATH, SYSTEMD_MANAGER, "LoadUnit", NULL, &reply, "s", name);
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

        r = sd_bus_call_method(bus, SYSTEMD, SYSTEMD_PATH, SYSTEMD_MANAGER, "Reload", &error, NULL, NULL);
        return r < 0 ? complain("systemd cannot reload its units: %s. Try 'systemctl daemon-reload'.", error.message ?: strerror(-r)) : 0;
}

int service_unit_canonical(sd_bus *bus, const char *name, char **ret) {
        _cleanup_free_ char *id = NULL, *state = NULL;

        if (unit_get_text(bus, name, "LoadState", &state) < 0 || !streq(state, "loaded") || unit_get_text(bus, name, "Id", &id) < 0 ||
            !endswith(id, ".service"))
                id = (free(id), strdup(name));
        if (!id)
                return -ENOMEM;
        *ret = TAKE_PTR(id);
        return 0;
}

/* ---- its properties ---- */

static int read_words(sd_bus *bus, ServiceUnit *u) {
        const struct {
                const char *name;
                char **ret;
        } words[] = {
                { "User", &u->user }, { "ManagedOOMPreference", &u->preference },
                { "RootDirectory", &u->root_directory }, { "RootImage", &u->root_image },
        };
        int r = 0;

        for (size_t i = 0; r >= 0 && i < ELEMENTSOF(words); i++)
                r = sd_bus_get_property_string(bus, SYSTEMD, u->path, SYSTEMD_SERVICE, words[i].name, NULL, words[i].ret);
        return r;
}

static int read_numbers(sd_bus *bus, ServiceUnit *u) {
        int dynamic_user = 0, private_users = 0;
        const struct {
                const char *name;
                char type;
                void *ret;
        } numbers[] = {
                { "CapabilityBoundingSet", 't', &u->bounding }, { "AmbientCapabilities", 't', &u->ambient },
                { "MemoryMin", 't', &u->memory_min },           { "OOMScoreAdjust", 'i', &u->oom_score_adjust },
                { "SecureBits", 'i', &u->secure_bits },         { "DynamicUser", 'b', &dynamic_user },
                { "PrivateUsers", 'b', &private_users },
        };
        int r = 0;

        for (size_t i = 0; r >= 0 && i < ELEMENTSOF(numbers); i++)
                r = sd_bus_get_property_trivial(bus, SYSTEMD, u->path, SYSTEMD_SERVICE, numbers[i].name, NULL, numbers[i].type, numbers[i].ret);
        u->dynamic_user = dynamic_user;
        u->private_users = private_users;
        return r;
}

/* A profile or label, with a flag that it may be missing. */
static int read_label(sd_bus *bus, const ServiceUnit *u, const char *name, char **ret) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        const char *label;
        int missing, r;

        r = sd_bus_get_property(bus, SYSTEMD, u->path, SYSTEMD_SERVICE, name, NULL, &reply, "(bs)");
        if (r >= 0)
                r = sd_bus_message_read(reply, "(bs)", &missing, &label);
        if (r < 0)
                return r;
        *ret = strdup(label);
        return *ret ? 0 : -ENOMEM;
}

static bool names_call(char *const *names, const char *call) {
        for (; names && *names; names++)
                if (startswith(*names, call) && ((*names)[strlen(call)] == 0 || (*names)[strlen(call)] == ':'))
                        return true;
        return false;
}

static int read_filter(sd_bus *bus, ServiceUnit *u) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        _cleanup_strv_free_ char **names = NULL;
        int allow, r;

        r = sd_bus_get_property(bus, SYSTEMD, u->path, SYSTEMD_SERVICE, "SystemCallFilter", NULL, &reply, "(bas)");
        if (r >= 0)
                r = sd_bus_message_enter_container(reply, 'r', "bas");
        if (r >= 0)
                r = sd_bus_message_read(reply, "b", &allow);
        if (r >= 0)
                r = sd_bus_message_read_strv(reply, &names);
        for (NeededCall i = 0; r >= 0 && i < _CALL_MAX; i++)
                u->forbidden[i] = names_call(names, calls[i]) != (allow != 0);
        return r;
}

static int read_command(sd_bus_message *m, CommandList *l) {
        Command *grown = realloc(l->commands, (l->n_commands + 1) * sizeof(Command)), *c;
        const char *path;
        int r;

        if (!grown)
                return -ENOMEM;
        l->commands = grown;
        c = l->commands + l->n_commands++;
        *c = (Command) {};
        r = sd_bus_message_read(m, "s", &path);
        if (r >= 0)
                r = sd_bus_message_read_strv(m, &c->arguments);
        if (r >= 0)
                r = sd_bus_message_read_strv(m, &c->flags);
        if (r >= 0)
                r = sd_bus_message_skip(m, "ttttuii");
        if (r < 0)
                return r;
        c->path = strdup(path);
        return c->path ? sd_bus_message_exit_container(m) : -ENOMEM;
}

static int read_commands(sd_bus *bus, const ServiceUnit *u, CommandKind kind, CommandList *ret) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        _cleanup_free_ char *property = text_format("%sEx", keys[kind]);
        int r;

        if (!property)
                return -ENOMEM;
        r = sd_bus_get_property(bus, SYSTEMD, u->path, SYSTEMD_SERVICE, property, NULL, &reply, "a(sasasttttuii)");
        if (r < 0)
                return kind == EXEC_RELOAD_POST ? 0 : r; /* since version 259 only */
        r = sd_bus_message_enter_container(reply, 'a', "(sasasttttuii)");
        while (r >= 0 && (r = sd_bus_message_enter_container(reply, 'r', "sasasttttuii")) > 0)
                r = read_command(reply, ret);
        return r;
}

static int read_properties(sd_bus *bus, ServiceUnit *u) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        int r;

        r = read_words(bus, u);
        if (r >= 0)
                r = read_numbers(bus, u);
        if (r >= 0)
                r = read_label(bus, u, "AppArmorProfile", &u->apparmor);
        if (r >= 0)
                r = read_label(bus, u, "SELinuxContext", &u->selinux);
        if (r >= 0)
                r = read_filter(bus, u);
        if (r >= 0)
                r = sd_bus_get_property(bus, SYSTEMD, u->path, SYSTEMD_SERVICE, "NoExecPaths", NULL, &reply, "as");
        if (r >= 0)
                r = sd_bus_message_enter_container(reply, 'a', "s");
        if (r >= 0)
                u->no_exec_paths = sd_bus_message_at_end(reply, false) == 0;
        for (CommandKind k = 0; r >= 0 && k < _COMMAND_MAX; k++)
                r = read_commands(bus, u, k, u->commands + k);
        return r;
}

/* ---- reading its files ---- */

static int add_line(CommandList *l, const char *value) {
        if (*value)
                return strv_append(&l->lines, &l->n_lines, value);
        l->lines = strv_free(l->lines);
        l->n_lines = 0;
        return 0;
}

static int read_lines(ServiceUnit *u, const char *path) {
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
                if (kind != INI_ASSIGNMENT || !streq(i.section, "Service"))
                        continue;
                r = 0;
                for (CommandKind k = 0; r >= 0 && k < _COMMAND_MAX; k++)
                        if (streq(i.key, keys[k]))
                                r = add_line(u->commands + k, i.value);
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

static int collect_fragments(sd_bus *bus, const char *own, ServiceUnit *u) {
        _cleanup_free_ char *fragment = NULL;
        int r;

        r = sd_bus_get_property_string(bus, SYSTEMD, u->path, UNIT, "FragmentPath", NULL, &fragment);
        if (r >= 0)
                r = sd_bus_get_property_strv(bus, SYSTEMD, u->path, UNIT, "DropInPaths", NULL, &u->drop_ins);
        if (r < 0)
                return r;
        if (!*fragment || strstr(fragment, "/systemd/transient/"))
                return complain("'%s' has no unit file that lasts: it was made at run time. Start it with 'stackctl run -- COMMAND'.", u->name);
        r = strv_append(&u->fragments, &u->n_fragments, fragment);
        for (char **d = u->drop_ins; r >= 0 && d && *d; d++)
                if (!streq(*d, own))
                        r = strv_append(&u->fragments, &u->n_fragments, *d);
        for (char **f = u->fragments; r >= 0 && f && *f; f++)
                r = read_lines(u, *f);
        return r;
}

int service_unit_load(sd_bus *bus, const char *name, const char *own, ServiceUnit *ret) {
        _cleanup_(service_unit_done) ServiceUnit u = { .name = strdup(name) };
        int r;

        if (!u.name)
                return -ENOMEM;
        r = load_unit(bus, name, &u.path);
        if (r >= 0)
                r = check_state(bus, u.path, name);
        if (r >= 0)
                r = read_properties(bus, &u);
        if (r >= 0)
                r = collect_fragments(bus, own, &u);
        if (r < 0)
                return r == REPORTED || r == -ENOMEM ? r : complain("systemd does not tell about '%s': %s.", name, strerror(-r));
        if (u.commands[EXEC_START].n_lines == 0)
                return complain("'%s' starts no command (ExecStart=).", name);
        *ret = u;
        u = (ServiceUnit) {};
        return 0;
}
