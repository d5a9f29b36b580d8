/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "common/cleanup.h"
#include "daemon/actuator/mark/mark-protocol.h"
#include "daemon/executor/mark-client.h"

/* Nobody waits for anybody here: a queue that is full refuses at once, and who is in it is answered by and by. */
static int connect_to(const char *path) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        _cleanup_close_ int fd = -1;

        if (strlen(path) >= sizeof(address.sun_path))
                return -ENAMETOOLONG;
        strcpy(address.sun_path, path);
        fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (fd < 0)
                return -errno;
        if (connect(fd, (const struct sockaddr *) &address, sizeof(address)) < 0)
                return errno == ENOENT ? -ECONNREFUSED : -errno;
        return TAKE_FD(fd);
}

/* The words of the command line but the first, each with its NUL. */
static int write_words(const char *const *argv, char buffer[static MARK_REQUEST_MAX], size_t *ret_size) {
        size_t n = 0;

        for (const char *const *word = argv + 1; *word; word++) {
                size_t size = strlen(*word) + 1;

                if (size > MARK_REQUEST_MAX - n)
                        return -EMSGSIZE;
                memcpy(buffer + n, *word, size);
                n += size;
        }
        *ret_size = n;
        return 0;
}

static int send_request(int fd, const ChildSpec *spec) {
        union {
                struct cmsghdr header;
                char space[CMSG_SPACE(sizeof(int))];
        } control = {
                .header = { .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(int)) },
        };
        char buffer[MARK_REQUEST_MAX];
        struct iovec part = { .iov_base = buffer };
        const struct msghdr message = {
                .msg_iov = &part,
                .msg_iovlen = 1,
                .msg_control = &control,
                .msg_controllen = sizeof(control),
        };
        int r;

        r = write_words(spec->argv, buffer, &part.iov_len);
        if (r < 0)
                return r;
        memcpy(CMSG_DATA(&control.header), &spec->pass_fd, sizeof(int));
        return sendmsg(fd, &message, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

int mark_client_start(sd_event *event, const char *path, const ChildSpec *spec, Child **ret) {
        _cleanup_close_ int fd = connect_to(path);
        int r;

        if (fd < 0)
                return fd;
        r = send_request(fd, spec);
        return r < 0 ? r : child_attach(event, spec, fd, ret);
}
