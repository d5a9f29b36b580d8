/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "common/json-text.h"
#include "common/text.h"
#include "tests/unit/tap.h"

static void test_document(void) {
        _cleanup_json_text_ JsonText j = {};
        _cleanup_free_ char *text = NULL;
        char *list[] = { (char *) "a", (char *) "b", NULL };

        json_put_object(&j, NULL);
        json_put_unsigned(&j, "most", UINT64_MAX);
        json_put_signed(&j, "least", INT64_MIN);
        json_put_unsigned(&j, "zero", 0);
        json_put_strings(&j, "list", list);
        json_put_strings(&j, "none", NULL);
        json_put_array(&j, "objects");
        for (int i = 0; i < 2; i++) {
                json_put_object(&j, NULL);
                json_put_bool(&j, "second", i > 0);
                json_put_end(&j, '}');
        }
        json_put_end(&j, ']');
        json_put_string(&j, "nothing", NULL);
        json_put_null(&j, "neither");
        json_put_end(&j, '}');
        CHECK(json_text_take(&j, &text) == 0);
        CHECK(streq(text, "{\"most\":18446744073709551615,\"least\":-9223372036854775808,\"zero\":0,\"list\":[\"a\",\"b\"],\"none\":[],"
                          "\"objects\":[{\"second\":false},{\"second\":true}],\"nothing\":null,\"neither\":null}"));
}

/* As json-c writes it with JSON_C_TO_STRING_NOSLASHESCAPE. */
static void test_strings(void) {
        static const struct {
                const char *in, *out;
        } cases[] = {
                { "", "\"\"" },
                { "/plain \x7f text", "\"/plain \x7f text\"" },
                { "\b\f\n\r\t\"\\", "\"\\b\\f\\n\\r\\t\\\"\\\\\"" },
                { "\x01" "a\x1f", "\"\\u0001a\\u001f\"" },
                { "\xc3\xa9\"", "\"\xc3\xa9\\\"\"" },
                { "\xff", "\"\\\\xff\"" }, /* no UTF-8 */
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_json_text_ JsonText j = {};
                _cleanup_free_ char *text = NULL;

                json_put_string(&j, NULL, cases[i].in);
                CHECK(json_text_take(&j, &text) == 0 && streq(text, cases[i].out));
        }
}

TEST_MAIN(TEST(test_document), TEST(test_strings))
