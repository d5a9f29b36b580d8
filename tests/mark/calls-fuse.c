/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Calls to another FUSE file system, whose server honours interruptions: it ends the request with EINTR at once. It is
 * slow, and counts each FUSE_INTERRUPT as an effect. And the servers of such ones, which wait for requests. */

#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <poll.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "tests/mark/calls.h"

#define FILE_NODE 2
#define DIRECTORY_NODE 3
#define FILE_SIZE (1 << 20)
#define PART 4096
#define PENDING_MAX 16

/* ---- the server ---- */

typedef struct Request {
        uint64_t unique, due_ms;
        uint32_t opcode, size;
        uint64_t node;
        bool absent; /* what is looked for is yet to be made */
} Request;

/* Of the partner's process only. */
static Request pending[PENDING_MAX];
static size_t n_pending;

static void answer(int fd, uint64_t unique, int error, const void *data, size_t size) {
        char buffer[PART + sizeof(struct fuse_out_header)];
        const struct fuse_out_header header = { .len = (uint32_t) (sizeof(header) + size), .error = error, .unique = unique };

        memcpy(buffer, &header, sizeof(header));
        if (size > 0)
                memcpy(buffer + sizeof(header), data, size);
        (void) !write(fd, buffer, sizeof(header) + size);
}

static struct fuse_attr attributes(uint64_t node) {
        return (struct fuse_attr) {
                .ino = node,
                .mode = node == FILE_NODE ? S_IFREG | 0644 : S_IFDIR | 0755,
                .nlink = 1,
                .size = node == FILE_NODE ? FILE_SIZE : 0,
                .blksize = PART,
        };
}

static void answer_init(int fd, const Request *q) {
        const struct fuse_init_out out = {
                .major = FUSE_KERNEL_VERSION, .minor = 31, .max_readahead = PART, .max_background = 16, .max_write = PART, .time_gran = 1,
        };

        answer(fd, q->unique, 0, &out, sizeof(out));
}

/* Nothing is kept by the kernel, so that each call becomes a request. */
static void request_answer(int fd, const Request *q) {
        static const char zeros[PART];
        const struct fuse_entry_out entry = { .nodeid = FILE_NODE, .attr = attributes(FILE_NODE) };
        const struct fuse_entry_out made = { .nodeid = DIRECTORY_NODE, .attr = attributes(DIRECTORY_NODE) };
        const struct fuse_attr_out attr = { .attr = attributes(q->node) };
        const struct fuse_open_out opened = { .fh = 1, .open_flags = FOPEN_DIRECT_IO };
        const struct fuse_write_out written = { .size = q->size };
        const struct fuse_ioctl_out ioctled = { .result = 7 };

        switch (q->opcode) {
        case FUSE_INIT: answer_init(fd, q); break;
        case FUSE_LOOKUP: answer(fd, q->unique, q->absent ? -ENOENT : 0, &entry, q->absent ? 0 : sizeof(entry)); break;
        case FUSE_MKDIR: answer(fd, q->unique, 0, &made, sizeof(made)); break;
        case FUSE_GETATTR: answer(fd, q->unique, 0, &attr, sizeof(attr)); break;
        case FUSE_OPEN: answer(fd, q->unique, 0, &opened, sizeof(opened)); break;
        case FUSE_READ: answer(fd, q->unique, 0, zeros, MIN(q->size, (uint32_t) PART)); break;
        case FUSE_WRITE: answer(fd, q->unique, 0, &written, sizeof(written)); break;
        case FUSE_IOCTL: answer(fd, q->unique, 0, &ioctled, sizeof(ioctled)); break;
        case FUSE_FSYNC:
        case FUSE_FLUSH:
        case FUSE_RELEASE:
        case FUSE_ACCESS: answer(fd, q->unique, 0, NULL, 0); break;
        default: answer(fd, q->unique, -ENOSYS, NULL, 0);
        }
}

static void pending_remove(size_t i) {
        pending[i] = pending[--n_pending];
}

static void request_interrupt(Case *c, uint64_t unique) {
        for (size_t i = 0; i < n_pending; i++)
                if (pending[i].unique == unique) {
                        effect(c, "FUSE_INTERRUPT of the operation", pending[i].opcode, 0);
                        answer(c->fd[3], unique, -EINTR, NULL, 0);
                        pending_remove(i);
                        return;
                }
}

static void request_take(Case *c) {
        static char buffer[FUSE_MIN_READ_BUFFER + 2 * PART];
        const struct fuse_in_header *in = (const void *) buffer;
        const ssize_t n = read(c->fd[3], buffer, sizeof(buffer));
        Request q;

        if (n < (ssize_t) sizeof(*in)) {
                if (errno == ENODEV)
                        exit(EXIT_FAILURE);
                return;
        }
        if (in->opcode == FUSE_FORGET || in->opcode == FUSE_BATCH_FORGET)
                return;
        if (in->opcode == FUSE_INTERRUPT) {
                request_interrupt(c, ((const struct fuse_interrupt_in *) (in + 1))->unique);
                return;
        }
        q = (Request) { .unique = in->unique, .opcode = in->opcode, .node = in->nodeid, .due_ms = now_ms() + 1 + below(19) };
        if (q.opcode == FUSE_READ)
                q.size = ((const struct fuse_read_in *) (in + 1))->size;
        else if (q.opcode == FUSE_LOOKUP)
                q.absent = strcmp((const char *) (in + 1), "directory") == 0;
        else if (q.opcode == FUSE_WRITE)
                q.size = ((const struct fuse_write_in *) (in + 1))->size;
        if (q.opcode == FUSE_INIT || n_pending == PENDING_MAX)
                request_answer(c->fd[3], &q);
        else
                pending[n_pending++] = q;
}

static void partner_serve(Case *c) {
        struct pollfd p = { .fd = c->fd[3], .events = POLLIN };
        const uint64_t now = now_ms();

        for (size_t i = n_pending; i-- > 0;)
                if (pending[i].due_ms <= now) {
                        request_answer(c->fd[3], &pending[i]);
                        pending_remove(i);
                }
        if (poll(&p, 1, n_pending > 0 ? 1 : -1) > 0)
                request_take(c);
}

/* ---- its users ---- */

static void place(const Case *c, char ret[static 64], const char *file) {
        snprintf(ret, 64, "/mnt/%s%s", c->kind->name, file);
}

static bool setup_mount(Case *c) {
        char directory[64], options[96];

        place(c, directory, "");
        if (!workspace() || mkdir(directory, 0755) < 0)
                return false;
        c->fd[3] = open("/dev/fuse", O_RDWR | O_CLOEXEC);
        if (c->fd[3] < 0)
                return false;
        snprintf(options, sizeof(options), "fd=%d,rootmode=40000,user_id=0,group_id=0", c->fd[3]);
        return mount("mark-calls", directory, "fuse.mark-calls", 0, options) == 0;
}
static bool setup_served(Case *c) {
        c->serves = true;
        return setup_mount(c);
}

enum { CALL_PREAD, CALL_PWRITE, CALL_FSYNC, CALL_OPEN, CALL_STAT, CALL_MKDIR, CALL_IOCTL };

/* An answer that an interruption made is one that the server counts, too. */
static bool file_open(Case *c) {
        char path[64];

        if (c->fd[0] >= 0)
                return true;
        place(c, path, "/file");
        c->fd[0] = open(path, O_RDWR);
        return expect(c, "open", c->fd[0] < 0 ? -errno : 0, 0);
}
static void round_file(Case *c) {
        char buffer[PART];

        if (!file_open(c))
                return;
        switch (c->kind->choice) {
        case CALL_PREAD: expect(c, "pread", result_of(pread(c->fd[0], buffer, PART, 0)), PART); break;
        case CALL_PWRITE: expect(c, "pwrite", result_of(pwrite(c->fd[0], transfer_buffer, PART, 0)), PART); break;
        case CALL_FSYNC: expect(c, "fsync", result_of(fsync(c->fd[0])), 0); break;
        default: expect(c, "ioctl", result_of(ioctl(c->fd[0], _IO('m', 1))), 7);
        }
}
static void round_name(Case *c) {
        struct stat st;
        char path[64];

        place(c, path, c->kind->choice == CALL_MKDIR ? "/directory" : "/file");
        if (c->kind->choice == CALL_MKDIR) {
                expect(c, "mkdir", result_of(mkdir(path, 0755)), 0);
                return;
        }
        if (c->kind->choice == CALL_STAT) {
                expect(c, "stat", result_of(stat(path, &st)), 0);
                return;
        }
        if (file_open(c))
                close(c->fd[0]);
        c->fd[0] = -1;
}

/* A page of a mapped file: the error of its read is a signal, which is the end of most processes. */
static _Thread_local sigjmp_buf fault_over;
static void on_fault(int sig) {
        (void) sig;
        siglongjmp(fault_over, 1);
}
static void round_fault(Case *c) {
        const struct sigaction action = { .sa_handler = on_fault };
        volatile char *map;

        if (!file_open(c))
                return;
        sigaction(SIGBUS, &action, NULL);
        posix_fadvise(c->fd[0], 0, 0, POSIX_FADV_DONTNEED);
        map = mmap(NULL, FILE_SIZE, PROT_READ, MAP_PRIVATE, c->fd[0], 0);
        if (map == MAP_FAILED) {
                effect(c, "mmap", -errno, 0);
                return;
        }
        madvise((void *) map, FILE_SIZE, MADV_RANDOM);
        if (sigsetjmp(fault_over, 1) == 0)
                (void) map[below(FILE_SIZE)];
        else
                effect(c, "SIGBUS at a page of a file", SIGBUS, 0);
        munmap((void *) map, FILE_SIZE);
}

/* ---- servers that have nothing to do ---- */

static bool setup_idle(Case *c) {
        static char buffer[FUSE_MIN_READ_BUFFER];
        struct pollfd p;

        if (!setup_mount(c))
                return false;
        /* the first request is not what it waits for */
        p = (struct pollfd) { .fd = c->fd[3], .events = POLLIN };
        if (poll(&p, 1, 1000) != 1 || read(c->fd[3], buffer, sizeof(buffer)) < 0)
                return false;
        answer_init(c->fd[3], &(Request) { .unique = ((struct fuse_in_header *) buffer)->unique });
        return pipe(c->fd) == 0;
}
static void round_idle_read(Case *c) {
        static char buffer[FUSE_MIN_READ_BUFFER];

        effect(c, "read of /dev/fuse", result_of(read(c->fd[3], buffer, sizeof(buffer))), 0);
}
static void round_idle_splice(Case *c) {
        effect(c, "splice from /dev/fuse", result_of(splice(c->fd[3], NULL, c->fd[1], NULL, FUSE_MIN_READ_BUFFER + PART, 0)), 0);
}
static bool setup_socket_pipe(Case *c) {
        int ends[2];

        if (!pair_unix(c) || pipe(ends) < 0)
                return false;
        c->fd[2] = ends[1];
        return true;
}
static void round_socket_pipe(Case *c) {
        effect(c, "splice from a socket", result_of(splice(c->fd[0], NULL, c->fd[2], NULL, PART, 0)), 0);
}
static bool setup_pipe_socket(Case *c) {
        return pair_unix(c) && pipe(c->fd + 2) == 0;
}
static void round_pipe_socket(Case *c) {
        effect(c, "splice from a pipe", result_of(splice(c->fd[2], NULL, c->fd[0], NULL, PART, 0)), 0);
}

const Kind fuse_kinds[] = {
        { "fuse-pread", setup_served, partner_serve, round_file, .choice = CALL_PREAD, .need = NEED_ROUNDS },
        { "fuse-pwrite", setup_served, partner_serve, round_file, .choice = CALL_PWRITE, .need = NEED_ROUNDS },
        { "fuse-fsync", setup_served, partner_serve, round_file, .choice = CALL_FSYNC, .need = NEED_ROUNDS },
        { "fuse-open", setup_served, partner_serve, round_name, .choice = CALL_OPEN, .need = NEED_ROUNDS },
        { "fuse-stat", setup_served, partner_serve, round_name, .choice = CALL_STAT, .need = NEED_ROUNDS },
        { "fuse-mkdir", setup_served, partner_serve, round_name, .choice = CALL_MKDIR, .need = NEED_ROUNDS },
        { "fuse-fault", setup_served, partner_serve, round_fault, .need = NEED_ROUNDS },
        { "fuse-ioctl", setup_served, partner_serve, round_file, .choice = CALL_IOCTL, .need = NEED_ROUNDS },
        { "idle-read-fuse", setup_idle, NULL, round_idle_read, .need = NEED_MARK },
        { "idle-splice-fuse", setup_idle, NULL, round_idle_splice, .need = NEED_MARK },
        { "idle-splice-socket", setup_socket_pipe, NULL, round_socket_pipe, .need = NEED_MARK },
        { "idle-splice-pipe", setup_pipe_socket, NULL, round_pipe_socket, .need = NEED_MARK },
        {},
};
