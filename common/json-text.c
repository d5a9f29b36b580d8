/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/array.h"
#include "common/json-text.h"
#include "common/text.h"

void json_text_done(JsonText *j) {
        free(j->text);
        *j = (JsonText) {};
}

static void put(JsonText *j, const char *bytes, size_t n) {
        if (j->failed || array_reserve((void **) &j->text, &j->capacity, j->n + n + 1, 1) < 0) {
                j->failed = true;
                return;
        }
        memcpy(j->text + j->n, bytes, n);
        j->n += n;
}

static void put_escape(JsonText *j, unsigned char c) {
        static const char special[] = "\b\f\n\r\t\"\\", names[] = "bfnrt\"\\";
        const char *known = strchr(special, c);
        char text[8];

        if (known)
                snprintf(text, sizeof(text), "\\%c", names[known - special]);
        else
                snprintf(text, sizeof(text), "\\u%04x", c);
        put(j, text, strlen(text));
}

static void put_quoted(JsonText *j, const char *s) {
        put(j, "\"", 1);
        for (const char *run = s;; run = ++s) {
                while (*s && (unsigned char) *s >= ' ' && *s != '"' && *s != '\\')
                        s++;
                put(j, run, s - run);
                if (!*s)
                        break;
                put_escape(j, *s);
        }
        put(j, "\"", 1);
}

static bool is_ascii(const char *s) {
        for (; *s; s++)
                if (*s & 0x80)
                        return false;
        return true;
}

static void begin(JsonText *j, const char *key) {
        char last = j->n > 0 ? j->text[j->n - 1] : '{';

        if (last != '{' && last != '[')
                put(j, ",", 1);
        if (!key)
                return;
        put_quoted(j, key);
        put(j, ":", 1);
}

void json_put_object(JsonText *j, const char *key) {
        begin(j, key);
        put(j, "{", 1);
}

void json_put_array(JsonText *j, const char *key) {
        begin(j, key);
        put(j, "[", 1);
}

void json_put_end(JsonText *j, char end) {
        put(j, &end, 1);
}

void json_put_string(JsonText *j, const char *key, const char *s) {
        _cleanup_free_ char *safe = NULL;

        if (!s) {
                json_put_null(j, key);
                return;
        }
        begin(j, key);
        if (is_ascii(s)) {
                put_quoted(j, s);
                return;
        }
        safe = text_to_utf8(s);
        if (safe)
                put_quoted(j, safe);
        else
                j->failed = true;
}

void json_put_strings(JsonText *j, const char *key, char *const *l) {
        json_put_array(j, key);
        for (; l && *l; l++)
                json_put_string(j, NULL, *l);
        json_put_end(j, ']');
}

void json_put_unsigned(JsonText *j, const char *key, uint64_t value) {
        char digits[24], *p = digits + sizeof(digits);

        begin(j, key);
        do
                *--p = (char) ('0' + value % 10);
        while ((value /= 10) > 0);
        put(j, p, digits + sizeof(digits) - p);
}

void json_put_signed(JsonText *j, const char *key, int64_t value) {
        char text[24];

        begin(j, key);
        put(j, text, snprintf(text, sizeof(text), "%lli", (long long) value));
}

void json_put_bool(JsonText *j, const char *key, bool value) {
        begin(j, key);
        put(j, value ? "true" : "false", value ? 4 : 5);
}

void json_put_null(JsonText *j, const char *key) {
        begin(j, key);
        put(j, "null", 4);
}

int json_text_take(JsonText *j, char **ret) {
        if (j->failed || !j->text)
                return -ENOMEM;
        j->text[j->n] = 0;
        *ret = TAKE_PTR(j->text);
        *j = (JsonText) {};
        return 0;
}
