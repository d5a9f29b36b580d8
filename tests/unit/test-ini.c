/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>

#include "common/ini.h"
#include "common/remarks.h"
#include "common/text.h"
#include "common/value.h"
#include "tests/unit/tap.h"

/* All that a text says, as lines "LINE [SECTION] KEY=VALUE" or "LINE !error". */
static char *read_all(const char *text) {
        _cleanup_ini_ Ini i = INI_BEGIN(text);
        char *all = strdup("");
        int kind;

        while ((kind = ini_next(&i)) != INI_END) {
                _cleanup_free_ char *before = all;

                CHECK(kind > 0);
                all = kind == INI_ERROR ? text_format("%s%u !\n", before, i.line)
                        : kind == INI_SECTION ? text_format("%s%u [%s]\n", before, i.line, i.section)
                                              : text_format("%s%u %s.%s=%s|\n", before, i.line, i.section, i.key, i.value);
                CHECK(all);
        }
        return all;
}

static void says(const char *text, const char *wanted) {
        _cleanup_free_ char *got = read_all(text);

        if (!streq(got, wanted))
                printf("# got:\n%s# wanted:\n%s", got, wanted);
        CHECK(streq(got, wanted));
}

static void sections_and_assignments(void) {
        says("[A]\nx=1\n  y = 2 3  \n[B C]\nz=\n", "1 [A]\n2 A.x=1|\n3 A.y=2 3|\n4 [B C]\n5 B C.z=|\n");
        says("", "");
        says("\n\n \t\n", "");
        says("[A]\nx=a=b", "1 [A]\n2 A.x=a=b|\n"); /* no newline at the end */
}

static void comments(void) {
        says("# a\n; b\n  # c\n[A]\nx=1 # no comment\n#x=2\n", "4 [A]\n5 A.x=1 # no comment|\n");
}

/* The examples of systemd.syntax(7). */
static void continued_lines(void) {
        says("[B]\nKeyTwo=value 2 \\\n       value 2 continued\n", "1 [B]\n2 B.KeyTwo=value 2  value 2 continued|\n");
        says("[C]\nKeyThree=value 3\\\n# this line is ignored\n; this line is ignored too\n       value 3 continued\nNext=1\n",
             "1 [C]\n2 C.KeyThree=value 3 value 3 continued|\n6 C.Next=1|\n");
        says("[A]\nx=1\\", "1 [A]\n2 A.x=1|\n");           /* nothing follows */
        says("[A]\nx=1\\\\\ny=2\n", "1 [A]\n2 A.x=1\\\\|\n3 A.y=2|\n"); /* a backslash itself */
        says("[A]\nx=1\\\n\ny=2\n", "1 [A]\n2 A.x=1|\n4 A.y=2|\n");
        says("[A]\nx=1\\\r\n2\r\n", "1 [A]\n2 A.x=1 2|\n");
        says("\\\n[A]\nx=1", "1 [A]\n3 A.x=1|\n");
}

static void dos_and_byte_order_mark(void) {
        says("\xef\xbb\xbf[A]\r\nx=1\r\n\r\n", "1 [A]\n2 A.x=1|\n");
        says("[A]\n\xef\xbb\xbfx=1\n", "1 [A]\n2 A.\xef\xbb\xbfx=1|\n"); /* at the beginning only */
}

static void what_is_wrong(void) {
        says("x=1\n[A]\nnothing\n=2\ny=3\n", "1 !\n2 [A]\n3 !\n4 !\n5 A.y=3|\n");
        says("[A\nx=1\n[]\nx=1\n[A]]\nx=1\n[B]\ny=2\n", "1 !\n2 .x=1|\n3 !\n4 .x=1|\n5 !\n6 .x=1|\n7 [B]\n8 B.y=2|\n");
        says("[A]\nx=\xff\xfe\ny=\xc3\xa4\n", "1 [A]\n2 !\n3 A.y=\xc3\xa4|\n");
}

static void very_long_lines(void) {
        enum { N = 1000000 };
        _cleanup_free_ char *text = malloc(N + 32);
        _cleanup_ini_ Ini i = {};

        CHECK(text);
        memcpy(text, "[A]\nx=", 6);
        memset(text + 6, 'y', N);
        text[6 + N] = 0;
        i.rest = text;
        CHECK(ini_next(&i) == INI_SECTION && ini_next(&i) == INI_ASSIGNMENT && strlen(i.value) == N);
        CHECK(ini_next(&i) == INI_END);
        /* ... and one of many parts. A sanitizer reads all that is left for each of them. */
        memcpy(text, "[A]\nx=", 6);
        for (size_t k = 6; k < N / 8; k += 2)
                memcpy(text + k, "\\\n", 2);
        text[N / 8] = 0;
        ini_done(&i);
        i.rest = text;
        CHECK(ini_next(&i) == INI_SECTION && ini_next(&i) == INI_ASSIGNMENT && streq(i.value, ""));
}

static void sizes(void) {
        int64_t n = 7;

        CHECK(value_to_size("0", &n) == 0 && n == 0);
        CHECK(value_to_size("64M", &n) == 0 && n == 64 << 20);
        CHECK(value_to_size("1.5K", &n) == 0 && n == 1536);
        CHECK(value_to_size("12 B", &n) == 0 && n == 12);
        CHECK(value_to_size("7E", &n) == 0 && n == INT64_C(7) << 60);
        n = 7;
        CHECK(value_to_size("8E", &n) == -ERANGE && value_to_size("18446744073709551616", &n) == -ERANGE);
        CHECK(value_to_size("99999999999999999999999999P", &n) == -ERANGE);
        CHECK(value_to_size("", &n) == -EINVAL && value_to_size("-1", &n) == -EINVAL && value_to_size("1Q", &n) == -EINVAL);
        CHECK(value_to_size("M", &n) == -EINVAL && value_to_size("1MB", &n) == -EINVAL && value_to_size("1.", &n) == -EINVAL);
        CHECK(value_to_size("0x10", &n) == -EINVAL && value_to_size("1 2", &n) == -EINVAL && n == 7);
}

static void times(void) {
        uint64_t t = 7;

        CHECK(value_to_usec("50", &t) == 0 && t == 50000000);
        CHECK(value_to_usec("2min 200ms", &t) == 0 && t == 120200000);
        CHECK(value_to_usec("1h30m", &t) == 0 && t == 5400000000);
        CHECK(value_to_usec("1.5s", &t) == 0 && t == 1500000);
        CHECK(value_to_usec("infinity", &t) == 0 && t == UINT64_MAX);
        t = 7;
        CHECK(value_to_usec("", &t) == -EINVAL && value_to_usec("s", &t) == -EINVAL && value_to_usec("5 parsecs", &t) == -EINVAL);
        CHECK(value_to_usec("-5", &t) == -EINVAL && value_to_usec("99999999999999w", &t) == -ERANGE && t == 7);
}

static void booleans(void) {
        bool b = false;

        CHECK(value_to_bool("yes", &b) == 0 && b && value_to_bool("Off", &b) == 0 && !b && value_to_bool("1", &b) == 0 && b);
        CHECK(value_to_bool("", &b) == -EINVAL && value_to_bool("maybe", &b) == -EINVAL && value_to_bool("2", &b) == -EINVAL);
}

static void words(void) {
        const char *s = "  a \"b c\"d  'e\\' \"\" ";
        const char *const wanted[] = { "a", "b cd", "e\\", "" };
        char *word;

        for (size_t i = 0; i < ELEMENTSOF(wanted); i++) {
                CHECK(value_next_word(&s, &word) == 1);
                CHECK(streq(word, wanted[i]));
                free(word);
        }
        CHECK(value_next_word(&s, &word) == 0);
        s = "a \"b";
        CHECK(value_next_word(&s, &word) == 1);
        free(word);
        CHECK(value_next_word(&s, &word) == -EINVAL);
}

static void remarks_are_harmless_and_few(void) {
        _cleanup_remarks_ Remarks r = {};

        remark(&r, true, "/etc/a\x1b[2J", 3, "%s", "x\ny");
        CHECK(r.n == 1 && r.errors == 1 && streq(r.lines[0], "/etc/a\\x1b[2J:3: x\\x0ay"));
        remarks_begin_file(&r);
        for (unsigned i = 1; i <= 10000; i++)
                remark(&r, i % 2, "f", i, "wrong");
        CHECK(r.n == 22 && r.errors == 5001 && strstr(r.lines[21], "there is more"));
}

TEST_MAIN(TEST(sections_and_assignments),
          TEST(comments),
          TEST(continued_lines),
          TEST(dos_and_byte_order_mark),
          TEST(what_is_wrong),
          TEST(very_long_lines),
          TEST(sizes),
          TEST(times),
          TEST(booleans),
          TEST(words),
          TEST(remarks_are_harmless_and_few))
