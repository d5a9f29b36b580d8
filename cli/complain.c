/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdarg.h>

#include "cli/complain.h"
#include "cli/escape.h"
#include "cli/output.h"

int complain(const char *format, ...) {
        _cleanup_free_ char *text = NULL, *escaped = NULL;
        va_list ap;

        va_start(ap, format);
        if (vasprintf(&text, format, ap) < 0)
                text = NULL;
        va_end(ap);
        if (text)
                escaped = escape_text(text, output_locale_is_utf8());
        fprintf(stderr, "stackctl: %s\n", escaped ?: "Out of memory.");
        return REPORTED;
}
