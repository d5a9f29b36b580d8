/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The layers of an overlay exist only as texts in its mount options, as they were given when it was mounted:
 * relative to a directory that nobody knows any more, renamed since, of another namespace. What can be
 * followed through the mount table is inferred, the rest is said to be unknown.
 *
 * The texts are taken from the raw line of mountinfo: a comma within a name is only there told from one
 * between options (Documentation/filesystems/overlayfs.rst, fs/overlayfs/params.c). */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/text.h"
#include "daemon/source/scan.h"

static int add_layer(Scan *s, FactSet *f, const char *id, const Mount *overlay, const char *path, bool *unknown) {
        const Mount *m = path[0] == '/' ? mount_table_resolve(&s->mounts, overlay->space, path) : NULL;
        _cleanup_free_ char *lower = NULL;

        if (!m || m->device == overlay->device) {
                *unknown = true;
                return 0;
        }
        lower = filesystem_id(m->device);
        return lower ? factset_add_edge(f, id, lower, ROLE_BACKING, CERTAINTY_INFERRED, 0, "/proc/1/mountinfo: overlay options")
                     : -ENOMEM;
}

/* "A:B::C" with '\' before a ':', ',' or '\' that is part of a name; "::" begins the data-only layers. */
static int add_layers(Scan *s, FactSet *f, const char *id, const Mount *overlay, const char *list, bool *unknown) {
        _cleanup_free_ char *name = malloc(strlen(list) + 1);
        size_t n = 0;
        int r;

        if (!name)
                return -ENOMEM;
        for (const char *p = list;; p++) {
                if (*p == '\\' && p[1]) {
                        name[n++] = *++p;
                        continue;
                }
                if (*p && *p != ':') {
                        name[n++] = *p;
                        continue;
                }
                name[n] = 0;
                if (n > 0) {
                        r = add_layer(s, f, id, overlay, name, unknown);
                        if (r < 0)
                                return r;
                }
                n = 0;
                if (!*p)
                        return 0;
        }
}

int overlay_add_layers(Scan *s, FactSet *f, const char *id, const Mount *m, bool *ret_unknown) {
        _cleanup_free_ char *options = strdup(m->raw_options ?: m->options);
        bool unknown = false;
        char *state = NULL;
        int r;

        if (!options)
                return -ENOMEM;
        for (char *o = strtok_r(options, ",", &state); o; o = strtok_r(NULL, ",", &state)) {
                char *list = startswith(o, "lowerdir=");
                char *one = startswith(o, "lowerdir+=") ?: startswith(o, "datadir+=") ?: startswith(o, "upperdir=") ?: startswith(o, "workdir=");

                if (!list && !one)
                        continue;
                text_unescape_octal(list ?: one);
                r = list ? add_layers(s, f, id, m, list, &unknown) : add_layer(s, f, id, m, one, &unknown);
                if (r < 0)
                        return r;
        }
        *ret_unknown = unknown;
        return 0;
}
