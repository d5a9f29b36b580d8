/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Network file systems whose server is on this machine: NFS from a process (ganesha) or from the kernel, CIFS from
 * Samba, 9p from a process over TCP or a unix socket. The connection tells: its near end is the kernel's, its other
 * end is here too, and has an owner or, with a server in the kernel, none. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/text.h"
#include "daemon/source/elimination.h"
#include "daemon/source/scan.h"

#define NFS_PORT 2049
#define NINEP_PORT 564
#define SMB_PORT 445
#define SMB_NETBIOS_PORT 139

static bool is_cifs(const Mount *m) {
        return streq(m->type, "cifs") || streq(m->type, "smb3");
}

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

/* The kernel's server: the mount's path leads through its exports. Those of another network namespace are not told. */
static int add_kernel_export(Scan *s, FactSet *f, const char *id, const Mount *m, bool here) {
        _cleanup_free_ char *exports = NULL, *lower = NULL;
        const char *path = strstr(m->source, ":/");
        const Mount *below;
        bool exported = false;

        if (sysroot_read(s->root, AREA_PROC, "fs/nfsd/exports", &exports) < 0)
                return 0;
        if (m->space == SPACE_NONE)
                return here ? add_all_exports(s, f, id, m, exports) : 0;
        if (!path)
                return 0;
        path++;
        for (const char *line = exports; here && line; line = strchr(line, '\n')) {
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

/* What is at the other ends of connections. */
typedef struct Servers {
        bool processes;
        bool kernel, kernel_here; /* in the kernel; in the machine's own network */
} Servers;

/* Other programs that talk to the same server are no matter of the mount's, nor is who talks to a server in the kernel. */
static bool is_mounts(const Scan *s, const Socket *near) {
        return socket_is_kernels(s, near) && !socket_table_is_accepted(&s->sockets, near);
}

static int add_servers(
                Scan *s,
                FactSet *f,
                const char *id,
                const SocketPair *pairs,
                size_t n,
                Certainty at_most,
                unsigned alternative,
                const char *evidence,
                Servers *ret) {

        *ret = (Servers) {};
        for (size_t i = 0; i < n; i++) {
                const SocketPair *p = &pairs[i];
                int r;

                if (!is_mounts(s, p->near))
                        continue;
                socket_table_claim(&s->sockets, p);
                if (!process_table_owner(&s->processes, p->far->inode, NULL)) {
                        ret->kernel = true;
                        ret->kernel_here |= p->far->space == 0;
                        continue;
                }
                ret->processes = true;
                r = scan_add_socket_owners(s, f, id, p->far, ROLE_BACKING, MIN(at_most, peer_certainty(p->near, p->far)),
                                           alternative, evidence);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int add_tcp(Scan *s, FactSet *f, const char *id, const SocketAddress *server, const char *evidence, Servers *ret) {
        _cleanup_free_ SocketPair *pairs = NULL;
        size_t n;
        int r;

        r = socket_table_pairs(&s->sockets, server, false, &pairs, &n);
        return r < 0 ? r : add_servers(s, f, id, pairs, n, CERTAINTY_PROVEN, 0, evidence, ret);
}

static int add_nfs(Scan *s, FactSet *f, const char *id, const Mount *m, const char *address) {
        uint16_t port = option_port(m->options, NFS_PORT);
        SocketAddress server;
        Servers servers;
        int r;

        if (socket_address_parse(address, port, &server) < 0)
                return 0;
        r = add_tcp(s, f, id, &server, PATH("/proc/1/%s%.64s port %u, /proc/net/tcp",
                                              m->space == SPACE_NONE ? "net/nfsfs/volumes: " : "mountinfo: addr=", address, port), &servers);
        return r >= 0 && servers.kernel ? add_kernel_export(s, f, id, m, servers.kernel_here) : r;
}

static int add_9p(Scan *s, FactSet *f, const char *id, const Mount *m) {
        uint16_t port = option_port(m->options, NINEP_PORT);
        SocketAddress server;
        Servers servers;
        int r;

        if (socket_address_parse(m->source, port, &server) < 0)
                return 0;
        r = add_tcp(s, f, id, &server, PATH("/proc/1/mountinfo: %.64s port %u, /proc/net/tcp", m->source, port), &servers);
        return r >= 0 && servers.processes ? add_9p_tree(s, f, id, m) : r;
}

static size_t count_cifs(const MountTable *t, const char *address) {
        size_t n = 0;

        for (size_t i = 0; i < t->n; i++) {
                const Mount *m = &t->mounts[t->by_device[i]];
                _cleanup_free_ char *other = is_cifs(m) ? option(m->options, "addr") : NULL;

                n += streq_ptr(other, address) && !(i > 0 && t->mounts[t->by_device[i - 1]].device == m->device);
        }
        return n;
}

/* The servers that the kernel is connected to. */
static int count_servers(Scan *s, const SocketPair *pairs, size_t n, size_t *ret) {
        _cleanup_free_ const Socket **ends = calloc(n + 1, sizeof(Socket *));
        _cleanup_free_ size_t *groups = NULL;
        size_t n_ends = 0;

        if (!ends)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++)
                if (is_mounts(s, pairs[i].near))
                        ends[n_ends++] = pairs[i].far;
        return elimination_group(&s->processes, ends, n_ends, false, &groups, ret);
}

/* Samba has a process for each connection, the kernel shares one between mounts or not, and does not tell the port: the
 * usual ones first. At another one, a connection need not be of the mount's. */
static int add_cifs(Scan *s, FactSet *f, const char *id, const char *address) {
        static const uint16_t ports[] = { SMB_PORT, SMB_NETBIOS_PORT, 0 };
        const char *evidence = PATH("/proc/1/mountinfo: addr=%.64s, /proc/net/tcp", address);
        size_t mounts = count_cifs(&s->mounts, address);
        Servers servers = {};
        int r = 0;

        for (size_t i = 0; r >= 0 && i < ELEMENTSOF(ports) && !servers.processes && !servers.kernel; i++) {
                _cleanup_free_ SocketPair *pairs = NULL;
                SocketAddress server;
                size_t n, candidates;
                Conclusion c;

                if (socket_address_parse(address, ports[i], &server) < 0)
                        return 0;
                r = socket_table_pairs(&s->sockets, &server, ports[i] == 0, &pairs, &n);
                if (r >= 0)
                        r = count_servers(s, pairs, n, &candidates);
                if (r < 0)
                        return r;
                c = ports[i] != 0 ? elimination_conclude_shared(candidates, mounts) : elimination_conclude(candidates, 1, true);
                r = add_servers(s, f, id, pairs, n, c.certainty, ports[i] != 0 && c.alternative, evidence, &servers);
        }
        return r;
}

/* Only root mounts 9p, and anybody may bind a socket to any path in a namespace of his own: it is the mount's if the kernel has the other
 * end. */
static int add_unix(Scan *s, FactSet *f, const char *id, const Mount *m) {
        _cleanup_free_ const Socket **ends = NULL;
        size_t n = 0, capacity = 0, n_range, first = socket_table_name_range(&s->sockets, m->source, &n_range);
        int r = 0;

        for (size_t i = first; r >= 0 && i < first + n_range; i++) {
                const Socket *far = &s->sockets.sockets[s->sockets.by_name[i]];
                const Socket *near = far->family == SOCKET_UNIX && !far->listening ? socket_table_peer(&s->sockets, far) : NULL;

                if (!near || !is_mounts(s, near))
                        continue;
                socket_table_claim(&s->sockets, &(SocketPair) { .near = near, .far = far });
                r = ARRAY_APPEND(ends, n, capacity, far);
        }
        if (r >= 0)
                r = authority_choose(s, ends, &n);
        for (size_t i = 0; r >= 0 && i < n; i++)
                r = scan_add_socket_owners(s, f, id, ends[i], ROLE_BACKING, CERTAINTY_PROVEN, 0, "/proc/1/mountinfo: source, sock_diag");
        return r >= 0 && n > 0 ? add_9p_tree(s, f, id, m) : r;
}

static int add_mount(Scan *s, FactSet *f, const Mount *m) {
        _cleanup_free_ char *id = filesystem_id(m->device), *address = NULL, *transport = NULL;

        if (!id)
                return -ENOMEM;
        if (streq(m->type, "9p")) {
                transport = option(m->options, "trans");
                return streq_ptr(transport, "unix") ? add_unix(s, f, id, m) : streq_ptr(transport, "tcp") ? add_9p(s, f, id, m) : 0;
        }
        address = option(m->options, "addr");
        if (!address)
                return 0;
        address[strcspn(address, "%")] = 0; /* the interface of a link-local one */
        return is_cifs(m) ? add_cifs(s, f, id, address) : add_nfs(s, f, id, m, address);
}

bool mount_is_network(const Mount *m) {
        return streq(m->type, "nfs") || streq(m->type, "nfs4") || streq(m->type, "9p") || is_cifs(m);
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
