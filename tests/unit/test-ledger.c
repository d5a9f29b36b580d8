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

static int put_mark(Ledger *l, pid_t pid, uint64_t start, const char *from) {
        const char *id = PATH("process:%d:%llu", pid, (unsigned long long) start);
        Record record = {
                .kind = ACTION_IO_FLUSHER, .target = (char *) id, .key = (char *) "", .subject = (char *) id, .name = (char *) "server",
                .pid = pid, .start = start, .from = (char *) from, .to = (char *) "all",
        };

        return ledger_put(l, &record);
}

static void round_trip(void) {
        _cleanup_fake_root_ FakeRoot f = machine(NULL);
        Ledger l = open_ledger(&f, true, 0);

        CHECK(l.n == 0);
        CHECK(put_mark(&l, 10, 1000000000000, "none") == 0);
        CHECK(put_mark(&l, 11, 3, "partial") == 0);
        /* What was found first is the original. */
        CHECK(put_mark(&l, 11, 3, "all") == 0);
        CHECK(put_mark(&l, 12, 4, "none") == 0);
        CHECK(ledger_remove(&l, ACTION_IO_FLUSHER, "process:12:5", "") == 0 && l.n == 3);
        CHECK(ledger_remove(&l, ACTION_IO_FLUSHER, "process:12:4", "") == 0 && l.n == 2);
        ledger_done(&l);
        l = open_ledger(&f, true, 0);
        CHECK(l.n == 2 && l.records[0].pid == 10 && l.records[0].start == 1000000000000 && streq(l.records[0].from, "none"));
        CHECK(l.records[1].pid == 11 && l.records[1].start == 3 && streq(l.records[1].from, "partial"));
        ledger_done(&l);
}

/* Every kind of text, also what would end a word or a line. */
static void texts(void) {
        Record record = {
                .kind = ACTION_MEMORY_MIN, .target = (char *) "unit:a\\x2db.service", .key = (char *) "", .subject = (char *) "process:1:2",
                .name = (char *) "two words\n\\", .from = (char *) "0", .to = (char *) "-", .detail = (char *) "\\-",
        };
        _cleanup_fake_root_ FakeRoot f = machine(NULL);
        Ledger l = open_ledger(&f, true, 0);
        const Record *read;

        CHECK(ledger_put(&l, &record) == 0);
        record.kind = ACTION_WRITEBACK_LIMIT;
        record.key = (char *) "max_ratio";
        record.set = (char *) "0.3111%";
        CHECK(ledger_put(&l, &record) == 0 && l.n == 2);
        ledger_done(&l);
        l = open_ledger(&f, true, 0);
        CHECK(l.n == 2);
        RecordView view = ledger_view(&l);
        read = record_find(&view, ACTION_MEMORY_MIN, record.target, "");
        CHECK(read && streq(read->subject, record.subject) && streq(read->name, record.name) && streq(read->from, "0"));
        CHECK(read && streq(read->to, "-") && !read->set && streq(read->detail, "\\-") && read->pid == 0);
        read = record_find(&view, ACTION_WRITEBACK_LIMIT, record.target, "max_ratio");
        CHECK(read && streq_ptr(read->set, "0.3111%"));
        CHECK(!record_find(&view, ACTION_WRITEBACK_LIMIT, record.target, ""));
        ledger_done(&l);
}

/* Set anew: what is restored stays what was found first. */
static void changed_again(void) {
        Record record = {
                .kind = ACTION_SWAP_MAX, .target = (char *) "unit:a.service", .key = (char *) "", .subject = (char *) "process:1:2",
                .name = (char *) "a", .from = (char *) "max", .to = (char *) "0",
        };
        _cleanup_fake_root_ FakeRoot f = machine(NULL);
        Ledger l = open_ledger(&f, true, 0);

        CHECK(ledger_put(&l, &record) == 0 && l.n == 1 && !l.records[0].set);
        record.set = (char *) "0";
        CHECK(ledger_put(&l, &record) == 0 && l.n == 1);
        record.from = (char *) "0";
        record.to = record.set = (char *) "4096";
        record.detail = (char *) "drop-in";
        CHECK(ledger_put(&l, &record) == 0 && l.n == 1);
        ledger_done(&l);
        l = open_ledger(&f, true, 0);
        CHECK(l.n == 1 && streq(l.records[0].from, "max") && streq(l.records[0].to, "4096") && streq(l.records[0].set, "4096"));
        CHECK(!l.records[0].detail);
        ledger_done(&l);
}

/* A version that knew marks only has left it; and it can read what this one leaves of marks. */
static void of_the_first_version(void) {
        _cleanup_fake_root_ FakeRoot f = machine(BOOT "io-flusher 10 3 partial\nheld process:10:3\n");
        Ledger l = open_ledger(&f, true, 0);
        _cleanup_free_ char *text = NULL;

        CHECK(l.n == 1 && streq(l.records[0].target, "process:10:3") && streq(l.records[0].subject, "process:10:3"));
        CHECK(l.records[0].pid == 10 && l.records[0].start == 3 && streq(l.records[0].from, "partial"));
        CHECK(put_mark(&l, 11, 4, "none") == 0);
        CHECK(sysroot_read(f.root, AREA_RUN, "stackd/ledger", &text) == 0);
        CHECK(streq(text, "boot 1234\nio-flusher 10 3 partial\nio-flusher 11 4 none\nheld process:10:3"));
        ledger_done(&l);
}

static void damaged_lines(void) {
        _cleanup_fake_root_ FakeRoot f = machine(BOOT "io-flusher 10 3 none\nio-flusher 0 3 none\nio-flusher 10\nother 1 2 3\n"
                                                 "io-flusher -1 3 none\nio-flusher 11 x none\n\nheld\nio-flusher 12 4 none\n"
                                                 "swap-max unit:a \\- 0 0\nswap-max unit:a \\- \\q 0 0 - - 0 0 a\n"
                                                 "swap-max - - 0 0 0 - - 0 0 a\n");
        Ledger l = open_ledger(&f, false, 9);

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

/* When it was done outlives us; what was written before there were times has none. */
static void times(void) {
        Record mark = {
                .kind = ACTION_IO_FLUSHER, .target = (char *) "process:10:7", .key = (char *) "", .subject = (char *) "process:10:7",
                .name = (char *) "server", .pid = 10, .start = 7, .from = (char *) "none", .to = (char *) "all", .when = 1764055801123456,
        };
        Record unit = {
                .kind = ACTION_MEMORY_MIN, .target = (char *) "unit:a.service", .key = (char *) "", .subject = (char *) "process:10:7",
                .name = (char *) "a.service", .from = (char *) "0", .to = (char *) "4096", .when = 5,
        };
        _cleanup_fake_root_ FakeRoot f = machine(BOOT "memory-min unit:b.service \\- 0 4096 4096 - process:1:2 0 0 b.service\n"
                                                      "memory-min unit:c.service \\- 0 4096 4096 - process:1:2 0 0 c.service soon\n");
        Ledger l = open_ledger(&f, true, 1);

        CHECK(l.n == 1 && l.records[0].when == 0);
        CHECK(ledger_put(&l, &mark) == 0 && ledger_put(&l, &unit) == 0);
        unit.set = (char *) "4096";
        unit.when = 6;
        CHECK(ledger_put(&l, &unit) == 0);
        unit.when = 7; /* nothing else is new: it was done then */
        CHECK(ledger_put(&l, &unit) == 0);
        ledger_done(&l);
        l = open_ledger(&f, true, 0);
        CHECK(l.n == 3 && l.records[0].when == 0 && l.records[1].when == 1764055801123456 && l.records[2].when == 6);
        ledger_done(&l);
}

/* On failure all is as before. */
static void a_full_disk(void) {
        char a[] = "process:1:1", *ids[] = { a, NULL };
        _cleanup_fake_root_ FakeRoot f = machine(NULL);
        Ledger l = open_ledger(&f, true, 0);

        CHECK(put_mark(&l, 10, 3, "none") == 0);
        CHECK(mkdir(PATH("%s/run/stackd/ledger.new", f.path), 0755) == 0);
        CHECK(put_mark(&l, 11, 3, "none") < 0 && l.n == 1);
        CHECK(ledger_remove(&l, ACTION_IO_FLUSHER, "process:10:3", "") < 0 && l.n == 1 && l.records[0].pid == 10);
        CHECK(ledger_hold(&l, ids, true) < 0 && !is_held(&l, a));
        CHECK(ledger_hold(&l, NULL, true) < 0 && !is_held(&l, a));
        ledger_done(&l);
}

TEST_MAIN(TEST(round_trip), TEST(texts), TEST(changed_again), TEST(of_the_first_version), TEST(damaged_lines), TEST(another_boot), TEST(one_writer), TEST(hold), TEST(times), TEST(a_full_disk))
