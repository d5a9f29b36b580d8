/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>

typedef enum JsonMode {
        JSON_OFF,
        JSON_SHORT,
        JSON_PRETTY,
        _JSON_MAX,
} JsonMode;

/* What the command line says besides verb and arguments. */
typedef struct Invocation {
        JsonMode json;
        bool pager, legend, direct;
        bool scrub; /* what is captured */
        const char *root; /* of a captured machine; NULL: this one */

        /* for some verbs only */
        bool all;           /* also what is not nested */
        const char *output; /* a file, or columns */
        bool output_all;    /* all columns */
        const char *format; /* of a picture */
} Invocation;
