/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Who serves which FUSE connection, as a question and an answer in text (daemon/source/probe.h). */

#include <stdint.h>
#include <sys/types.h>

#include "daemon/source/process-table.h"

#define FUSE_SERVERS_KIND "fuse-servers"

/* A descriptor of /dev/fuse. */
typedef struct FuseServer {
        pid_t pid;
        uint64_t start; /* clock ticks since boot */
        int fd;
        uint64_t connection; /* name of its directory in /sys/fs/fuse/connections; 0: not mounted */
} FuseServer;

typedef struct FuseServers {
        FuseServer *servers;
        size_t n, capacity;
} FuseServers;

void fuse_servers_done(FuseServers *l);
/* In what fuse_servers_parse() has made. */
const FuseServer *fuse_servers_find(const FuseServers *l, pid_t pid, uint64_t start, int fd);

/* The question names, by a digest, all holders of /dev/fuse and all connections that are known: it is another
 * one as soon as any of them comes or goes, and the same as long as the answer is. NULL when out of memory. */
char *fuse_servers_question(const ProcessTable *t, const uint64_t *connections, size_t n);

/* The answer "PID:START:FD:CONNECTION ..."; NULL when out of memory. */
char *fuse_servers_format(const FuseServers *l);
/* 0, -EINVAL when it is none (an error, too), -ENOMEM. */
int fuse_servers_parse(const char *answer, FuseServers *ret);
