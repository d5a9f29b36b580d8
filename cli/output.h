/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Everything for standard output is collected first and goes out at once when it is whole: nobody takes a
 * part for the answer. */

#include <stdbool.h>
#include <stdio.h>

#include "common/cleanup.h"

typedef enum Style {
        STYLE_GOOD,
        STYLE_WARN,
        STYLE_BAD,
        STYLE_DIM,
        STYLE_BOLD,
        _STYLE_MAX,
} Style;

typedef struct Glyphs {
        const char *branch, *corner, *bar, *arrow, *bad, *partly, *good, *idle, *note, *again;
} Glyphs;

typedef struct Output {
        FILE *stream; /* into memory */
        bool failed;  /* in a way that the stream knows nothing of: it sticks, see output_complete() */
        char *buffer;
        size_t size;
        bool terminal, colours, utf8;
        unsigned columns, rows;
        const Glyphs *glyphs;
} Output;

/* Looks at standard output, the locale and the environment. */
int output_new(Output **ret);
Output *output_free(Output *o);
DEFINE_TRIVIAL_CLEANUP_FUNC(Output *, output_free);

bool output_locale_is_utf8(void);

/* -ENOMEM if anything is missing of what was put out; buffer and size are up to date otherwise. output_flush() and output_now()
 * ask it first. */
int output_complete(Output *o) _must_check_;

void output_raw(Output *o, const char *format, ...) _printf_(2, 3); /* nothing untrusted */
void output_text(Output *o, const char *untrusted);
void output_styled(Output *o, Style style, const char *untrusted);
void output_style_begin(Output *o, Style style);
void output_style_end(Output *o);
/* A line in bold; the text is escaped already. */
void output_heading(Output *o, const char *text);
/* Untrusted text broken at blanks to the width; continued lines are indented; the cursor stands at 'column'. */
void output_wrapped(Output *o, unsigned column, unsigned indent, const char *untrusted);

/* Writes out what there is and begins anew. -EPIPE when nobody reads; other errors are complained about. */
int output_now(Output *o);

/* Writes all out, through a pager where wanted and the terminal too small. */
int output_flush(Output *o, bool pager);
