/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Services as systemd knows them, for adopt and release. */

#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-bus.h>

#include "common/cleanup.h"

typedef struct ServiceUnit {
        char *name;
        char **fragments; /* its file, then its drop-ins but ours, in their order */
        char **commands;  /* values of ExecStart= as they are written */
        size_t n_fragments, n_commands;
        char *user, *preference;
        bool dynamic_user, private_users;
        uint64_t bounding, ambient; /* capabilities */
        uint64_t memory_min;
        int32_t oom_score_adjust;
} ServiceUnit;

void service_unit_done(ServiceUnit *u);

/* "foo" or "foo.service" becomes the latter; complains about what is no service of its own. */
int service_unit_name(const char *what, char **ret);

/* Loads it. 'own' is the path of our drop-in, which does not count. Complains. */
int service_unit_load(sd_bus *bus, const char *name, const char *own, ServiceUnit *ret);

int service_units_reload(sd_bus *bus);

/* A property of any unit; -ENOENT without a unit file, or another error, in silence. */
int unit_get_texts(sd_bus *bus, const char *name, const char *property, char ***ret);
int unit_get_text(sd_bus *bus, const char *name, const char *property, char **ret);
