/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Services as systemd knows them, for adopt and release. */

#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-bus.h>

#include "common/cleanup.h"

#define SYSTEMD "org.freedesktop.systemd1"
#define SYSTEMD_PATH "/org/freedesktop/systemd1"
#define SYSTEMD_MANAGER SYSTEMD ".Manager"
#define SYSTEMD_SERVICE SYSTEMD ".Service"

typedef enum CommandKind {
        EXEC_CONDITION,
        EXEC_START_PRE,
        EXEC_START,
        EXEC_START_POST,
        EXEC_RELOAD,
        EXEC_RELOAD_POST,
        EXEC_STOP,
        EXEC_STOP_POST,
        _COMMAND_MAX,
} CommandKind;

/* As systemd has understood it. */
typedef struct Command {
        char *path;
        char **arguments, **flags;
} Command;

typedef struct CommandList {
        char **lines; /* the values as they are written */
        Command *commands;
        size_t n_lines, n_commands;
} CommandList;

/* System calls that stackd-run makes, beside those that every program makes. */
typedef enum NeededCall {
        CALL_PRCTL,
        CALL_CAPGET,
        CALL_CAPSET,
        _CALL_MAX,
} NeededCall;

typedef struct ServiceUnit {
        char *name;        /* the canonical one */
        char *path;        /* on the bus */
        char **fragments;  /* its file, then its drop-ins but ours, in their order */
        char **drop_ins;   /* all of them, ours too */
        size_t n_fragments;
        CommandList commands[_COMMAND_MAX];
        char *user, *preference, *apparmor, *selinux, *root_directory, *root_image;
        bool dynamic_user, private_users, no_exec_paths;
        bool forbidden[_CALL_MAX]; /* by SystemCallFilter= */
        uint64_t bounding, ambient; /* capabilities */
        uint64_t memory_min;
        int32_t oom_score_adjust, secure_bits;
} ServiceUnit;

void service_unit_done(ServiceUnit *u);

/* "ExecStart" and its kin, and the names of the calls. */
const char *command_key(CommandKind kind);
const char *needed_call_name(NeededCall call);
bool command_has_flag(const Command *c, const char *flag);

/* "foo" or "foo.service" becomes the latter; complains about what is no name of a service. */
int service_unit_name(const char *what, char **ret);

/* What systemd calls it: another name if this is an alias. -ENOMEM, or 0; where systemd cannot say, it is the same. */
int service_unit_canonical(sd_bus *bus, const char *name, char **ret);

/* Loads it. 'own' is the path of our drop-in, which does not count. Complains. */
int service_unit_load(sd_bus *bus, const char *name, const char *own, ServiceUnit *ret);

/* Complains. */
int service_units_reload(sd_bus *bus);

/* A property of any unit; -ENOENT without a unit file, or another error, in silence. */
int unit_get_texts(sd_bus *bus, const char *name, const char *property, char ***ret);
int unit_get_text(sd_bus *bus, const char *name, const char *property, char **ret);
