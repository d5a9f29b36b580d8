/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What no document can bring, since D-Bus checks it: broken text; and the links of a made-up /dev. */

#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/escape.h"
#include "cli/operand.h"
#include "common/cleanup.h"
#include "common/text.h"

static int number, failures;

static void expect(const char *name, const char *got, const char *wanted) {
        bool same = streq_ptr(got, wanted);

        failures += !same;
        printf("%s %i - %s\n", same ? "ok" : "not ok", ++number, name);
        if (!same)
                printf("# got '%s', wanted '%s'\n", got ?: "(null)", wanted);
}

static void expect_escaped(const char *name, const char *text, bool utf8, const char *wanted) {
        _cleanup_free_ char *got = escape_text(text, utf8);

        expect(name, got, wanted);
}

static void test_escape(void) {
        _cleanup_free_ char *json = NULL;

        expect_escaped("nothing", NULL, true, "");
        expect_escaped("plain", "/mnt/a b\\c", true, "/mnt/a b\\c");
        expect_escaped("umlaut in UTF-8", "\xc3\xa4", true, "\xc3\xa4");
        expect_escaped("umlaut elsewhere", "\xc3\xa4", false, "\\xc3\\xa4");
        expect_escaped("escape sequence", "\x1b[31m", true, "\\x1b[31m");
        expect_escaped("broken UTF-8", "a\xff\xfe\xc3(", true, "a\\xff\\xfe\\xc3(");
        expect_escaped("cut UTF-8", "\xe6\x97", true, "\\xe6\\x97");
        expect_escaped("overlong slash", "\xc0\xaf", true, "\\xc0\\xaf");
        expect_escaped("C1 control", "\xc2\x9b" "1m", true, "\\xc2\\x9b1m");
        expect_escaped("right-to-left override", "\xe2\x80\xae", true, "\\xe2\\x80\\xae");
        json = escape_json("{\"\xc3\xa4\x7f\xf0\x9f\x98\x80\":\n1}");
        expect("JSON", json, "{\"\\u00e4\\u007f\\ud83d\\ude00\":\n1}");
}

static void test_utf8(void) {
        static const struct {
                const char *text;
                bool valid;
        } cases[] = {
                { "", true }, { "abc", true }, { "\xc3\xa4\xe6\x97\xa5\xf0\x9f\x98\x80", true }, { "\xff", false },
                { "\xc3", false }, { "\x80", false }, { "\xbf\xbf", false }, { "\xc0\xaf", false }, { "\xed\xa0\x80", false },
                { "\xf4\x90\x80\x80", false }, { "\xf8\x90\x80\x80", false }, { "\xe6\x97", false }, { "\xe6(\x97", false },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++)
                expect("validity of UTF-8", escape_is_utf8(cases[i].text) ? "valid" : "invalid",
                       cases[i].valid ? "valid" : "invalid");
}

static void expect_width(const char *name, const char *text, size_t wanted) {
        expect(name, escape_width(text) == wanted ? "as wanted" : "other", "as wanted");
}

static void test_width(void) {
        expect_width("width of ASCII", "abc", 3);
        expect_width("width of wide characters", "\xe6\x97\xa5\xe6\x9c\xac", 4);
        expect_width("width of a combining character", "e\xcc\x81", 1);
}

static void expect_operand(const char *what, int dev_fd, const char *wanted) {
        _cleanup_free_ char *got = NULL;

        if (operand_resolve(what, "/home/ada", dev_fd, &got) < 0)
                got = NULL;
        expect(*what ? what : "empty operand", got, wanted);
}

static void test_operand(void) {
        expect_operand("", -1, "");
        expect_operand("812", -1, "812");
        expect_operand("fs:253:0", -1, "fs:253:0");
        expect_operand("a.service", -1, "a.service");
        expect_operand("./x", -1, "/home/ada/x");
        expect_operand("x/", -1, "/home/ada/x");
        expect_operand(".", -1, "/home/ada");
        expect_operand("..", -1, "/home");
        expect_operand("../../../..", -1, "/");
        expect_operand("/", -1, "/");
        expect_operand("//a/.//b/../c/", -1, "/a/c");
        expect_operand("/..", -1, "/");
        expect_operand("/a/..b/...", -1, "/a/..b/...");
}

static int make_dev(char *directory) {
        int fd;

        if (!mkdtemp(directory))
                return -errno;
        fd = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0 || mkdirat(fd, "mapper", 0700) < 0 || symlinkat("../dm-0", fd, "mapper/vol") < 0 ||
            symlinkat("mapper/vol", fd, "twice") < 0 || symlinkat("/proc/self/fd/0", fd, "stdin") < 0 ||
            symlinkat("/dev/dm-0", fd, "absolute") < 0 || symlinkat("loop", fd, "loop") < 0 ||
            symlinkat("mapper", fd, "linked") < 0)
                return -errno;
        return fd;
}

static void remove_dev(int fd, const char *directory) {
        static const char *const names[] = { "mapper/vol", "twice", "stdin", "absolute", "loop", "linked" };

        for (size_t i = 0; i < ELEMENTSOF(names); i++)
                unlinkat(fd, names[i], 0);
        unlinkat(fd, "mapper", AT_REMOVEDIR);
        rmdir(directory);
}

static void test_links(void) {
        char directory[] = "/tmp/stackctl-dev-XXXXXX";
        _cleanup_close_ int fd = make_dev(directory);

        if (fd < 0) {
                expect("a /dev to try with", "cannot be made", "made");
                return;
        }
        expect_operand("/dev/mapper/vol", fd, "/dev/dm-0");
        expect_operand("/dev/twice", fd, "/dev/dm-0");
        expect_operand("/dev/absolute", fd, "/dev/dm-0");
        expect_operand("/dev/stdin", fd, "/dev/stdin");
        expect_operand("/dev/nothing", fd, "/dev/nothing");
        expect_operand("/dev/loop", fd, "/dev/loop");
        expect_operand("/dev/linked/vol", fd, "/dev/linked/vol");
        expect_operand("/dev/../etc/passwd", fd, "/etc/passwd");
        expect_operand("/mnt/twice", fd, "/mnt/twice");
        expect_operand("twice", fd, "twice");
        remove_dev(fd, directory);
}

int main(void) {
        setlocale(LC_ALL, "C.UTF-8");
        test_escape();
        test_utf8();
        test_width();
        test_operand();
        test_links();
        printf("1..%i\n", number);
        return failures > 0;
}
