/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What a stackd says of its own interfaces: introspect STACKD ROOT prints the XML of the manager, of the first layer
 * and of the first process of a captured machine, one document after the other, each ended by a NUL. */

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <systemd/sd-bus.h>

#include "common/cleanup.h"
#include "common/text.h"

static int introspect(sd_bus *bus, const char *path, char **ret) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        const char *xml;
        int r;

        r = sd_bus_call_method(bus, NULL, path, "org.freedesktop.DBus.Introspectable", "Introspect", NULL, &reply, NULL);
        if (r >= 0)
                r = sd_bus_message_read(reply, "s", &xml);
        if (r < 0)
                return r;
        *ret = strdup(xml);
        return *ret ? 0 : -ENOMEM;
}

static int print(sd_bus *bus, const char *path) {
        _cleanup_free_ char *xml = NULL;
        int r;

        r = introspect(bus, path, &xml);
        if (r >= 0)
                fwrite(xml, 1, strlen(xml) + 1, stdout);
        return r;
}

/* The first child below a path, as the XML there names it. */
static int print_first(sd_bus *bus, const char *path) {
        _cleanup_free_ char *xml = NULL, *child = NULL;
        char *name;
        int r;

        r = introspect(bus, path, &xml);
        if (r < 0)
                return r;
        name = strstr(xml, "<node name=\"");
        if (!name)
                return -ENOENT;
        name += strlen("<node name=\"");
        name[strcspn(name, "\"")] = 0;
        child = text_format("%s/%s", path, name);
        return child ? print(bus, child) : -ENOMEM;
}

static int run(int fd) {
        _cleanup_(sd_bus_flush_close_unrefp) sd_bus *bus = NULL;
        int r;

        r = sd_bus_new(&bus);
        if (r >= 0)
                r = sd_bus_set_fd(bus, fd, fd);
        if (r >= 0)
                r = sd_bus_start(bus);
        if (r >= 0)
                r = print(bus, "/org/stackd1");
        if (r >= 0)
                r = print_first(bus, "/org/stackd1/layer");
        if (r >= 0)
                r = print_first(bus, "/org/stackd1/process");
        return r;
}

int main(int argc, char **argv) {
        int fds[2], r;

        if (argc != 3 || socketpair(AF_UNIX, SOCK_STREAM, 0, fds) < 0)
                return 2;
        switch (fork()) {
        case -1:
                return 2;
        case 0:
                if (dup2(fds[1], 3) == 3) {
                        _cleanup_free_ char *root = text_format("--root=%s", argv[2]);

                        if (fds[1] != 3)
                                close(fds[1]);
                        execl(argv[1], argv[1], "--private-fd=3", root, NULL);
                }
                _exit(127);
        default:
                close(fds[1]);
        }
        r = run(fds[0]);
        if (r < 0)
                fprintf(stderr, "introspect: %s\n", strerror(-r));
        return r < 0;
}
