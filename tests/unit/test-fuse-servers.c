/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>

#include "common/text.h"
#include "daemon/source/fuse-servers.h"
#include "daemon/source/probe.h"
#include "tests/unit/tap.h"

static void test_answer_round_trip(void) {
        static const char answer[] = "3404:1234567890123:2147483647:7340038 1:18:4:47 3404:1234567890123:5:0";
        static const char sorted[] = "1:18:4:47 3404:1234567890123:5:0 3404:1234567890123:2147483647:7340038";
        _cleanup_(fuse_servers_done) FuseServers l = {};
        _cleanup_free_ char *text = NULL;
        const FuseServer *s;

        CHECK(fuse_servers_parse(answer, &l) == 0 && l.n == 3);
        s = fuse_servers_find(&l, 3404, 1234567890123, 2147483647);
        CHECK(s && s->connection == 7340038);
        s = fuse_servers_find(&l, 3404, 1234567890123, 5);
        CHECK(s && s->connection == 0);
        CHECK(!fuse_servers_find(&l, 3404, 1234567890122, 5));
        CHECK(!fuse_servers_find(&l, 3404, 1234567890123, 4));
        CHECK(!fuse_servers_find(&l, 3403, 1234567890123, 5));
        text = fuse_servers_format(&l);
        CHECK(text && streq(text, sorted));
}

static void test_nobody_is_an_answer(void) {
        _cleanup_(fuse_servers_done) FuseServers l = {};
        _cleanup_free_ char *text = fuse_servers_format(&l);

        CHECK(text && streq(text, ""));
        CHECK(fuse_servers_parse("", &l) == 0 && l.n == 0);
}

static void test_no_answer(void) {
        static const char *const wrong[] = {
                "!95", "1", "1:2:3", "1:2:3:", ":2:3:4", "1:2:3:4:5", "0:2:3:4", "-1:2:3:4", "1:2:-3:4", "1:2:2147483648:4",
                "1:2:3:4 !95", "1:2:3:99999999999999999999",
        };

        for (size_t i = 0; i < ELEMENTSOF(wrong); i++) {
                FuseServers l = {};

                CHECK(fuse_servers_parse(wrong[i], &l) == -EINVAL && !l.servers && l.n == 0);
        }
}

static void check_same(bool same, const ProcessTable *a, const uint64_t *x, size_t n, const ProcessTable *b, const uint64_t *y, size_t k) {
        _cleanup_free_ char *one = fuse_servers_question(a, x, n), *two = fuse_servers_question(b, y, k);

        CHECK(one && two && streq(one, two) == same);
}

/* Whatever may change the answer makes another question, and nothing else does. */
static void test_question(void) {
        static char fuse[] = "fuse", uio[] = "uio0";
        static const Holder holder = { .pid = 100, .start = 5000, .fd = 3, .device = fuse, .fuse_connection = -1 };
        Holder one[] = { holder }, two[] = { holder, holder };
        ProcessTable a = { .holders = one, .n = 1 }, b = { .holders = two, .n = 1 };
        uint64_t x[] = { 47, 48 }, y[] = { 47, 49 };

        check_same(true, &a, x, 2, &b, x, 2);
        check_same(false, &a, x, 2, &b, y, 2);
        check_same(false, &a, x, 2, &b, x, 1);
        b.n = 2;
        two[1].fd = 4;
        check_same(false, &a, x, 2, &b, x, 2);
        two[1].device = uio;
        check_same(true, &a, x, 2, &b, x, 2);
        b.n = 1;
        two[0].pid++;
        check_same(false, &a, x, 2, &b, x, 2);
        two[0] = holder;
        two[0].start++;
        check_same(false, &a, x, 2, &b, x, 2);
        two[0] = holder;
        two[0].fd++;
        check_same(false, &a, x, 2, &b, x, 2);
        /* A connection more and a holder less is no accident that could cancel out. */
        b.n = 0;
        check_same(false, &a, x, 1, &b, x, 2);
}

/* What is quick never waits for the slow one. */
static void test_slow_question_is_asked_apart(void) {
        char **questions = NULL;
        ProbeCache c;

        CHECK(probe_cache_init(&c) == 0);
        CHECK(!probe_cache_get(&c, "fuse-servers 0123456789abcdef", NULL));
        CHECK(!probe_cache_get(&c, "loop 7:0 1", NULL));
        CHECK(probe_cache_take_wanted(&c, PROBE_QUICK, &questions) == 0);
        CHECK(questions && streq(questions[0], "loop 7:0 1") && !questions[1]);
        strv_free(questions);
        CHECK(probe_cache_take_wanted(&c, PROBE_QUICK, &questions) == 0 && !questions);
        CHECK(probe_cache_take_wanted(&c, PROBE_SLOW, &questions) == 0);
        CHECK(questions && streq(questions[0], "fuse-servers 0123456789abcdef") && !questions[1]);
        strv_free(questions);
        CHECK(probe_cache_take_wanted(&c, PROBE_SLOW, &questions) == 0 && !questions);
        probe_cache_done(&c);
}

TEST_MAIN(
        TEST(test_answer_round_trip),
        TEST(test_nobody_is_an_answer),
        TEST(test_no_answer),
        TEST(test_question),
        TEST(test_slow_question_is_asked_apart))
