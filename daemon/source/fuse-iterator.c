/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/array.h"
#include "common/cleanup.h"
#include "daemon/source/fuse-iterator.h"
#include "daemon/source/fuse-record.h"

/* PROC_PID_INIT_INO and PROC_TIME_INIT_INO (include/linux/proc_ns.h), the same in all versions. */
#define INITIAL_PID_NAMESPACE 0xEFFFFFFCU
#define INITIAL_TIME_NAMESPACE 0xEFFFFFFAU

static const _Alignas(8) unsigned char program[] = {
#include "fuse-iterator.inc"
};

DEFINE_TRIVIAL_CLEANUP_FUNC(struct bpf_object *, bpf_object__close);
DEFINE_TRIVIAL_CLEANUP_FUNC(struct bpf_link *, bpf_link__destroy);

/* True also where the kernel has no such namespaces. */
static bool in_namespace(const char *path, ino_t initial) {
        struct stat st;

        return stat(path, &st) < 0 || st.st_ino == initial;
}

static int be_quiet(enum libbpf_print_level level _unused_, const char *format _unused_, va_list arguments _unused_) {
        return 0;
}

/* As /proc/PID/stat says it (fs/proc/array.c, nsec_to_clock_t()). */
static uint64_t to_clock_ticks(uint64_t nanoseconds) {
        return nanoseconds / (UINT64_C(1000000000) / (uint64_t) sysconf(_SC_CLK_TCK));
}

static int take_records(const struct fuse_record *records, size_t n, FuseServers *l) {
        for (size_t i = 0; i < n; i++) {
                FuseServer server = {
                        .pid = (pid_t) records[i].pid,
                        .start = to_clock_ticks(records[i].start),
                        .fd = (int) records[i].fd,
                        .connection = records[i].connection,
                };
                int r;

                r = ARRAY_APPEND(l->servers, l->n, l->capacity, server);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int read_records(int fd, FuseServers *l) {
        /* The kernel fills one page at a time. */
        struct fuse_record records[256];

        for (;;) {
                ssize_t n = read(fd, records, sizeof(records));
                int r;

                /* After a million descriptors of other files the kernel takes a breath with EAGAIN. */
                if (n < 0 && (errno == EINTR || errno == EAGAIN))
                        continue;
                if (n < 0)
                        return -errno;
                if (n == 0)
                        return 0;
                if (n % sizeof(records[0]) != 0)
                        return -EBADMSG;
                r = take_records(records, n / sizeof(records[0]), l);
                if (r < 0)
                        return r;
        }
}

static int run_iterator(const struct bpf_program *p, FuseServers *l) {
        _cleanup_(bpf_link__destroyp) struct bpf_link *link = bpf_program__attach_iter(p, NULL);
        _cleanup_close_ int fd = -1;

        if (!link)
                return -errno;
        fd = bpf_iter_create(bpf_link__fd(link));
        return fd < 0 ? -errno : read_records(fd, l);
}

static int load_and_run(FuseServers *l) {
        _cleanup_(bpf_object__closep) struct bpf_object *object = bpf_object__open_mem(program, sizeof(program), NULL);
        const struct bpf_program *p = object ? bpf_object__next_program(object, NULL) : NULL;
        int r;

        if (!p)
                return object ? -ENOENT : -errno;
        r = bpf_object__load(object);
        return r < 0 ? r : run_iterator(p, l);
}

int fuse_iterator_read(FuseServers *ret) {
        _cleanup_(fuse_servers_done) FuseServers l = {};
        int r;

        if (!in_namespace("/proc/self/ns/pid", INITIAL_PID_NAMESPACE) || !in_namespace("/proc/self/ns/time", INITIAL_TIME_NAMESPACE))
                return -EOPNOTSUPP;
        libbpf_set_print(be_quiet);
        r = load_and_run(&l);
        if (r < 0)
                return r;
        *ret = l;
        l = (FuseServers) {};
        return 0;
}
