/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* As much of systemd on the bus as adopt and release ask. What it says of a unit is in the file FAKE_UNITS/NAME, lines
 * "Property=value", and in the unit's file (FragmentPath) and drop-ins, which are read at each question: those of /etc and
 * of FAKE_UNITS/NAME.d, by file name. A transient unit ends as FAKE_UNITS/trial says: "CODE STATUS WORDS", or well. Each call that changes
 * something is a line in FAKE_LOG, for a transient unit with its settings. */

#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <glob.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <systemd/sd-bus.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/file.h"
#include "common/ini.h"
#include "common/text.h"

#define UNITS "/org/freedesktop/systemd1/unit"
#define MANAGER "org.freedesktop.systemd1.Manager"

static char *find_property(const char *unit, const char *property) {
        _cleanup_free_ char *path = text_format("%s/%s", getenv("FAKE_UNITS"), unit), *line = NULL;
        _cleanup_fclose_ FILE *f = fopen(path, "re");
        size_t size = 0;

        if (!f)
                return strdup(streq(property, "LoadState") ? "not-found" : streq(property, "Id") ? unit : "");
        while (getline(&line, &size, f) > 0) {
                char *value = startswith(line, property);

                line[strcspn(line, "\n")] = 0;
                if (value && *value == '=')
                        return strdup(value + 1);
        }
        return strdup(streq(property, "LoadState") ? "loaded" : streq(property, "Id") ? unit : "");
}

static void write_log(const char *text) {
        _cleanup_fclose_ FILE *f = fopen(getenv("FAKE_LOG"), "ae");

        if (f)
                fprintf(f, "%s\n", text);
}

/* ---- its files ---- */

static int compare_names(const void *a, const void *b) {
        const char *const *x = a, *const *y = b;

        return strcmp(strrchr(*x, '/'), strrchr(*y, '/'));
}

static char **find_drop_ins(const char *unit) {
        _cleanup_free_ char *etc = text_format("/etc/systemd/system/%s.d/*.conf", unit), *other = text_format("%s/%s.d/*.conf", getenv("FAKE_UNITS"), unit);
        char **list = calloc(1, sizeof(char *));
        glob_t found = {};
        size_t n = 0;

        /* Backslashes stand for themselves. */
        (void) glob(etc, GLOB_NOESCAPE, NULL, &found);
        (void) glob(other, GLOB_NOESCAPE | GLOB_APPEND, NULL, &found);
        for (size_t i = 0; i < found.gl_pathc; i++)
                (void) strv_append(&list, &n, found.gl_pathv[i]);
        globfree(&found);
        qsort(list, n, sizeof(char *), compare_names);
        return list;
}

/* The values of a setting of [Service]; an empty one begins anew. */
static void read_values(const char *path, const char *key, char ***values, size_t *n) {
        _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
        _cleanup_free_ char *text = NULL;

        if (fd < 0 || file_read_fd(fd, 1024 * 1024, &text, NULL) < 0)
                return;
        _cleanup_ini_ Ini i = INI_BEGIN(text);
        for (int kind; (kind = ini_next(&i)) > 0;)
                if (kind == INI_ASSIGNMENT && streq(i.section, "Service") && streq(i.key, key)) {
                        if (*i.value)
                                (void) strv_append(values, n, i.value);
                        else {
                                *values = strv_free(*values);
                                *n = 0;
                        }
                }
}

static char **find_values(const char *unit, const char *key, bool with_fragment) {
        _cleanup_free_ char *fragment = find_property(unit, "FragmentPath");
        _cleanup_strv_free_ char **drop_ins = find_drop_ins(unit);
        char **values = NULL;
        size_t n = 0;

        if (with_fragment)
                read_values(fragment, key, &values, &n);
        for (char **d = drop_ins; *d; d++)
                read_values(*d, key, &values, &n);
        return values;
}

/* ---- properties ---- */

/* Words, without their quotes, up to a ';' that stands alone. */
static const char *split(const char *s, char ***words) {
        size_t n = 0;

        for (; *(s += strspn(s, " \t\n")) && !(*s == ';' && (!s[1] || s[1] == ' '));) {
                char word[4096], *o = word, quote = 0;

                for (; *s && (quote || !strchr(" \t\n", *s)); s++)
                        if (!quote && (*s == '"' || *s == '\''))
                                quote = *s;
                        else if (quote && *s == quote)
                                quote = 0;
                        else
                                *o++ = *s;
                *o = 0;
                (void) strv_append(words, &n, word);
        }
        return *s ? s + 1 : s;
}

static int append_command(sd_bus_message *m, char **words) {
        static const struct {
                char letter;
                const char *name;
        } all[] = { { '-', "ignore-failure" }, { '+', "privileged" }, { '!', "no-setuid" }, { ':', "no-env-expand" } };
        char *prefixes = words[0], *path = prefixes + strspn(prefixes, "@-:+!");
        _cleanup_strv_free_ char **flags = calloc(1, sizeof(char *)), **arguments = NULL;
        bool argv0 = memchr(prefixes, '@', (size_t) (path - prefixes));
        size_t n = 0, n_arguments = 0;
        int r;

        for (size_t i = 0; i < ELEMENTSOF(all); i++)
                if (memchr(prefixes, all[i].letter, (size_t) (path - prefixes)))
                        (void) strv_append(&flags, &n, all[i].name);
        if (!argv0)
                (void) strv_append(&arguments, &n_arguments, path);
        for (char **w = words + 1; *w; w++)
                (void) strv_append(&arguments, &n_arguments, *w);
        r = sd_bus_message_open_container(m, 'r', "sasasttttuii");
        if (r >= 0)
                r = sd_bus_message_append(m, "s", path);
        if (r >= 0)
                r = sd_bus_message_append_strv(m, arguments);
        if (r >= 0)
                r = sd_bus_message_append_strv(m, flags);
        if (r >= 0)
                r = sd_bus_message_append(m, "ttttuii", UINT64_C(0), UINT64_C(0), UINT64_C(0), UINT64_C(0), 0, 0, 0);
        return r < 0 ? r : sd_bus_message_close_container(m);
}

static int append_commands(sd_bus_message *m, const char *unit, const char *property) {
        _cleanup_free_ char *key = strndup(property, strlen(property) - 2);
        _cleanup_strv_free_ char **values = find_values(unit, key, true);
        int r;

        r = sd_bus_message_open_container(m, 'a', "(sasasttttuii)");
        for (char **v = values; v && *v; v++)
                for (const char *s = *v; r >= 0 && *s;) {
                        _cleanup_strv_free_ char **words = NULL;

                        s = split(s, &words);
                        r = words ? append_command(m, words) : 0;
                }
        return r < 0 ? r : sd_bus_message_close_container(m);
}

/* A number in hexadecimal, and what drop-ins add by name. */
static uint64_t find_capabilities(const char *unit, const char *property) {
        _cleanup_free_ char *value = find_property(unit, property);
        _cleanup_strv_free_ char **more = find_values(unit, property, false);
        uint64_t set = strtoull(value, NULL, 16);

        for (char **v = more; v && *v; v++)
                set |= (strstr(*v, "CAP_SYS_RESOURCE") ? UINT64_C(1) << 24 : 0) | (strstr(*v, "CAP_SETPCAP") ? UINT64_C(1) << 8 : 0);
        return set;
}

/* "allow NAMES" or "deny NAMES", and what drop-ins let through. */
static int append_filter(sd_bus_message *m, const char *unit) {
        _cleanup_free_ char *value = find_property(unit, "SystemCallFilter");
        _cleanup_strv_free_ char **more = find_values(unit, "SystemCallFilter", false), **names = NULL, **kept = calloc(1, sizeof(char *)), **added = NULL;
        bool allow = startswith(value, "allow");
        size_t n = 0;
        int r;

        split(value + strcspn(value, " "), &names);
        for (char **v = more; v && *v; v++)
                split(*v, &added);
        for (char **name = names; name && *name; name++) {
                _cleanup_free_ char *call = strndup(*name, strcspn(*name, ":"));

                if (allow || !strv_contains(added, call))
                        (void) strv_append(&kept, &n, *name);
        }
        for (char **name = added; allow && name && *name; name++)
                (void) strv_append(&kept, &n, *name);
        r = sd_bus_message_open_container(m, 'r', "bas");
        if (r >= 0)
                r = sd_bus_message_append(m, "b", allow);
        if (r >= 0)
                r = sd_bus_message_append_strv(m, kept);
        return r < 0 ? r : sd_bus_message_close_container(m);
}

static int append_strings(sd_bus_message *m, const char *unit, const char *property) {
        _cleanup_free_ char *value = find_property(unit, property);
        _cleanup_strv_free_ char **drop_ins = streq(property, "DropInPaths") ? find_drop_ins(unit) : NULL;

        return drop_ins ? sd_bus_message_append_strv(m, drop_ins) : sd_bus_message_append(m, "as", *value ? 1 : 0, value);
}

static const char *type_of(const char *property) {
        static const char *const types[][2] = {
                { "OOMScoreAdjust", "i" }, { "SecureBits", "i" }, { "ExecMainCode", "i" }, { "ExecMainStatus", "i" }, { "DynamicUser", "b" },
                { "PrivateUsers", "b" }, { "DropInPaths", "as" }, { "Before", "as" }, { "NoExecPaths", "as" }, { "SystemCallFilter", "(bas)" },
                { "AppArmorProfile", "(bs)" }, { "SELinuxContext", "(bs)" }, { "CapabilityBoundingSet", "t" }, { "AmbientCapabilities", "t" },
                { "MemoryMin", "t" },
        };

        for (size_t i = 0; i < ELEMENTSOF(types); i++)
                if (streq(property, types[i][0]))
                        return types[i][1];
        return startswith(property, "Exec") && endswith(property, "Ex") ? "a(sasasttttuii)" : "s";
}

static int append_value(sd_bus_message *m, const char *unit, const char *property, const char *type) {
        _cleanup_free_ char *value = find_property(unit, property);

        switch (type[0]) {
        case 's':
                return sd_bus_message_append(m, "s", value);
        case 'i':
                return sd_bus_message_append(m, "i", atoi(value));
        case 'b':
                return sd_bus_message_append(m, "b", streq(value, "yes"));
        case 't':
                return sd_bus_message_append(m, "t", find_capabilities(unit, property));
        case '(':
                return streq(type, "(bas)") ? append_filter(m, unit) : sd_bus_message_append(m, "(bs)", 0, value);
        default:
                return streq(type, "as") ? append_strings(m, unit, property) : append_commands(m, unit, property);
        }
}

static int append_property(sd_bus_message *m, const char *unit, const char *property) {
        const char *type = type_of(property);
        int r;

        r = sd_bus_message_open_container(m, 'v', type);
        if (r >= 0)
                r = append_value(m, unit, property, type);
        return r < 0 ? r : sd_bus_message_close_container(m);
}

static int append_all(sd_bus_message *m, const char *unit) {
        static const char *const some[] = { "User", "SystemCallFilter", "RootDirectory", "NoExecPaths", "PIDFile", "DynamicUser", "StateDirectory" };
        int r;

        r = sd_bus_message_open_container(m, 'a', "{sv}");
        for (size_t i = 0; r >= 0 && i < ELEMENTSOF(some); i++) {
                r = sd_bus_message_open_container(m, 'e', "sv");
                if (r >= 0)
                        r = sd_bus_message_append(m, "s", some[i]);
                if (r >= 0)
                        r = append_property(m, unit, some[i]);
                if (r >= 0)
                        r = sd_bus_message_close_container(m);
        }
        return r < 0 ? r : sd_bus_message_close_container(m);
}

static int on_get(sd_bus_message *m, bool all) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        const char *interface, *property = NULL;
        _cleanup_free_ char *unit = NULL;
        int r;

        r = sd_bus_path_decode(sd_bus_message_get_path(m), UNITS, &unit);
        if (r > 0)
                r = all ? sd_bus_message_read(m, "s", &interface) : sd_bus_message_read(m, "ss", &interface, &property);
        if (r >= 0)
                r = sd_bus_message_new_method_return(m, &reply);
        if (r >= 0)
                r = all ? append_all(reply, unit) : append_property(reply, unit, property);
        return r < 0 ? r : sd_bus_send(NULL, reply, NULL);
}

/* ---- the manager ---- */

static int on_load_unit(sd_bus_message *m) {
        _cleanup_free_ char *path = NULL, *id = NULL;
        const char *name;
        int r;

        r = sd_bus_message_read(m, "s", &name);
        if (r < 0)
                return r;
        id = find_property(name, "Id");
        r = sd_bus_path_encode(UNITS, id, &path);
        return r < 0 ? r : sd_bus_reply_method_return(m, "o", path);
}

static int on_list(sd_bus_message *m) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        _cleanup_strv_free_ char **states = NULL, **patterns = NULL;
        _cleanup_free_ char *all = text_format("%s/*", getenv("FAKE_UNITS"));
        glob_t found = {};
        int r;

        r = sd_bus_message_read_strv(m, &states);
        if (r >= 0)
                r = sd_bus_message_read_strv(m, &patterns);
        if (r >= 0)
                r = sd_bus_message_new_method_return(m, &reply);
        if (r >= 0)
                r = sd_bus_message_open_container(reply, 'a', "(ssssssouso)");
        (void) glob(all, 0, NULL, &found);
        for (size_t i = 0; r >= 0 && i < found.gl_pathc; i++) {
                const char *name = strrchr(found.gl_pathv[i], '/') + 1;

                if (fnmatch(patterns[0], name, 0) == 0)
                        r = sd_bus_message_append(reply, "(ssssssouso)", name, "", "", "", "", "", "/", 0, "", "/");
        }
        globfree(&found);
        if (r >= 0)
                r = sd_bus_message_close_container(reply);
        return r < 0 ? r : sd_bus_send(NULL, reply, NULL);
}

/* The settings of a transient unit, as text: its commands, and of others the name and, of some, the value. */
static int log_setting(sd_bus_message *m) {
        const char *name, *contents, *word;
        _cleanup_free_ char *line = NULL;
        uint64_t number;
        int r;

        r = sd_bus_message_read(m, "s", &name);
        if (r >= 0)
                r = sd_bus_message_peek_type(m, NULL, &contents);
        if (r < 0)
                return r;
        if (streq(contents, "s") && sd_bus_message_read(m, "v", "s", &word) >= 0)
                line = text_format("trial %s=%s", name, word);
        else if (streq(contents, "t") && sd_bus_message_read(m, "v", "t", &number) >= 0)
                line = text_format("trial %s=%llx", name, (unsigned long long) number);
        else if (streq(contents, "a(sasas)")) {
                r = sd_bus_message_enter_container(m, 'v', contents);
                if (r >= 0)
                        r = sd_bus_message_enter_container(m, 'a', "(sasas)");
                while (r >= 0 && (r = sd_bus_message_enter_container(m, 'r', "sasas")) > 0) {
                        _cleanup_strv_free_ char **arguments = NULL, **flags = NULL;
                        _cleanup_free_ char *text = strdup("trial");

                        (void) sd_bus_message_read(m, "s", &word);
                        (void) sd_bus_message_read_strv(m, &arguments);
                        (void) sd_bus_message_read_strv(m, &flags);
                        for (char **a = arguments; *a; a++) {
                                _cleanup_free_ char *before = text;

                                text = text_format("%s %s", before, *a);
                        }
                        write_log(text);
                        r = sd_bus_message_exit_container(m);
                }
                line = text_format("trial %s", name);
                if (r >= 0)
                        r = sd_bus_message_exit_container(m);
                if (r >= 0)
                        r = sd_bus_message_exit_container(m);
        } else {
                line = text_format("trial %s", name);
                r = sd_bus_message_skip(m, "v");
        }
        write_log(line);
        return r;
}

static int end_trial(sd_bus *bus, const char *unit) {
        _cleanup_free_ char *instructions = text_format("%s/trial", getenv("FAKE_UNITS")), *path = text_format("%s/%s", getenv("FAKE_UNITS"), unit);
        _cleanup_fclose_ FILE *f = fopen(instructions, "re"), *state = NULL;
        int code = 0, status = 0;

        if (f && fscanf(f, "%d %d", &code, &status) == 2 && (state = fopen(path, "we")))
                fprintf(state, "ExecMainCode=%d\nExecMainStatus=%d\n", code, status);
        return sd_bus_emit_signal(bus, "/org/freedesktop/systemd1", MANAGER, "JobRemoved", "uoss", 1, "/job", unit, f ? "failed" : "done");
}

static int on_start(sd_bus_message *m) {
        const char *name, *mode;
        int r;

        r = sd_bus_message_read(m, "ss", &name, &mode);
        if (r >= 0)
                r = sd_bus_message_enter_container(m, 'a', "(sv)");
        while (r >= 0 && (r = sd_bus_message_enter_container(m, 'r', "sv")) > 0) {
                r = log_setting(m);
                if (r >= 0)
                        r = sd_bus_message_exit_container(m);
        }
        if (r >= 0)
                r = sd_bus_reply_method_return(m, "o", "/job");
        return r < 0 ? r : end_trial(sd_bus_message_get_bus(m), name);
}

static int on_reset(sd_bus_message *m) {
        _cleanup_free_ char *path = NULL;
        const char *name;

        if (sd_bus_message_read(m, "s", &name) >= 0)
                path = text_format("%s/%s", getenv("FAKE_UNITS"), name);
        if (path)
                (void) unlink(path);
        return sd_bus_reply_method_return(m, NULL);
}

static int on_manager(sd_bus_message *m) {
        const char *member = sd_bus_message_get_member(m);

        if (streq(member, "LoadUnit"))
                return on_load_unit(m);
        if (streq(member, "ListUnitsByPatterns"))
                return on_list(m);
        if (streq(member, "StartTransientUnit"))
                return on_start(m);
        if (streq(member, "ResetFailedUnit"))
                return on_reset(m);
        if (streq(member, "Reload"))
                write_log("reload");
        return sd_bus_reply_method_return(m, NULL);
}

static int on_message(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        int r;

        (void) userdata;
        (void) error;
        if (sd_bus_message_is_method_call(m, "org.freedesktop.DBus.Properties", "Get"))
                r = on_get(m, false);
        else if (sd_bus_message_is_method_call(m, "org.freedesktop.DBus.Properties", "GetAll"))
                r = on_get(m, true);
        else if (sd_bus_message_is_method_call(m, MANAGER, NULL))
                r = on_manager(m);
        else
                return 0;
        return r < 0 ? sd_bus_reply_method_errnof(m, EIO, "test: %s", strerror(-r)) : 1;
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
