/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <limits.h>
#include <string.h>

#include "common/mountinfo.h"
#include "common/text.h"

/* The next word, ended in place. A word may be empty where two blanks follow one another: so is a source that is an empty
 * text. NULL where the line has ended. */
static char *take_word(char **rest) {
        char *word = *rest, *end = word ? strchr(word, ' ') : NULL;

        if (end)
                *end++ = 0;
        *rest = end;
        return word;
}

static bool take_number(char **rest, int *ret) {
        const char *word = take_word(rest);
        uint64_t value;

        if (!word || text_to_u64(word, 10, &value) < 0 || value > INT_MAX)
                return false;
        *ret = (int) value;
        return true;
}

static char *unescaped(char *word) {
        if (word && strchr(word, '\\'))
                text_unescape_octal(word);
        return word;
}

bool mount_line_parse(char *line, MountLine *ret) {
        char *rest = line, *field;
        MountLine m = {};

        if (!take_number(&rest, &m.id) || !take_number(&rest, &m.parent))
                return false;
        m.device = take_word(&rest);
        m.root = unescaped(take_word(&rest));
        m.target = unescaped(take_word(&rest));
        m.flags = unescaped(take_word(&rest));
        do
                field = take_word(&rest);
        while (field && !streq(field, "-"));
        m.type = unescaped(take_word(&rest));
        m.source = unescaped(take_word(&rest));
        m.options = take_word(&rest);
        if (!m.options || !m.options[0] || !m.target[0])
                return false;
        *ret = m;
        return true;
}
