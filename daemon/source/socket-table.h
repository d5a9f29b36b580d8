/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Connections within this machine: which socket talks to which, in and between all network namespaces. TCP from
 * /proc/PID/net/tcp{,6}; unix sockets by sock_diag(7), since no file tells their peers. Nothing here blocks. */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/array.h"
#include "daemon/graph/gap.h"
#include "daemon/sysroot/sysroot.h"

typedef enum SocketFamily {
        SOCKET_UNIX,
        SOCKET_TCP,
} SocketFamily;

typedef struct SocketAddress {
        uint8_t ip[16]; /* IPv4 as v4-mapped, in network order */
        uint16_t port;
} SocketAddress;

#define UID_UNKNOWN ((uid_t) -1)

typedef struct Socket {
        SocketFamily family;
        unsigned space; /* number of the network namespace; 0 is that of pid 1 */
        uint64_t inode; /* 0 = nobody has accepted it yet */
        bool listening;
        bool claimed; /* a source knows what this connection is for */
        uid_t uid; /* whoever made it; UID_UNKNOWN in captures that do not say */
        uint64_t peer;               /* of a unix socket: inode; 0 = none */
        char *name;                  /* of a unix socket: the path that it is bound to, "@NAME" of an abstract one, or NULL */
        SocketAddress local, remote; /* of a TCP socket */
} Socket;

typedef struct SocketTable {
        Socket *sockets;
        size_t n, capacity;
        size_t *by_inode; /* indices */
        size_t *by_addresses;
        size_t *by_name;
        unsigned n_spaces;
        unsigned gaps; /* some namespace could not be read (enum Gap) */
        bool limited;    /* ... for there is too much in those that ordinary users make */
} SocketTable;

/* A TCP connection of which both ends are on this machine. */
typedef struct SocketPair {
        const Socket *near, *far;
} SocketPair;

int socket_table_read(const Sysroot *s, SocketTable *ret);
void socket_table_done(SocketTable *t);

/* One datagram of the kernel's answer about unix sockets: 1 when there is more to come, 0 at the end of it. */
int socket_table_take_datagram(SocketTable *t, const void *datagram, size_t size);
/* Once all are taken, and before any is looked for. */
int socket_table_index(SocketTable *t);

const Socket *socket_table_find(const SocketTable *t, uint64_t inode);
/* The other end, if it is on this machine too. That of a TCP connection may be in another namespace, where addresses
 * and ports say so and only one socket has them; the kernel does not say which namespace a packet goes to. */
const Socket *socket_table_peer(const SocketTable *t, const Socket *socket);
/* Says so of both ends. */
void socket_table_claim(SocketTable *t, const SocketPair *pair);
/* The connections to a server on this machine; 'any_port': to whatever port there. Those from the machine's own
 * network namespace if there are any (on this machine or not), else those from all others. The caller frees the
 * array. */
int socket_table_pairs(const SocketTable *t, const SocketAddress *server, bool any_port, SocketPair **ret, size_t *ret_n);
/* Whether it came from a listening socket of its own network namespace: then a client is at the other end. */
bool socket_table_is_accepted(const SocketTable *t, const Socket *socket);
/* The unix sockets of a name, side by side in by_name: first index and number. */
size_t socket_table_name_range(const SocketTable *t, const char *name, size_t *ret_n);
bool socket_address_is_loopback(const SocketAddress *a);

/* Numeric IPv4 or IPv6, v4 becoming v4-mapped: 0 or -EINVAL. */
int socket_address_parse(const char *ip, uint16_t port, SocketAddress *ret);
