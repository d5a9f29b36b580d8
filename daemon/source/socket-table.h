/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Connections within this machine: which socket talks to which. TCP from /proc/net/tcp{,6}; unix sockets by
 * sock_diag(7), since no file tells their peers. Nothing here blocks. */

#include <stdbool.h>
#include <stdint.h>

#include "common/array.h"
#include "daemon/sysroot.h"

typedef enum SocketFamily {
        SOCKET_UNIX,
        SOCKET_TCP,
} SocketFamily;

typedef struct SocketAddress {
        uint8_t ip[16]; /* IPv4 as v4-mapped, in network order */
        uint16_t port;
} SocketAddress;

typedef struct Socket {
        SocketFamily family;
        uint64_t inode; /* 0 = nobody has accepted it yet */
        bool listening;
        uint64_t peer;               /* of a unix socket: inode; 0 = none */
        char *name;                  /* of a unix socket: the path that it is bound to, or NULL */
        SocketAddress local, remote; /* of a TCP socket */
} Socket;

typedef struct SocketTable {
        Socket *sockets;
        size_t n, capacity;
} SocketTable;

int socket_table_read(const Sysroot *s, SocketTable *ret);
void socket_table_done(SocketTable *t);

/* One datagram of the kernel's answer about unix sockets: 1 when there is more to come, 0 at the end of it. */
int socket_table_take_datagram(SocketTable *t, const void *datagram, size_t size);

const Socket *socket_table_find(const SocketTable *t, uint64_t inode);
/* The other end, if it is on this machine too. */
const Socket *socket_table_peer(const SocketTable *t, const Socket *socket);
bool socket_address_equal(const SocketAddress *a, const SocketAddress *b);
bool socket_address_is_loopback(const SocketAddress *a);

/* Numeric IPv4 or IPv6, v4 becoming v4-mapped: 0 or -EINVAL. */
int socket_address_parse(const char *ip, uint16_t port, SocketAddress *ret);
