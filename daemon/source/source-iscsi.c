/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* An iSCSI disk whose target is on this machine: the process at the other end of the session's TCP connection
 * (tgtd). Where nobody owns that end the target is the kernel's (LIO), and the disk's identity leads on. The
 * initiator's process (iscsid), which owns the near end, is needed to recover the session. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/text.h"
#include "daemon/source/scan.h"

/* ".../host3/session1/target3:0:0/3:0:0:1/block/sdb" */
static int session_of(const Block *b, unsigned *ret) {
        const char *p = strstr(b->directory, "/session");

        return p && sscanf(p, "/session%u/", ret) == 1 ? 0 : -ENOENT;
}

static int read_number(Scan *s, const char *path, uint64_t *ret) {
        _cleanup_free_ char *text = NULL;
        int r;

        r = sysroot_read(s->root, AREA_SYS, path, &text);
        return r < 0 ? r : text_to_u64(text, 10, ret);
}

static int read_portal(Scan *s, const char *connection, SocketAddress *ret) {
        _cleanup_free_ char *address = NULL;
        uint64_t port;
        int r;

        r = sysroot_read(s->root, AREA_SYS, PATH("class/iscsi_connection/%s/persistent_address", connection), &address);
        if (r >= 0)
                r = read_number(s, PATH("class/iscsi_connection/%s/persistent_port", connection), &port);
        if (r < 0)
                return r;
        return port > UINT16_MAX ? -EINVAL : socket_address_parse(address, (uint16_t) port, ret);
}

static int add_connection(Scan *s, FactSet *f, const char *id, const char *connection) {
        const char *evidence = PATH("/sys/class/iscsi_connection/%s, /proc/net/tcp", connection);
        _cleanup_free_ SocketPair *pairs = NULL;
        uint64_t local_port = 0;
        SocketAddress portal;
        size_t n;
        int r;

        if (read_portal(s, connection, &portal) < 0)
                return 0;
        (void) read_number(s, PATH("class/iscsi_connection/%s/local_port", connection), &local_port);
        r = socket_table_pairs(&s->sockets, &portal, false, &pairs, &n);
        for (size_t i = 0; r >= 0 && i < n; i++) {
                const SocketPair *p = &pairs[i];

                if ((local_port > 0 && p->near->local.port != local_port) || !socket_is_roots(p->near))
                        continue;
                socket_table_claim(&s->sockets, p);
                r = scan_add_socket_owners(s, f, id, p->far, ROLE_BACKING, peer_certainty(p->near, p->far), 0, evidence);
                if (r >= 0)
                        r = scan_add_socket_owners(s, f, id, p->near, ROLE_ERROR_PATH, CERTAINTY_PROVEN, 0, evidence);
        }
        return r;
}

int source_iscsi_scan(Scan *s, FactSet *f) {
        _cleanup_strv_free_ char **connections = NULL;
        int r;

        r = sysroot_list(s->root, AREA_SYS, "class/iscsi_connection", &connections);
        if (r < 0 || !connections[0])
                return r;
        for (size_t i = 0; i < s->blocks.n; i++) {
                const Block *b = &s->blocks.blocks[i];
                _cleanup_free_ char *id = NULL;
                unsigned session;

                if (b->parent || session_of(b, &session) < 0)
                        continue;
                id = block_id(b->device);
                if (!id)
                        return -ENOMEM;
                for (char **c = connections; *c; c++) {
                        if (!startswith(*c, PATH("connection%u:", session)))
                                continue;
                        r = add_connection(s, f, id, *c);
                        if (r < 0)
                                return r;
                }
        }
        return 0;
}
