/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/unit-name.h"

char *mount_unit_name(const char *mount_point) {
        const char *s = mount_point + strspn(mount_point, "/");
        char *name = malloc(strlen(s) * 4 + sizeof("-.mount")), *o = name;

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
        strcpy(o, ".mount");
        return name;
}
