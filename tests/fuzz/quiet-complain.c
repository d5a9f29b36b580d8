/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* In place of cli/complain.c: what stackctl would complain of is looked at, and not said. */
#include <stdarg.h>

#include "cli/complain.h"
#include "cli/escape.h"
#include "tests/fuzz/fuzz.h"

int complain(const char *format, ...) {
        _cleanup_free_ char *text = NULL, *escaped = NULL;
        va_list ap;

        va_start(ap, format);
        MUST(vasprintf(&text, format, ap) >= 0);
        va_end(ap);
        escaped = escape_text(text, true);
        MUST(escaped && escape_is_utf8(escaped));
        for (const char *p = escaped; *p; p++)
                MUST((unsigned char) *p >= 0x20 && *p != 0x7f);
        return REPORTED;
}
