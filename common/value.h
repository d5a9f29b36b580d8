/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Values as systemd's configuration files write them (systemd.syntax(7), systemd.time(7)). */

#include <stdbool.h>
#include <stdint.h>

#include "common/cleanup.h"

/* yes, true, on, 1, y, t; no, false, off, 0, n, f; in upper or lower case. 0 or -EINVAL. */
int value_to_bool(const char *s, bool *ret);

/* Bytes, with K, M, G, T, P, E (base 1024), also "1.5G". 0, -EINVAL, or -ERANGE beyond INT64_MAX. */
int value_to_size(const char *s, int64_t *ret);

/* Microseconds: "5" are seconds, "1min 30s", "200ms". "infinity" is UINT64_MAX. 0, -EINVAL or -ERANGE. */
int value_to_usec(const char *s, uint64_t *ret);

/* The next of words between blanks; quotes hold one together. 1, 0 at the end, -EINVAL for a quote that is
 * not closed, -ENOMEM. */
int value_next_word(const char **s, char **ret);
