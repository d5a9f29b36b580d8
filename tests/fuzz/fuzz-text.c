/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Whatever escapes, quotes or takes apart text: names on their way to terminals, JSON, unit names and command lines. */
#include <errno.h>
#include <json-c/json.h>

#include "cli/escape.h"
#include "cli/exec-line.h"
#include "cli/operand.h"
#include "common/ini.h"
#include "common/json-text.h"
#include "common/text.h"
#include "common/unit-name.h"
#include "common/value.h"
#include "tests/fuzz/fuzz.h"

static bool is_printable(const char *s, bool ascii) {
        for (; *s; s++)
                if ((unsigned char) *s < 0x20 || *s == 0x7f || (ascii && (unsigned char) *s >= 0x80))
                        return false;
        return true;
}

static void escape(const char *text) {
        _cleanup_free_ char *terminal = text_escape(text), *ascii = escape_text(text, false), *utf8 = text_to_utf8(text);
        _cleanup_free_ char *again = NULL, *unescaped = strdup(text);

        MUST(terminal && ascii && utf8 && unescaped);
        MUST(is_printable(terminal, false) && escape_is_utf8(terminal));
        MUST(!strstr(terminal, "\xc2\x9b") && !strstr(terminal, "\xe2\x80\xae"));
        MUST(is_printable(ascii, true));
        MUST(escape_is_utf8(utf8));
        /* What is fit once stays as it is. */
        again = text_to_utf8(utf8);
        MUST(again && streq(again, utf8));
        free(again);
        again = text_escape(terminal);
        MUST(again && streq(again, terminal));
        (void) escape_width(terminal);
        (void) escape_is_utf8(text);
        text_unescape_octal(unescaped);
        MUST(strlen(unescaped) <= strlen(text));
}

/* json-c 0.16 takes \ud876\udf6d, which is U+2DB6D, for two halves that do not belong together, by its low 16 bits. */
static bool is_misread(const char *s) {
        for (; *s; s++)
                if ((unsigned char) *s >= 0xf0 && ((s[1] & 0x0f) << 12 | (s[2] & 0x3f) << 6) >= 0xd800 &&
                    ((s[1] & 0x0f) << 12 | (s[2] & 0x3f) << 6) < 0xe000)
                        return true;
        return false;
}

/* On its way through the document: serialised, escaped once more for the terminal, and read again it is the same. */
static void escape_in_json(const char *text) {
        _cleanup_free_ char *utf8 = text_to_utf8(text), *escaped = NULL;
        json_object *value = json_object_new_string(utf8), *back;

        MUST(value);
        escaped = escape_json(json_object_to_json_string_ext(value, JSON_C_TO_STRING_PLAIN));
        MUST(escaped && is_printable(escaped, true));
        back = json_tokener_parse(escaped);
        MUST(back && (is_misread(utf8) || streq(json_object_get_string(back), utf8)));
        json_object_put(back);
        json_object_put(value);
        free(escaped);
        escaped = escape_json(text); /* broken text too must end somewhere */
        MUST(escaped);
}

/* What the daemon writes is what json-c reads. */
static void write_json(const char *text) {
        _cleanup_free_ char *utf8 = text_to_utf8(text), *written = NULL;
        char *list[] = { (char *) text, (char *) "", NULL };
        _cleanup_json_text_ JsonText j = {};
        json_object *o, *v = NULL;

        json_put_object(&j, NULL);
        json_put_string(&j, "s", text);
        json_put_strings(&j, "l", list);
        json_put_null(&j, "n");
        json_put_end(&j, '}');
        MUST(json_text_take(&j, &written) >= 0);
        for (const char *p = written; *p; p++)
                MUST((unsigned char) *p >= ' ');
        o = json_tokener_parse(written);
        MUST(json_object_object_get_ex(o, "s", &v) && streq(json_object_get_string(v), utf8));
        MUST(json_object_object_get_ex(o, "l", &v) && json_object_array_length(v) == 2);
        MUST(streq(json_object_get_string(json_object_array_get_idx(v, 0)), utf8));
        MUST(json_object_object_get_ex(o, "n", &v) && !v);
        json_object_put(o);
}

static void take_values(const char *text) {
        const char *rest = text;
        char *word = NULL;
        uint64_t u64;
        int64_t i64;
        dev_t device;
        pid_t pid;
        bool flag;

        if (text_to_u64(text, 10, &u64) >= 0)
                MUST(strspn(text, "0123456789") == strlen(text));
        (void) text_to_u64(text, 16, &u64);
        MUST(text_to_pid(text, &pid) < 0 || pid > 0);
        (void) text_to_devno(text, &device);
        (void) value_to_bool(text, &flag);
        MUST(value_to_size(text, &i64) < 0 || i64 >= 0);
        (void) value_to_usec(text, &u64);
        while (value_next_word(&rest, &word) > 0)
                free(word);
}

static void take_lines(const char *text) {
        _cleanup_ini_ Ini ini = INI_BEGIN(text);
        int kind;

        while ((kind = ini_next(&ini)) > 0)
                if (kind == INI_ASSIGNMENT)
                        MUST(ini.section && *ini.key && !strpbrk(ini.key, "\n") && !strpbrk(ini.value, "\n") && escape_is_utf8(ini.value));
        MUST(kind == INI_END);
}

static void make_names(const char *text) {
        _cleanup_free_ char *unit = path_unit_name(text, "mount"), *path = NULL;
        _cleanup_strv_free_ char **lines = NULL;
        const char *wrong = NULL;
        size_t n = 0;
        int r;

        MUST(unit && endswith(unit, ".mount") && strspn(unit, UNIT_NAME_CHARACTERS) == strlen(unit));
        r = exec_line_wrap(text, &(Wrapper) { "/usr/bin/stackctl run --", "/usr/bin/stackctl run --" }, &lines, &n, &wrong);
        MUST(r >= 0 || (r == -EINVAL && wrong));
        for (size_t i = 0; i < n; i++)
                MUST(strstr(lines[i], "/usr/bin/stackctl run --"));
        MUST(operand_resolve(text, "/a/b", -1, &path) >= 0 && path);
        if (strchr(text, '/'))
                MUST(path[0] == '/' && !strstr(path, "//") && !strstr(path, "/../") && !endswith(path, "/.."));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_free_ char *text = fuzz_text(data, size);

        escape(text);
        escape_in_json(text);
        write_json(text);
        take_values(text);
        take_lines(text);
        make_names(text);
        return 0;
}
