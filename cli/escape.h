/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What users wrote (mount points, names, comm, units, arguments) on its way to a terminal. */

#include <stdbool.h>
#include <stddef.h>

#include "common/cleanup.h"

/* A copy fit for a terminal: whatever could move the cursor, hide text or turn its direction becomes \xNN,
 * and so does everything outside ASCII where the locale is not UTF-8. NULL reads as "". Owned by the caller;
 * NULL when out of memory. */
char *escape_text(const char *s, bool utf8) _must_check_;

/* The same for serialised JSON, where the escape is \uNNNN: the value does not change. */
char *escape_json(const char *json) _must_check_;

bool escape_is_utf8(const char *s);

/* Columns that an escaped text takes on a terminal. */
size_t escape_width(const char *s);
