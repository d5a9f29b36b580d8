/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdio.h>

#include "common/hashmap.h"
#include "common/text.h"
#include "daemon/source/namespaces.h"
#include "daemon/source/visibility.h"

/* A copy of the mount table of a machine with thousands of mounts has some hundred KiB. */
#define FOREIGN_MOST (4U << 20)
#define FOREIGN_TOTAL (32U << 20)
#define FOREIGN_COST 8192U /* of one with nothing in it: it is watched, which takes a descriptor or two */

typedef struct Visits {
        const char *kind;
        NamespaceVisitor visit;
        void *userdata;
        Hashmap *seen;
        char **links; /* what 'seen' borrows */
        size_t n_links;
        char *user; /* pid 1's user namespace; NULL where that is not known, and nothing is foreign */
        size_t foreign_left;
        bool later;
        NamespacesSeen result;
} Visits;

static int note_seen(Visits *v, const char *link) {
        int r;

        r = strv_append(&v->links, &v->n_links, link);
        return r < 0 ? r : hashmap_put(v->seen, v->links[v->n_links - 1], v->links[v->n_links - 1]);
}

static int own_namespace(const Sysroot *s, const char *kind, char **ret) {
        int r = sysroot_readlink(s, AREA_PROC, PATH("1/ns/%s", kind), ret);

        return r < 0 && r != -ENOMEM ? sysroot_readlink(s, AREA_PROC, PATH("self/ns/%s", kind), ret) : r;
}

/* Captures of earlier versions do not tell: there nothing is. */
static bool is_foreign(const Sysroot *s, int pid, const Visits *v) {
        _cleanup_free_ char *user = NULL;

        return v->user && sysroot_readlink(s, AREA_PROC, PATH("%d/ns/user", pid), &user) >= 0 && !streq(user, v->user);
}

static int visit_namespace(const Sysroot *s, int pid, bool last, Visits *v) {
        Namespace n = { .pid = pid, .last = last, .foreign = is_foreign(s, pid, v), .most = SIZE_MAX };
        int r;

        if (!n.foreign)
                return v->visit(s, &n, v->userdata);
        if (v->foreign_left == 0) {
                v->result.gaps |= GAP_NAMESPACE_LIMIT;
                return VISIT_DONE;
        }
        n.most = MIN(v->foreign_left, FOREIGN_MOST);
        r = v->visit(s, &n, v->userdata);
        v->foreign_left -= MIN(v->foreign_left, r == VISIT_DONE ? MAX(n.read, FOREIGN_COST) : n.read);
        if (r != -EFBIG)
                return r;
        v->result.gaps |= GAP_NAMESPACE_LIMIT;
        return VISIT_DONE;
}

static int visit_process(const Sysroot *s, int pid, bool last, Visits *v) {
        const char *path = PATH("%d/ns/%s", pid, v->kind);
        _cleanup_free_ char *link = NULL;
        int r;

        r = sysroot_peek_link(s, AREA_PROC, path, &link);
        if (r < 0) {
                v->result.gaps |= gap_of_error(process_error(s, pid, r));
                return r == -ENOMEM ? r : 0;
        }
        if (hashmap_get(v->seen, link))
                return 0;
        r = visit_namespace(s, pid, last, v);
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

int namespaces_visit(const Sysroot *s, const char *kind, NamespaceVisitor visit, void *userdata, NamespacesSeen *ret) {
        _cleanup_(hashmap_freep) Hashmap *seen = hashmap_new();
        Visits v = { .kind = kind, .visit = visit, .userdata = userdata, .seen = seen, .foreign_left = FOREIGN_TOTAL };
        _cleanup_free_ char *own = NULL, *user = NULL;
        int r;

        if (!seen)
                return -ENOMEM;
        *ret = (NamespacesSeen) {};
        r = own_namespace(s, kind, &own);
        if (r < 0) {
                ret->gaps = gap_of_error(r) ?: GAP_NO_NAMESPACES; /* none is visited */
                return r == -ENOMEM ? r : 0;
        }
        r = own_namespace(s, "user", &user);
        if (r == -ENOMEM)
                return r;
        v.user = user;
        r = note_seen(&v, own);
        if (r >= 0)
                r = visit_all(s, &v);
        strv_free(v.links);
        *ret = v.result;
        return r;
}
