/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "common/cgroup-path.h"
#include "common/text.h"
#include "daemon/policy/reservation.h"

#define MIB (UINT64_C(1) << 20)
#define PER_LEVEL (16 * MIB)

uint64_t reservation_size(uint64_t used, unsigned depth, uint64_t cap) {
        uint64_t size = used + used / 4 * depth + PER_LEVEL * depth;

        size = (size + MIB - 1) / MIB * MIB;
        return MIN(size, cap / RESERVATION_GRANULARITY * RESERVATION_GRANULARITY);
}

/* The way down to the lower bound is shorter than a level of depth, and so less than what a deeper one adds. */
bool reservation_fits(uint64_t present, uint64_t used, unsigned depth, uint64_t cap) {
        uint64_t size = reservation_size(used, depth, cap);

        return present >= size - MIN(size, used / 8 + 2 * MIB) && present <= size + size / 2;
}

/* Why a unit is left alone, or NULL. */
static const char *unit_refusal(const char *name) {
        if (startswith(name, "user@") && endswith(name, ".service"))
                return "it is run by a user's service manager, not by the system's";
        if (startswith(name, "session-") && endswith(name, ".scope"))
                return "it runs in a login session, together with whatever else is done there: start it as a service of the system";
        if (streq(name, "init.scope"))
                return "it is in the control group of the service manager itself";
        return NULL;
}

int unit_of_cgroup(const char *path, char **ret_name, size_t *ret_length, const char **ret_why) {
        const char *p = path;

        while (*p == '/') {
                size_t n = strcspn(p + 1, "/");
                _cleanup_free_ char *name = NULL;
                const char *unit, *why;

                if (n == 0)
                        break;
                name = strndup(p + 1, n);
                if (!name)
                        return -ENOMEM;
                p += n + 1;
                /* The kernel reserves some names: systemd puts '_' before a unit that has one. */
                unit = name[0] == '_' ? name + 1 : name;
                if (endswith(unit, ".slice"))
                        continue;
                if (!cgroup_name_is_unit(unit))
                        break;
                why = unit_refusal(unit);
                if (why) {
                        *ret_why = why;
                        return -ENOENT;
                }
                *ret_name = strdup(unit);
                *ret_length = (size_t) (p - path);
                return *ret_name ? 0 : -ENOMEM;
        }
        *ret_why = "it is in no unit of the system's service manager: start it as a service";
        return -ENOENT;
}

const char *slice_of_cgroup(const char *path) {
        const char *name = strrchr(path, '/');

        return name && endswith(name, ".slice") ? name + 1 : NULL;
}

char *memory_to_string(uint64_t bytes) {
        return bytes == MEMORY_UNLIMITED ? strdup("max") : text_format("%llu", (unsigned long long) bytes);
}

int memory_from_string(const char *s, uint64_t *ret) {
        if (streq(s, "max")) {
                *ret = MEMORY_UNLIMITED;
                return 0;
        }
        return text_to_u64(s, 10, ret);
}
