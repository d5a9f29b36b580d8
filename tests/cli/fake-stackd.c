/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A stackd that knows nothing: it answers from files and, where told to, wrongly or not at all.
 *
 *   FAKE_DESCRIBE, FAKE_PLAN, FAKE_EXPLAIN, FAKE_APPLY, FAKE_REVERT, FAKE_CONFIGURATION   files with the JSON to answer
 *   FAKE_WARNINGS file with the lines that Reload() returns; a '!' in it says that not everything was taken
 *   FAKE_KNOWN    "TEXT=ID[,ID...]" by blanks: what Describe(TEXT) and LookUp(TEXT) know
 *   FAKE_ERROR    "METHOD ERROR-NAME MESSAGE": that method answers so
 *   FAKE_FATE     "METHOD exit|kill|hang": what becomes of the daemon in that method; METHOD "start" too
 *   FAKE_EVENTS   file with events to tell after an answer of Describe, one a line; see play_event()
 *   FAKE_LOG      file that gets a line a call, and one when the other end has gone */

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <systemd/sd-bus.h>

#include "common/cleanup.h"
#include "common/text.h"

static void note(const char *format, ...) _printf_(1, 2);
static void note(const char *format, ...) {
        const char *path = getenv("FAKE_LOG");
        _cleanup_fclose_ FILE *f = path ? fopen(path, "ae") : NULL;
        va_list ap;

        if (!f)
                return;
        va_start(ap, format);
        vfprintf(f, format, ap);
        va_end(ap);
        fputc('\n', f);
}

static void meet_fate(const char *method) {
        const char *fate = getenv("FAKE_FATE"), *what = fate ? startswith(fate, method) : NULL;

        if (!what || *what != ' ')
                return;
        if (streq(what, " exit")) {
                fprintf(stderr, "fake-stackd: /proc is not mounted\n");
                _exit(3);
        }
        if (streq(what, " kill"))
                raise(SIGKILL);
        for (;;)
                pause();
}

/* Whether the test wants an error for this method. */
static bool want_error(const char *method, sd_bus_error *error, int *ret) {
        const char *wanted = getenv("FAKE_ERROR"), *rest = wanted ? startswith(wanted, method) : NULL;
        char name[128];
        int n = 0;

        if (!rest || sscanf(rest, " %127s %n", name, &n) < 1)
                return false;
        *ret = sd_bus_error_set(error, name, rest + n);
        return true;
}

static int reply_file(sd_bus_message *m, const char *variable) {
        const char *path = getenv(variable);
        _cleanup_fclose_ FILE *f = path ? fopen(path, "re") : NULL;
        _cleanup_free_ char *text = NULL;
        size_t size = 0;

        if (!f || getdelim(&text, &size, 0, f) < 0)
                return -ENOENT;
        return sd_bus_reply_method_return(m, "s", text);
}

/* The ids known under a text, separated by commas. */
static char *known(const char *what) {
        const char *table = getenv("FAKE_KNOWN");
        _cleanup_free_ char *copy = strdup(table ?: "");
        char *rest = NULL;

        for (char *entry = strtok_r(copy, " ", &rest); entry; entry = strtok_r(NULL, " ", &rest)) {
                char *ids = startswith(entry, what);

                if (ids && *ids == '=')
                        return strdup(ids + 1);
        }
        return NULL;
}

static int put_property(sd_bus_message *m, const char *name, const char *type, const char *value) {
        if (streq(type, "u"))
                return sd_bus_message_append(m, "{sv}", name, "u", (uint32_t) strtoul(value, NULL, 10));
        if (streq(type, "as"))
                return sd_bus_message_append(m, "{sv}", name, "as", 1, value);
        return sd_bus_message_append(m, "{sv}", name, "s", value);
}

/* "NAME:TYPE=VALUE,NAME:TYPE=VALUE" */
static int put_properties(sd_bus_message *m, char *text) {
        char *rest = NULL;
        int r;

        r = sd_bus_message_open_container(m, 'a', "{sv}");
        for (char *entry = strtok_r(text, ",", &rest); r >= 0 && entry; entry = strtok_r(NULL, ",", &rest)) {
                char *type = strchr(entry, ':'), *value = type ? strchr(type, '=') : NULL;

                if (!value)
                        return -EINVAL;
                *type++ = *value++ = 0;
                r = put_property(m, entry, type, value);
        }
        return r < 0 ? r : sd_bus_message_close_container(m);
}

static int play_object(sd_bus *bus, const char *verb, const char *id, char *properties) {
        bool process = startswith(id, "process:");
        const char *interface = process ? "org.stackd1.Process" : "org.stackd1.Layer";
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        _cleanup_free_ char *path = NULL;
        int r;

        r = sd_bus_path_encode(process ? "/org/stackd1/process" : "/org/stackd1/layer", id, &path);
        if (r < 0)
                return r;
        if (streq(verb, "removed"))
                return sd_bus_emit_signal(bus, "/org/stackd1", "org.freedesktop.DBus.ObjectManager", "InterfacesRemoved", "oas",
                                          path, 1, interface);
        if (streq(verb, "changed")) {
                r = sd_bus_message_new_signal(bus, &m, path, "org.freedesktop.DBus.Properties", "PropertiesChanged");
                if (r >= 0)
                        r = sd_bus_message_append(m, "s", interface);
                if (r >= 0)
                        r = put_properties(m, properties);
                if (r >= 0)
                        r = sd_bus_message_append(m, "as", 0);
        } else {
                r = sd_bus_message_new_signal(bus, &m, "/org/stackd1", "org.freedesktop.DBus.ObjectManager", "InterfacesAdded");
                if (r >= 0)
                        r = sd_bus_message_append(m, "o", path);
                if (r >= 0)
                        r = sd_bus_message_open_container(m, 'a', "{sa{sv}}");
                if (r >= 0)
                        r = sd_bus_message_open_container(m, 'e', "sa{sv}");
                if (r >= 0)
                        r = sd_bus_message_append(m, "s", interface);
                if (r >= 0)
                        r = put_properties(m, properties);
                if (r >= 0)
                        r = sd_bus_message_close_container(m);
                if (r >= 0)
                        r = sd_bus_message_close_container(m);
        }
        return r < 0 ? r : sd_bus_send(bus, m, NULL);
}

/* "added ID PROPERTIES", "changed ID PROPERTIES", "removed ID", "exit", or the name of a signal and its text. */
static int play_event(sd_bus *bus, char *line) {
        char *argument = line + strcspn(line, " "), *properties;

        if (*argument)
                *argument++ = 0;
        if (streq(line, "exit")) {
                (void) sd_bus_flush(bus);
                _exit(0);
        }
        if (!streq(line, "added") && !streq(line, "changed") && !streq(line, "removed"))
                return sd_bus_emit_signal(bus, "/org/stackd1", "org.stackd1.Manager", line, "s", argument);
        properties = argument + strcspn(argument, " ");
        if (*properties)
                *properties++ = 0;
        return play_object(bus, line, argument, properties);
}

static int play_events(sd_bus *bus) {
        const char *path = getenv("FAKE_EVENTS");
        _cleanup_fclose_ FILE *f = path ? fopen(path, "re") : NULL;
        _cleanup_free_ char *line = NULL;
        size_t size = 0;
        ssize_t n;
        int r = 0;

        while (r >= 0 && f && (n = getline(&line, &size, f)) > 0) {
                line[n - 1] = 0;
                r = play_event(bus, line);
        }
        return r;
}

static int method_subscribe(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        (void) userdata;
        (void) error;
        note("Subscribe");
        return sd_bus_reply_method_return(m, NULL);
}

static int method_describe(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        _cleanup_free_ char *ids = NULL;
        const char *what;
        int r;

        (void) userdata;
        r = sd_bus_message_read(m, "s", &what);
        if (r < 0)
                return r;
        note("Describe %s", what);
        meet_fate("Describe");
        if (want_error("Describe", error, &r))
                return r;
        ids = known(what);
        if (*what && !ids)
                return sd_bus_error_setf(error, "org.stackd1.Error.NoSuchObject", "No layer or process is called '%s'.", what);
        r = reply_file(m, "FAKE_DESCRIBE");
        return r < 0 ? r : play_events(sd_bus_message_get_bus(m));
}

/* As if everything were nested; FAKE_DESCRIBE may say that it is not. */
static int method_describe_nested(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        int r;

        (void) userdata;
        note("DescribeNested");
        meet_fate("DescribeNested");
        return want_error("DescribeNested", error, &r) ? r : reply_file(m, "FAKE_DESCRIBE");
}

static int method_look_up(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        _cleanup_free_ char *ids = NULL;
        char *rest = NULL;
        const char *what;
        int r;

        (void) userdata;
        r = sd_bus_message_read(m, "s", &what);
        if (r < 0)
                return r;
        note("LookUp %s", what);
        meet_fate("LookUp");
        if (want_error("LookUp", error, &r))
                return r;
        ids = known(what);
        if (!ids)
                return sd_bus_error_setf(error, "org.stackd1.Error.NoSuchObject", "No layer or process is called '%s'.", what);
        r = sd_bus_message_new_method_return(m, &reply);
        if (r >= 0)
                r = sd_bus_message_open_container(reply, 'a', "s");
        for (char *id = strtok_r(ids, ",", &rest); r >= 0 && id; id = strtok_r(NULL, ",", &rest))
                r = sd_bus_message_append(reply, "s", id);
        if (r >= 0)
                r = sd_bus_message_close_container(reply);
        return r < 0 ? r : sd_bus_send(NULL, reply, NULL);
}

static int method_act(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        const char *method = sd_bus_message_get_member(m);
        _cleanup_strv_free_ char **ids = NULL;
        int r;

        (void) userdata;
        r = sd_bus_message_read_strv(m, &ids);
        if (r < 0)
                return r;
        note("%s%s", method, ids && *ids ? "" : " (all)");
        for (char **id = ids; id && *id; id++)
                note("  %s", *id);
        meet_fate(method);
        if (want_error(method, error, &r))
                return r;
        return reply_file(m, streq(method, "Plan") ? "FAKE_PLAN" : streq(method, "Explain") ? "FAKE_EXPLAIN" : streq(method, "Apply") ? "FAKE_APPLY" : "FAKE_REVERT");
}

static int method_dump_configuration(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        int r;

        (void) userdata;
        note("DumpConfiguration");
        meet_fate("DumpConfiguration");
        if (want_error("DumpConfiguration", error, &r))
                return r;
        return reply_file(m, "FAKE_CONFIGURATION");
}

static int method_reload(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        const char *path = getenv("FAKE_WARNINGS");
        _cleanup_fclose_ FILE *f = path ? fopen(path, "re") : NULL;
        _cleanup_free_ char *warnings = NULL;
        char *rest = NULL;
        size_t size = 0;
        int complete, r;

        (void) userdata;
        note("Reload");
        if (!f || getdelim(&warnings, &size, 0, f) < 0)
                return -ENOENT;
        complete = !strchr(warnings, '!');
        if (want_error("Reload", error, &r))
                return r;
        r = sd_bus_message_new_method_return(m, &reply);
        if (r >= 0)
                r = sd_bus_message_open_container(reply, 'a', "s");
        for (char *line = strtok_r(warnings, "\n", &rest); r >= 0 && line; line = strtok_r(NULL, "\n", &rest))
                r = sd_bus_message_append(reply, "s", line);
        if (r >= 0)
                r = sd_bus_message_close_container(reply);
        if (r >= 0)
                r = sd_bus_message_append(reply, "b", complete);
        return r < 0 ? r : sd_bus_send(NULL, reply, NULL);
}

static const sd_bus_vtable vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_METHOD("Describe", "s", "s", method_describe, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("DescribeNested", "", "s", method_describe_nested, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("Subscribe", NULL, NULL, method_subscribe, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("LookUp", "s", "as", method_look_up, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("Plan", "as", "s", method_act, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("Explain", "as", "s", method_act, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("Apply", "as", "s", method_act, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("Revert", "as", "s", method_act, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("DumpConfiguration", "", "s", method_dump_configuration, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("Reload", "", "asb", method_reload, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_VTABLE_END,
};

static int open_private(int fd, sd_bus **ret) {
        _cleanup_(sd_bus_unrefp) sd_bus *bus = NULL;
        sd_id128_t id;
        int r;

        r = sd_id128_randomize(&id);
        if (r >= 0)
                r = sd_bus_new(&bus);
        if (r >= 0)
                r = sd_bus_set_fd(bus, fd, fd);
        if (r >= 0)
                r = sd_bus_set_server(bus, true, id);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(bus);
        return 0;
}

static int serve(int fd) {
        _cleanup_(sd_bus_flush_close_unrefp) sd_bus *bus = NULL;
        int r;

        r = fd >= 0 ? open_private(fd, &bus) : sd_bus_open_system(&bus);
        if (r < 0)
                return r;
        r = sd_bus_add_object_vtable(bus, NULL, "/org/stackd1", "org.stackd1.Manager", vtable, NULL);
        if (r >= 0)
                r = fd >= 0 ? sd_bus_start(bus) : sd_bus_request_name(bus, "org.stackd1", 0);
        while (r >= 0) {
                r = sd_bus_process(bus, NULL);
                if (r == 0)
                        r = sd_bus_wait(bus, UINT64_MAX);
        }
        note("gone");
        return r == -ENOTCONN || r == -ECONNRESET ? 0 : r;
}

int main(int argc, char **argv) {
        static const struct option options[] = {
                { "private-fd", required_argument, NULL, 'f' },
                { "root", required_argument, NULL, 'r' },
                { "bus", no_argument, NULL, 'b' },
                {},
        };
        int option, fd = -1, r;

        while ((option = getopt_long(argc, argv, "", options, NULL)) >= 0)
                switch (option) {
                case 'f':
                        fd = atoi(optarg);
                        break;
                case 'r':
                        note("root %s", optarg);
                        break;
                case 'b':
                        break;
                default:
                        return 1;
                }
        meet_fate("start");
        r = serve(fd);
        if (r < 0)
                fprintf(stderr, "fake-stackd: %s\n", strerror(-r));
        return r < 0;
}
