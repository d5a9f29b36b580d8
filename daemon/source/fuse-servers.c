/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/array.h"
#include "common/text-stream.h"
#include "common/text.h"
#include "daemon/source/fuse-servers.h"

void fuse_servers_done(FuseServers *l) {
        free(l->servers);
        *l = (FuseServers) {};
}

static int compare_servers(const void *a, const void *b) {
        const FuseServer *x = a, *y = b;

        if (x->pid != y->pid)
                return x->pid > y->pid ? 1 : -1;
        if (x->start != y->start)
                return x->start > y->start ? 1 : -1;
        return (x->fd > y->fd) - (x->fd < y->fd);
}

const FuseServer *fuse_servers_find(const FuseServers *l, pid_t pid, uint64_t start, int fd) {
        const FuseServer key = { .pid = pid, .start = start, .fd = fd };

        return l->n > 0 ? bsearch(&key, l->servers, l->n, sizeof(FuseServer), compare_servers) : NULL;
}

/* FNV-1a, a number as eight bytes. */
static uint64_t digest_add(uint64_t digest, uint64_t number) {
        for (unsigned i = 0; i < 64; i += 8)
                digest = (digest ^ (uint8_t) (number >> i)) * UINT64_C(0x100000001b3);
        return digest;
}

char *fuse_servers_question(const ProcessTable *t, const uint64_t *connections, size_t n) {
        uint64_t digest = digest_add(UINT64_C(0xcbf29ce484222325), n);

        for (size_t i = 0; i < n; i++)
                digest = digest_add(digest, connections[i]);
        for (size_t i = 0; i < t->n; i++) {
                if (!streq(t->holders[i].device, "fuse"))
                        continue;
                digest = digest_add(digest, (uint64_t) t->holders[i].pid);
                digest = digest_add(digest, t->holders[i].start);
                digest = digest_add(digest, (uint64_t) t->holders[i].fd);
        }
        return text_format(FUSE_SERVERS_KIND " %016llx", (unsigned long long) digest);
}

char *fuse_servers_format(const FuseServers *l) {
        _cleanup_free_ char *text = NULL;
        size_t size = 0;
        FILE *f = text_stream_open(&text, &size);
        int r = 0;

        if (!f)
                return NULL;
        for (size_t i = 0; i < l->n && r >= 0; i++)
                r = fprintf(f, "%s%d:%llu:%d:%llu", i > 0 ? " " : "", l->servers[i].pid,
                            (unsigned long long) l->servers[i].start, l->servers[i].fd,
                            (unsigned long long) l->servers[i].connection);
        return fclose(f) == 0 && r >= 0 ? TAKE_PTR(text) : NULL;
}

static int parse_server(char *text, FuseServer *ret) {
        char *state = NULL, *start, *fd, *connection;
        FuseServer s = {};
        uint64_t number;
        int r;

        text = strtok_r(text, ":", &state);
        start = strtok_r(NULL, ":", &state);
        fd = strtok_r(NULL, ":", &state);
        connection = strtok_r(NULL, "", &state);
        if (!text || !start || !fd || !connection)
                return -EINVAL;
        r = text_to_pid(text, &s.pid);
        if (r >= 0)
                r = text_to_u64(start, 10, &s.start);
        if (r >= 0)
                r = text_to_u64(fd, 10, &number);
        if (r >= 0)
                r = text_to_u64(connection, 10, &s.connection);
        if (r < 0 || number > INT32_MAX)
                return -EINVAL;
        s.fd = (int) number;
        *ret = s;
        return 0;
}

int fuse_servers_parse(const char *answer, FuseServers *ret) {
        _cleanup_(fuse_servers_done) FuseServers l = {};
        _cleanup_free_ char *copy = strdup(answer);
        char *state = NULL;

        if (!copy)
                return -ENOMEM;
        for (char *word = strtok_r(copy, " ", &state); word; word = strtok_r(NULL, " ", &state)) {
                FuseServer server;
                int r;

                r = parse_server(word, &server);
                if (r >= 0)
                        r = ARRAY_APPEND(l.servers, l.n, l.capacity, server);
                if (r < 0)
                        return r;
        }
        if (l.n > 1)
                qsort(l.servers, l.n, sizeof(FuseServer), compare_servers);
        *ret = l;
        l = (FuseServers) {};
        return 0;
}
