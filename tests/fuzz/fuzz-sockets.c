/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The kernel's tables of sockets. The first byte says which: 'n' a datagram of sock_diag(7), anything else text, which
 * is read as /proc/net/tcp and as what a capture has of unix sockets. */
#include <arpa/inet.h>

#include "common/text.h"
#include "daemon/source/socket-table.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/memory-root.h"

static void check(const SocketTable *t) {
        for (size_t i = 0; i < t->n && i < 64; i++) {
                const Socket *s = &t->sockets[i], *peer = socket_table_peer(t, s);

                MUST(!peer || peer->family == s->family);
                MUST(s->inode == 0 || socket_table_find(t, s->inode)->inode == s->inode);
                (void) socket_address_is_loopback(&s->local);
        }
}

static void read_datagram(const uint8_t *data, size_t size) {
        _cleanup_(socket_table_done) SocketTable t = {};
        /* Aligned, as recv() has it. The NUL is for ASan, which with strict_string_checks= lets strndup() take no other end. */
        _cleanup_free_ char *copy = fuzz_text(data, size);

        if (socket_table_take_datagram(&t, copy, size) < 0)
                return;
        MUST(socket_table_index(&t) >= 0);
        check(&t);
}

static void read_text(const char *text) {
        _cleanup_free_ char *input = text_format("@proc/1/net/tcp\n%s\n@proc/1/net/tcp6\n%s\n@run/stackd/unix-sockets\n%s", text, text, text);
        _cleanup_(sysroot_freep) Sysroot *s = NULL;
        _cleanup_(socket_table_done) SocketTable t = {};
        SocketAddress a;

        MUST(input);
        s = memory_root_new(input);
        MUST(socket_table_read(s, &t) >= 0);
        check(&t);
        (void) socket_address_parse(text, 1, &a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_free_ char *text = NULL;

        if (size > 0 && *data == 'n') {
                read_datagram(data + 1, size - 1);
                return 0;
        }
        text = fuzz_text(data, size);
        read_text(text);
        return 0;
}
