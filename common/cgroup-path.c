/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "common/cgroup-path.h"
#include "common/text.h"

int cgroup_path_of(const char *text, char **ret) {
        const char *best = NULL;
        size_t n = 0;
        char *path;

        /* "NUMBER:CONTROLLERS:PATH". Users name directories of their own cgroups as they like: what looks like
         * the other fields within the path is the path. */
        for (const char *line = text; *line; line += *line == '\n') {
                const char *unified = startswith(line, "0::"), *named = line + strspn(line, "0123456789");
                size_t length = strcspn(line, "\n");

                named = startswith(named, ":name=systemd:");
                if (unified || named) {
                        best = named ?: unified;
                        n = line + length - best;
                }
                if (named)
                        break; /* hybrid: here the units are */
                line += length;
        }
        if (!best)
                return -ENOENT;
        path = strndup(best, n);
        if (!path)
                return -ENOMEM;
        *ret = path;
        return 0;
}

bool cgroup_name_is_unit(const char *name) {
        static const char *const types[] = { ".service", ".scope", ".mount", ".swap", ".socket" };

        for (size_t i = 0; i < ELEMENTSOF(types); i++)
                if (endswith(name, types[i]) && strlen(name) > strlen(types[i]))
                        return true;
        return false;
}

/* Components are visited from the top; slices are passed, the first that is no slice decides. A user's
 * manager is itself a service: what lies in it counts as the user's unit below. */
int cgroup_path_to_unit(const char *path, char **ret) {
        _cleanup_free_ char *copy = strdup(path), *unit = NULL;
        char *state = NULL;

        if (!copy)
                return -ENOMEM;
        for (char *c = strtok_r(copy, "/", &state); c; c = strtok_r(NULL, "/", &state)) {
                /* The kernel reserves some names: systemd puts '_' before a unit that has one. */
                const char *name = c[0] == '_' ? c + 1 : c;

                if (endswith(name, ".slice"))
                        continue;
                if (!cgroup_name_is_unit(name))
                        break;
                free(unit);
                unit = strdup(name);
                if (!unit)
                        return -ENOMEM;
                if (!startswith(name, "user@"))
                        break;
        }
        if (!unit)
                return -ENOENT;
        *ret = TAKE_PTR(unit);
        return 0;
}

bool cgroup_path_is_system_service(const char *path) {
        _cleanup_free_ char *unit = NULL;

        if (path_is_below(path, "/user.slice") || path_is_below(path, "/machine.slice"))
                return false;
        return cgroup_path_to_unit(path, &unit) >= 0 && (endswith(unit, ".service") || endswith(unit, ".mount"));
}
