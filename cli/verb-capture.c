/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A machine as a file. It is always a stackd of our own that reads, with the privileges of whoever asks, never
 * the one on the bus. Everything is in memory before a file is made: until then there is nothing to clean up. */
#include <errno.h>
#include <string.h>
#include <sys/wait.h>

#include "cli/complain.h"
#include "cli/output.h"
#include "cli/private-daemon.h"
#include "cli/save.h"
#include "cli/tarball.h"
#include "cli/verb.h"
#include "common/file.h"
#include "common/text.h"

#define CAPTURE_SIZE_MAX ((size_t) 1 << 30)

static int take_capture(const Invocation *invocation, char **ret, size_t *ret_size) {
        _cleanup_free_ char *archive = NULL, *how = NULL;
        _cleanup_close_ int fd = -1;
        size_t size = 0;
        int status, r, k;
        pid_t pid;

        r = private_daemon_capture(invocation->root, invocation->scrub, &pid, &fd);
        if (r < 0)
                return r;
        r = file_read_fd(fd, CAPTURE_SIZE_MAX, &archive, &size);
        fd = fd_close(fd);
        k = private_daemon_wait(pid, &status);
        if (r == -EFBIG)
                return complain("What stackd reads here is more than %zu MiB, which is not captured. Please report it.",
                                CAPTURE_SIZE_MAX >> 20);
        if (r < 0)
                return r;
        if (k < 0)
                return complain("The private stackd did not end: %s. Try again.", strerror(-k));
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
                how = private_daemon_describe_end(status);
                if (!how)
                        return -ENOMEM;
                return complain("The private stackd %s before the capture was whole. Its own messages, if any, stand above.", how);
        }
        *ret = TAKE_PTR(archive);
        *ret_size = size;
        return 0;
}

static int print_advice(const Invocation *invocation, const char *name, size_t n) {
        _cleanup_(output_freep) Output *o = NULL;
        int r;

        r = output_new(&o);
        if (r < 0)
                return r;
        output_raw(o, "%zu files are captured in ", n);
        output_text(o, name);
        output_raw(o, ".\n%s\nTo look at it: mkdir DIR && tar -xf FILE -C DIR && stackctl --root=DIR\n",
                   invocation->scrub ? "Serial numbers and UUIDs are replaced; paths, mount points, network addresses and the\n"
                                       "names of devices, commands and units are not: read it before you send it."
                                     : "Serial numbers and UUIDs are in it.");
        return output_flush(o, false);
}

int verb_capture(const Invocation *invocation, char **arguments) {
        _cleanup_free_ char *archive = NULL, *content = NULL;
        const char *name = arguments[0];
        bool standard_output = streq(name, "-");
        size_t archive_size = 0, size = 0, n = 0;
        int r;

        if (standard_output && isatty(STDOUT_FILENO))
                return complain("A capture is not written to a terminal. Name a file, or redirect standard output.");
        r = standard_output ? 0 : save_check(name, "capture");
        if (r >= 0)
                r = take_capture(invocation, &archive, &archive_size);
        if (r >= 0)
                r = tarball_new(archive, archive_size, name, &content, &size, &n);
        if (r < 0)
                return r;
        if (standard_output) {
                r = file_write_all(STDOUT_FILENO, content, size);
                return r < 0 ? complain("Cannot write the capture to standard output: %s.", strerror(-r)) : EXIT_FINE;
        }
        r = save_file(name, "capture", content, size, 0600);
        if (r < 0 || !invocation->legend)
                return r;
        return print_advice(invocation, name, n);
}
