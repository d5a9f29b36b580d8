/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A network block device and the process at the other end of its socket, if that is on this machine.
 *
 * /sys/block/nbdN/pid names a thread of the client while it lives (nbd-client -nonetlink, qemu-nbd): its sockets
 * lead to the server. A client that configured the device over netlink is gone, and its socket belongs to
 * nobody: the device's is among the connections of the kernel's to a process that no other source knows the use of. If there is one
 * device, and one server at the other ends of them all, it is that. The client itself does no I/O once the device is connected; it is
 * needed to reconnect: error path. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/text.h"
#include "daemon/source/elimination.h"
#include "daemon/source/scan.h"

/* The kernel's connections to processes. */
typedef struct Orphans {
        const Socket **ends; /* the processes' ends */
        size_t n, capacity;
        size_t *groups, n_groups; /* the servers that they belong to */
        bool collected;
} Orphans;

static void orphans_done(Orphans *o) {
        free(o->ends);
        free(o->groups);
}

/* A socket to the journal or the bus is no connection to a server of block devices, nor is one that somebody else began. */
static const Socket *server_end(const Scan *s, const Socket *own) {
        const Socket *peer = own && !own->listening ? socket_table_peer(&s->sockets, own) : NULL;

        if (!peer || is_system_socket(peer) || (own->family == SOCKET_UNIX ? own->name && !peer->name : socket_table_is_accepted(&s->sockets, own)))
                return NULL;
        return peer;
}

/* Who connected a device. */
typedef struct Client {
        pid_t pid;
        uint64_t start;
        Certainty certainty;
} Client;

/* Both ends of it may be anybody's. */
static bool is_pair(const Socket *own, const Socket *peer) {
        return own->family == SOCKET_UNIX && !own->name && !peer->name;
}

/* The client lives: every socket of it that leads to another process leads to the server; one that leads
 * back to itself makes it the server (qemu-nbd). */
static int add_by_client(Scan *s, FactSet *f, const char *block, const Block *b, const Client *client) {
        const char *evidence = PATH("/sys/class/block/%s/pid", b->name);
        size_t servers = 0;
        bool self = false;
        int r;

        for (size_t i = 0; i < s->processes.n_sockets; i++) {
                const OwnedSocket *o = &s->processes.sockets[i];
                const Socket *own = o->pid == client->pid ? socket_table_find(&s->sockets, o->inode) : NULL;
                const Socket *peer = server_end(s, own);

                if (!peer || (client->certainty == CERTAINTY_INFERRED && !is_pair(own, peer)))
                        continue;
                if (process_owns_socket(&s->processes, client->pid, peer->inode)) {
                        self = true;
                        continue;
                }
                servers += process_table_owner(&s->processes, peer->inode, NULL) != NULL;
                r = scan_add_socket_owners(s, f, block, peer, ROLE_BACKING, MIN(client->certainty, peer_certainty(own, peer)), 0,
                                           PATH("%s, peer of /proc/%s/fd/%d", evidence, o->place.path, o->fd));
                if (r < 0)
                        return r;
        }
        if (client->certainty == CERTAINTY_INFERRED && !self && servers == 0)
                return 0;
        return scan_add_server(s, f, block, client->pid, client->start, self || servers == 0 ? ROLE_BACKING : ROLE_ERROR_PATH,
                               client->certainty, 0, evidence);
}

/* What somebody began with the kernel (NFS, SMB) is no connection of a client's. A server that is just accepting one has it a moment
 * later: what was not there before the processes were looked at does not count. */
static bool is_orphan(const Scan *s, const Socket *end, const Socket *kernels) {
        return kernels && !end->claimed && socket_table_find(&s->earlier_sockets, kernels->inode) && socket_is_kernels(s, kernels) &&
                process_table_owner(&s->processes, end->inode, NULL) && !is_system_socket(end) && !is_system_socket(kernels) &&
                !socket_table_is_accepted(&s->sockets, kernels);
}

static int collect_orphans(Scan *s, Orphans *o) {
        int r;

        if (o->collected)
                return 0;
        o->collected = true;
        for (size_t i = 0; i < s->sockets.n; i++) {
                const Socket *end = &s->sockets.sockets[i];

                if (end->listening || !is_orphan(s, end, socket_table_peer(&s->sockets, end)))
                        continue;
                r = ARRAY_APPEND(o->ends, o->n, o->capacity, end);
                if (r < 0)
                        return r;
        }
        r = authority_choose(s, o->ends, &o->n);
        return r < 0 ? r : elimination_group(&s->processes, o->ends, o->n, true, &o->groups, &o->n_groups);
}

/* A device may have several connections to one server. */
static int add_by_elimination(Scan *s, FactSet *f, const char *block, const Block *b, Orphans *o, size_t devices) {
        Conclusion c;
        int r;

        r = collect_orphans(s, o);
        if (r < 0)
                return r;
        c = elimination_conclude(o->n_groups, devices, !scan_hides_processes(s));
        for (size_t i = 0; i < o->n; i++) {
                r = scan_add_socket_owners(s, f, block, o->ends[i], ROLE_BACKING, c.certainty, c.alternative ? (unsigned) o->groups[i] + 1 : 0,
                                           PATH("a connection of the kernel's%s, device %s",
                                                c.certainty == CERTAINTY_UNIQUE ? ", to the only server" : "", b->name));
                if (r < 0)
                        return r;
        }
        s->unserved |= o->n == 0;
        return 0;
}

/* Whether a process is the client, and not another one that has got its number: it is root's, for nobody else may connect a device, and
 * inside ioctl(NBD_DO_IT), or called so, for one that only waits to reconnect. In a capture that does not tell where it sleeps, it may be. */
static int check_client(Scan *s, Client *client) {
        _cleanup_free_ char *comm = NULL;
        Authority authority;
        int sleeps;

        if (process_read_authority(s->root, client->pid, client->start, &authority) < 0 || authority < AUTHORITY_ROOT)
                return -ESRCH;
        sleeps = process_sleeps_in(s->root, client->pid, "nbd_");
        if (sleeps > 0 || (sysroot_read(s->root, AREA_PROC, PATH("%d/comm", client->pid), &comm) >= 0 && strstr(comm, "nbd")))
                client->certainty = CERTAINTY_PROVEN;
        else if (sleeps == -ENODATA)
                client->certainty = CERTAINTY_INFERRED;
        else
                return -ESRCH;
        return 0;
}

/* The pid may be a thread's. */
static int find_client(Scan *s, const Block *b, Client *ret) {
        int r;

        r = process_read_leader(s->root, b->nbd_pid, &ret->pid);
        if (r >= 0)
                r = process_read_start(s->root, ret->pid, &ret->start);
        return r < 0 ? r : check_client(s, ret);
}

static int add_device(Scan *s, FactSet *f, const Block *b, Orphans *orphans, size_t devices) {
        _cleanup_free_ char *id = block_id(b->device);
        Client client;
        int r;

        if (!id)
                return -ENOMEM;
        if (find_client(s, b, &client) >= 0) {
                r = add_by_client(s, f, id, b, &client);
                if (r < 0 || client.certainty == CERTAINTY_PROVEN)
                        return r;
        }
        return add_by_elimination(s, f, id, b, orphans, devices);
}

int source_nbd_scan(Scan *s, FactSet *f) {
        _cleanup_(orphans_done) Orphans orphans = {};
        size_t devices = 0;
        int r = 0;

        for (size_t i = 0; i < s->blocks.n; i++) {
                Client client;

                devices += s->blocks.blocks[i].nbd_pid > 0 &&
                        (find_client(s, &s->blocks.blocks[i], &client) < 0 || client.certainty < CERTAINTY_PROVEN);
        }
        for (size_t i = 0; r >= 0 && i < s->blocks.n; i++)
                if (s->blocks.blocks[i].nbd_pid > 0)
                        r = add_device(s, f, &s->blocks.blocks[i], &orphans, devices);
        return r;
}
