/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What is to be said about files that people wrote: lines "FILE:LINE: what is wrong". They are escaped, fit for
 * every log and terminal, and of a hopeless file there are not more than a few. */

#include <stdbool.h>
#include <stddef.h>

#include "common/cleanup.h"

typedef struct Remarks {
        char **lines; /* NULL-terminated, or NULL */
        size_t n;
        unsigned errors;   /* what does not parse; the rest are warnings */
        unsigned of_file;  /* since remarks_begin_file() */
} Remarks;

void remarks_begin_file(Remarks *r);
/* line 0: about the file as a whole. */
void remark(Remarks *r, bool error, const char *file, unsigned line, const char *format, ...) _printf_(5, 6);
/* Appends those of 'from'. */
void remarks_add(Remarks *r, const Remarks *from);
void remarks_done(Remarks *r);
#define _cleanup_remarks_ _cleanup_(remarks_done)
