/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "common/array.h"
#include "common/ini.h"
#include "common/text.h"

#define BLANKS " \t\r"
#define BYTE_ORDER_MARK "\xef\xbb\xbf"

void ini_done(Ini *i) {
        free(i->buffer);
        free(i->section_buffer);
        *i = (Ini) {};
}

static bool is_blank(char c) {
        return c && strchr(BLANKS, c);
}

/* In place. */
static char *strip(char *s) {
        char *end;

        s += strspn(s, BLANKS);
        for (end = s + strlen(s); end > s && is_blank(end[-1]);)
                *--end = 0;
        return s;
}

/* One line of the file without leading blanks and without its end. */
static void take_physical_line(Ini *i, const char **ret, size_t *ret_n) {
        const char *line, *end;

        if (i->lines == 0)
                i->rest = startswith(i->rest, BYTE_ORDER_MARK) ?: i->rest;
        line = i->rest;
        end = strchrnul(line, '\n');
        i->rest = *end ? end + 1 : end;
        i->lines++;
        while (line < end && is_blank(*line))
                line++;
        if (end > line && end[-1] == '\r')
                end--;
        *ret = line;
        *ret_n = (size_t) (end - line);
}

static bool is_continued(const char *line, size_t n) {
        bool escaped = false;

        for (size_t k = 0; k < n; k++)
                escaped = !escaped && line[k] == '\\';
        return escaped;
}

/* A line with those that continue it, in the buffer: 1, or 0 at the end of the text. */
static int take_line(Ini *i) {
        bool more = false;
        size_t n = 0;

        while (*i->rest) {
                const char *part;
                size_t n_part;
                int r;

                take_physical_line(i, &part, &n_part);
                if (n_part > 0 && (*part == '#' || *part == ';'))
                        continue; /* among continued lines too */
                if (n == 0 && !more)
                        i->line = i->lines;
                r = array_reserve((void **) &i->buffer, &i->capacity, n + n_part + 1, 1);
                if (r < 0)
                        return r;
                memcpy(i->buffer + n, part, n_part);
                n += n_part;
                i->buffer[n] = 0;
                more = is_continued(part, n_part);
                if (!more)
                        return 1;
                i->buffer[n - 1] = ' ';
        }
        return more;
}

static IniKind wrong(Ini *i, const char *error) {
        i->error = error;
        return INI_ERROR;
}

static int parse_section(Ini *i, char *line) {
        size_t n = strlen(line);
        bool fine = n > 2 && line[n - 1] == ']' && !strpbrk(line + 1, "[\"'\\\t") && !memchr(line + 1, ']', n - 2);
        char *name;

        name = fine ? strndup(line + 1, n - 2) : strdup("");
        if (!name)
                return -ENOMEM;
        free(i->section_buffer);
        i->section = i->section_buffer = name;
        return fine ? INI_SECTION : wrong(i, "not a section: what follows is ignored up to the next [SECTION]");
}

static int parse_assignment(Ini *i, char *line) {
        char *equals = strchr(line, '=');

        if (!equals)
                return wrong(i, "neither KEY=VALUE nor [SECTION]: ignored");
        if (equals == line)
                return wrong(i, "no key before '=': ignored");
        if (!i->section)
                return wrong(i, "before the first [SECTION]: ignored");
        *equals = 0;
        i->key = strip(line);
        i->value = strip(equals + 1);
        return INI_ASSIGNMENT;
}

static int is_utf8(const char *s) {
        _cleanup_free_ char *valid = text_to_utf8(s);

        return valid ? streq(valid, s) : -ENOMEM;
}

int ini_next(Ini *i) {
        for (;;) {
                char *line;
                int r;

                i->key = i->value = i->error = NULL;
                r = take_line(i);
                if (r <= 0)
                        return r < 0 ? r : INI_END;
                line = strip(i->buffer);
                if (!*line)
                        continue;
                r = is_utf8(line);
                if (r < 0)
                        return r;
                if (r == 0)
                        return wrong(i, "not valid UTF-8: ignored");
                return *line == '[' ? parse_section(i, line) : parse_assignment(i, line);
        }
}
