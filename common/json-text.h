/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Writes JSON as text, straight from what is known: no tree of objects stands between. Calls come in the order of
 * the document; 'key' is NULL within an array. Running out of memory is told once, at the end. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/cleanup.h"

typedef struct JsonText {
        char *text;
        size_t n, capacity;
        bool failed; /* no memory */
} JsonText;

void json_text_done(JsonText *j);
#define _cleanup_json_text_ _cleanup_(json_text_done)

void json_put_object(JsonText *j, const char *key); /* until json_put_end(j, '}') */
void json_put_array(JsonText *j, const char *key);  /* until json_put_end(j, ']') */
void json_put_end(JsonText *j, char end);
/* NULL is null; bytes that are no UTF-8 are written as text_to_utf8() does. */
void json_put_string(JsonText *j, const char *key, const char *s);
void json_put_strings(JsonText *j, const char *key, char *const *l);
void json_put_unsigned(JsonText *j, const char *key, uint64_t value);
void json_put_signed(JsonText *j, const char *key, int64_t value);
void json_put_bool(JsonText *j, const char *key, bool value);
void json_put_null(JsonText *j, const char *key);

/* The text, which is the caller's from now on; 0 or -ENOMEM. */
int json_text_take(JsonText *j, char **ret);
