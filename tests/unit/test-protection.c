/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What groups are given, judged by what the kernel makes of it: page_counter_calculate_protection() and effective_protection() of
 * mm/page_counter.c (Linux 6.12), written down again. */
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "daemon/policy/protection.h"
#include "tests/unit/tap.h"

#define MIB (UINT64_C(1) << 20)
#define MOST (UINT64_C(1) << 40)
#define GRANULE (UINT64_C(1) << 16)
#define MAX_GROUPS 40U

/* ---- the kernel ---- */

typedef struct Kernel {
        size_t n;
        bool recursive;
        size_t parent[MAX_GROUPS];
        uint64_t usage[MAX_GROUPS], setting[MAX_GROUPS], effective[MAX_GROUPS];
} Kernel;

static uint64_t children_protected(const Kernel *k, size_t parent) {
        uint64_t sum = 0;

        for (size_t i = 0; i < k->n; i++)
                if (k->parent[i] == parent)
                        sum += MIN(k->usage[i], k->setting[i]);
        return sum;
}

static uint64_t effective_protection(uint64_t usage, uint64_t parent_usage, uint64_t setting, uint64_t parent_effective,
                                     uint64_t siblings_protected, bool recursive) {
        uint64_t protected = MIN(usage, setting), ep;

        if (siblings_protected > parent_effective)
                return protected * parent_effective / siblings_protected;
        ep = protected;
        if (!recursive)
                return ep;
        if (parent_effective > siblings_protected && parent_usage > siblings_protected && usage > protected) {
                uint64_t unclaimed = parent_effective - siblings_protected;

                unclaimed *= usage - protected;
                unclaimed /= parent_usage - siblings_protected;
                ep += unclaimed;
        }
        return ep;
}

/* Parents come before their children here. */
static void calculate(Kernel *k) {
        for (size_t i = 0; i < k->n; i++) {
                const size_t p = k->parent[i];

                k->effective[i] = k->usage[i] == 0 ? 0
                        : p == PROTECTION_TOP ? k->setting[i]
                        : effective_protection(k->usage[i], k->usage[p], k->setting[i], k->effective[p], children_protected(k, p), k->recursive);
        }
}

/* What reclaim leaves to it. */
static uint64_t kept(const Kernel *k, size_t i) {
        return MIN(k->effective[i], k->usage[i]);
}

/* ---- examples ---- */

#define SLICE(p, o, l, u) { .parent = (p), .own = (o) * MIB, .limit = (l), .used = (u) * MIB, .carries = true }
#define UNIT(p, o, u, w) { .parent = (p), .own = (o) * MIB, .limit = UINT64_MAX, .used = (u) * MIB, .wished = (w) > 0, .wish = (w) * MIB }

static void allot(ProtectedGroup *groups, size_t n, bool recursive) {
        CHECK(protection_allot(groups, n, recursive, MOST, GRANULE) == 0);
}

static void a_slice_carries_what_is_below(void) {
        ProtectedGroup g[] = { SLICE(PROTECTION_TOP, 0, UINT64_MAX, 0), UNIT(0, 0, 100, 120), UNIT(0, 0, 10, 20), UNIT(0, 30, 50, 0) };

        for (unsigned recursive = 0; recursive < 2; recursive++) {
                allot(g, ELEMENTSOF(g), recursive);
                CHECK(g[1].value == 120 * MIB && g[2].value == 20 * MIB && g[3].value == 30 * MIB);
                CHECK(g[0].value == 170 * MIB && g[1].bound == PROTECTION_TOP);
        }
}

/* What the administrator gave to all in the slice stays theirs. */
static void a_slice_with_a_reservation_of_its_own(void) {
        ProtectedGroup g[] = { SLICE(PROTECTION_TOP, 400, UINT64_MAX, 0), UNIT(0, 0, 400, 516), UNIT(0, 0, 600, 0) };

        allot(g, ELEMENTSOF(g), true);
        CHECK(g[0].value == 916 * MIB);
        allot(g, ELEMENTSOF(g), false);
        CHECK(g[0].value == 516 * MIB);
        g[1].wish = 100 * MIB;
        allot(g, ELEMENTSOF(g), true);
        CHECK(g[0].value == 500 * MIB);
        allot(g, ELEMENTSOF(g), false); /* it was not shared: it is enough */
        CHECK(g[0].value == 400 * MIB);
}

/* Where the box is full, reclaim finds something that is not protected. */
static void a_limit_above(void) {
        ProtectedGroup g[] = { SLICE(PROTECTION_TOP, 0, 512 * MIB, 480), UNIT(0, 0, 400, 516), UNIT(0, 0, 80, 0) };

        allot(g, ELEMENTSOF(g), true);
        CHECK(g[1].value <= (448 - 80) * MIB && g[1].value > (448 - 81) * MIB && g[1].bound == 0);
        CHECK(g[0].value == g[1].value);
        g[2].wished = true;
        g[2].wish = 172 * MIB;
        allot(g, ELEMENTSOF(g), true);
        CHECK(g[1].value <= 336 * MIB && g[1].value >= 335 * MIB && g[2].value <= 112 * MIB && g[2].value >= 111 * MIB); /* by the same share */
        g[2].fixed = true;
        allot(g, ELEMENTSOF(g), true);
        CHECK(g[2].value == 172 * MIB && g[1].value <= 276 * MIB && g[1].value >= 275 * MIB);
}

static void limits_in_limits(void) {
        ProtectedGroup g[] = {
                SLICE(PROTECTION_TOP, 0, 800 * MIB, 0), SLICE(0, 0, 400 * MIB, 0), UNIT(1, 0, 300, 500), UNIT(0, 0, 500, 700), UNIT(PROTECTION_TOP, 0, 100, 100),
        };

        g[0].used = 800 * MIB;
        g[1].used = 300 * MIB;
        allot(g, ELEMENTSOF(g), true);
        CHECK(g[2].value <= 350 * MIB && g[2].value + g[3].value <= 700 * MIB && g[0].value == g[1].value + g[3].value);
        CHECK(g[4].value == 100 * MIB && g[4].bound == PROTECTION_TOP);
}

/* Its own limit is nobody else's; nor does more than half of the machine help anybody. */
static void its_own_limit_and_the_machines(void) {
        ProtectedGroup g[] = { UNIT(PROTECTION_TOP, 0, 400, 516), UNIT(PROTECTION_TOP, 0, 400, 516) };

        g[0].limit = 300 * MIB;
        allot(g, ELEMENTSOF(g), true);
        CHECK(g[0].value == 300 * MIB && g[0].bound == 0 && g[1].value == 516 * MIB);
        g[0].limit = UINT64_MAX;
        CHECK(protection_allot(g, ELEMENTSOF(g), true, 516 * MIB, GRANULE) == 0);
        CHECK(g[0].value == 258 * MIB && g[1].value == 258 * MIB);
        g[0].fixed = true;
        g[0].wish = 416 * MIB;
        CHECK(protection_allot(g, ELEMENTSOF(g), true, 516 * MIB, GRANULE) == 0);
        CHECK(g[0].value == 416 * MIB && g[1].value == 258 * MIB);
        g[0].wish = 116 * MIB;
        CHECK(protection_allot(g, ELEMENTSOF(g), true, 516 * MIB, GRANULE) == 0);
        CHECK(g[0].value == 116 * MIB && g[1].value <= 400 * MIB && g[1].value > 399 * MIB);
        g[0].wish = UINT64_MAX; /* "infinity" */
        CHECK(protection_allot(g, ELEMENTSOF(g), true, 516 * MIB, GRANULE) == 0);
        CHECK(g[0].value == UINT64_MAX && g[1].value == 258 * MIB);
}

static void numbers_that_are_large(void) {
        ProtectedGroup g[] = { SLICE(PROTECTION_TOP, 0, UINT64_MAX - 1, 0), UNIT(0, 0, 1, 1), UNIT(0, 0, 1, 1), UNIT(0, 0, 1, 0) };

        g[1].wish = g[2].wish = g[3].own = UINT64_MAX;
        allot(g, ELEMENTSOF(g), true);
        CHECK(g[1].value <= MOST / 2 && g[1].value > 0 && g[2].value <= MOST / 2 && g[0].value == MOST);
        allot(g, 0, true);
}

/* ---- any tree ---- */

static uint64_t chance(uint64_t n) {
        return ((uint64_t) rand() << 20 ^ (uint64_t) rand()) % n;
}

typedef struct Forest {
        ProtectedGroup groups[MAX_GROUPS];
        Kernel before, after;
} Forest;

static void forest_make(Forest *f, bool recursive) {
        const size_t n = 2 + chance(MAX_GROUPS - 2);

        *f = (Forest) { .before = { .n = n, .recursive = recursive } };
        for (size_t i = 0; i < n; i++) {
                ProtectedGroup *g = &f->groups[i];
                size_t parent = i == 0 || chance(4) == 0 ? PROTECTION_TOP : chance(i);

                /* Nobody is in a group that has groups below it (cgroup-v2.rst, "No Internal Process Constraint"). */
                if (parent != PROTECTION_TOP && f->groups[parent].wished)
                        parent = f->groups[parent].parent;
                *g = (ProtectedGroup) { .parent = parent, .limit = UINT64_MAX, .carries = true };
                if (chance(3) == 0)
                        g->own = chance(300) * MIB;
                if (i > 0 && chance(3) == 0) {
                        g->wished = true;
                        g->carries = false;
                        g->wish = (1 + chance(600)) * MIB;
                        g->fixed = chance(10) == 0;
                        if (g->fixed)
                                g->wish = MAX(g->wish, g->own);
                }
                f->before.parent[i] = parent;
        }
        for (size_t i = n; i-- > 0;) {
                ProtectedGroup *g = &f->groups[i];
                bool leaf = f->before.usage[i] == 0;

                if (leaf) {
                        f->before.usage[i] = chance(500) * MIB;
                        g->used = chance(f->before.usage[i] + 1);
                }
                if (chance(5) == 0)
                        g->limit = f->before.usage[i] + chance(200) * MIB;
                if (g->parent != PROTECTION_TOP) {
                        f->before.usage[g->parent] += f->before.usage[i];
                        f->groups[g->parent].used += g->used;
                }
                f->before.setting[i] = g->own;
        }
        CHECK(protection_allot(f->groups, n, recursive, MOST, GRANULE) == 0);
        f->after = f->before;
        for (size_t i = 0; i < n; i++)
                f->after.setting[i] = f->groups[i].value;
        calculate(&f->before);
        calculate(&f->after);
}

static bool is_leaf(const Forest *f, size_t group) {
        for (size_t i = 0; i < f->before.n; i++)
                if (f->groups[i].parent == group)
                        return false;
        return true;
}

/* A product of two amounts does not fit into 64 bits, so the kernel counts pages; we count 64 KiB. It rounds down at each level. */
#define SLACK 64U

static void check_forest(const Forest *f) {
        for (size_t i = 0; i < f->before.n; i++) {
                const ProtectedGroup *g = &f->groups[i];
                uint64_t wished = 0, fixed = 0, others = g->used;

                /* Everyone gets what was promised, */
                if (g->wished)
                        CHECK(kept(&f->after, i) + SLACK >= MIN(f->after.usage[i], g->value));
                /* nobody less than before, */
                if (is_leaf(f, i) && !g->fixed)
                        CHECK(kept(&f->after, i) + SLACK >= kept(&f->before, i));
                CHECK(g->fixed || g->value >= g->own);
                if (g->limit == UINT64_MAX || g->wished)
                        continue;
                /* and what the group cannot do without has room beside what is protected in it. */
                for (size_t k = 0; k < f->before.n; k++)
                        for (size_t p = f->groups[k].parent; p != PROTECTION_TOP; p = f->groups[p].parent)
                                if (p == i && f->groups[k].wished) {
                                        *(f->groups[k].fixed || f->groups[k].value == f->groups[k].own ? &fixed : &wished) += f->groups[k].value;
                                        others -= MIN(others, f->groups[k].used);
                                }
                CHECK(wished == 0 || fixed + others >= g->limit - g->limit / 8 || wished + others <= g->limit);
        }
}

static void to_units(Forest *f) {
        for (size_t i = 0; i < f->before.n; i++)
                for (unsigned j = 0; j < 2; j++) {
                        Kernel *k = j == 0 ? &f->before : &f->after;

                        k->usage[i] /= GRANULE;
                        k->setting[i] /= GRANULE;
                }
}

static void any_tree(void) {
        for (unsigned seed = 1; seed <= 20000; seed++) {
                Forest f;

                srand(seed);
                forest_make(&f, seed % 2);
                to_units(&f);
                calculate(&f.before);
                calculate(&f.after);
                for (size_t i = 0; i < f.before.n; i++) {
                        f.groups[i].value /= GRANULE;
                        f.groups[i].own /= GRANULE;
                        f.groups[i].used /= GRANULE;
                        if (f.groups[i].limit != UINT64_MAX)
                                f.groups[i].limit /= GRANULE;
                }
                check_forest(&f);
        }
}

TEST_MAIN(TEST(a_slice_carries_what_is_below), TEST(a_slice_with_a_reservation_of_its_own), TEST(a_limit_above), TEST(limits_in_limits),
          TEST(its_own_limit_and_the_machines), TEST(numbers_that_are_large), TEST(any_tree))
