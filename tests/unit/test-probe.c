/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "common/text.h"
#include "daemon/source/probe.h"
#include "tests/unit/tap.h"

#define Q "dm 253:0 7"

static void take(ProbeCache *c, size_t expected) {
        _cleanup_strv_free_ char **questions = NULL;
        size_t n = 0;

        CHECK(probe_cache_take_wanted(c, PROBE_QUICK, &questions) == 0);
        for (char **q = questions; q && *q; q++)
                n++;
        CHECK(n == expected);
}

static void asked_once(void) {
        ProbeCache c;
        bool hung = true;

        CHECK(probe_cache_init(&c) == 0);
        CHECK(!probe_cache_get(&c, Q, &hung) && !hung);
        take(&c, 1);
        take(&c, 0);
        CHECK(probe_cache_answer(&c, Q, "linear 8:0") == 0);
        CHECK(streq_ptr(probe_cache_get(&c, Q, &hung), "linear 8:0") && !hung);
        take(&c, 0);
        probe_cache_done(&c);
}

static void hung(void) {
        ProbeCache c;
        bool hangs = false;

        CHECK(probe_cache_init(&c) == 0);
        (void) probe_cache_get(&c, Q, NULL);
        take(&c, 1);
        CHECK(probe_cache_answer(&c, Q, NULL) == 0);
        CHECK(!probe_cache_get(&c, Q, &hangs) && hangs);
        take(&c, 0);
        /* While it is asked again it still counts as hung. */
        CHECK(probe_cache_has_hung(&c) && probe_cache_want_hung(&c) && !probe_cache_want_hung(&c));
        take(&c, 1);
        CHECK(!probe_cache_get(&c, Q, &hangs) && hangs);
        CHECK(probe_cache_answer(&c, Q, "linear 8:0") == 0);
        CHECK(probe_cache_get(&c, Q, &hangs) && !hangs && !probe_cache_has_hung(&c));
        probe_cache_forget(&c, "dm 253:0 ");
        CHECK(!probe_cache_get(&c, Q, &hangs) && !hangs);
        take(&c, 1);
        probe_cache_done(&c);
}

/* The device changed while the question was under way: the answer may be about what was before. */
static void late_answer(void) {
        ProbeCache c;

        CHECK(probe_cache_init(&c) == 0);
        (void) probe_cache_get(&c, Q, NULL);
        take(&c, 1);
        probe_cache_forget(&c, "dm 253:0 ");
        (void) probe_cache_get(&c, Q, NULL);
        CHECK(probe_cache_answer(&c, Q, "linear 8:0") == 0);
        CHECK(!probe_cache_get(&c, Q, NULL));
        take(&c, 1);
        probe_cache_done(&c);
}

static void unwanted_ones_expire(void) {
        ProbeCache c;

        CHECK(probe_cache_init(&c) == 0);
        for (int i = 0; i < 40; i++) {
                char q[32];

                sprintf(q, "loop 7:%d 1", i);
                (void) probe_cache_get(&c, q, NULL);
        }
        probe_cache_begin(&c);
        (void) probe_cache_get(&c, "loop 7:3 1", NULL);
        probe_cache_expire(&c);
        take(&c, 1);
        probe_cache_done(&c);
}

TEST_MAIN(TEST(asked_once), TEST(hung), TEST(late_answer), TEST(unwanted_ones_expire))
