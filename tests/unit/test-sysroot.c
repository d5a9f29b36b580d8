/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>

#include "tests/unit/fake-root.h"

/* More paths in one function than the stack could hold at once. */
static void path_in_a_loop(void) {
        for (int i = 0; i < 20000; i++)
                CHECK(strlen(PATH("%d/fd", i)) < 16);
}

static void no_way_out(void) {
        _cleanup_fake_root_ FakeRoot f = fake_root_make();
        _cleanup_free_ char *text = NULL;

        fake_file(&f, "secret", "out\n");
        fake_file(&f, "proc/inside", "in\n\n");
        fake_link(&f, "proc/up", "../secret");
        fake_link(&f, "proc/absolute", "/etc/passwd");
        CHECK(sysroot_read(f.root, AREA_PROC, "../secret", &text) == -ENOENT);
        CHECK(sysroot_read(f.root, AREA_PROC, "up", &text) == -ENOENT);
        CHECK(sysroot_read(f.root, AREA_PROC, "absolute", &text) == -ENOENT);
        CHECK(sysroot_read(f.root, AREA_PROC, "inside", &text) == 0 && streq(text, "in\n"));
}

static void a_fifo_does_not_wait(void) {
        _cleanup_fake_root_ FakeRoot f = fake_root_make();
        char *text;

        CHECK(mkfifo(PATH("%s/proc/swaps", f.path), 0644) == 0);
        CHECK(sysroot_read(f.root, AREA_PROC, "swaps", &text) == -EINVAL);
}

/* A bomb in a capture, or a kernel file that has no end. */
static void no_more_than_the_limit(void) {
        static const off_t limit = 64 << 20;
        _cleanup_fake_root_ FakeRoot f = fake_root_make();
        _cleanup_free_ char *text = NULL;

        fake_file(&f, "proc/swaps", "x");
        CHECK(truncate(PATH("%s/proc/swaps", f.path), limit) == 0);
        CHECK(sysroot_read(f.root, AREA_PROC, "swaps", &text) == 0 && streq(text, "x"));
        CHECK(truncate(PATH("%s/proc/swaps", f.path), limit + 1) == 0);
        CHECK(sysroot_read(f.root, AREA_PROC, "swaps", &text) == -EFBIG);
        CHECK(truncate(PATH("%s/proc/swaps", f.path), (off_t) 1 << 50) == 0 || errno == EFBIG);
        CHECK(sysroot_read(f.root, AREA_PROC, "swaps", &text) == -EFBIG);
}

/* What no file tells is in the capture all the same. */
static void a_text_of_no_file(void) {
        _cleanup_fake_root_ FakeRoot f = fake_root_make();
        _cleanup_(recorder_freep) Recorder *r = recorder_new();
        const Captured *c;

        sysroot_record_text(f.root, AREA_RUN, "stackd/nowhere", "before");
        sysroot_set_recorder(f.root, r);
        sysroot_record_text(f.root, AREA_RUN, "stackd/nowhere", "text\n");
        c = recorder_get(r, "run/stackd/nowhere");
        CHECK(c && c->kind == CAPTURED_FILE && streq(c->content, "text\n"));
        c = recorder_get(r, "run/stackd");
        CHECK(c && c->kind == CAPTURED_DIRECTORY);
}

TEST_MAIN(TEST(path_in_a_loop), TEST(no_way_out), TEST(a_fifo_does_not_wait), TEST(no_more_than_the_limit),
          TEST(a_text_of_no_file))
