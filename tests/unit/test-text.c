/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <limits.h>
#include <sys/sysmacros.h>

#include "common/text.h"
#include "tests/unit/tap.h"

static void test_numbers_are_strict(void) {
        uint64_t u = 7;
        pid_t pid = 7;
        dev_t d;

        CHECK(text_to_u64("42", 10, &u) == 0 && u == 42);
        CHECK(text_to_u64("1a", 16, &u) == 0 && u == 0x1a);
        u = 7;
        CHECK(text_to_u64("", 10, &u) == -EINVAL);
        CHECK(text_to_u64("", 16, &u) == -EINVAL);
        CHECK(text_to_u64(" 4", 10, &u) == -EINVAL);
        CHECK(text_to_u64("-4", 10, &u) == -EINVAL);
        CHECK(text_to_u64("+4", 10, &u) == -EINVAL);
        CHECK(text_to_u64("4 ", 10, &u) == -EINVAL);
        CHECK(text_to_u64("18446744073709551616", 10, &u) == -ERANGE);
        CHECK(u == 7);
        CHECK(text_to_pid("0", &pid) == -ERANGE && text_to_pid("2147483648", &pid) == -ERANGE && pid == 7);
        CHECK(text_to_pid("2147483647", &pid) == 0);
        CHECK(text_to_devno("253:12", &d) == 0 && major(d) == 253 && minor(d) == 12);
        CHECK(text_to_devno("253", &d) == -EINVAL);
        CHECK(text_to_devno(":1", &d) == -EINVAL);
        CHECK(text_to_devno("1:", &d) == -EINVAL);
        CHECK(text_to_devno("4096:0", &d) == -ERANGE);
        CHECK(text_to_devno("11111111111111111111:0", &d) == -EINVAL);
}

static void test_path_is_below(void) {
        CHECK(path_is_below("/a/b", "/a"));
        CHECK(path_is_below("/a", "/a"));
        CHECK(path_is_below("/a", "/"));
        CHECK(!path_is_below("/ab", "/a"));
        CHECK(!path_is_below("a", "/"));
}

static void check_escape(const char *in, const char *want) {
        _cleanup_free_ char *out = text_escape(in);

        CHECK(out && streq(out, want));
}

/* What a hostile mount point, comm or device name may hold. */
static void test_escape(void) {
        check_escape("plain /mnt/x", "plain /mnt/x");
        check_escape("a\nb\x1b[2Jc\x7f", "a\\x0ab\\x1b[2Jc\\x7f");
        check_escape("gr\xc3\xbcn", "gr\xc3\xbcn");
        check_escape("\xc3", "\\xc3");
        check_escape("\xc0\xaf", "\\xc0\\xaf");             /* overlong slash */
        check_escape("\xed\xa0\x80", "\\xed\\xa0\\x80"); /* surrogate */
        check_escape("\xc2\x9b", "\\xc2\\x9b");             /* C1: CSI */
        check_escape("\xe2\x80\xae", "\\xe2\\x80\\xae"); /* right-to-left override */
        check_escape("\xf0\x9f\x90\x9b", "\xf0\x9f\x90\x9b");
        check_escape("\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80");
}

/* What a JSON or D-Bus reader gets is exact but for what these cannot carry. */
static void test_utf8(void) {
        _cleanup_free_ char *out = text_to_utf8("a\n\x1b" "b\xff\xe2\x80\xae\xed\xa0\x80");

        CHECK(out && streq(out, "a\n\x1b" "b\\xff\xe2\x80\xae\\xed\\xa0\\x80"));
}

/* sd-bus takes no noncharacters. */
static void test_noncharacters(void) {
        _cleanup_free_ char *out = text_to_utf8("\xef\xbf\xbe" "\xef\xb7\x90" "\xf0\x9f\xbf\xbf" "\xef\xbf\xbd");

        CHECK(out && streq(out, "\\xef\\xbf\\xbe" "\\xef\\xb7\\x90" "\\xf0\\x9f\\xbf\\xbf" "\xef\xbf\xbd"));
}

static void test_numbers_of_devices(void) {
        const dev_t devices[] = { 0, makedev(0, 7), makedev(253, 12), makedev(0xfff, 0xfffff), makedev(UINT_MAX, UINT_MAX) };
        static const char *const texts[] = { "x0:0", "x0:7", "x253:12", "x4095:1048575", "x4294967295:4294967295" };

        for (size_t i = 0; i < ELEMENTSOF(devices); i++) {
                _cleanup_free_ char *text = text_of_devno("x", devices[i]);

                CHECK(text && streq(text, texts[i]));
        }
}

/* Under a sanitizer a list that is written beyond its room shows. */
static void test_list_grows(void) {
        _cleanup_strv_free_ char **l = NULL;
        size_t n = 0;

        for (size_t i = 0; i < 1000; i++)
                CHECK(strv_append(&l, &n, i % 2 ? "odd" : "even") == 0 && n == i + 1 && !l[n]);
        for (size_t i = 0; i < n; i++)
                CHECK(streq(l[i], i % 2 ? "odd" : "even"));
}

TEST_MAIN(TEST(test_numbers_are_strict), TEST(test_path_is_below), TEST(test_escape), TEST(test_utf8), TEST(test_noncharacters),
          TEST(test_numbers_of_devices), TEST(test_list_grows))
