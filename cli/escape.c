/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* common's text_escape() decides what is harmless; here is what only a terminal adds: locales without
 * UTF-8, and the width of what is left. */

#include <stdint.h>
#include <string.h>
#include <wchar.h>

#include "cli/escape.h"
#include "common/text.h"

/* Hexadecimal of every byte outside ASCII. */
static char *escape_to_ascii(const char *s) {
        char *copy = malloc(4 * strlen(s) + 1), *q = copy;

        if (!copy)
                return NULL;
        for (const unsigned char *p = (const unsigned char *) s; *p; p++)
                if (*p < 0x80)
                        *q++ = *p;
                else
                        q += sprintf(q, "\\x%02x", *p);
        *q = 0;
        return copy;
}

char *escape_text(const char *s, bool utf8) {
        _cleanup_free_ char *escaped = text_escape(s ?: "");

        if (!escaped || utf8)
                return TAKE_PTR(escaped);
        return escape_to_ascii(escaped);
}

static size_t utf8_length(unsigned char lead) {
        return lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
}

/* Decodes one sequence of UTF-8; of invalid text it only makes sure not to run past the end. */
static uint32_t utf8_next(const unsigned char **p) {
        const unsigned char *s = *p;
        size_t n = utf8_length(*s);
        uint32_t c = n == 1 ? *s : *s & (0x7f >> n);

        for (s++; --n > 0 && *s; s++)
                c = c << 6 | (*s & 0x3f);
        *p = s;
        return c;
}

/* In JSON, bytes outside ASCII stand in strings only, and DEL and all controls but the serialiser's own
 * line breaks are escaped already or stand there too: so no parser is needed. Everything outside ASCII is
 * escaped, which suits every locale. */
char *escape_json(const char *json) {
        char *copy = malloc(6 * strlen(json) + 1), *q = copy;
        const unsigned char *p = (const unsigned char *) json;

        if (!copy)
                return NULL;
        while (*p) {
                uint32_t c = utf8_next(&p);

                if (c < 0x7f)
                        *q++ = (char) c;
                else if (c < 0x10000)
                        q += sprintf(q, "\\u%04x", c);
                else
                        q += sprintf(q, "\\u%04x\\u%04x", 0xd800 + ((c - 0x10000) >> 10 & 0x3ff),
                                     0xdc00 + (c & 0x3ff));
        }
        *q = 0;
        return copy;
}

bool escape_is_utf8(const char *s) {
        for (const unsigned char *p = (const unsigned char *) s; *p;) {
                const unsigned char *start = p;
                uint32_t c = utf8_next(&p);
                size_t shortest = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;

                if ((*start >= 0x80 && *start < 0xc2) || *start > 0xf4)
                        return false;
                if ((size_t) (p - start) != utf8_length(*start) || utf8_length(*start) != shortest)
                        return false;
                if (c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
                        return false;
                while (++start < p)
                        if ((*start & 0xc0) != 0x80)
                                return false;
        }
        return true;
}

size_t escape_width(const char *s) {
        mbstate_t state = {};
        size_t width = 0;

        while (*s) {
                wchar_t c;
                size_t n = mbrtowc(&c, s, strlen(s), &state);
                int w;

                if (n == (size_t) -1 || n == (size_t) -2)
                        return width + strlen(s);
                w = wcwidth(c);
                width += w > 0 ? w : 0;
                s += n;
        }
        return width;
}
