/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdarg.h>

#include "common/remarks.h"
#include "common/text.h"

#define REMARKS_MAX 500U
#define REMARKS_OF_FILE_MAX 20U

void remarks_begin_file(Remarks *r) {
        r->of_file = 0;
}

/* When memory is short a remark is lost; that it was an error is not. */
static void append(Remarks *r, const char *line) {
        if (r->n < REMARKS_MAX)
                (void) strv_append(&r->lines, &r->n, line);
}

void remark(Remarks *r, bool error, const char *file, unsigned line, const char *format, ...) {
        _cleanup_free_ char *text = NULL, *whole = NULL, *escaped = NULL;
        va_list ap;

        if (!r)
                return;
        r->errors += error;
        if (r->of_file++ > REMARKS_OF_FILE_MAX)
                return;
        va_start(ap, format);
        if (vasprintf(&text, format, ap) < 0)
                text = NULL;
        va_end(ap);
        if (!text)
                return;
        if (r->of_file > REMARKS_OF_FILE_MAX)
                whole = text_format("%s: there is more that is wrong with it", file);
        else if (line > 0)
                whole = text_format("%s:%u: %s", file, line, text);
        else
                whole = text_format("%s: %s", file, text);
        escaped = whole ? text_escape(whole) : NULL;
        if (escaped)
                append(r, escaped);
}

void remarks_add(Remarks *r, const Remarks *from) {
        for (size_t i = 0; i < from->n; i++)
                append(r, from->lines[i]);
        r->errors += from->errors;
}

void remarks_done(Remarks *r) {
        strv_free(r->lines);
        *r = (Remarks) {};
}
