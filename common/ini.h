/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The syntax of systemd's configuration files (systemd.syntax(7)), taken apart line by line: sections,
 * assignments, comments, continued lines. What the words mean is the caller's business. */

#include "common/cleanup.h"

typedef enum IniKind {
        INI_END,
        INI_SECTION,    /* 'section' has changed */
        INI_ASSIGNMENT, /* 'key' and 'value', in 'section' */
        INI_ERROR,      /* 'error' says what is wrong with the line */
} IniKind;

typedef struct Ini {
        const char *rest; /* of the text; borrowed */
        unsigned lines;   /* read so far */
        char *buffer, *section_buffer;
        size_t capacity;

        unsigned line;          /* where the present one begins, from 1 */
        const char *section;    /* NULL before the first; "" after a header that cannot be read */
        const char *key, *value;
        const char *error;
} Ini;

/* 'text' must outlive the reading. */
#define INI_BEGIN(text) { .rest = (text) }
void ini_done(Ini *i);
#define _cleanup_ini_ _cleanup_(ini_done)

/* The next line that says something: an IniKind or -ENOMEM. What it points to lives until the next call. */
int ini_next(Ini *i);
