/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdio.h>

#include "common/file.h"
#include "common/hashmap.h"
#include "common/text.h"
#include "daemon/source/namespaces.h"

typedef struct Visits {
        const char *kind;
        NamespaceVisitor visit;
        void *userdata;
        Hashmap *seen;
        char **links; /* what 'seen' borrows */
        size_t n_links;
        bool later, incomplete;
} Visits;

static int note_seen(Visits *v, const char *link) {
        int r;

        r = strv_append(&v->links, &v->n_links, link);
        return r < 0 ? r : hashmap_put(v->seen, v->links[v->n_links - 1], v->links[v->n_links - 1]);
}

static int visit_process(const Sysroot *s, int pid, bool last, Visits *v) {
        const char *path = PATH("%d/ns/%s", pid, v->kind);
        _cleanup_free_ char *link = NULL;
        int r;

        r = sysroot_peek_link(s, AREA_PROC, path, &link);
        if (r < 0) {
                v->incomplete |= !error_is_gone(r);
                return r == -ENOMEM ? r : 0;
        }
        if (hashmap_get(v->seen, link))
                return 0;
        r = v->visit(s, pid, last, v->userdata);
        if (r < 0)
                return r;
        v->later |= r == VISIT_LATER;
        if (r != VISIT_DONE)
                return 0;
        sysroot_record_link(s, AREA_PROC, path, link);
        return note_seen(v, link);
}

static int visit_all(const Sysroot *s, Visits *v) {
        _cleanup_free_ int *pids = NULL;
        size_t n;
        int r;

        r = sysroot_list_numbers(s, AREA_PROC, ".", &pids, &n);
        for (int last = 0; last <= 1 && (!last || v->later); last++)
                for (size_t i = 0; r >= 0 && i < n; i++)
                        r = visit_process(s, pids[i], last, v);
        return r;
}

int namespaces_visit(const Sysroot *s, const char *kind, NamespaceVisitor visit, void *userdata, bool *ret_incomplete) {
        _cleanup_(hashmap_freep) Hashmap *seen = hashmap_new();
        Visits v = { .kind = kind, .visit = visit, .userdata = userdata, .seen = seen };
        _cleanup_free_ char *own = NULL;
        int r;

        if (!seen)
                return -ENOMEM;
        r = sysroot_readlink(s, AREA_PROC, PATH("1/ns/%s", kind), &own);
        if (r < 0)
                r = sysroot_readlink(s, AREA_PROC, PATH("self/ns/%s", kind), &own);
        if (r == -ENOMEM)
                return r;
        if (r < 0) {
                *ret_incomplete = true;
                return 0;
        }
        r = note_seen(&v, own);
        if (r >= 0)
                r = visit_all(s, &v);
        strv_free(v.links);
        *ret_incomplete = v.incomplete;
        return r;
}
