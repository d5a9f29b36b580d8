/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "common/file.h"
#include "common/text.h"
#include "daemon/source/socket-table.h"

#define CAPTURED_SOCKETS "stackd/unix-sockets"
#define TCP_STATE_ESTABLISHED 1 /* include/net/tcp_states.h */
#define TCP_STATE_LISTEN 10

static const uint8_t v4_prefix[12] = { [10] = 0xff, [11] = 0xff };

void socket_table_done(SocketTable *t) {
        for (size_t i = 0; i < t->n; i++)
                free(t->sockets[i].name);
        free(t->sockets);
        *t = (SocketTable) {};
}

/* /proc/net prints addresses as 32-bit words in the byte order of the machine. */
static int parse_address(const char *text, SocketAddress *ret) {
        const char *colon = strchr(text, ':');
        SocketAddress a = {};
        uint64_t port;

        if (!colon || (colon - text != 8 && colon - text != 32) || text_to_u64(colon + 1, 16, &port) < 0 || port > UINT16_MAX)
                return -EINVAL;
        memcpy(a.ip, v4_prefix, sizeof(v4_prefix));
        for (int i = 0; i < (colon - text) / 8; i++) {
                uint32_t word;

                if (sscanf(text + i * 8, "%8x", &word) != 1)
                        return -EINVAL;
                memcpy(a.ip + (colon - text == 8 ? 12 : i * 4), &word, sizeof(word));
        }
        a.port = (uint16_t) port;
        *ret = a;
        return 0;
}

static int parse_tcp_line(SocketTable *t, const char *line) {
        unsigned long long inode;
        char local[48], remote[48];
        Socket s = { .family = SOCKET_TCP };
        unsigned state;

        if (sscanf(line, " %*u: %47s %47s %x %*s %*s %*s %*u %*u %llu", local, remote, &state, &inode) != 4)
                return 0; /* the heading */
        if (state != TCP_STATE_ESTABLISHED && state != TCP_STATE_LISTEN)
                return 0;
        if (parse_address(local, &s.local) < 0 || parse_address(remote, &s.remote) < 0)
                return 0;
        s.inode = inode;
        s.listening = state == TCP_STATE_LISTEN;
        return ARRAY_APPEND(t->sockets, t->n, t->capacity, s);
}

static int read_tcp(const Sysroot *s, const char *path, SocketTable *t) {
        _cleanup_free_ char *text = NULL;
        char *state = NULL;
        int r;

        r = sysroot_read(s, AREA_PROC, path, &text);
        if (r < 0)
                return r == -ENOMEM ? r : 0; /* no such protocol here */
        for (char *line = strtok_r(text, "\n", &state); line; line = strtok_r(NULL, "\n", &state)) {
                r = parse_tcp_line(t, line);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int take_unix(SocketTable *t, const struct unix_diag_msg *m, size_t size) {
        Socket s = { .family = SOCKET_UNIX, .inode = m->udiag_ino, .listening = m->udiag_state == TCP_STATE_LISTEN };
        const char *p = (const char *) m + NLMSG_ALIGN(sizeof(*m)), *end = (const char *) m + size;
        int r;

        while (p + sizeof(struct nlattr) <= end) {
                const struct nlattr *a = (const struct nlattr *) p;
                const char *payload = p + NLA_HDRLEN;
                size_t n = a->nla_len - NLA_HDRLEN;

                if (a->nla_len < NLA_HDRLEN || p + a->nla_len > end)
                        break;
                if (a->nla_type == UNIX_DIAG_PEER && n >= sizeof(uint32_t)) {
                        uint32_t peer;

                        memcpy(&peer, payload, sizeof(peer));
                        s.peer = peer;
                } else if (a->nla_type == UNIX_DIAG_NAME && n > 0 && payload[0] == '/' && !s.name) {
                        s.name = strndup(payload, n);
                        if (!s.name)
                                return -ENOMEM;
                }
                p += NLA_ALIGN(a->nla_len);
        }
        r = ARRAY_APPEND(t->sockets, t->n, t->capacity, s);
        if (r < 0)
                free(s.name);
        return r;
}

static int ask_unix(int fd) {
        struct {
                struct nlmsghdr header;
                struct unix_diag_req request;
        } m = {
                .header = {
                        .nlmsg_len = sizeof(m),
                        .nlmsg_type = SOCK_DIAG_BY_FAMILY,
                        .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP,
                },
                .request = {
                        .sdiag_family = AF_UNIX,
                        .udiag_states = 1U << TCP_STATE_ESTABLISHED | 1U << TCP_STATE_LISTEN,
                        .udiag_show = UDIAG_SHOW_NAME | UDIAG_SHOW_PEER,
                },
        };

        return send(fd, &m, sizeof(m), 0) < 0 ? -errno : 0;
}

int socket_table_take_datagram(SocketTable *t, const void *datagram, size_t size) {
        for (const char *p = datagram; size >= sizeof(struct nlmsghdr);) {
                const struct nlmsghdr *h = (const struct nlmsghdr *) p;
                size_t step;
                int r;

                if (h->nlmsg_len < sizeof(*h) || h->nlmsg_len > size)
                        break;
                if (h->nlmsg_type == NLMSG_DONE)
                        return 0;
                if (h->nlmsg_type == NLMSG_ERROR)
                        return -EIO;
                if (h->nlmsg_type == SOCK_DIAG_BY_FAMILY && h->nlmsg_len >= NLMSG_LENGTH(sizeof(struct unix_diag_msg))) {
                        r = take_unix(t, NLMSG_DATA(h), h->nlmsg_len - NLMSG_HDRLEN);
                        if (r < 0)
                                return r;
                }
                /* Not NLMSG_NEXT(): a last message that is not padded would leave less than nothing. */
                step = MIN((size_t) NLMSG_ALIGN(h->nlmsg_len), size);
                p += step;
                size -= step;
        }
        return 1;
}

static int receive_unix(int fd, SocketTable *t) {
        static const size_t size = 32768;
        _cleanup_free_ char *buffer = malloc(size);
        ssize_t n;

        if (!buffer)
                return -ENOMEM;
        n = recv(fd, buffer, size, 0);
        if (n < 0)
                return errno == EINTR ? 1 : -errno;
        return socket_table_take_datagram(t, buffer, (size_t) n);
}

/* In a capture the unix sockets of the table are lines "INODE PEER LISTENING NAME", as no file tells of them. */
static int record_unix(const Sysroot *s, const SocketTable *t, size_t first) {
        _cleanup_free_ char *text = NULL;
        size_t size;
        FILE *f = open_memstream(&text, &size);

        if (!f)
                return -errno;
        for (size_t i = first; i < t->n; i++) {
                fprintf(f, "%llu %llu %d ", (unsigned long long) t->sockets[i].inode, (unsigned long long) t->sockets[i].peer,
                        t->sockets[i].listening);
                for (const char *p = t->sockets[i].name ?: ""; *p; p++)
                        fprintf(f, (unsigned char) *p <= ' ' || *p == '\\' ? "\\%03o" : "%c", (unsigned char) *p);
                fputc('\n', f);
        }
        if (fclose(f) != 0)
                return -ENOMEM;
        sysroot_record_text(s, AREA_RUN, CAPTURED_SOCKETS, text);
        return 0;
}

static int parse_unix_line(SocketTable *t, char *line) {
        unsigned long long inode, peer;
        Socket s = { .family = SOCKET_UNIX };
        unsigned listening;
        int n = 0, r;

        if (sscanf(line, "%llu %llu %u %n", &inode, &peer, &listening, &n) != 3 || n == 0)
                return 0;
        s.inode = inode;
        s.peer = peer;
        s.listening = listening;
        if (line[n]) {
                text_unescape_octal(line + n);
                s.name = strdup(line + n);
                if (!s.name)
                        return -ENOMEM;
        }
        r = ARRAY_APPEND(t->sockets, t->n, t->capacity, s);
        if (r < 0)
                free(s.name);
        return r;
}

static int replay_unix(const Sysroot *s, SocketTable *t) {
        _cleanup_free_ char *text = NULL;
        char *state = NULL;
        int r;

        r = sysroot_read(s, AREA_RUN, CAPTURED_SOCKETS, &text);
        if (r < 0)
                return error_is_gone(r) ? 0 : r;
        for (char *line = strtok_r(text, "\n", &state); line; line = strtok_r(NULL, "\n", &state)) {
                r = parse_unix_line(t, line);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int read_unix(const Sysroot *s, SocketTable *t) {
        _cleanup_close_ int fd = -1;
        size_t first = t->n;
        int r;

        if (!sysroot_is_machine(s))
                return replay_unix(s, t);
        fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
        if (fd < 0)
                return -errno;
        r = ask_unix(fd);
        if (r < 0)
                return r;
        do
                r = receive_unix(fd, t);
        while (r > 0);
        return r < 0 ? r : record_unix(s, t, first);
}

int socket_table_read(const Sysroot *s, SocketTable *ret) {
        _cleanup_(socket_table_done) SocketTable t = {};
        int r;

        r = read_tcp(s, "1/net/tcp", &t);
        if (r >= 0)
                r = read_tcp(s, "1/net/tcp6", &t);
        if (r >= 0)
                r = read_unix(s, &t);
        if (r < 0)
                return r;
        *ret = t;
        t = (SocketTable) {};
        return 0;
}

const Socket *socket_table_find(const SocketTable *t, uint64_t inode) {
        for (size_t i = 0; inode > 0 && i < t->n; i++)
                if (t->sockets[i].inode == inode)
                        return &t->sockets[i];
        return NULL;
}

bool socket_address_equal(const SocketAddress *a, const SocketAddress *b) {
        return a->port == b->port && memcmp(a->ip, b->ip, sizeof(a->ip)) == 0;
}

bool socket_address_is_loopback(const SocketAddress *a) {
        static const uint8_t v6_loopback[16] = { [15] = 1 };

        return (memcmp(a->ip, v4_prefix, sizeof(v4_prefix)) == 0 && a->ip[12] == 127) ||
                memcmp(a->ip, v6_loopback, sizeof(v6_loopback)) == 0;
}

const Socket *socket_table_peer(const SocketTable *t, const Socket *socket) {
        if (socket->family == SOCKET_UNIX) {
                const Socket *peer = socket_table_find(t, socket->peer);

                /* Numbers of 32 bits come round again. */
                return peer && peer->family == SOCKET_UNIX ? peer : NULL;
        }
        for (size_t i = 0; !socket->listening && i < t->n; i++) {
                const Socket *s = &t->sockets[i];

                if (s->family == SOCKET_TCP && !s->listening && socket_address_equal(&s->local, &socket->remote) &&
                    socket_address_equal(&s->remote, &socket->local))
                        return s;
        }
        return NULL;
}

int socket_address_parse(const char *ip, uint16_t port, SocketAddress *ret) {
        SocketAddress a = { .port = port };

        memcpy(a.ip, v4_prefix, sizeof(v4_prefix));
        if (inet_pton(AF_INET, ip, a.ip + 12) != 1 && inet_pton(AF_INET6, ip, a.ip) != 1)
                return -EINVAL;
        *ret = a;
        return 0;
}
