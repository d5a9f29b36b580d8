/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>

#include "cli/exec-line.h"
#include "common/text.h"
#include "common/unit-name.h"
#include "tests/unit/tap.h"

static void becomes(const char *value, const char *wanted) {
        _cleanup_strv_free_ char **lines = NULL;
        _cleanup_free_ char *all = strdup("");
        const char *wrong = NULL;
        size_t n = 0;

        CHECK(exec_line_wrap(value, &(Wrapper) { "W", "P" }, &lines, &n, &wrong) == 0);
        for (size_t i = 0; i < n; i++) {
                _cleanup_free_ char *before = all;

                all = text_format("%s%s%s", before, i > 0 ? "\n" : "", lines[i]);
                CHECK(all);
        }
        if (!streq(all, wanted))
                printf("# got    %s\n# wanted %s\n", all, wanted);
        CHECK(streq(all, wanted));
}

static void fails(const char *value) {
        _cleanup_strv_free_ char **lines = NULL;
        const char *wrong = NULL;
        size_t n = 0;

        CHECK(exec_line_wrap(value, &(Wrapper) { "W", "P" }, &lines, &n, &wrong) == -EINVAL && wrong);
}

static void prefixes(void) {
        becomes("/bin/x", "W -- /bin/x");
        becomes("  /bin/x -a  b ", "W -- /bin/x -a  b");
        becomes("-/bin/x a", "-W -- /bin/x a");
        becomes("@/bin/x zero a", "W --argv0 -- /bin/x zero a");
        becomes("-@:/bin/x zero a", "-:W --argv0 -- /bin/x zero a");
        becomes("!!/bin/x", "!!W -- /bin/x");
        becomes("+-/bin/x", "+-P -- /bin/x");
        fails("|/bin/x");
        becomes("--------------+/bin/x", "--------------+P -- /bin/x");
        fails("---------------+/bin/x");
}

static void what_is_quoted_stays_so(void) {
        becomes("/bin/x \"a ; b\" 'c \\' d' \\x20 $FOO ${BAR} $$ %i %% \\;", "W -- /bin/x \"a ; b\" 'c \\' d' \\x20 $FOO ${BAR} $$ %i %% \\;");
        becomes("\"/opt/my server\" a", "W -- \"/opt/my server\" a");
        becomes("-'/opt/my server' a", "-W -- '/opt/my server' a");
        becomes("%h/bin/x", "W -- %h/bin/x");
        becomes("/bin/sh -c \"trap 'x' TERM; exec y\"", "W -- /bin/sh -c \"trap 'x' TERM; exec y\"");
}

static void several_commands(void) {
        becomes("/bin/a 1 ; -/bin/b 2 ; @/bin/c z", "W -- /bin/a 1\n-W -- /bin/b 2\nW --argv0 -- /bin/c z");
        becomes("/bin/a \\; b", "W -- /bin/a \\; b");
        becomes("/bin/a x;y ;z", "W -- /bin/a x;y ;z");
        becomes("/bin/a ;", "W -- /bin/a");
        becomes("", "");
}

static void without_a_wrapper(void) {
        _cleanup_strv_free_ char **lines = NULL;
        const char *wrong = NULL;
        size_t n = 0;

        CHECK(exec_line_wrap("+@/bin/a  $X ; |/bin/b ; $C", &(Wrapper) {}, &lines, &n, &wrong) == 0 && n == 3);
        CHECK(streq(lines[0], "+@/bin/a  $X") && streq(lines[1], "|/bin/b") && streq(lines[2], "$C"));
        CHECK(exec_line_wrap("/bin/a \"b", &(Wrapper) {}, &lines, &n, &wrong) == -EINVAL);
        CHECK(exec_line_wrap("-+$C", &(Wrapper) { .ordinary = "W" }, &lines, &n, &wrong) == 0 && n == 4 && streq(lines[3], "-+$C"));
}

static void what_cannot_be_wrapped(void) {
        fails("/bin/a \"b");
        fails("/bin/a b\\");
        fails("\"-/bin/a\"");
        fails("$PROGRAM a");
        fails("-");
        fails("\"\"");
}

static void mount_units(void) {
        static const char *const names[][2] = {
                { "/", "-.mount" },           { "/mnt/a", "mnt-a.mount" },       { "/mnt//a/", "mnt-a.mount" },
                { "/a-b", "a\\x2db.mount" },  { "/.x", "\\x2ex.mount" },         { "/a/.x", "a-.x.mount" },
                { "/a b", "a\\x20b.mount" },  { "/a\xc3\xa4", "a\\xc3\\xa4.mount" }, { "/a\nb%@\\", "a\\x0ab\\x25\\x40\\x5c.mount" },
        };

        for (size_t i = 0; i < ELEMENTSOF(names); i++) {
                _cleanup_free_ char *name = path_unit_name(names[i][0], "mount");

                if (!streq(name, names[i][1]))
                        printf("# %s\n", name);
                CHECK(streq(name, names[i][1]));
        }
}

TEST_MAIN(TEST(mount_units), TEST(prefixes), TEST(what_is_quoted_stays_so), TEST(several_commands), TEST(without_a_wrapper), TEST(what_cannot_be_wrapped))
