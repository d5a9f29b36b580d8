/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Calls that end early, with what was transferred so far, when a signal is pending. Their threads run most of the time,
 * or copy in the kernel, which is as good as running: /proc does not tell the two apart. */

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "tests/mark/calls.h"

#define BETWEEN_US 60
#define PIPE_SIZE 65536
#define FILE_SIZE (4 << 20)

static struct iovec vector[4] = {
        { transfer_buffer, TRANSFER / 4 },
        { transfer_buffer + TRANSFER / 4, TRANSFER / 4 },
        { transfer_buffer + TRANSFER / 2, TRANSFER / 4 },
        { transfer_buffer + TRANSFER / 4 * 3, TRANSFER / 4 },
};

static void round_write(Case *c) {
        spin_us(BETWEEN_US);
        expect(c, "write", result_of(write(c->fd[0], transfer_buffer, TRANSFER)), TRANSFER);
}
static void round_writev(Case *c) {
        spin_us(BETWEEN_US);
        expect(c, "writev", result_of(writev(c->fd[0], vector, 4)), TRANSFER);
}
static void round_sendto(Case *c) {
        spin_us(BETWEEN_US);
        expect(c, "sendto", result_of(send(c->fd[0], transfer_buffer, TRANSFER, 0)), TRANSFER);
}
static void round_sendmsg(Case *c) {
        struct msghdr m = { .msg_iov = vector, .msg_iovlen = 4 };

        spin_us(BETWEEN_US);
        expect(c, "sendmsg", result_of(sendmsg(c->fd[0], &m, 0)), TRANSFER);
}
static void round_sendmmsg(Case *c) {
        struct mmsghdr m[2] = { { .msg_hdr = { .msg_iov = vector, .msg_iovlen = 4 } }, { .msg_hdr = { .msg_iov = vector, .msg_iovlen = 2 } } };

        spin_us(BETWEEN_US);
        if (expect(c, "sendmmsg", result_of(sendmmsg(c->fd[0], m, 2, 0)), 2) && expect(c, "first of sendmmsg", m[0].msg_len, TRANSFER))
                expect(c, "second of sendmmsg", m[1].msg_len, TRANSFER / 2);
}

/* ---- with a file ---- */

static int file_new(void) {
        int fd = memfd_create("mark-calls", 0);

        for (off_t at = 0; fd >= 0 && at < FILE_SIZE; at += TRANSFER)
                if (pwrite(fd, transfer_buffer, TRANSFER, at) != TRANSFER)
                        return -1;
        return fd;
}
static bool setup_file_tcp(Case *c) {
        return pair_tcp(c) && (c->fd[2] = file_new()) >= 0;
}
static bool setup_file_pipe(Case *c) {
        return pair_pipe(c) && (c->fd[2] = file_new()) >= 0;
}
static bool setup_files(Case *c) {
        return (c->fd[0] = file_new()) >= 0 && (c->fd[2] = file_new()) >= 0;
}
static void round_sendfile(Case *c) {
        off_t at = 0;

        spin_us(BETWEEN_US);
        expect(c, "sendfile", result_of(sendfile(c->fd[0], c->fd[2], &at, TRANSFER)), TRANSFER);
}
static void round_sendfile_file(Case *c) {
        off_t at = 0;

        lseek(c->fd[0], 0, SEEK_SET);
        expect(c, "sendfile", result_of(sendfile(c->fd[0], c->fd[2], &at, FILE_SIZE)), FILE_SIZE);
}
static void round_copy_file_range(Case *c) {
        off_t from = 0, to = 0;

        expect(c, "copy_file_range", result_of(copy_file_range(c->fd[2], &from, c->fd[0], &to, FILE_SIZE, 0)), FILE_SIZE);
}
static void round_fallocate(Case *c) {
        (void) !ftruncate(c->fd[0], 0);
        expect(c, "fallocate", result_of(fallocate(c->fd[0], 0, 0, FILE_SIZE)), 0);
}

/* ---- with pipes: what fits is moved, but there is always something ---- */

static void round_splice_socket(Case *c) {
        long spliced = 0;

        spin_us(BETWEEN_US);
        if (expect(c, "write", result_of(write(c->fd[3], transfer_buffer, PIPE_SIZE)), PIPE_SIZE))
                spliced = result_of(splice(c->fd[2], NULL, c->fd[0], NULL, PIPE_SIZE, 0));
        if (!expect(c, "splice", spliced, PIPE_SIZE))
                (void) !read(c->fd[2], transfer_buffer, (size_t) (PIPE_SIZE - MAX(spliced, 0)));
}
static void at_least_one(Case *c, const char *what, long r) {
        if (r <= 0)
                effect(c, what, r, 1);
}
static void round_splice_file(Case *c) {
        loff_t at = 0;

        spin_us(BETWEEN_US);
        at_least_one(c, "splice", result_of(splice(c->fd[2], &at, c->fd[0], NULL, TRANSFER, 0)));
}
static void round_vmsplice(Case *c) {
        spin_us(BETWEEN_US);
        at_least_one(c, "vmsplice", result_of(vmsplice(c->fd[0], vector, 4, 0)));
}
/* From a full pipe of its own to one that is read slowly. */
static bool setup_tee(Case *c) {
        return pair_pipe(c) && pipe(c->fd + 2) == 0 && write(c->fd[3], transfer_buffer, PIPE_SIZE) == PIPE_SIZE;
}
static void round_tee(Case *c) {
        spin_us(BETWEEN_US);
        at_least_one(c, "tee", result_of(tee(c->fd[2], c->fd[0], PIPE_SIZE, 0)));
}

/* ---- without anybody else ---- */

static bool setup_zero(Case *c) {
        return (c->fd[0] = open("/dev/zero", O_RDWR)) >= 0;
}
static void round_read_zero(Case *c) {
        expect(c, "read of /dev/zero", result_of(read(c->fd[0], transfer_buffer, TRANSFER)), TRANSFER);
}
static void round_getrandom(Case *c) {
        expect(c, "getrandom", result_of(getrandom(transfer_buffer, TRANSFER, 0)), TRANSFER);
}

const Kind transfer_kinds[] = {
        { "write-unix", pair_unix, partner_drain, round_write, .need = NEED_ROUNDS },
        { "write-tcp", pair_tcp, partner_drain, round_write, .need = NEED_ROUNDS },
        { "write-pipe", pair_pipe, partner_drain, round_write, .need = NEED_ROUNDS },
        { "writev-unix", pair_unix, partner_drain, round_writev, .need = NEED_ROUNDS },
        { "writev-pipe", pair_pipe, partner_drain, round_writev, .need = NEED_ROUNDS },
        { "sendto-tcp", pair_tcp, partner_drain, round_sendto, .need = NEED_ROUNDS },
        { "sendmsg-unix", pair_unix, partner_drain, round_sendmsg, .need = NEED_ROUNDS },
        { "sendmsg-tcp", pair_tcp, partner_drain, round_sendmsg, .need = NEED_ROUNDS },
        { "sendmmsg-unix", pair_unix, partner_drain, round_sendmmsg, .need = NEED_ROUNDS },
        { "sendfile-tcp", setup_file_tcp, partner_drain, round_sendfile, .need = NEED_ROUNDS },
        { "sendfile-file", setup_files, NULL, round_sendfile_file, .need = NEED_ROUNDS },
        { "copy-file-range", setup_files, NULL, round_copy_file_range, .need = NEED_ROUNDS },
        { "fallocate", setup_files, NULL, round_fallocate, .need = NEED_ROUNDS },
        { "splice-socket", pair_and_pipe, partner_drain, round_splice_socket, .need = NEED_ROUNDS },
        { "splice-file", setup_file_pipe, partner_drain, round_splice_file, .need = NEED_ROUNDS },
        { "vmsplice", pair_pipe, partner_drain, round_vmsplice, .need = NEED_ROUNDS },
        { "tee", setup_tee, partner_drain, round_tee, .need = NEED_ROUNDS },
        { "read-zero", setup_zero, NULL, round_read_zero, .need = NEED_ROUNDS },
        { "getrandom", NULL, NULL, round_getrandom, .need = NEED_ROUNDS },
        {},
};
