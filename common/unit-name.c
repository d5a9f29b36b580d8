/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/unit-name.h"

char *path_unit_name(const char *path, const char *type) {
        const char *s = path + strspn(path, "/");
        char *name = malloc(strlen(s) * 4 + strlen(type) + sizeof("-.")), *o = name;

        if (!name)
                return NULL;
        if (!*s)
                *o++ = '-';
        for (const char *p = s; *p; p++)
                if (*p == '/') {
                        if (p[1] && p[1] != '/')
                                *o++ = '-';
                } else if ((*p == '.' && p == s) || *p == '-' || *p == '\\' || *p == '@' || !strchr(UNIT_NAME_CHARACTERS, *p))
                        o += sprintf(o, "\\x%02x", (unsigned char) *p);
                else
                        *o++ = *p;
        sprintf(o, ".%s", type);
        return name;
}
