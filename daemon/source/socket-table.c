/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "common/file.h"
#include "common/text-stream.h"
#include "common/text.h"
#include "daemon/source/namespaces.h"
#include "daemon/source/socket-table.h"
#include "daemon/source/visibility.h"

#define CAPTURED_SOCKETS "stackd/unix-sockets"
#define TCP_STATE_ESTABLISHED 1 /* include/net/tcp_states.h */
#define TCP_STATE_LISTEN 10

static const uint8_t v4_prefix[12] = { [10] = 0xff, [11] = 0xff };

void socket_table_done(SocketTable *t) {
        for (size_t i = 0; i < t->n; i++)
                free(t->sockets[i].name);
        free(t->sockets);
        free(t->by_inode);
        free(t->by_addresses);
        free(t->by_name);
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
        Socket s = { .family = SOCKET_TCP, .space = t->n_spaces };
        unsigned state, uid;

        if (sscanf(line, " %*u: %47s %47s %x %*s %*s %*s %u %*u %llu", local, remote, &state, &uid, &inode) != 5)
                return 0; /* the heading */
        if (state != TCP_STATE_ESTABLISHED && state != TCP_STATE_LISTEN)
                return 0;
        if (parse_address(local, &s.local) < 0 || parse_address(remote, &s.remote) < 0)
                return 0;
        s.inode = inode;
        s.uid = uid;
        s.listening = state == TCP_STATE_LISTEN;
        return ARRAY_APPEND(t->sockets, t->n, t->capacity, s);
}

/* The kernel looks through the connections of the whole machine for those of one namespace, which takes it
 * milliseconds: not where there are none. */
static bool has_tcp(const Sysroot *s, int pid, const char *version) {
        _cleanup_free_ char *text = NULL;
        const char *p;

        if (sysroot_read(s, AREA_PROC, PATH("%d/net/sockstat%s", pid, version), &text) < 0)
                return true;
        p = strstr(text, PATH("TCP%s: inuse ", version));
        return !p || p[strlen("TCP: inuse ") + strlen(version)] != '0';
}

static int read_tcp(const Sysroot *s, Namespace *n, const char *version, SocketTable *t) {
        _cleanup_free_ char *text = NULL;
        char *state = NULL;
        int r;

        if (!has_tcp(s, n->pid, version))
                return 0;
        r = sysroot_read_limited(s, AREA_PROC, PATH("%d/net/tcp%s", n->pid, version), n->most - MIN(n->read, n->most), &text);
        n->read += r == -EFBIG ? n->most : r < 0 ? 0 : strlen(text);
        if (r < 0)
                return r == -ENOMEM || (r == -EFBIG && n->foreign) ? r : 0; /* no such protocol here */
        for (char *line = strtok_r(text, "\n", &state); line; line = strtok_r(NULL, "\n", &state)) {
                r = parse_tcp_line(t, line);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* The kernel's own connections go to abstract names, too; those with a zero inside are of no use to anybody here. */
static char *unix_name(const char *payload, size_t n) {
        if (payload[0] == '/')
                return strndup(payload, n);
        return payload[0] == 0 && n > 1 && !memchr(payload + 1, 0, n - 1) ? text_format("@%.*s", (int) n - 1, payload + 1) : NULL;
}

static int take_unix(SocketTable *t, const struct unix_diag_msg *m, size_t size) {
        Socket s = {
                .family = SOCKET_UNIX,
                .space = t->n_spaces,
                .inode = m->udiag_ino,
                .uid = UID_UNKNOWN,
                .listening = m->udiag_state == TCP_STATE_LISTEN,
        };
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
                } else if (a->nla_type == UNIX_DIAG_UID && n >= sizeof(uint32_t))
                        memcpy(&s.uid, payload, sizeof(uint32_t));
                else if (a->nla_type == UNIX_DIAG_NAME && n > 0 && !s.name) {
                        s.name = unix_name(payload, n);
                        if (!s.name && payload[0] == '/')
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
                        .udiag_show = UDIAG_SHOW_NAME | UDIAG_SHOW_PEER | UDIAG_SHOW_UID,
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

/* In a capture the unix sockets of the table are lines "INODE PEER LISTENING UID NAME", as no file tells of them. Their
 * namespaces do not matter: a peer is named by its inode. */
static int record_unix(const Sysroot *s, const SocketTable *t) {
        _cleanup_free_ char *text = NULL;
        size_t size;
        FILE *f;

        if (!sysroot_is_recorded(s))
                return 0;
        f = text_stream_open(&text, &size);
        if (!f)
                return -ENOMEM;
        for (size_t i = 0; i < t->n; i++) {
                _cleanup_free_ char *name = text_escape_octal(t->sockets[i].name ?: "");

                if (t->sockets[i].family == SOCKET_UNIX && name)
                        fprintf(f, "%llu %llu %d %u %s\n", (unsigned long long) t->sockets[i].inode,
                                (unsigned long long) t->sockets[i].peer, t->sockets[i].listening, t->sockets[i].uid, name);
        }
        if (fclose(f) != 0)
                return -ENOMEM;
        sysroot_record_text(s, AREA_RUN, CAPTURED_SOCKETS, text);
        return 0;
}

static int parse_unix_line(SocketTable *t, char *line) {
        unsigned long long inode, peer;
        Socket s = { .family = SOCKET_UNIX, .uid = UID_UNKNOWN };
        unsigned listening, uid;
        int n = 0, more = 0, r;

        if (sscanf(line, "%llu %llu %u %n", &inode, &peer, &listening, &n) != 3 || n == 0)
                return 0;
        /* Earlier captures have no uid. No name begins with a digit. */
        if (sscanf(line + n, "%u %n", &uid, &more) == 1 && more > 0) {
                s.uid = uid;
                n += more;
        }
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

static int open_netlink(void) {
        int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);

        return fd < 0 ? -errno : fd;
}

/* A socket belongs to the network namespace in which it was made, and unix sockets are only told of there. Ours is
 * that of pid 1. */
static int open_diag(const Sysroot *s, int pid) {
        _cleanup_close_ int own = -1, other = -1;
        int fd;

        if (pid == 1)
                return open_netlink();
        own = sysroot_open_at(s, AREA_PROC, "self/ns/net", O_RDONLY);
        other = own < 0 ? own : sysroot_open_at(s, AREA_PROC, PATH("%d/ns/net", pid), O_RDONLY);
        if (other < 0)
                return other;
        if (setns(other, CLONE_NEWNET) < 0)
                return -errno;
        fd = open_netlink();
        /* Whatever we did from now on would be done in somebody else's network. */
        if (setns(own, CLONE_NEWNET) < 0)
                abort();
        return fd;
}

static int read_unix(const Sysroot *s, Namespace *n, SocketTable *t) {
        _cleanup_close_ int fd = -1;
        int r;

        fd = open_diag(s, n->pid);
        if (fd < 0)
                return fd;
        r = ask_unix(fd);
        if (r < 0)
                return r;
        do {
                size_t before = t->n;

                r = receive_unix(fd, t);
                n->read += (t->n - before) * sizeof(Socket);
        } while (r > 0 && n->read <= n->most);
        return r > 0 ? -EFBIG : r;
}

static int read_space(const Sysroot *s, Namespace *n, SocketTable *t) {
        int r;

        r = sysroot_is_machine(s) ? read_unix(s, n, t) : 0;
        if (r == -EPERM) { /* TCP is told without any privilege */
                t->gaps |= gap_of_error(process_error(s, n->pid, r));
                r = 0;
        }
        if (r >= 0)
                r = read_tcp(s, n, "", t);
        if (r >= 0)
                r = read_tcp(s, n, "6", t);
        if (r < 0)
                return r;
        t->n_spaces++;
        return 0;
}

static int visit_space(const Sysroot *s, Namespace *n, void *userdata) {
        SocketTable *t = userdata;
        size_t before = t->n;
        int r;

        r = read_space(s, n, t);
        if (r >= 0)
                return VISIT_DONE;
        while (t->n > before)
                free(t->sockets[--t->n].name);
        if (r == -EFBIG && n->foreign)
                return r;
        t->gaps |= gap_of_error(process_error(s, n->pid, r));
        return r == -ENOMEM ? r : VISIT_RETRY;
}

static int compare_inodes(const Socket *a, const Socket *b) {
        return (a->inode > b->inode) - (a->inode < b->inode);
}

static int compare_address(const SocketAddress *a, const SocketAddress *b) {
        int r = memcmp(a->ip, b->ip, sizeof(a->ip));

        return r != 0 ? r : (a->port > b->port) - (a->port < b->port);
}

/* So that connections to an address are side by side, and among them those to a port. */
static int compare_addresses(const Socket *a, const Socket *b) {
        int r = compare_address(&a->remote, &b->remote);

        return r != 0 ? r : compare_address(&a->local, &b->local);
}

static int compare_names(const Socket *a, const Socket *b) {
        return strcmp(a->name ?: "", b->name ?: "");
}

static int compare_index_names(const void *a, const void *b, void *sockets) {
        return compare_names((Socket *) sockets + *(const size_t *) a, (Socket *) sockets + *(const size_t *) b);
}

static int compare_index_inodes(const void *a, const void *b, void *sockets) {
        return compare_inodes((Socket *) sockets + *(const size_t *) a, (Socket *) sockets + *(const size_t *) b);
}

static int compare_index_addresses(const void *a, const void *b, void *sockets) {
        return compare_addresses((Socket *) sockets + *(const size_t *) a, (Socket *) sockets + *(const size_t *) b);
}

int socket_table_index(SocketTable *t) {
        t->by_inode = malloc((t->n + 1) * sizeof(size_t));
        t->by_addresses = malloc((t->n + 1) * sizeof(size_t));
        t->by_name = malloc((t->n + 1) * sizeof(size_t));
        if (!t->by_inode || !t->by_addresses || !t->by_name)
                return -ENOMEM;
        for (size_t i = 0; i < t->n; i++)
                t->by_inode[i] = t->by_addresses[i] = t->by_name[i] = i;
        if (t->n > 1) {
                qsort_r(t->by_inode, t->n, sizeof(size_t), compare_index_inodes, t->sockets);
                qsort_r(t->by_addresses, t->n, sizeof(size_t), compare_index_addresses, t->sockets);
                qsort_r(t->by_name, t->n, sizeof(size_t), compare_index_names, t->sockets);
        }
        return 0;
}

int socket_table_read(const Sysroot *s, SocketTable *ret) {
        _cleanup_(socket_table_done) SocketTable t = {};
        NamespacesSeen seen;
        int r;

        r = read_space(s, &(Namespace) { .pid = 1, .most = SIZE_MAX }, &t);
        if (r >= 0)
                r = namespaces_visit(s, "net", visit_space, &t, &seen);
        if (r >= 0)
                r = sysroot_is_machine(s) ? record_unix(s, &t) : replay_unix(s, &t);
        if (r < 0)
                return r;
        t.gaps |= seen.gaps;
        r = socket_table_index(&t);
        if (r < 0)
                return r;
        *ret = t;
        t = (SocketTable) {};
        return 0;
}

/* The first place in an index at which 'compare' does not say "before". */
static size_t lower_bound(const SocketTable *t, const size_t *index, const Socket *key, int (*compare)(const Socket *, const Socket *)) {
        size_t low = 0, high = t->n;

        while (low < high) {
                size_t middle = low + (high - low) / 2;

                if (compare(&t->sockets[index[middle]], key) < 0)
                        low = middle + 1;
                else
                        high = middle;
        }
        return low;
}

const Socket *socket_table_find(const SocketTable *t, uint64_t inode) {
        const Socket key = { .inode = inode }, *found;
        size_t i = lower_bound(t, t->by_inode, &key, compare_inodes);

        if (inode == 0 || i == t->n)
                return NULL;
        found = &t->sockets[t->by_inode[i]];
        return found->inode == inode ? found : NULL;
}

/* Somebody else may listen on that port with another version of IP. */
static bool listens(const SocketTable *t, const Socket *key, const Socket *accepted) {
        for (size_t i = lower_bound(t, t->by_addresses, key, compare_addresses); i < t->n; i++) {
                const Socket *s = &t->sockets[t->by_addresses[i]];

                if (compare_addresses(s, key) != 0)
                        return false;
                if (s->family == SOCKET_TCP && s->listening && s->space == accepted->space && s->uid == accepted->uid)
                        return true;
        }
        return false;
}

/* What listens does so on that address or on any; its remote address is zero. */
bool socket_table_is_accepted(const SocketTable *t, const Socket *socket) {
        SocketAddress any[] = { {}, {} };

        if (socket->family == SOCKET_UNIX)
                return socket->name && !socket->listening;
        memcpy(any[1].ip, v4_prefix, sizeof(v4_prefix));
        for (size_t i = 0; i < ELEMENTSOF(any); i++) {
                Socket key = { .local = socket->local, .remote = any[i] };

                if (listens(t, &key, socket))
                        return true;
                memcpy(key.local.ip, any[i].ip, sizeof(key.local.ip));
                if (listens(t, &key, socket))
                        return true;
        }
        return false;
}

size_t socket_table_name_range(const SocketTable *t, const char *name, size_t *ret_n) {
        const Socket key = { .name = (char *) name };
        size_t first = lower_bound(t, t->by_name, &key, compare_names), n = 0;

        while (first + n < t->n && streq_ptr(t->sockets[t->by_name[first + n]].name, name))
                n++;
        *ret_n = n;
        return first;
}

bool socket_address_is_loopback(const SocketAddress *a) {
        static const uint8_t v6_loopback[16] = { [15] = 1 };

        return (memcmp(a->ip, v4_prefix, sizeof(v4_prefix)) == 0 && a->ip[12] == 127) ||
                memcmp(a->ip, v6_loopback, sizeof(v6_loopback)) == 0;
}

const Socket *socket_table_peer(const SocketTable *t, const Socket *socket) {
        const Socket key = { .local = socket->remote, .remote = socket->local }, *elsewhere = NULL;
        size_t n = 0;

        if (socket->family == SOCKET_UNIX) {
                const Socket *peer = socket_table_find(t, socket->peer);

                /* Numbers of 32 bits come round again. */
                return peer && peer->family == SOCKET_UNIX ? peer : NULL;
        }
        if (socket->listening)
                return NULL;
        for (size_t i = lower_bound(t, t->by_addresses, &key, compare_addresses); i < t->n; i++) {
                const Socket *s = &t->sockets[t->by_addresses[i]];

                if (compare_addresses(s, &key) != 0)
                        break;
                if (s->family != SOCKET_TCP || s->listening)
                        continue;
                if (s->space == socket->space)
                        return s;
                elsewhere = s;
                n++;
        }
        /* No packet to a loopback address leaves its namespace. */
        return n == 1 && !socket_address_is_loopback(&socket->remote) ? elsewhere : NULL;
}

int socket_table_pairs(const SocketTable *t, const SocketAddress *server, bool any_port, SocketPair **ret, size_t *ret_n) {
        _cleanup_free_ SocketPair *pairs = NULL;
        Socket key = { .remote = *server };
        size_t n = 0, capacity = 0;
        bool own = false;

        if (any_port)
                key.remote.port = 0;
        for (size_t i = lower_bound(t, t->by_addresses, &key, compare_addresses); i < t->n; i++) {
                const Socket *near = &t->sockets[t->by_addresses[i]];
                const Socket *far;
                int r;

                if (memcmp(near->remote.ip, server->ip, sizeof(server->ip)) != 0 || (!any_port && near->remote.port != server->port))
                        break;
                if (near->family != SOCKET_TCP || near->listening || (own && near->space != 0))
                        continue;
                if (near->space == 0 && !own) {
                        own = true;
                        n = 0;
                }
                far = socket_table_peer(t, near);
                if (!far)
                        continue;
                r = ARRAY_APPEND(pairs, n, capacity, ((SocketPair) { .near = near, .far = far }));
                if (r < 0)
                        return r;
        }
        *ret = TAKE_PTR(pairs);
        *ret_n = n;
        return 0;
}

void socket_table_claim(SocketTable *t, const SocketPair *pair) {
        t->sockets[pair->near - t->sockets].claimed = true;
        t->sockets[pair->far - t->sockets].claimed = true;
}

int socket_address_parse(const char *ip, uint16_t port, SocketAddress *ret) {
        SocketAddress a = { .port = port };

        memcpy(a.ip, v4_prefix, sizeof(v4_prefix));
        if (inet_pton(AF_INET, ip, a.ip + 12) != 1 && inet_pton(AF_INET6, ip, a.ip) != 1)
                return -EINVAL;
        *ret = a;
        return 0;
}
