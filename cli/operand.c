/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/syscall.h>

#include "cli/operand.h"
#include "common/cleanup.h"
#include "common/file.h"
#include "common/text.h"

enum { LINKS_MAX = 8 };

/* Joins and takes out "//", "." and "..", as text. */
static char *path_join(const char *directory, const char *path) {
        _cleanup_free_ char *joined = text_format("%s/%s", *path == '/' ? "" : directory, path);
        _cleanup_free_ char *result = joined ? malloc(strlen(joined) + 2) : NULL;
        char *rest = NULL, *end = result;

        if (!result)
                return NULL;
        for (char *part = strtok_r(joined, "/", &rest); part; part = strtok_r(NULL, "/", &rest)) {
                if (streq(part, "."))
                        continue;
                if (streq(part, "..")) {
                        while (end > result && *--end != '/')
                                ;
                        continue;
                }
                *end++ = '/';
                end = stpcpy(end, part);
        }
        if (end == result)
                *end++ = '/';
        *end = 0;
        return TAKE_PTR(result);
}

/* One symbolic link below /dev: -EINVAL if it is none. */
static int dev_readlink(int dev_fd, const char *name, char **ret) {
        struct open_how how = {
                .flags = O_PATH | O_NOFOLLOW | O_CLOEXEC,
                .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV,
        };
        _cleanup_close_ int fd = -1;
        _cleanup_free_ char *parent = strdup(name);
        char *slash;

        if (!parent)
                return -ENOMEM;
        /* RESOLVE_NO_SYMLINKS refuses a trailing link too: so its directory is opened, and the link read. */
        slash = strrchr(parent, '/');
        if (slash)
                *slash = 0;
        fd = (int) syscall(SYS_openat2, dev_fd, slash ? parent : ".", &how, sizeof(how));
        if (fd < 0)
                return -errno;
        return file_readlink(fd, slash ? slash + 1 : parent, ret);
}

/* Follows links as long as they stay below /dev; otherwise the path stays as it is. */
static int dev_resolve(char **path, int dev_fd) {
        for (unsigned i = 0; i < LINKS_MAX; i++) {
                _cleanup_free_ char *target = NULL, *directory = NULL, *next = NULL;
                const char *name = startswith(*path, "/dev/");
                int r;

                r = name ? dev_readlink(dev_fd, name, &target) : -EINVAL;
                if (r == -ENOMEM)
                        return r;
                if (r < 0)
                        return 0;
                directory = strdup(*path);
                if (!directory)
                        return -ENOMEM;
                *strrchr(directory, '/') = 0;
                next = path_join(directory, target);
                if (!next)
                        return -ENOMEM;
                if (!startswith(next, "/dev/"))
                        return 0;
                free(*path);
                *path = TAKE_PTR(next);
        }
        return 0;
}

int operand_resolve(const char *what, const char *cwd, int dev_fd, char **ret) {
        _cleanup_free_ char *path = NULL;
        int r;

        if (strchr(what, '/') || streq(what, ".") || streq(what, ".."))
                path = path_join(cwd, what);
        else
                path = strdup(what);
        if (!path)
                return -ENOMEM;
        if (dev_fd >= 0) {
                r = dev_resolve(&path, dev_fd);
                if (r < 0)
                        return r;
        }
        *ret = TAKE_PTR(path);
        return 0;
}
