/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>
#include <strings.h>

#include "common/text.h"
#include "common/value.h"

#define BLANKS " \t\r\n"
#define DIGITS "0123456789"

int value_to_bool(const char *s, bool *ret) {
        static const char *const yes[] = { "1", "yes", "y", "true", "t", "on" };
        static const char *const no[] = { "0", "no", "n", "false", "f", "off" };

        for (size_t i = 0; i < ELEMENTSOF(yes); i++) {
                if (strcasecmp(s, yes[i]) == 0) {
                        *ret = true;
                        return 0;
                }
                if (strcasecmp(s, no[i]) == 0) {
                        *ret = false;
                        return 0;
                }
        }
        return -EINVAL;
}

/* "12" or "12.5" as a number of 'units', rounded down; moves on. */
static int scan_decimal(const char **s, uint64_t *ret_whole, double *ret_fraction) {
        uint64_t whole = 0;
        double fraction = 0, place = 0.1;

        if (!**s || !strchr(DIGITS, **s))
                return -EINVAL;
        for (; **s && strchr(DIGITS, **s); (*s)++)
                if (__builtin_mul_overflow(whole, 10, &whole) || __builtin_add_overflow(whole, **s - '0', &whole))
                        return -ERANGE;
        if (**s == '.') {
                (*s)++;
                if (!**s || !strchr(DIGITS, **s))
                        return -EINVAL;
                for (; **s && strchr(DIGITS, **s); (*s)++, place /= 10)
                        fraction += (**s - '0') * place;
        }
        *ret_whole = whole;
        *ret_fraction = fraction;
        return 0;
}

static int scale(uint64_t whole, double fraction, uint64_t unit, uint64_t *ret) {
        uint64_t value;

        if (__builtin_mul_overflow(whole, unit, &value) ||
            __builtin_add_overflow(value, (uint64_t) (fraction * (double) unit), &value))
                return -ERANGE;
        *ret = value;
        return 0;
}

int value_to_size(const char *s, int64_t *ret) {
        static const char units[] = "BKMGTPE";
        uint64_t whole, value;
        unsigned shift = 0;
        double fraction;
        int r;

        r = scan_decimal(&s, &whole, &fraction);
        if (r < 0)
                return r;
        s += strspn(s, BLANKS);
        if (*s) {
                const char *unit = strchr(units, *s);

                if (!unit || s[1])
                        return -EINVAL;
                shift = (unsigned) (unit - units) * 10;
        }
        r = scale(whole, fraction, UINT64_C(1) << shift, &value);
        if (r < 0 || value > INT64_MAX)
                return -ERANGE;
        *ret = (int64_t) value;
        return 0;
}

static int find_unit(const char *s, size_t n, uint64_t *ret) {
        static const struct {
                const char *name;
                uint64_t usec;
        } units[] = {
                { "", 1000000 },      { "s", 1000000 },          { "sec", 1000000 },        { "second", 1000000 },
                { "seconds", 1000000 },
                { "ms", 1000 },       { "msec", 1000 },          { "us", 1 },               { "usec", 1 },
                { "m", 60000000 },    { "min", 60000000 },       { "minute", 60000000 },    { "minutes", 60000000 },
                { "h", 3600000000 },  { "hr", 3600000000 },      { "hour", 3600000000 },    { "hours", 3600000000 },
                { "d", 86400000000 }, { "day", 86400000000 },    { "days", 86400000000 },
                { "w", 604800000000 }, { "week", 604800000000 }, { "weeks", 604800000000 },
        };

        for (size_t i = 0; i < ELEMENTSOF(units); i++)
                if (strlen(units[i].name) == n && memcmp(units[i].name, s, n) == 0) {
                        *ret = units[i].usec;
                        return 0;
                }
        return -EINVAL;
}

int value_to_usec(const char *s, uint64_t *ret) {
        uint64_t sum = 0;

        if (streq(s, "infinity")) {
                *ret = UINT64_MAX;
                return 0;
        }
        s += strspn(s, BLANKS);
        if (!*s)
                return -EINVAL;
        while (*s) {
                uint64_t whole, unit, value;
                double fraction;
                size_t n;
                int r;

                r = scan_decimal(&s, &whole, &fraction);
                if (r < 0)
                        return r;
                s += strspn(s, BLANKS);
                n = strspn(s, "abcdefghijklmnopqrstuvwxyz");
                r = find_unit(s, n, &unit);
                if (r >= 0)
                        r = scale(whole, fraction, unit, &value);
                if (r < 0)
                        return r;
                if (__builtin_add_overflow(sum, value, &sum))
                        return -ERANGE;
                s += n;
                s += strspn(s, BLANKS);
        }
        *ret = sum;
        return 0;
}

int value_next_word(const char **s, char **ret) {
        const char *p = *s + strspn(*s, BLANKS);
        _cleanup_free_ char *word = NULL;
        char quote = 0, *o;

        if (!*p) {
                *s = p;
                return 0;
        }
        o = word = malloc(strlen(p) + 1);
        if (!word)
                return -ENOMEM;
        for (; *p && (quote || !strchr(BLANKS, *p)); p++)
                if (quote && *p == quote)
                        quote = 0;
                else if (!quote && (*p == '"' || *p == '\''))
                        quote = *p;
                else
                        *o++ = *p;
        if (quote)
                return -EINVAL;
        *o = 0;
        *s = p;
        *ret = TAKE_PTR(word);
        return 1;
}
