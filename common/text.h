/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Strings: comparing, formatting, parsing numbers, escaping. */

#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/types.h>

#include "common/cleanup.h"

static inline bool streq(const char *a, const char *b) {
        return strcmp(a, b) == 0;
}
/* Like streq(), but either may be NULL. */
bool streq_ptr(const char *a, const char *b);

/* The rest of s after prefix, or NULL. */
char *startswith(const char *s, const char *prefix);
bool endswith(const char *s, const char *suffix);

/* Whether 'path' is 'parent' or lies below it; both absolute and without trailing slashes. Text only. */
bool path_is_below(const char *path, const char *parent);

/* Formats into new memory owned by the caller; NULL when out of memory. */
char *text_format(const char *format, ...) _printf_(1, 2);

/* The whole of s is a number in the given base: 0, -EINVAL or -ERANGE. */
int text_to_u64(const char *s, int base, uint64_t *ret);
int text_to_pid(const char *s, pid_t *ret);
/* "MAJ:MIN". */
int text_to_devno(const char *s, dev_t *ret);
/* The same with something before it; owned by the caller, NULL when out of memory. */
char *text_of_devno(const char *prefix, dev_t device);

/* Appends a copy of s; n is the number of strings present. A list that is not empty was made by this function. 0 or
 * -ENOMEM. */
int strv_append(char ***l, size_t *n, const char *s);
bool strv_equal(char *const *a, char *const *b);
bool strv_contains(char *const *l, const char *s);

/* Undoes the octal escapes of the kernel's tables (fs/seq_file.c, mangle_path()) in place. */
void text_unescape_octal(char *s);
/* A copy in which blanks, backslashes and all that is not printable ASCII are written so: one word. NULL when out of
 * memory. */
char *text_escape_octal(const char *s);

/* A copy in which everything but printable ASCII and valid, harmless UTF-8 is written \xNN: fit for
 * terminals and logs. NULL when out of memory. */
char *text_escape(const char *s);

/* A copy in which only bytes that are no valid UTF-8 are written \xNN: fit for JSON and D-Bus, whose readers
 * get every other name exactly. NULL when out of memory. */
char *text_to_utf8(const char *s);
