/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/text.h"
#include "daemon/source/nvmet-namespaces.h"
#include "daemon/sysroot/sysroot.h"

char *nvmet_question(const char *nqn, const char *nsid, const char *uuid) {
        _cleanup_free_ char *name = text_escape_octal(nqn);

        return name ? text_format("%s %s %s", name, nsid, uuid) : NULL;
}

int nvmet_ask(const char *question, char **ret) {
        _cleanup_(sysroot_freep) Sysroot *s = NULL;
        _cleanup_free_ char *copy = strdup(question), *place = NULL, *own = NULL, *path = NULL;
        char *state = NULL, *nqn, *nsid, *uuid;
        int r;

        if (!copy)
                return -ENOMEM;
        nqn = strtok_r(copy, " ", &state);
        nsid = strtok_r(NULL, " ", &state);
        uuid = strtok_r(NULL, " ", &state);
        if (!nqn || !nsid || !uuid)
                return -EINVAL;
        text_unescape_octal(nqn);
        if (strchr(nqn, '/') || strchr(nsid, '/') || nqn[0] == '.')
                return -EINVAL;
        place = text_format("kernel/config/nvmet/subsystems/%s/namespaces/%s", nqn, nsid);
        if (!place)
                return -ENOMEM;
        r = sysroot_open(NULL, &s, NULL);
        if (r < 0)
                return r;
        r = sysroot_read(s, AREA_SYS, PATH("%s/device_uuid", place), &own);
        if (r >= 0 && !streq(own, uuid))
                r = -ENOENT;
        if (r >= 0)
                r = sysroot_read(s, AREA_SYS, PATH("%s/device_path", place), &path);
        r = sysroot_result(s, r);
        if (r < 0)
                return r;
        *ret = text_escape_octal(path);
        return *ret ? 0 : -ENOMEM;
}
