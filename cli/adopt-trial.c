/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What keeps a program from being started, or from making its system calls, is for systemd and the kernel to say: an
 * adopted service that does not start any more would be found at the next boot. */

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cli/adopt-trial.h"
#include "cli/complain.h"
#include "common/text.h"

#define TRIAL_SECONDS 60U
#define SAID_MAX 400

/* Whatever makes or removes something (StateDirectory= and the like, PAMName=, credentials) is left out. */
static const char *const copied[] = {
        "User", "Group", "SupplementaryGroups", "DynamicUser", "SecureBits", "NoNewPrivileges", "UMask",
        "SystemCallFilter", "SystemCallArchitectures", "RestrictAddressFamilies", "RestrictNamespaces",
        "MemoryDenyWriteExecute", "RestrictRealtime", "RestrictSUIDSGID", "LockPersonality", "ProtectHostname",
        "RootDirectory", "RootImage", "RootImageOptions", "RootHash", "RootVerity", "MountAPIVFS", "MountImages",
        "ExtensionImages", "ExtensionDirectories", "BindPaths", "BindReadOnlyPaths", "TemporaryFileSystem",
        "ReadWritePaths", "ReadOnlyPaths", "InaccessiblePaths", "ExecPaths", "NoExecPaths", "MountFlags",
        "ProtectSystem", "ProtectHome", "ProtectProc", "ProcSubset", "ProtectClock", "ProtectKernelTunables",
        "ProtectKernelModules", "ProtectKernelLogs", "ProtectControlGroups",
        "PrivateTmp", "PrivateDevices", "PrivateNetwork", "PrivateIPC", "PrivateMounts", "UserNamespacePath",
};

typedef struct Trial {
        char *unit, *job;
        char *result; /* once it has ended */
        int said;     /* what it wrote to standard error */
} Trial;

static void trial_done(Trial *t) {
        free(t->unit);
        free(t->job);
        free(t->result);
        if (t->said >= 0)
                close(t->said);
}

/* ---- the unit ---- */

static bool is_copied(const char *name) {
        for (size_t i = 0; i < ELEMENTSOF(copied); i++)
                if (streq(copied[i], name))
                        return true;
        return false;
}

/* To set an empty list is to reset it, and others with it: an empty BindReadOnlyPaths= resets BindPaths=. */
static int is_empty_list(sd_bus *bus, const ServiceUnit *u, const char *name, const char *type) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        int r;

        if (*type != 'a')
                return 0;
        r = sd_bus_get_property(bus, SYSTEMD, u->path, SYSTEMD_SERVICE, name, NULL, &reply, type);
        if (r >= 0)
                r = sd_bus_message_enter_container(reply, 'a', type + 1);
        return r < 0 ? r : sd_bus_message_at_end(reply, false);
}

static int copy_setting(sd_bus *bus, const ServiceUnit *u, const char *name, sd_bus_message *from, sd_bus_message *m) {
        const char *type = NULL;
        int r;

        r = is_copied(name) ? sd_bus_message_peek_type(from, NULL, &type) : 0;
        if (r > 0)
                r = is_empty_list(bus, u, name, type);
        if (r < 0)
                return r;
        if (!type || r > 0)
                return sd_bus_message_skip(from, "v");
        r = sd_bus_message_open_container(m, 'r', "sv");
        if (r >= 0)
                r = sd_bus_message_append(m, "s", name);
        if (r >= 0)
                r = sd_bus_message_copy(m, from, false);
        return r < 0 ? r : sd_bus_message_close_container(m);
}

static int copy_settings(sd_bus *bus, const ServiceUnit *u, sd_bus_message *m) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        const char *name;
        int r;

        r = sd_bus_call_method(bus, SYSTEMD, u->path, "org.freedesktop.DBus.Properties", "GetAll", NULL, &reply, "s", SYSTEMD_SERVICE);
        if (r >= 0)
                r = sd_bus_message_enter_container(reply, 'a', "{sv}");
        while (r >= 0 && (r = sd_bus_message_enter_container(reply, 'e', "sv")) > 0) {
                r = sd_bus_message_read(reply, "s", &name);
                if (r >= 0)
                        r = copy_setting(bus, u, name, reply, m);
                if (r >= 0)
                        r = sd_bus_message_exit_container(reply);
        }
        return r;
}

static int add_settings(const ServiceUnit *u, const AdoptPlan *p, sd_bus_message *m) {
        int r;

        r = sd_bus_message_append(m, "(sv)(sv)", "CapabilityBoundingSet", "t", u->bounding | p->bounding, "AmbientCapabilities", "t",
                                  u->ambient | p->ambient);
        for (NeededCall i = 0; r >= 0 && i < _CALL_MAX; i++)
                if (p->calls[i])
                        r = sd_bus_message_append(m, "(sv)", "SystemCallFilter", "(bas)", 1, 1, needed_call_name(i));
        if (r >= 0 && p->exec_path)
                r = sd_bus_message_append(m, "(sv)", "ExecPaths", "as", 1, STACKD_RUN_PATH);
        return r;
}

/* The command is stackd-run once more, which is where it must be in any case. */
static int add_command(const Command *c, char **words, sd_bus_message *m) {
        _cleanup_strv_free_ char **arguments = NULL, **flags = NULL;
        const char *const rest[] = { "--", words[0], "--self-test" };
        size_t n = 0, n_flags = 0;
        int r = 0;

        for (char **w = words; *w && r >= 0; w++)
                if (!streq(*w, "--try"))
                        r = strv_append(&arguments, &n, *w);
        for (size_t i = 0; r >= 0 && i < ELEMENTSOF(rest); i++)
                r = strv_append(&arguments, &n, rest[i]);
        for (char **f = c->flags; r >= 0 && f && *f; f++)
                if (!streq(*f, "ignore-failure"))
                        r = strv_append(&flags, &n_flags, *f);
        if (r >= 0)
                r = sd_bus_message_open_container(m, 'r', "sasas");
        if (r >= 0)
                r = sd_bus_message_append(m, "s", words[0]);
        if (r >= 0)
                r = sd_bus_message_append_strv(m, arguments);
        if (r >= 0)
                r = sd_bus_message_append_strv(m, flags);
        return r < 0 ? r : sd_bus_message_close_container(m);
}

static int add_commands(const ServiceUnit *u, const AdoptPlan *p, sd_bus_message *m) {
        int r;

        r = sd_bus_message_open_container(m, 'r', "sv");
        if (r >= 0)
                r = sd_bus_message_append(m, "s", "ExecStartEx");
        if (r >= 0)
                r = sd_bus_message_open_container(m, 'v', "a(sasas)");
        if (r >= 0)
                r = sd_bus_message_open_container(m, 'a', "(sasas)");
        for (CommandKind k = 0; k < _COMMAND_MAX; k++)
                for (size_t i = 0; r >= 0 && i < u->commands[k].n_commands; i++) {
                        _cleanup_strv_free_ char **words = NULL;

                        r = adopt_plan_words(p, k, u->commands[k].commands + i, &words);
                        if (r >= 0 && words)
                                r = add_command(u->commands[k].commands + i, words, m);
                }
        for (int i = 0; r >= 0 && i < 3; i++)
                r = sd_bus_message_close_container(m);
        return r;
}

static int compose(sd_bus *bus, const ServiceUnit *u, const AdoptPlan *p, const Trial *t, sd_bus_message **ret) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        int r;

        r = sd_bus_message_new_method_call(bus, &m, SYSTEMD, SYSTEMD_PATH, SYSTEMD_MANAGER, "StartTransientUnit");
        if (r >= 0)
                r = sd_bus_message_append(m, "ss", t->unit, "fail");
        if (r >= 0)
                r = sd_bus_message_open_container(m, 'a', "(sv)");
        if (r >= 0)
                r = sd_bus_message_append(m, "(sv)(sv)(sv)(sv)(sv)", "Description", "s", "Trial of stackctl adopt", "Type", "s", "oneshot",
                                          "TimeoutStartUSec", "t", UINT64_C(30000000), "StandardOutput", "s", "null",
                                          "StandardErrorFileDescriptor", "h", t->said);
        if (r >= 0)
                r = copy_settings(bus, u, m);
        if (r >= 0)
                r = add_settings(u, p, m);
        if (r >= 0)
                r = add_commands(u, p, m);
        if (r >= 0)
                r = sd_bus_message_close_container(m);
        if (r >= 0)
                r = sd_bus_message_append(m, "a(sa(sv))", 0);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(m);
        return 0;
}

/* ---- its run ---- */

static int on_job_removed(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        const char *job, *unit, *result;
        Trial *t = userdata;
        uint32_t id;

        (void) error;
        if (sd_bus_message_read(m, "uoss", &id, &job, &unit, &result) >= 0 && !t->result && streq(unit, t->unit))
                t->result = strdup(result);
        return 0;
}

static int wait_for_end(sd_bus *bus, Trial *t) {
        time_t end = time(NULL) + TRIAL_SECONDS;
        int r = 0;

        while (r >= 0 && !t->result) {
                r = sd_bus_process(bus, NULL);
                if (r == 0)
                        r = time(NULL) >= end ? -ETIMEDOUT : sd_bus_wait(bus, UINT64_C(1000000));
        }
        return r;
}

static int start(sd_bus *bus, const ServiceUnit *u, const AdoptPlan *p, Trial *t) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *call = NULL, *reply = NULL;
        _cleanup_(sd_bus_slot_unrefp) sd_bus_slot *slot = NULL;
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        int r;

        r = sd_bus_match_signal(bus, &slot, SYSTEMD, SYSTEMD_PATH, SYSTEMD_MANAGER, "JobRemoved", on_job_removed, t);
        if (r >= 0)
                r = sd_bus_call_method(bus, SYSTEMD, SYSTEMD_PATH, SYSTEMD_MANAGER, "Subscribe", NULL, NULL, NULL);
        if (r >= 0)
                r = compose(bus, u, p, t, &call);
        if (r < 0)
                return complain("Cannot try whether '%s' would start: %s. Nothing was changed.", u->name, strerror(-r));
        r = sd_bus_call(bus, call, 0, &error, &reply);
        if (r >= 0)
                r = wait_for_end(bus, t);
        return r < 0 ? complain("Cannot try whether '%s' would start: %s. Nothing was changed.", u->name, error.message ?: strerror(-r)) : 0;
}

/* ---- why it failed ---- */

static char *read_said(const Trial *t) {
        char *text = calloc(1, SAID_MAX + 1);
        ssize_t n = text ? pread(t->said, text, SAID_MAX, 0) : -1;

        if (text)
                text[n < 0 ? 0 : strcspn(text, "\n")] = 0;
        return text;
}

static char *describe_status(const ServiceUnit *u, int code, int status) {
        if (code != CLD_EXITED)
                return text_format("it was killed by signal %d (%s)%s", status, strsignal(status),
                                   status == SIGSYS ? ": SystemCallFilter= forbids a call that it makes" : "");
        if (status == 203 && (*u->root_directory || *u->root_image))
                return text_format("it cannot be executed within %s=%s. Give the service BindReadOnlyPaths=" STACKD_RUN_PATH,
                                   *u->root_image ? "RootImage" : "RootDirectory", *u->root_image ? u->root_image : u->root_directory);
        if (status == 203)
                return text_format("it cannot be executed (203/EXEC), because a setting such as InaccessiblePaths=, TemporaryFileSystem= or NoExecPaths= "
                                   "hides or forbids it, or because it is not installed");
        if (status == 226)
                return text_format("systemd cannot set up the service's mount namespace now (226/NAMESPACE); a path of its settings may be missing");
        return text_format("exit status %d", status);
}

static int complain_of_failure(sd_bus *bus, const ServiceUnit *u, const Trial *t) {
        _cleanup_free_ char *path = NULL, *said = read_said(t), *why = NULL;
        int code = 0, status = 0;

        if (sd_bus_path_encode("/org/freedesktop/systemd1/unit", t->unit, &path) < 0 || !said)
                return -ENOMEM;
        (void) sd_bus_get_property_trivial(bus, SYSTEMD, path, SYSTEMD_SERVICE, "ExecMainCode", NULL, 'i', &code);
        (void) sd_bus_get_property_trivial(bus, SYSTEMD, path, SYSTEMD_SERVICE, "ExecMainStatus", NULL, 'i', &status);
        (void) sd_bus_call_method(bus, SYSTEMD, SYSTEMD_PATH, SYSTEMD_MANAGER, "ResetFailedUnit", NULL, NULL, "s", t->unit);
        why = code ? describe_status(u, code, status) : text_format("result '%s'", t->result);
        if (!why)
                return -ENOMEM;
        return complain("'%s' cannot be adopted: with its settings " STACKD_RUN_PATH " does not start: %s%s%s%s. See 'journalctl --unit=%s'. "
                        "Nothing was changed.", u->name, why, *said ? " (" : "", said, *said ? ")" : "", t->unit);
}

int adopt_trial(sd_bus *bus, const ServiceUnit *u, const AdoptPlan *p) {
        _cleanup_(trial_done) Trial t = { .unit = text_format("stackctl-adopt-%d.service", getpid()), .said = memfd_create("trial", MFD_CLOEXEC) };
        int r;

        if (!t.unit)
                return -ENOMEM;
        if (t.said < 0)
                return -errno;
        r = start(bus, u, p, &t);
        if (r < 0)
                return r;
        return streq(t.result, "done") ? 0 : complain_of_failure(bus, u, &t);
}
