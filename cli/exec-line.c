/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "cli/exec-line.h"
#include "common/text.h"

#define BLANKS " \t\n\r"
#define PREFIXES "@-:+!|"

/* The end of the word that begins at s, by systemd's rules of quoting; NULL when a quote is not closed. */
static const char *word_end(const char *s) {
        char quote = 0;

        for (; *s && (quote || !strchr(BLANKS, *s)); s++)
                if (*s == '\\') {
                        if (!s[1])
                                return NULL;
                        s++;
                } else if (quote && *s == quote)
                        quote = 0;
                else if (!quote && (*s == '"' || *s == '\''))
                        quote = *s;
        return quote ? NULL : s;
}

/* From s up to a word that is just ';', or to the end. */
static const char *command_end(const char *s) {
        while (s && *s) {
                s += strspn(s, BLANKS);
                if (*s == ';' && (!s[1] || strchr(BLANKS, s[1])))
                        break;
                s = word_end(s);
        }
        return s;
}

static const char *check_program(const char *s, const char *end) {
        const char *inside = *s == '"' || *s == '\'' ? s + 1 : s;

        if (s == end || inside == end || (inside > s && *inside == *s))
                return "there is no command in it";
        if (inside > s && strchr(PREFIXES, *inside))
                return "a prefix stands within quotes";
        if (memchr(s, '$', (size_t) (end - s)))
                return "its command has a '$' in its name, which means something else for the first word than for others";
        return NULL;
}

static const char *trim_end(const char *s, const char *end) {
        while (end > s && strchr(BLANKS, end[-1]))
                end--;
        return end;
}

static bool has_prefix(const char *s, char prefix) {
        return memchr(s, prefix, strspn(s, PREFIXES)) != NULL;
}

/* 'prefixes' stay, but for '@': who sets argv[0] is then the wrapper. */
static int wrap_command(const char *s, const char *end, const char *wrapper, char **ret, const char **ret_wrong) {
        char prefixes[16], *o = prefixes;
        bool argv0 = false;
        const char *program_end;

        for (; *s && strchr(PREFIXES, *s); s++) {
                if (*s == '|') {
                        *ret_wrong = "it is run by a shell ('|')";
                        return -EINVAL;
                }
                if (*s == '@')
                        argv0 = true;
                else if (o == prefixes + sizeof(prefixes) - 1) {
                        *ret_wrong = "it has more prefixes than there are";
                        return -EINVAL;
                } else
                        *o++ = *s;
        }
        *o = 0;
        program_end = word_end(s);
        *ret_wrong = program_end ? check_program(s, program_end) : "a quote is not closed";
        if (*ret_wrong)
                return -EINVAL;
        end = trim_end(s, end);
        *ret = text_format("%s%s%s -- %.*s", prefixes, wrapper, argv0 ? " --argv0" : "", (int) (end - s), s);
        return *ret ? 0 : -ENOMEM;
}

static int copy_command(const char *s, const char *end, char **ret) {
        *ret = text_format("%.*s", (int) (trim_end(s, end) - s), s);
        return *ret ? 0 : -ENOMEM;
}

int exec_line_wrap(const char *value, const Wrapper *w, char ***lines, size_t *n, const char **ret_wrong) {
        for (const char *s = value + strspn(value, BLANKS); *s; s += strspn(s, BLANKS ";")) {
                const char *end = command_end(s);
                const char *wrapper = has_prefix(s, '+') ? w->privileged : w->ordinary;
                _cleanup_free_ char *line = NULL;
                int r;

                if (!end) {
                        *ret_wrong = "a quote is not closed";
                        return -EINVAL;
                }
                r = wrapper ? wrap_command(s, end, wrapper, &line, ret_wrong) : copy_command(s, end, &line);
                if (r >= 0)
                        r = strv_append(lines, n, line);
                if (r < 0)
                        return r;
                s = end;
        }
        return 0;
}
