/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A small server of a ublk device, for no distribution packages one.
 *
 *     ublk-server serve ID FILE    makes /dev/ublkbID of a file, and serves it until the device is deleted
 *     ublk-server delete ID        stops and deletes the device, whoever serves it, also if nobody does any more
 *
 * One queue, one thread, io_uring without a library. Linked statically, for it runs on whatever the guest is. */
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <linux/ublk_cmd.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define DEPTH 16U
#define BUFFER_SIZE (64U * 1024)
#define SQE_SIZE 128U   /* IORING_SETUP_SQE128: a command is longer than an entry has room for */
#define SECTOR_SHIFT 9

typedef struct Ring {
        int fd;
        unsigned *sq_tail, *sq_mask, *sq_array, *cq_head, *cq_tail, *cq_mask;
        struct io_uring_cqe *cqes;
        char *sqes;
        unsigned pending;
} Ring;

static void die(const char *what, int error) {
        fprintf(stderr, "ublk-server: %s: %s\n", what, strerror(error));
        exit(1);
}

static void *map(int fd, size_t size, off_t offset, int protection) {
        void *p = mmap(NULL, size, protection, MAP_SHARED | MAP_POPULATE, fd, offset);

        if (p == MAP_FAILED)
                die("mmap", errno);
        return p;
}

static void ring_open(Ring *r) {
        struct io_uring_params p = { .flags = IORING_SETUP_SQE128 };
        char *sq, *cq;

        r->fd = (int) syscall(SYS_io_uring_setup, DEPTH * 2, &p);
        if (r->fd < 0)
                die("io_uring_setup", errno);
        sq = map(r->fd, p.sq_off.array + p.sq_entries * sizeof(unsigned), IORING_OFF_SQ_RING, PROT_READ | PROT_WRITE);
        cq = map(r->fd, p.cq_off.cqes + p.cq_entries * sizeof(struct io_uring_cqe), IORING_OFF_CQ_RING, PROT_READ | PROT_WRITE);
        r->sqes = map(r->fd, p.sq_entries * SQE_SIZE, IORING_OFF_SQES, PROT_READ | PROT_WRITE);
        r->sq_tail = (unsigned *) (sq + p.sq_off.tail);
        r->sq_mask = (unsigned *) (sq + p.sq_off.ring_mask);
        r->sq_array = (unsigned *) (sq + p.sq_off.array);
        r->cq_head = (unsigned *) (cq + p.cq_off.head);
        r->cq_tail = (unsigned *) (cq + p.cq_off.tail);
        r->cq_mask = (unsigned *) (cq + p.cq_off.ring_mask);
        r->cqes = (struct io_uring_cqe *) (cq + p.cq_off.cqes);
}

/* Queues a command for a device file; goes out with the next ring_enter(). */
static void ring_add(Ring *r, int fd, unsigned operation, uint64_t data, const void *command, size_t size) {
        unsigned tail = *r->sq_tail, slot = tail & *r->sq_mask;
        struct io_uring_sqe *sqe = (struct io_uring_sqe *) (r->sqes + slot * SQE_SIZE);

        memset(sqe, 0, SQE_SIZE);
        sqe->opcode = IORING_OP_URING_CMD;
        sqe->fd = fd;
        sqe->cmd_op = operation;
        sqe->user_data = data;
        memcpy(sqe->cmd, command, size);
        r->sq_array[slot] = slot;
        __atomic_store_n(r->sq_tail, tail + 1, __ATOMIC_RELEASE);
        r->pending++;
}

static void ring_enter(Ring *r, bool wait) {
        int n;

        do
                n = (int) syscall(SYS_io_uring_enter, r->fd, r->pending, wait ? 1 : 0, wait ? IORING_ENTER_GETEVENTS : 0, NULL, 0);
        while (n < 0 && errno == EINTR);
        if (n < 0)
                die("io_uring_enter", errno);
        r->pending -= (unsigned) n;
}

static bool ring_take(Ring *r, struct io_uring_cqe *ret) {
        unsigned head = *r->cq_head;

        if (head == __atomic_load_n(r->cq_tail, __ATOMIC_ACQUIRE))
                return false;
        *ret = r->cqes[head & *r->cq_mask];
        __atomic_store_n(r->cq_head, head + 1, __ATOMIC_RELEASE);
        return true;
}

static int control_run(Ring *r, int control, unsigned operation, uint32_t id, void *buffer, size_t size, uint64_t data) {
        struct ublksrv_ctrl_cmd c = {
                .dev_id = id,
                .queue_id = UINT16_MAX,
                .addr = (uintptr_t) buffer,
                .len = (uint16_t) size,
                .data = { data },
        };
        struct io_uring_cqe done;

        ring_add(r, control, operation, operation, &c, sizeof(c));
        ring_enter(r, true);
        while (!ring_take(r, &done))
                ring_enter(r, true);
        return done.res;
}

static void check(const char *what, int result) {
        if (result < 0)
                die(what, -result);
}

/* How much of the request was done, in bytes, or a negative errno. */
static int answer(int file, const struct ublksrv_io_desc *d, char *buffer) {
        size_t size = (size_t) d->nr_sectors << SECTOR_SHIFT;
        off_t offset = (off_t) (d->start_sector << SECTOR_SHIFT);
        ssize_t n = -1;

        switch (ublksrv_get_op(d)) {
        case UBLK_IO_OP_READ:
                n = pread(file, buffer, size, offset);
                break;
        case UBLK_IO_OP_WRITE:
                n = pwrite(file, buffer, size, offset);
                break;
        case UBLK_IO_OP_FLUSH:
                n = fdatasync(file);
                break;
        default:
                errno = EOPNOTSUPP;
        }
        return n < 0 ? -errno : (int) n;
}

static void fetch(Ring *r, int device, unsigned operation, unsigned tag, int result, char *buffers) {
        struct ublksrv_io_cmd c = {
                .tag = (uint16_t) tag,
                .result = result,
                .addr = (uintptr_t) (buffers + (size_t) tag * BUFFER_SIZE),
        };

        ring_add(r, device, operation, tag, &c, sizeof(c));
}

/* Until the driver takes its requests back. */
static void serve(Ring *r, int device, int file, const struct ublksrv_io_desc *descriptors, char *buffers) {
        unsigned left = DEPTH;

        while (left > 0) {
                struct io_uring_cqe done;

                ring_enter(r, true);
                while (ring_take(r, &done)) {
                        unsigned tag = (unsigned) done.user_data;

                        if (done.res != UBLK_IO_RES_OK)
                                left--;
                        else
                                fetch(r, device, UBLK_IO_COMMIT_AND_FETCH_REQ, tag,
                                      answer(file, &descriptors[tag], buffers + (size_t) tag * BUFFER_SIZE), buffers);
                }
        }
}

/* Commands to the driver as a whole are carried out by a worker of the kernel's, which stays a thread of whoever gave
 * them for as long as that lives: a child does. */
static pid_t control_child(void (*commands)(Ring *r, int control, uint32_t id, uint64_t number), uint32_t id, uint64_t number) {
        pid_t pid = fork();

        if (pid < 0)
                die("fork", errno);
        if (pid == 0) {
                int control = open("/dev/ublk-control", O_RDWR | O_CLOEXEC);
                Ring ring = {};

                if (control < 0)
                        die("/dev/ublk-control", errno);
                ring_open(&ring);
                commands(&ring, control, id, number);
                _exit(0);
        }
        return pid;
}

static void add_device(Ring *r, int control, uint32_t id, uint64_t size) {
        struct ublksrv_ctrl_dev_info info = {
                .nr_hw_queues = 1,
                .queue_depth = DEPTH,
                .max_io_buf_bytes = BUFFER_SIZE,
                .dev_id = id,
        };
        struct ublk_params params = {
                .len = sizeof(params),
                .types = UBLK_PARAM_TYPE_BASIC,
                .basic = {
                        .attrs = UBLK_ATTR_VOLATILE_CACHE,
                        .logical_bs_shift = 9,
                        .physical_bs_shift = 12,
                        .io_opt_shift = 12,
                        .io_min_shift = 12,
                        .max_sectors = BUFFER_SIZE >> SECTOR_SHIFT,
                        .dev_sectors = size >> SECTOR_SHIFT,
                },
        };

        check("UBLK_CMD_ADD_DEV", control_run(r, control, UBLK_CMD_ADD_DEV, id, &info, sizeof(info), 0));
        check("UBLK_CMD_SET_PARAMS", control_run(r, control, UBLK_CMD_SET_PARAMS, id, &params, sizeof(params), 0));
}

/* Reads the partition table before it ends: that is for the server to serve. */
static void start_device(Ring *r, int control, uint32_t id, uint64_t server) {
        check("UBLK_CMD_START_DEV", control_run(r, control, UBLK_CMD_START_DEV, id, NULL, 0, server));
}

static void delete_device(Ring *r, int control, uint32_t id, uint64_t number) {
        (void) number;
        check("UBLK_CMD_STOP_DEV", control_run(r, control, UBLK_CMD_STOP_DEV, id, NULL, 0, 0));
        check("UBLK_CMD_DEL_DEV", control_run(r, control, UBLK_CMD_DEL_DEV, id, NULL, 0, 0));
}

static int wait_for(pid_t pid) {
        int status;

        if (waitpid(pid, &status, 0) < 0)
                die("waitpid", errno);
        return status == 0 ? 0 : 1;
}

static int open_device(uint32_t id) {
        char path[32];
        int fd;

        snprintf(path, sizeof(path), "/dev/ublkc%u", id);
        fd = open(path, O_RDWR | O_CLOEXEC);
        if (fd < 0)
                die(path, errno);
        return fd;
}

static int run(uint32_t id, const char *path) {
        int file = open(path, O_RDWR | O_CLOEXEC), device;
        const struct ublksrv_io_desc *descriptors;
        Ring ring = {};
        struct stat st;
        char *buffers;

        if (file < 0 || fstat(file, &st) < 0)
                die(path, errno);
        if (wait_for(control_child(add_device, id, (uint64_t) st.st_size)) != 0)
                return 1;
        ring_open(&ring);
        device = open_device(id);
        descriptors = map(device, DEPTH * sizeof(struct ublksrv_io_desc), UBLKSRV_CMD_BUF_OFFSET, PROT_READ);
        buffers = aligned_alloc(4096, (size_t) DEPTH * BUFFER_SIZE);
        if (!buffers)
                die("aligned_alloc", ENOMEM);
        for (unsigned tag = 0; tag < DEPTH; tag++)
                fetch(&ring, device, UBLK_IO_FETCH_REQ, tag, 0, buffers);
        ring_enter(&ring, false);
        (void) signal(SIGCHLD, SIG_IGN);
        (void) control_child(start_device, id, (uint64_t) getpid());
        serve(&ring, device, file, descriptors, buffers);
        return 0;
}

int main(int argc, char **argv) {
        if (argc == 4 && strcmp(argv[1], "serve") == 0)
                return run((uint32_t) strtoul(argv[2], NULL, 10), argv[3]);
        if (argc == 3 && strcmp(argv[1], "delete") == 0)
                return wait_for(control_child(delete_device, (uint32_t) strtoul(argv[2], NULL, 10), 0));
        fprintf(stderr, "usage: ublk-server serve ID FILE | delete ID\n");
        return 2;
}
