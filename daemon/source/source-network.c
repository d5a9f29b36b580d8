/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Network file systems whose server is on this machine: NFS from a process (ganesha) or from the kernel, 9p from
 * a process over TCP or a unix socket. The connection tells: its other end is here, and has an owner or, with
 * the kernel's NFS server, none. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/text.h"
#include "daemon/source/scan.h"

#define NFS_PORT 2049
#define NINEP_PORT 564

/* The value of an option, owned by the caller; NULL when it is not there. */
static char *option(const char *options, const char *key) {
        size_t n = strlen(key);

        for (const char *p = options; p; p = strchr(p, ',')) {
                p += *p == ',';
                if (strncmp(p, key, n) == 0 && p[n] == '=')
                        return strndup(p + n + 1, strcspn(p + n + 1, ","));
        }
        return NULL;
}

static uint16_t option_port(const char *options, uint16_t otherwise) {
        _cleanup_free_ char *text = option(options, "port");
        uint64_t port;

        return text && text_to_u64(text, 10, &port) >= 0 && port > 0 && port <= UINT16_MAX ? (uint16_t) port : otherwise;
}

/* What was mounted is not told of a file system that is mounted nowhere any more. Below the roots of NFS 4's own tree (v4root) is
 * nothing but other exports. */
static int add_all_exports(Scan *s, FactSet *f, const char *id, const Mount *m, char *exports) {
        char *state = NULL;

        for (char *line = strtok_r(exports, "\n", &state); line; line = strtok_r(NULL, "\n", &state)) {
                _cleanup_free_ char *lower = NULL;
                const Mount *below;
                int r;

                if (strstr(line + strcspn(line, "\t"), "v4root"))
                        continue;
                line[strcspn(line, "\t")] = 0;
                text_unescape_octal(line);
                below = line[0] == '/' ? mount_table_resolve(&s->mounts, 0, line) : NULL;
                if (!below || below->device == m->device)
                        continue;
                lower = filesystem_id(below->device);
                r = lower ? factset_add_edge(f, id, lower, ROLE_BACKING, CERTAINTY_INFERRED, 0, "/proc/fs/nfsd/exports") : -ENOMEM;
                if (r < 0)
                        return r;
        }
        return 0;
}

/* The kernel's server: the mount's path leads through its exports. */
static int add_kernel_export(Scan *s, FactSet *f, const char *id, const Mount *m) {
        _cleanup_free_ char *exports = NULL, *lower = NULL;
        const char *path = strstr(m->source, ":/");
        const Mount *below;
        bool exported = false;

        if (sysroot_read(s->root, AREA_PROC, "fs/nfsd/exports", &exports) < 0)
                return 0;
        if (m->space == SPACE_NONE)
                return add_all_exports(s, f, id, m, exports);
        if (!path)
                return 0;
        path++;
        for (const char *line = exports; line; line = strchr(line, '\n')) {
                line += *line == '\n';
                exported |= strncmp(line, path, strlen(path)) == 0 && line[strlen(path)] == '\t';
        }
        below = mount_table_resolve(&s->mounts, 0, path);
        if (!below || below->device == m->device)
                return 0;
        lower = filesystem_id(below->device);
        return lower ? factset_add_edge(f, id, lower, ROLE_BACKING, exported ? CERTAINTY_UNIQUE : CERTAINTY_INFERRED, 0,
                                        "/proc/1/mountinfo: source, /proc/fs/nfsd/exports") : -ENOMEM;
}

/* A 9p mount names the tree that it asked the server for. What the server makes of the name is its own affair. */
static int add_9p_tree(Scan *s, FactSet *f, const char *id, const Mount *m) {
        _cleanup_free_ char *tree = option(m->options, "aname"), *lower = NULL;
        const Mount *below = tree && tree[0] == '/' ? mount_table_resolve(&s->mounts, 0, tree) : NULL;

        if (!below || below->device == m->device)
                return 0;
        lower = filesystem_id(below->device);
        return lower ? factset_add_edge(f, id, lower, ROLE_BACKING, CERTAINTY_INFERRED, 0, "/proc/1/mountinfo: aname") : -ENOMEM;
}

static int add_tcp(Scan *s, FactSet *f, const char *id, const Mount *m, const char *address, uint16_t port, bool nfs) {
        const char *evidence = PATH("/proc/1/%s: %.64s port %u, /proc/1/net/tcp",
                                    m->space == SPACE_NONE ? "net/nfsfs/volumes" : "mountinfo", address, port);
        SocketAddress server;
        bool kernel = false, process = false;
        int r;

        if (socket_address_parse(address, port, &server) < 0)
                return 0;
        for (size_t i = 0; i < s->sockets.n; i++) {
                const Socket *near = &s->sockets.sockets[i], *far;

                if (near->family != SOCKET_TCP || near->listening || !socket_address_equal(&near->remote, &server))
                        continue;
                far = socket_table_peer(&s->sockets, near);
                if (!far)
                        continue;
                if (process_table_owner(&s->processes, far->inode))
                        process = true;
                else
                        kernel = true;
                r = scan_add_socket_owners(s, f, id, far, ROLE_BACKING, CERTAINTY_PROVEN, 0, evidence);
                if (r < 0)
                        return r;
        }
        if (!nfs)
                return process ? add_9p_tree(s, f, id, m) : 0;
        return kernel ? add_kernel_export(s, f, id, m) : 0;
}

static int add_unix(Scan *s, FactSet *f, const char *id, const Mount *m) {
        bool found = false;
        int r;

        for (size_t i = 0; i < s->sockets.n; i++) {
                const Socket *far = &s->sockets.sockets[i];

                if (far->family != SOCKET_UNIX || far->listening || !streq_ptr(far->name, m->source))
                        continue;
                r = scan_add_socket_owners(s, f, id, far, ROLE_BACKING, CERTAINTY_PROVEN, 0, "/proc/1/mountinfo: source, sock_diag");
                if (r < 0)
                        return r;
                found = true;
        }
        return found ? add_9p_tree(s, f, id, m) : 0;
}

static int add_mount(Scan *s, FactSet *f, const Mount *m) {
        _cleanup_free_ char *id = filesystem_id(m->device), *address = NULL, *transport = NULL;

        if (!id)
                return -ENOMEM;
        if (!streq(m->type, "9p")) {
                address = option(m->options, "addr");
                return address ? add_tcp(s, f, id, m, address, option_port(m->options, NFS_PORT), true) : 0;
        }
        transport = option(m->options, "trans");
        if (streq_ptr(transport, "unix"))
                return add_unix(s, f, id, m);
        return streq_ptr(transport, "tcp") ? add_tcp(s, f, id, m, m->source, option_port(m->options, NINEP_PORT), false) : 0;
}

bool mount_is_network(const Mount *m) {
        return streq(m->type, "nfs") || streq(m->type, "nfs4") || streq(m->type, "9p");
}

int source_network_scan(Scan *s, FactSet *f) {
        const MountTable *t = &s->mounts;

        for (size_t i = 0; i < t->n; i++) {
                const Mount *m = &t->mounts[t->by_device[i]];
                int r;

                if (!mount_is_network(m) || (i > 0 && t->mounts[t->by_device[i - 1]].device == m->device))
                        continue;
                r = add_mount(s, f, m);
                if (r < 0)
                        return r;
        }
        return 0;
}
