/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdlib.h>
#include <string.h>

#include "common/array.h"
#include "common/text.h"
#include "daemon/source/elimination.h"

Conclusion elimination_conclude(size_t candidates, size_t things, bool complete) {
        bool unique = complete && candidates == 1 && things == 1;

        return (Conclusion) {
                .certainty = unique ? CERTAINTY_UNIQUE : CERTAINTY_INFERRED,
                .alternative = !unique && candidates <= things,
        };
}

Conclusion elimination_conclude_shared(size_t candidates, size_t things) {
        bool all = candidates == 1 || things == 1;

        return (Conclusion) { .certainty = all ? CERTAINTY_PROVEN : CERTAINTY_INFERRED, .alternative = !all };
}

/* ---- sockets ---- */

typedef struct Member {
        uint64_t key; /* a process */
        const Socket *socket;
        size_t number;
} Member;

static size_t find_root(size_t *parents, size_t i) {
        while (parents[i] != i)
                i = parents[i] = parents[parents[i]];
        return i;
}

static void join(size_t *parents, size_t a, size_t b) {
        a = find_root(parents, a);
        b = find_root(parents, b);
        parents[MAX(a, b)] = MIN(a, b);
}

static int compare_processes(const void *a, const void *b) {
        const Member *x = a, *y = b;

        return (x->key > y->key) - (x->key < y->key);
}

/* Sockets without a name are not of one listener. */
static int compare_listeners(const void *a, const void *b) {
        const Socket *x = ((const Member *) a)->socket, *y = ((const Member *) b)->socket;
        int r;

        if (x->family != y->family)
                return x->family > y->family ? 1 : -1;
        if (x->space != y->space && x->family == SOCKET_TCP)
                return x->space > y->space ? 1 : -1;
        if (x->family == SOCKET_UNIX)
                return strcmp(x->name ?: "", y->name ?: "");
        r = memcmp(x->local.ip, y->local.ip, sizeof(x->local.ip));
        return r != 0 ? r : x->local.port - y->local.port;
}

static void join_equals(Member *members, size_t n, int (*compare)(const void *, const void *), size_t *parents) {
        if (n > 1)
                qsort(members, n, sizeof(Member), compare);
        for (size_t i = 1; i < n; i++)
                if (compare(&members[i - 1], &members[i]) == 0)
                        join(parents, members[i - 1].number, members[i].number);
}

static int join_by_process(const ProcessTable *t, const Socket *const *ends, size_t n, size_t *parents) {
        _cleanup_free_ Member *members = NULL;
        size_t n_members = 0, capacity = 0;

        for (size_t i = 0; i < n; i++) {
                size_t n_owners;
                const OwnedSocket *owners = process_table_owner(t, ends[i]->inode, &n_owners);

                for (size_t k = 0; k < n_owners; k++) {
                        Member m = { .key = (uint64_t) owners[k].pid, .socket = ends[i], .number = i };
                        int r = ARRAY_APPEND(members, n_members, capacity, m);

                        if (r < 0)
                                return r;
                }
        }
        join_equals(members, n_members, compare_processes, parents);
        return 0;
}

static int join_by_listener(const Socket *const *ends, size_t n, size_t *parents) {
        _cleanup_free_ Member *members = calloc(n + 1, sizeof(Member));
        size_t n_members = 0;

        if (!members)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++)
                if (ends[i]->family == SOCKET_TCP || ends[i]->name)
                        members[n_members++] = (Member) { .socket = ends[i], .number = i };
        join_equals(members, n_members, compare_listeners, parents);
        return 0;
}

int elimination_group(
                const ProcessTable *t, const Socket *const *ends, size_t n, bool listeners, size_t **ret_groups, size_t *ret_candidates) {

        _cleanup_free_ size_t *parents = calloc(n + 1, sizeof(size_t));
        size_t candidates = 0;
        int r;

        if (!parents)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++)
                parents[i] = i;
        r = join_by_process(t, ends, n, parents);
        if (r >= 0 && listeners)
                r = join_by_listener(ends, n, parents);
        if (r < 0)
                return r;
        /* A parent is never behind its children. */
        for (size_t i = 0; i < n; i++)
                parents[i] = parents[i] == i ? candidates++ : parents[parents[i]];
        *ret_groups = TAKE_PTR(parents);
        *ret_candidates = candidates;
        return 0;
}

/* ---- owners ---- */

static size_t find_place(const Owners *o, uint64_t key) {
        size_t low = 0, high = o->n;

        while (low < high) {
                size_t middle = low + (high - low) / 2;

                if (o->owners[middle].key < key)
                        low = middle + 1;
                else
                        high = middle;
        }
        return low;
}

int owners_add(Owners *o, uint64_t key, size_t candidates, size_t things) {
        size_t i = find_place(o, key);
        int r;

        if (i == o->n || o->owners[i].key != key) {
                r = array_reserve((void **) &o->owners, &o->capacity, o->n + 1, sizeof(Owner));
                if (r < 0)
                        return r;
                memmove(o->owners + i + 1, o->owners + i, (o->n - i) * sizeof(Owner));
                o->owners[i] = (Owner) { .key = key };
                o->n++;
        }
        o->owners[i].candidates += candidates;
        o->owners[i].things += things;
        return 0;
}

Owner owners_find(const Owners *o, uint64_t key) {
        size_t i = find_place(o, key);

        return i < o->n && o->owners[i].key == key ? o->owners[i] : (Owner) { .key = key };
}

void owners_done(Owners *o) {
        free(o->owners);
        *o = (Owners) {};
}
