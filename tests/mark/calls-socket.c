/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Sockets with time-outs, whose calls the kernel does not begin again after a stop but ends with EINTR, see signal(7);
 * and those of which a part may be lost. */

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#include "tests/mark/calls.h"

#define WHOLE 65536
#define PIECE 4096
#define SEVERAL 4

enum { CALL_READ, CALL_READV, CALL_RECV, CALL_RECVMSG, CALL_RECVMMSG, CALL_SPLICE, CALL_WRITE, CALL_SEND, CALL_SENDMSG, CALL_SENDMMSG };

static bool timeout_set(int fd, int option, long ms) {
        struct timeval tv = { ms / 1000, ms % 1000 * 1000 };

        return setsockopt(fd, SOL_SOCKET, option, &tv, sizeof(tv)) == 0;
}
static bool timed_pair(Case *c) {
        return pair_unix(c) && timeout_set(c->fd[0], SO_RCVTIMEO, c->kind->ms) && timeout_set(c->fd[0], SO_SNDTIMEO, c->kind->ms);
}
static bool timed_pair_tcp(Case *c) {
        return pair_tcp(c) && timeout_set(c->fd[0], SO_RCVTIMEO, c->kind->ms) && timeout_set(c->fd[0], SO_SNDTIMEO, c->kind->ms);
}
static bool timed_pair_and_pipe(Case *c) {
        return timed_pair(c) && pipe(c->fd + 2) == 0;
}
static bool full_pair(Case *c) {
        if (!timed_pair(c))
                return false;
        while (send(c->fd[0], transfer_buffer, 1024, MSG_DONTWAIT) > 0)
                ;
        return true;
}

/* Through a pipe. */
static long receive_spliced(Case *c, size_t size) {
        const long r = result_of(splice(c->fd[0], NULL, c->fd[3], NULL, size, 0));

        return r <= 0 ? r : result_of(read(c->fd[2], transfer_buffer, (size_t) r));
}
static long transfer(Case *c, size_t size, int flags) {
        struct iovec v = { transfer_buffer, size };
        struct mmsghdr m = { .msg_hdr = { .msg_iov = &v, .msg_iovlen = 1 } };

        switch (c->kind->choice) {
        case CALL_READ: return result_of(read(c->fd[0], transfer_buffer, size));
        case CALL_READV: return result_of(readv(c->fd[0], &v, 1));
        case CALL_RECV: return result_of(recv(c->fd[0], transfer_buffer, size, flags));
        case CALL_RECVMSG: return result_of(recvmsg(c->fd[0], &m.msg_hdr, flags));
        case CALL_RECVMMSG: return result_of(recvmmsg(c->fd[0], &m, 1, flags, NULL));
        case CALL_SPLICE: return receive_spliced(c, size);
        case CALL_WRITE: return result_of(write(c->fd[0], transfer_buffer, size));
        case CALL_SEND: return result_of(send(c->fd[0], transfer_buffer, size, flags));
        case CALL_SENDMSG: return result_of(sendmsg(c->fd[0], &m.msg_hdr, flags));
        default: return result_of(sendmmsg(c->fd[0], &m, 1, flags));
        }
}
/* One byte, or none within a short time. */
static void round_byte(Case *c) {
        const uint64_t began = now_ms();

        expect_timed(c, transfer(c, 1, 0), 1, -EAGAIN, began);
}
static void round_whole(Case *c) {
        const long done = c->kind->choice == CALL_SENDMMSG ? 1 : TRANSFER;

        spin_us(60);
        expect(c, "send", transfer(c, TRANSFER, 0), done);
}

/* ---- MSG_WAITALL ---- */

static void partner_pieces(Case *c) {
        if (write(c->fd[1], transfer_buffer, 1 + below(PIECE)) < 0)
                exit(EXIT_FAILURE);
        nap_us(200 + below(800));
}
static void round_waitall(Case *c) {
        expect(c, "recv of all", transfer(c, WHOLE, MSG_WAITALL), WHOLE);
}
static void round_waitall_idle(Case *c) {
        effect(c, "recv of all, of nothing", transfer(c, 48, MSG_WAITALL), 0);
}

/* ---- several datagrams, of which some may be there ---- */

static bool pair_datagrams(Case *c) {
        return socketpair(AF_UNIX, SOCK_DGRAM, 0, c->fd) == 0;
}
static void round_several(Case *c) {
        char bytes[SEVERAL];
        struct iovec v[SEVERAL];
        struct mmsghdr m[SEVERAL] = {};

        for (size_t i = 0; i < SEVERAL; i++) {
                v[i] = (struct iovec) { &bytes[i], 1 };
                m[i].msg_hdr = (struct msghdr) { .msg_iov = &v[i], .msg_iovlen = 1 };
        }
        expect(c, "recvmmsg of several", result_of(recvmmsg(c->fd[0], m, SEVERAL, 0, NULL)), SEVERAL);
}

/* ---- connections ---- */

static bool listen_at(Case *c, int backlog) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };

        /* abstract, and of this process */
        snprintf(address.sun_path + 1, sizeof(address.sun_path) - 1, "mark-calls-%d-%s", (int) c->pid, c->kind->name);
        c->fd[0] = socket(AF_UNIX, SOCK_STREAM, 0);
        return bind(c->fd[0], (struct sockaddr *) &address, sizeof(address)) == 0 && listen(c->fd[0], backlog) == 0 &&
                timeout_set(c->fd[0], SO_RCVTIMEO, c->kind->ms);
}
static bool listen_tcp(Case *c) {
        struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };

        c->fd[0] = socket(AF_INET, SOCK_STREAM, 0);
        return bind(c->fd[0], (struct sockaddr *) &address, sizeof(address)) == 0 && listen(c->fd[0], 0) == 0;
}
static bool listen_wide(Case *c) {
        return listen_at(c, 64);
}
static bool listen_narrow(Case *c) {
        return listen_at(c, 0);
}
static int connect_to(Case *c, long *ret) {
        struct sockaddr_storage address;
        socklen_t size = sizeof(address);
        int fd;

        if (getsockname(c->fd[0], (struct sockaddr *) &address, &size) < 0)
                return -1;
        fd = socket(address.ss_family, SOCK_STREAM, 0);
        if (c->kind->ms)
                timeout_set(fd, SO_SNDTIMEO, c->kind->ms);
        *ret = result_of(connect(fd, (struct sockaddr *) &address, size));
        return fd;
}
static void partner_connect(Case *c) {
        long r;

        nap_us(1000 + below(19000));
        close(connect_to(c, &r));
}
static void partner_accept(Case *c) {
        int fd = accept(c->fd[0], NULL, NULL);

        if (fd >= 0)
                close(fd);
        nap_us(1000 + below(4000));
}
static void accepted(Case *c, int fd) {
        const long r = result_of(fd);

        if (fd >= 0)
                close(fd);
        expect(c, "accept", r < 0 ? r : 0, 0);
}
static void round_accept(Case *c) {
        accepted(c, accept(c->fd[0], NULL, NULL));
}
static void round_accept4(Case *c) {
        accepted(c, accept4(c->fd[0], NULL, NULL, SOCK_CLOEXEC));
}
static void round_accept_short(Case *c) {
        const uint64_t began = now_ms();

        expect_timed(c, result_of(accept(c->fd[0], NULL, NULL)), 0, -EAGAIN, began);
}
static void round_connect(Case *c) {
        long r = 0;

        close(connect_to(c, &r));
        expect(c, "connect", r, 0);
}

#define RECEIVE(NAME, SETUP, CALL) { NAME, SETUP, partner_byte, round_byte, .ms = LONG_MS, .choice = CALL, .need = NEED_ROUNDS | MAY_EINTR }
#define EXPIRE(NAME, SETUP, CALL) { NAME, SETUP, NULL, round_byte, .ms = SHORT_MS, .choice = CALL, .need = NEED_ROUNDS | MAY_EINTR }
#define SEND(NAME, SETUP, CALL) { NAME, SETUP, partner_drain, round_whole, .ms = LONG_MS, .choice = CALL, .need = NEED_ROUNDS }

const Kind socket_kinds[] = {
        RECEIVE("read-timed", timed_pair, CALL_READ),
        RECEIVE("read-timed-tcp", timed_pair_tcp, CALL_READ),
        RECEIVE("readv-timed", timed_pair, CALL_READV),
        RECEIVE("recv-timed", timed_pair, CALL_RECV),
        RECEIVE("recvmsg-timed", timed_pair, CALL_RECVMSG),
        RECEIVE("recvmmsg-timed", timed_pair_tcp, CALL_RECVMMSG),
        { "accept-timed", listen_wide, partner_connect, round_accept, .ms = LONG_MS, .need = NEED_ROUNDS | MAY_EINTR },
        { "accept4-timed", listen_wide, partner_connect, round_accept4, .ms = LONG_MS, .need = NEED_ROUNDS | MAY_EINTR },
        RECEIVE("splice-timed", timed_pair_and_pipe, CALL_SPLICE),
        EXPIRE("read-expires", timed_pair, CALL_READ),
        EXPIRE("read-expires-tcp", timed_pair_tcp, CALL_READ),
        EXPIRE("recv-expires", timed_pair, CALL_RECV),
        EXPIRE("recvmsg-expires", timed_pair, CALL_RECVMSG),
        EXPIRE("recvmmsg-expires", timed_pair_tcp, CALL_RECVMMSG),
        { "accept-expires", listen_wide, NULL, round_accept_short, .ms = SHORT_MS, .need = NEED_ROUNDS | MAY_EINTR },
        EXPIRE("splice-expires", timed_pair_and_pipe, CALL_SPLICE),
        EXPIRE("send-expires", full_pair, CALL_SEND),
        EXPIRE("write-expires", full_pair, CALL_WRITE),
        SEND("write-timed", timed_pair, CALL_WRITE),
        SEND("send-timed-tcp", timed_pair_tcp, CALL_SEND),
        SEND("sendmsg-timed", timed_pair, CALL_SENDMSG),
        SEND("sendmmsg-timed", timed_pair_tcp, CALL_SENDMMSG),
        { "connect-unix", listen_narrow, partner_accept, round_connect, .need = NEED_ROUNDS },
        { "connect-timed", listen_narrow, partner_accept, round_connect, .ms = LONG_MS, .need = NEED_ROUNDS },
        { "connect-tcp", listen_tcp, partner_accept, round_connect },
        { "connect-timed-tcp", listen_tcp, partner_accept, round_connect, .ms = LONG_MS },
        { "recvmmsg-several", pair_datagrams, partner_byte, round_several, .need = NEED_ROUNDS },
        { "waitall-unix", pair_unix, partner_pieces, round_waitall, .choice = CALL_RECV, .need = NEED_ROUNDS },
        { "waitall-tcp", pair_tcp, partner_pieces, round_waitall, .choice = CALL_RECV, .need = NEED_ROUNDS },
        { "waitall-recvmsg", pair_tcp, partner_pieces, round_waitall, .choice = CALL_RECVMSG, .need = NEED_ROUNDS },
        { "waitall-idle", pair_tcp, NULL, round_waitall_idle, .choice = CALL_RECV, .need = NEED_MARK },
        { "waitall-idle-unix", pair_unix, NULL, round_waitall_idle, .choice = CALL_RECVMSG, .need = NEED_MARK },
        {},
};
