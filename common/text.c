/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdarg.h>
#include <sys/sysmacros.h>

#include "common/text.h"

bool streq_ptr(const char *a, const char *b) {
        return a == b || (a && b && streq(a, b));
}

char *startswith(const char *s, const char *prefix) {
        size_t n = strlen(prefix);

        return strncmp(s, prefix, n) == 0 ? (char *) s + n : NULL;
}

bool endswith(const char *s, const char *suffix) {
        size_t n = strlen(s), m = strlen(suffix);

        return n >= m && streq(s + n - m, suffix);
}

bool path_is_below(const char *path, const char *parent) {
        const char *rest;

        if (streq(parent, "/"))
                return *path == '/';
        rest = startswith(path, parent);
        return rest && (*rest == 0 || *rest == '/');
}

char *text_format(const char *format, ...) {
        va_list ap;
        char *s;
        int n;

        va_start(ap, format);
        n = vasprintf(&s, format, ap);
        va_end(ap);
        return n < 0 ? NULL : s;
}

int text_to_u64(const char *s, int base, uint64_t *ret) {
        unsigned long long value;
        char *end;

        /* strtoull() skips blanks and takes signs; a kernel file or a user's number has neither. */
        if (!((*s >= '0' && *s <= '9') || (base == 16 && strchr("abcdefABCDEF", *s) && *s)))
                return -EINVAL;
        errno = 0;
        value = strtoull(s, &end, base);
        if (*end)
                return -EINVAL;
        if (errno != 0)
                return -errno;
        *ret = value;
        return 0;
}

int text_to_pid(const char *s, pid_t *ret) {
        uint64_t value;
        int r;

        r = text_to_u64(s, 10, &value);
        if (r < 0)
                return r;
        if (value == 0 || value > INT32_MAX)
                return -ERANGE;
        *ret = (pid_t) value;
        return 0;
}

int text_to_devno(const char *s, dev_t *ret) {
        const char *colon = strchr(s, ':');
        char major_text[16];
        uint64_t major, minor;
        int r;

        if (!colon || (size_t) (colon - s) >= sizeof(major_text))
                return -EINVAL;
        memcpy(major_text, s, colon - s);
        major_text[colon - s] = 0;
        r = text_to_u64(major_text, 10, &major);
        if (r < 0)
                return r;
        r = text_to_u64(colon + 1, 10, &minor);
        if (r < 0)
                return r;
        if (major > 0xfff || minor > 0xfffff)
                return -ERANGE;
        *ret = makedev(major, minor);
        return 0;
}

static char *put_number(char *end, unsigned value) {
        do
                *--end = (char) ('0' + value % 10);
        while ((value /= 10) > 0);
        return end;
}

/* Several times for each layer, hence not by printf(). */
char *text_of_devno(const char *prefix, dev_t device) {
        char number[24], *p = number + sizeof(number), *s;
        size_t n = strlen(prefix);

        *--p = 0;
        p = put_number(p, minor(device));
        *--p = ':';
        p = put_number(p, major(device));
        s = malloc(n + (size_t) (number + sizeof(number) - p));
        if (!s)
                return NULL;
        memcpy(s, prefix, n);
        memcpy(s + n, p, (size_t) (number + sizeof(number) - p));
        return s;
}

/* There is room for the next power of two of n + 1 pointers: nobody has to keep how much. */
int strv_append(char ***l, size_t *n, const char *s) {
        char **p = *l, *copy = strdup(s);

        if (!copy)
                return -ENOMEM;
        if ((*n & (*n + 1)) == 0) {
                p = reallocarray(p, 2 * (*n + 1), sizeof(char *));
                if (!p) {
                        free(copy);
                        return -ENOMEM;
                }
                *l = p;
        }
        p[*n] = copy;
        p[++*n] = NULL;
        return 0;
}

bool strv_equal(char *const *a, char *const *b) {
        if (!a || !b)
                return (!a || !*a) && (!b || !*b);
        for (; *a && *b; a++, b++)
                if (!streq(*a, *b))
                        return false;
        return !*a && !*b;
}

bool strv_contains(char *const *l, const char *s) {
        for (; l && *l; l++)
                if (streq(*l, s))
                        return true;
        return false;
}

/* Length of the valid UTF-8 sequence of more than one byte at s, else 0. */
static size_t utf8_length(const unsigned char *s, uint32_t *ret) {
        uint32_t c;
        size_t n;

        if (s[0] >= 0xc2 && s[0] <= 0xdf)
                n = 2, c = s[0] & 0x1f;
        else if ((s[0] & 0xf0) == 0xe0)
                n = 3, c = s[0] & 0x0f;
        else if (s[0] >= 0xf0 && s[0] <= 0xf4)
                n = 4, c = s[0] & 0x07;
        else
                return 0;
        for (size_t i = 1; i < n; i++) {
                if ((s[i] & 0xc0) != 0x80)
                        return 0;
                c = c << 6 | (s[i] & 0x3f);
        }
        if ((n == 3 && c < 0x800) || (n == 4 && c < 0x10000) || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
                return 0;
        /* Noncharacters are valid UTF-8, but sd-bus refuses a message with one. */
        if ((c >= 0xfdd0 && c <= 0xfdef) || (c & 0xfffe) == 0xfffe)
                return 0;
        *ret = c;
        return n;
}

/* Refused on terminals: C1 controls, and the invisible and direction-changing characters with which a name can
 * make a line read differently from what it is (Unicode TR 36). */
static bool is_harmless(uint32_t c) {
        return !(c < 0xa0 || (c >= 0x200b && c <= 0x200f) || (c >= 0x2028 && c <= 0x202e) ||
                 (c >= 0x2060 && c <= 0x206f) || c == 0xfeff || c == 0x61c);
}

static char *escape(const char *s, bool for_terminal) {
        static const char hex[] = "0123456789abcdef";
        char *out = malloc(strlen(s) * 4 + 1), *o = out;

        if (!out)
                return NULL;
        for (const unsigned char *p = (const unsigned char *) s; *p;) {
                size_t n = *p < 0x80 && (!for_terminal || (*p >= 0x20 && *p < 0x7f));
                uint32_t c;

                if (*p >= 0x80) {
                        n = utf8_length(p, &c);
                        if (n > 0 && for_terminal && !is_harmless(c))
                                n = 0;
                }
                if (n > 0) {
                        memcpy(o, p, n);
                        o += n;
                        p += n;
                        continue;
                }
                *o++ = '\\';
                *o++ = 'x';
                *o++ = hex[*p >> 4];
                *o++ = hex[*p & 15];
                p++;
        }
        *o = 0;
        return out;
}

char *text_escape(const char *s) {
        return escape(s, true);
}

char *text_to_utf8(const char *s) {
        return escape(s, false);
}

void text_unescape_octal(char *s) {
        char *o = s;

        for (; *s; s++)
                if (s[0] == '\\' && s[1] >= '0' && s[1] <= '3' && s[2] >= '0' && s[2] <= '7' && s[3] >= '0' && s[3] <= '7') {
                        *o++ = (char) ((s[1] - '0') << 6 | (s[2] - '0') << 3 | (s[3] - '0'));
                        s += 3;
                } else
                        *o++ = *s;
        *o = 0;
}

char *text_escape_octal(const char *s) {
        char *out = malloc(strlen(s) * 4 + 1), *o = out;

        if (!out)
                return NULL;
        for (const unsigned char *p = (const unsigned char *) s; *p; p++)
                if (*p <= ' ' || *p == '\\' || *p >= 0x7f)
                        o += sprintf(o, "\\%03o", *p);
                else
                        *o++ = (char) *p;
        *o = 0;
        return out;
}
