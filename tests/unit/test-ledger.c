/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/actuator/ledger.h"
#include "tests/unit/fake-root.h"

#define BOOT "boot 1234\n"

static FakeRoot machine(const char *content) {
        FakeRoot f = fake_root_make();

        fake_file(&f, "proc/sys/kernel/random/boot_id", "1234\n");
        if (content)
                fake_file(&f, "run/stackd/ledger", content);
        return f;
}

static Ledger open_ledger(const FakeRoot *f, bool own, unsigned expected_skipped) {
        Ledger l = LEDGER_NULL;
        unsigned skipped = 99;

        CHECK(ledger_open(&l, f->root, own, &skipped) == 0);
        CHECK(skipped == expected_skipped);
        return l;
}

static void round_trip(void) {
        _cleanup_fake_root_ FakeRoot f = machine(NULL);
        Ledger l = open_ledger(&f, true, 0);

        CHECK(l.n == 0);
        CHECK(ledger_add(&l, ACTION_IO_FLUSHER, 10, 1000000000000, "none") == 0);
        CHECK(ledger_add(&l, ACTION_IO_FLUSHER, 11, 3, "partial") == 0);
        /* What was found first is the original. */
        CHECK(ledger_add(&l, ACTION_IO_FLUSHER, 11, 3, "all") == 0);
        CHECK(ledger_add(&l, ACTION_IO_FLUSHER, 12, 4, "none") == 0);
        CHECK(ledger_remove(&l, ACTION_IO_FLUSHER, 12, 5) == 0 && l.n == 3);
        CHECK(ledger_remove(&l, ACTION_IO_FLUSHER, 12, 4) == 0 && l.n == 2);
        ledger_done(&l);
        l = open_ledger(&f, true, 0);
        CHECK(l.n == 2 && l.records[0].pid == 10 && l.records[0].start == 1000000000000 && streq(l.records[0].from, "none"));
        CHECK(l.records[1].pid == 11 && l.records[1].start == 3 && streq(l.records[1].from, "partial"));
        ledger_done(&l);
}

static void damaged_lines(void) {
        _cleanup_fake_root_ FakeRoot f = machine(BOOT "io-flusher 10 3 none\nio-flusher 0 3 none\nio-flusher 10\nother 1 2 3\n"
                                                 "io-flusher -1 3 none\nio-flusher 11 x none\n\nheld\nio-flusher 12 4 none\n");
        Ledger l = open_ledger(&f, false, 6);

        CHECK(l.n == 2 && l.records[0].pid == 10 && l.records[1].pid == 12);
        ledger_done(&l);
}

static void another_boot(void) {
        static const char *const contents[] = { "boot 5678\nio-flusher 10 3 none\nheld *\n", "io-flusher 10 3 none\n", "", "boot 12345\nheld *\n" };

        for (size_t i = 0; i < ELEMENTSOF(contents); i++) {
                _cleanup_fake_root_ FakeRoot f = machine(contents[i]);
                Ledger l = open_ledger(&f, false, 0);

                CHECK(l.n == 0 && !l.all_held && !l.held);
                ledger_done(&l);
        }
}

static void one_writer(void) {
        _cleanup_fake_root_ FakeRoot f = machine(NULL);
        Ledger first = open_ledger(&f, true, 0), second = LEDGER_NULL;
        unsigned skipped;

        CHECK(ledger_open(&second, f.root, true, &skipped) == -EBUSY);
        CHECK(second.lock_fd < 0 && second.dir_fd < 0);
        second = open_ledger(&f, false, 0); /* who only reads is let in */
        ledger_done(&second);
        ledger_done(&first);
        second = open_ledger(&f, true, 0);
        ledger_done(&second);
}

static bool is_held(const Ledger *l, const char *id) {
        return l->all_held != strv_contains(l->held, id);
}

static void hold(void) {
        char a[] = "process:1:1", b[] = "process:2:2", layer[] = "file:8:1:/x\nio-flusher 7 7 none";
        char *both[] = { a, b, NULL }, *only_a[] = { a, NULL }, *layers[] = { layer, NULL };
        _cleanup_fake_root_ FakeRoot f = machine(NULL);
        Ledger l = open_ledger(&f, true, 0);

        CHECK(ledger_hold(&l, both, true) == 0 && ledger_hold(&l, only_a, true) == 0);
        CHECK(is_held(&l, a) && is_held(&l, b) && l.n_held == 2);
        CHECK(ledger_hold(&l, only_a, false) == 0);
        CHECK(!is_held(&l, a) && is_held(&l, b));
        CHECK(ledger_hold(&l, NULL, true) == 0);
        CHECK(is_held(&l, a) && is_held(&l, b));
        CHECK(ledger_hold(&l, only_a, false) == 0 && ledger_hold(&l, layers, false) == 0);
        ledger_done(&l);
        l = open_ledger(&f, true, 0);
        CHECK(!is_held(&l, a) && is_held(&l, b) && is_held(&l, "process:3:3") && l.n == 0);
        CHECK(ledger_hold(&l, only_a, true) == 0);
        CHECK(is_held(&l, a) && l.n_held == 0);
        CHECK(ledger_hold(&l, NULL, false) == 0);
        CHECK(!is_held(&l, a) && !is_held(&l, b));
        ledger_done(&l);
}

/* On failure all is as before. */
static void a_full_disk(void) {
        char a[] = "process:1:1", *ids[] = { a, NULL };
        _cleanup_fake_root_ FakeRoot f = machine(NULL);
        Ledger l = open_ledger(&f, true, 0);

        CHECK(ledger_add(&l, ACTION_IO_FLUSHER, 10, 3, "none") == 0);
        CHECK(mkdir(PATH("%s/run/stackd/ledger.new", f.path), 0755) == 0);
        CHECK(ledger_add(&l, ACTION_IO_FLUSHER, 11, 3, "none") < 0 && l.n == 1);
        CHECK(ledger_remove(&l, ACTION_IO_FLUSHER, 10, 3) < 0 && l.n == 1 && l.records[0].pid == 10);
        CHECK(ledger_hold(&l, ids, true) < 0 && !is_held(&l, a));
        CHECK(ledger_hold(&l, NULL, true) < 0 && !is_held(&l, a));
        ledger_done(&l);
}

TEST_MAIN(TEST(round_trip), TEST(damaged_lines), TEST(another_boot), TEST(one_writer), TEST(hold), TEST(a_full_disk))
