/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A network block device and the process at the other end of its socket, if that is on this machine.
 *
 * /sys/block/nbdN/pid names a thread of the client while it lives (nbd-client -nonetlink, qemu-nbd): its sockets
 * lead to the server. A client that configured the device over netlink is gone, and its socket belongs to
 * nobody: among the connections that one process holds at one end and nobody at the other, and that are not known to
 * be a file system's or a target's, the device's is one; if there is just one device and one such connection, it
 * is that. The client itself does no I/O once the device
 * stands, it is needed to reconnect: error path. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/text.h"
#include "daemon/source/scan.h"

typedef struct Orphans {
        const Socket **ends; /* the processes' ends */
        size_t n, capacity;
        bool collected;
} Orphans;

/* The client lives: every socket of it that leads to another process leads to the server; one that leads
 * back to itself makes it the server (qemu-nbd). */
static int add_by_client(Scan *s, FactSet *f, const char *block, const Block *b, pid_t client, uint64_t start) {
        const char *evidence = PATH("/sys/class/block/%s/pid", b->name);
        size_t servers = 0;
        bool self = false;
        int r;

        for (size_t i = 0; i < s->processes.n_sockets; i++) {
                const OwnedSocket *o = &s->processes.sockets[i];
                const Socket *own = o->pid == client ? socket_table_find(&s->sockets, o->inode) : NULL;
                const Socket *peer = own && !own->listening ? socket_table_peer(&s->sockets, own) : NULL;

                /* A socket to the journal or the bus is no connection to a server of block devices. */
                if (!peer || (own->name && !peer->name) || is_system_socket(peer))
                        continue;
                if (process_owns_socket(&s->processes, client, peer->inode)) {
                        self = true;
                        continue;
                }
                servers += process_table_owner(&s->processes, peer->inode, NULL) != NULL;
                r = scan_add_socket_owners(s, f, block, peer, ROLE_BACKING, peer_certainty(own, peer), 0,
                                           PATH("%s, peer of /proc/%s/fd/%d", evidence, o->place.path, o->fd));
                if (r < 0)
                        return r;
        }
        return scan_add_server(s, f, block, client, start, self || servers == 0 ? ROLE_BACKING : ROLE_ERROR_PATH,
                               CERTAINTY_PROVEN, 0, evidence);
}

/* Whose other end nobody has. A server that is just accepting it has it a moment later: what was not there before the
 * processes were looked at does not count. */
static int collect_orphans(Scan *s, Orphans *o) {
        int r;

        if (o->collected)
                return 0;
        o->collected = true;
        for (size_t i = 0; i < s->sockets.n; i++) {
                const Socket *end = &s->sockets.sockets[i];
                const Socket *other = end->listening ? NULL : socket_table_peer(&s->sockets, end);

                if (!other || end->claimed || !socket_table_find(&s->earlier_sockets, other->inode) ||
                    process_table_owner(&s->processes, other->inode, NULL) || !process_table_owner(&s->processes, end->inode, NULL) ||
                    is_system_socket(end) || is_system_socket(other))
                        continue;
                r = ARRAY_APPEND(o->ends, o->n, o->capacity, end);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int add_by_elimination(Scan *s, FactSet *f, const char *block, const Block *b, Orphans *o, size_t devices) {
        bool unique;
        int r;

        r = collect_orphans(s, o);
        if (r < 0)
                return r;
        unique = o->n == 1 && devices == 1;
        for (size_t i = 0; i < o->n; i++) {
                r = scan_add_socket_owners(s, f, block, o->ends[i], ROLE_BACKING, unique ? CERTAINTY_UNIQUE : CERTAINTY_INFERRED,
                                               !unique && o->n <= devices ? (unsigned) i + 1 : 0,
                                               PATH("a connection of the kernel's%s, device %s", unique ? ", the only one" : "", b->name));
                if (r < 0)
                        return r;
        }
        s->unserved |= o->n == 0;
        return 0;
}

/* The pid may be a thread's, and the process may have ended long ago and its number be another's by now. */
static int find_client(Scan *s, const Block *b, pid_t *ret_pid, uint64_t *ret_start) {
        _cleanup_free_ char *comm = NULL;
        pid_t tgid;
        int r;

        r = process_read_leader(s->root, b->nbd_pid, &tgid);
        if (r >= 0)
                r = process_read_start(s->root, tgid, ret_start);
        if (r >= 0)
                r = sysroot_read(s->root, AREA_PROC, PATH("%d/comm", tgid), &comm);
        if (r < 0)
                return r;
        if (!strstr(comm, "nbd"))
                return -ESRCH;
        *ret_pid = tgid;
        return 0;
}

int source_nbd_scan(Scan *s, FactSet *f) {
        Orphans orphans = {};
        size_t devices = 0;
        int r = 0;

        for (size_t i = 0; i < s->blocks.n; i++) {
                pid_t pid;
                uint64_t start;

                devices += s->blocks.blocks[i].nbd_pid > 0 && find_client(s, &s->blocks.blocks[i], &pid, &start) < 0;
        }
        for (size_t i = 0; r >= 0 && i < s->blocks.n; i++) {
                const Block *b = &s->blocks.blocks[i];
                _cleanup_free_ char *id = NULL;
                uint64_t start;
                pid_t pid;

                if (b->nbd_pid == 0)
                        continue;
                id = block_id(b->device);
                if (!id)
                        r = -ENOMEM;
                else if (find_client(s, b, &pid, &start) >= 0)
                        r = add_by_client(s, f, id, b, pid, start);
                else
                        r = add_by_elimination(s, f, id, b, &orphans, devices);
        }
        free(orphans.ends);
        return r;
}
