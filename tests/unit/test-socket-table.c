/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Sockets of this very machine, in a network namespace of a child's. */
#include <arpa/inet.h>
#include <linux/netlink.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <net/if.h>

#include "daemon/source/socket-table.h"
#include "tests/unit/fake-root.h"

typedef struct Inodes {
        uint64_t pair[2];
        uint64_t connection[2];
} Inodes;

static uint64_t inode_of(int fd) {
        struct stat st;

        CHECK(fstat(fd, &st) == 0);
        return st.st_ino;
}

static void loopback_up(void) {
        struct ifreq request = { .ifr_name = "lo", .ifr_flags = IFF_UP };
        int fd = socket(AF_INET, SOCK_DGRAM, 0);

        CHECK(fd >= 0 && ioctl(fd, SIOCSIFFLAGS, &request) == 0);
        close(fd);
}

static void connect_loopback(uint64_t ret[2]) {
        struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        socklen_t size = sizeof(address);
        int listener = socket(AF_INET, SOCK_STREAM, 0), near = socket(AF_INET, SOCK_STREAM, 0), far;

        CHECK(bind(listener, (struct sockaddr *) &address, size) == 0 && listen(listener, 1) == 0);
        CHECK(getsockname(listener, (struct sockaddr *) &address, &size) == 0);
        CHECK(connect(near, (struct sockaddr *) &address, size) == 0);
        far = accept(listener, NULL, NULL);
        CHECK(far >= 0);
        ret[0] = inode_of(near);
        ret[1] = inode_of(far);
}

/* Tells what it has open and waits to be killed; 77 where this may not be done. */
static void child(int output) {
        Inodes inodes;
        int pair[2];

        (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (unshare(CLONE_NEWNET) < 0)
                _exit(77);
        loopback_up();
        CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
        for (int i = 0; i < 2; i++)
                inodes.pair[i] = inode_of(pair[i]);
        connect_loopback(inodes.connection);
        CHECK(write(output, &inodes, sizeof(inodes)) == sizeof(inodes));
        for (;;)
                pause();
}

static void check_peers(const SocketTable *t, const uint64_t inodes[2]) {
        const Socket *near = socket_table_find(t, inodes[0]), *far = socket_table_find(t, inodes[1]);

        CHECK(near && far && near->space != 0 && near->space == far->space);
        CHECK(socket_table_peer(t, near) == far && socket_table_peer(t, far) == near);
}

static void other_namespace(void) {
        _cleanup_(socket_table_done) SocketTable t = {};
        _cleanup_(sysroot_freep) Sysroot *s = NULL;
        struct stat before, after;
        Inodes inodes;
        int fds[2];
        pid_t pid;

        fds[0] = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
        if (fds[0] < 0) {
                puts("# an emulator that does not know sock_diag(7)");
                return;
        }
        close(fds[0]);
        CHECK(pipe(fds) == 0);
        pid = fork();
        CHECK(pid >= 0);
        if (pid == 0)
                child(fds[1]);
        close(fds[1]);
        if (read(fds[0], &inodes, sizeof(inodes)) != sizeof(inodes)) {
                CHECK(waitpid(pid, NULL, 0) == pid);
                puts("# not allowed to make a network namespace");
                return;
        }
        CHECK(sysroot_open(NULL, &s, NULL) == 0);
        CHECK(stat("/proc/self/ns/net", &before) == 0);
        CHECK(socket_table_read(s, &t) == 0);
        CHECK(stat("/proc/self/ns/net", &after) == 0 && before.st_ino == after.st_ino);
        CHECK(t.n_spaces >= 2);
        check_peers(&t, inodes.pair);
        check_peers(&t, inodes.connection);
        CHECK(kill(pid, SIGKILL) == 0 && waitpid(pid, NULL, 0) == pid);
        close(fds[0]);
}

TEST_MAIN(TEST(other_namespace))
