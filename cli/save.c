/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/complain.h"
#include "cli/save.h"
#include "common/file.h"
#include "common/text.h"

int save_check(const char *name, const char *what) {
        struct stat st;

        if (!*name || endswith(name, "/"))
                return complain("'%s' is no name for a file. Give one, or - for standard output.", name);
        if (lstat(name, &st) >= 0 && !S_ISREG(st.st_mode))
                return complain("Cannot write the %s to '%s': it exists and is not a regular file. Give another name, or "
                                "use - and redirect standard output.", what, name);
        return 0;
}

static int write_file(const char *name, const char *what, const char *content, size_t size, mode_t mode) {
        _cleanup_free_ char *temporary = text_format("%s.XXXXXX", name);
        _cleanup_close_ int fd = -1;
        int r;

        if (!temporary)
                return -ENOMEM;
        fd = mkostemp(temporary, O_CLOEXEC); /* 0600 */
        if (fd < 0)
                return complain("Cannot create a file beside '%s': %s.", name, strerror(errno));
        r = file_write_all(fd, content, size);
        if (r >= 0 && (fchmod(fd, mode) < 0 || fsync(fd) < 0 || rename(temporary, name) < 0))
                r = -errno;
        if (r >= 0)
                return 0;
        (void) unlink(temporary);
        return complain("Cannot write the %s to '%s': %s. Nothing is left of it.", what, name, strerror(-r));
}

int save_file(const char *name, const char *what, const char *content, size_t size, mode_t mode) {
        sigset_t set, old;
        int r;

        r = save_check(name, what);
        if (r < 0)
                return r;
        sigemptyset(&set);
        sigaddset(&set, SIGINT);
        sigaddset(&set, SIGTERM);
        sigaddset(&set, SIGHUP);
        if (sigprocmask(SIG_BLOCK, &set, &old) < 0)
                return -errno;
        r = write_file(name, what, content, size, mode);
        (void) sigprocmask(SIG_SETMASK, &old, NULL);
        return r;
}
