/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdlib.h>

#include "common/cleanup.h"
#include "daemon/policy/protection.h"

/* What the groups below one come to. */
typedef struct Sums {
        uint64_t wishes, fixed; /* of all below it, and its own */
        uint64_t protected;     /* used by those with a wish */
        uint64_t children;      /* what its children will have */
        uint64_t added;         /* of that, more than they have without us */
        uint64_t factor;        /* of wishes below it that are not fixed, in parts of WHOLE */
        size_t bound;           /* the group whose limit gave it that */
} Sums;

#define WHOLE (UINT64_C(1) << 20)

static uint64_t add(uint64_t a, uint64_t b) {
        return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

static uint64_t subtract(uint64_t a, uint64_t b) {
        return a > b ? a - b : 0;
}

/* a * factor / WHOLE, rounded down: without a product that does not fit. */
static uint64_t scale(uint64_t a, uint64_t factor) {
        return a / WHOLE * factor + a % WHOLE * factor / WHOLE;
}

/* room / wishes in parts of WHOLE, rounded down; at most WHOLE. */
static uint64_t share(uint64_t room, uint64_t wishes) {
        if (room >= wishes)
                return WHOLE;
        while (room > UINT64_MAX / WHOLE) {
                room /= 2;
                wishes = wishes / 2 + 1;
        }
        return room * WHOLE / wishes;
}

/* Somebody may have asked for any number, and the kernel protects no more than is used: half of the room stays for the others. */
static uint64_t room_beside(uint64_t room, uint64_t fixed) {
        return MAX(subtract(room, fixed), room / 2);
}

/* Parents before their children. */
static int sort_groups(const ProtectedGroup *groups, size_t n, size_t **ret) {
        _cleanup_free_ size_t *order = calloc(n + 1, sizeof(size_t)), *level = calloc(n + 1, sizeof(size_t)), *start = calloc(n + 2, sizeof(size_t));

        if (!order || !level || !start)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++) {
                for (size_t p = groups[i].parent; p != PROTECTION_TOP; p = groups[p].parent)
                        level[i]++;
                start[level[i] + 1]++;
        }
        for (size_t i = 0; i < n; i++)
                start[i + 1] += start[i];
        for (size_t i = 0; i < n; i++)
                order[start[level[i]]++] = i;
        *ret = TAKE_PTR(order);
        return 0;
}

/* What may be wished below a group with a limit: an eighth of it and what its other processes need stay free. */
static uint64_t room_below(const ProtectedGroup *g, const Sums *s) {
        return g->wished || g->limit == UINT64_MAX ? UINT64_MAX : subtract(g->limit - g->limit / 8, subtract(g->used, s->protected));
}

/* A group that is alone with its limit may have all of it. */
static uint64_t own_wish(const ProtectedGroup *g, uint64_t most) {
        return MIN(g->wish, MIN(g->limit, most));
}

/* From the leaves up: what is wished below each. A wish within a wish is part of it. */
static void sum_wishes(const ProtectedGroup *groups, const size_t *order, size_t n, uint64_t most, Sums *sums) {
        for (size_t i = n; i-- > 0;) {
                const ProtectedGroup *g = &groups[order[i]];
                Sums *s = &sums[order[i]];

                if (g->wished) {
                        s->wishes = g->fixed ? 0 : MAX(own_wish(g, most), s->wishes);
                        s->fixed = g->fixed ? MAX(g->wish, s->fixed) : s->fixed;
                        s->protected = MAX(g->used, s->protected);
                }
                if (g->parent == PROTECTION_TOP)
                        continue;
                sums[g->parent].wishes = add(sums[g->parent].wishes, s->wishes);
                sums[g->parent].fixed = add(sums[g->parent].fixed, s->fixed);
                sums[g->parent].protected = add(sums[g->parent].protected, s->protected);
        }
}

/* From the top down: by how much they get smaller. */
static void scale_wishes(ProtectedGroup *groups, const size_t *order, size_t n, uint64_t most, uint64_t granularity, Sums *sums) {
        uint64_t wishes = 0, fixed = 0, all;

        for (size_t i = 0; i < n; i++)
                if (groups[i].parent == PROTECTION_TOP) {
                        wishes = add(wishes, sums[i].wishes);
                        fixed = add(fixed, sums[i].fixed);
                }
        all = share(room_beside(most, fixed), wishes);
        for (size_t i = 0; i < n; i++) {
                ProtectedGroup *g = &groups[order[i]];
                Sums *s = &sums[order[i]], *above = g->parent != PROTECTION_TOP ? &sums[g->parent] : NULL;
                uint64_t own = share(room_beside(room_below(g, s), s->fixed), s->wishes);

                s->factor = above ? above->factor : all;
                s->bound = above ? above->bound : PROTECTION_TOP;
                if (own < s->factor) {
                        s->factor = own;
                        s->bound = order[i];
                }
                g->bound = PROTECTION_TOP;
                g->value = g->own;
                if (!g->wished)
                        continue;
                if (g->fixed)
                        g->value = g->wish;
                else {
                        g->value = MAX(g->own, scale(own_wish(g, most), s->factor) / granularity * granularity);
                        g->bound = s->factor < WHOLE ? s->bound : own_wish(g, most) < MIN(g->wish, most) ? order[i] : PROTECTION_TOP;
                }
        }
}

/* From the leaves up: who carries what. */
static void carry(ProtectedGroup *groups, const size_t *order, size_t n, bool recursive, uint64_t most, Sums *sums) {
        for (size_t i = n; i-- > 0;) {
                ProtectedGroup *g = &groups[order[i]];
                Sums *s = &sums[order[i]];

                /* With all memory reserved nothing could be reclaimed: more than the machine can give is shared by the kernel. */
                if (g->carries && !g->wished && (s->wishes > 0 || s->fixed > 0))
                        g->value = MAX(recursive ? add(g->own, MIN(s->added, most)) : g->own, MIN(s->children, most));
                if (g->parent == PROTECTION_TOP)
                        continue;
                sums[g->parent].children = add(sums[g->parent].children, g->value);
                sums[g->parent].added = add(sums[g->parent].added, subtract(g->value, g->own));
        }
}

int protection_allot(ProtectedGroup *groups, size_t n, bool recursive, uint64_t most, uint64_t granularity) {
        _cleanup_free_ Sums *sums = calloc(n + 1, sizeof(Sums));
        _cleanup_free_ size_t *order = NULL;
        int r;

        if (!sums)
                return -ENOMEM;
        r = sort_groups(groups, n, &order);
        if (r < 0)
                return r;
        sum_wishes(groups, order, n, most, sums);
        scale_wishes(groups, order, n, most, granularity, sums);
        carry(groups, order, n, recursive, most, sums);
        return 0;
}
