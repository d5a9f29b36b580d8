/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>

#include "common/hashmap.h"
#include "common/text.h"
#include "tests/unit/tap.h"

#define KEYS 500

/* Random operations beside a plain array of flags. */
static void test_random(void) {
        _cleanup_(hashmap_freep) Hashmap *h = hashmap_new();
        static char keys[KEYS][8];
        bool present[KEYS] = {};
        size_t count = 0;

        CHECK(h);
        srandom(1);
        for (int i = 0; i < KEYS; i++)
                sprintf(keys[i], "k%d", i);
        for (int round = 0; round < 200000; round++) {
                int i = random() % KEYS;

                switch (random() % 3) {
                case 0:
                        CHECK(hashmap_put(h, keys[i], keys[i]) == (present[i] ? -EEXIST : 0));
                        count += !present[i];
                        present[i] = true;
                        break;
                case 1:
                        CHECK(hashmap_remove(h, keys[i]) == (present[i] ? keys[i] : NULL));
                        count -= present[i];
                        present[i] = false;
                        break;
                default:
                        CHECK(hashmap_get(h, keys[i]) == (present[i] ? keys[i] : NULL));
                }
                CHECK(hashmap_size(h) == count);
        }
}

static void test_iteration_sees_each_once(void) {
        _cleanup_(hashmap_freep) Hashmap *h = hashmap_new();
        static char keys[KEYS][8];
        int seen[KEYS] = {};
        size_t position = 0, n = 0;
        char (*key)[8];

        CHECK(h);
        for (int i = 0; i < KEYS; i++) {
                sprintf(keys[i], "k%d", i);
                CHECK(hashmap_put(h, keys[i], &keys[i]) == 0);
        }
        while ((key = hashmap_next(h, &position))) {
                CHECK(seen[key - keys]++ == 0);
                n++;
        }
        CHECK(n == KEYS);
}

/* What is removed while it is gone through hides none of the others. */
static void test_removal_on_the_way(void) {
        for (unsigned seed = 1; seed < 200; seed++) {
                _cleanup_(hashmap_freep) Hashmap *h = hashmap_new();
                bool seen[64] = {}, removed[64] = {};
                size_t position = 0, n = 0;
                char keys[64][8];
                bool *value;

                srand(seed);
                for (int i = 0; i < 64; i++) {
                        snprintf(keys[i], sizeof(keys[i]), "%d", i);
                        CHECK(hashmap_put(h, keys[i], &seen[i]) >= 0);
                }
                while ((value = hashmap_next(h, &position))) {
                        size_t i = value - seen;

                        CHECK(!removed[i]);
                        seen[i] = true;
                        if (rand() % 2 == 0)
                                continue;
                        CHECK(hashmap_remove(h, keys[i]) == value);
                        removed[i] = true;
                        position--;
                }
                for (int i = 0; i < 64; i++) {
                        CHECK(seen[i] && !!hashmap_get(h, keys[i]) == !removed[i]);
                        n += !removed[i];
                }
                CHECK(hashmap_size(h) == n);
        }
}

TEST_MAIN(TEST(test_random), TEST(test_iteration_sees_each_once), TEST(test_removal_on_the_way))
