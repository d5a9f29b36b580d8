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

typedef struct Layers {
        Scan *s;
        FactSet *f;
        const char *id;
        const Mount *overlay;
        dev_t last; /* of hundreds of layers most are in one file system */
        bool unknown;
} Layers;

static int add_layer(Layers *l, const char *path) {
        const Mount *m = path[0] == '/' ? mount_table_resolve(&l->s->mounts, l->overlay->space, path) : NULL;
        _cleanup_free_ char *lower = NULL;

        if (!m || m->device == l->overlay->device) {
                l->unknown = true;
                return 0;
        }
        if (m->device == l->last)
                return 0;
        l->last = m->device;
        lower = filesystem_id(m->device);
        return lower ? factset_add_edge(l->f, l->id, lower, ROLE_BACKING, CERTAINTY_INFERRED, 0, "/proc/1/mountinfo: overlay options")
                     : -ENOMEM;
}

/* Up to the given character, with '\\' before one that is part of a name. Returns where it ended. */
static const char *take_name(const char *p, char end, char *name) {
        for (; *p && *p != end; p++) {
                if (*p == '\\' && p[1])
                        p++;
                *name++ = *p;
        }
        *name = 0;
        return p;
}

/* "A:B::C"; "::" begins the data-only layers. With 'end' 0 it is one name. */
static int add_layers(Layers *l, const char *list, char end) {
        _cleanup_free_ char *name = malloc(strlen(list) + 1);
        int r = 0;

        if (!name)
                return -ENOMEM;
        for (const char *p = list; r >= 0; p++) {
                p = take_name(p, end, name);
                if (name[0])
                        r = add_layer(l, name);
                if (!*p)
                        break;
        }
        return r;
}

/* Names that are given one by one to fsconfig(2) are as they are; all others were escaped for mount(2). */
static int add_option(Layers *l, char *option) {
        char *list = startswith(option, "lowerdir=");
        char *plain = startswith(option, "lowerdir+=") ?: startswith(option, "datadir+=");
        char *escaped = startswith(option, "upperdir=") ?: startswith(option, "workdir=");

        if (!list && !plain && !escaped)
                return 0;
        text_unescape_octal(option);
        return plain ? add_layer(l, plain) : add_layers(l, list ?: escaped, list ? ':' : 0);
}

int overlay_add_layers(Scan *s, FactSet *f, const char *id, const Mount *m, bool *ret_unknown) {
        _cleanup_free_ char *options = strdup(m->raw_options ?: m->options);
        Layers l = { .s = s, .f = f, .id = id, .overlay = m };
        char *state = NULL;
        int r = 0;

        if (!options)
                return -ENOMEM;
        for (char *o = strtok_r(options, ",", &state); r >= 0 && o; o = strtok_r(NULL, ",", &state))
                r = add_option(&l, o);
        *ret_unknown = l.unknown;
        return r;
}
