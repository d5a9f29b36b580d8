/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>


#include "common/cleanup.h"
#include "daemon/actuator/mark/mark-protocol.h"
#include "daemon/actuator/mark/serve.h"
#include "daemon/actuator/mark/thread.h"

#define CLIENTS_MAX 64U /* as many as stackd has marked at once, and has given up and not seen the end of */
#define SHORTAGE_NAP_MS 100
#define REQUEST_LIMIT_NS UINT64_C(2000000000)
#define WORDS_MAX 16
#define DESCRIPTORS_MAX 8U /* more than there may be, so that those can be told and closed */

typedef struct Client {
        int fd;
        uint64_t until_ns; /* its request has to come */
        int child_fd;      /* pidfd of our child that works for it; -1: none yet */
        bool left;         /* and so the child was killed */
} Client;

typedef struct Server {
        int fd;
        ServeRequest request;
        Client clients[CLIENTS_MAX];
        size_t n;
} Server;

static void client_drop(Server *s, size_t i, const char *why) {
        if (why)
                fprintf(stderr, "stackd-mark: a request was refused: %s\n", why);
        fd_close(s->clients[i].child_fd);
        fd_close(s->clients[i].fd); /* last, for this is what the client waits for */
        s->clients[i] = s->clients[--s->n];
}

/* ---- in the child ---- */

static int split_words(char *buffer, size_t size, char *ret[static WORDS_MAX + 1]) {
        int n = 0;

        ret[n++] = (char *) "stackd-mark";
        for (size_t at = 0; at < size; at += strlen(buffer + at) + 1) {
                if (n == WORDS_MAX)
                        return -E2BIG;
                ret[n++] = buffer + at;
        }
        ret[n] = NULL;
        return n;
}

/* It has no descriptor of ours: another's connection must not depend on how long this one works. */
static int take_descriptors(int connection_fd, int pidfd) {
        if (dup2(connection_fd, STDOUT_FILENO) < 0 || dup2(pidfd, MARK_PIDFD) < 0 || close_range(MARK_PIDFD + 1, UINT_MAX, 0) < 0)
                return -errno;
        (void) close(STDIN_FILENO);
        return 0;
}

_Noreturn static void child_main(const Server *s, int connection_fd, int pidfd, char *buffer, size_t size, pid_t parent) {
        char *words[WORDS_MAX + 1];
        int n;

        (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
                _exit(EXIT_FAILURE);
        n = split_words(buffer, size, words);
        if (n < 0 || take_descriptors(connection_fd, pidfd) < 0)
                _exit(EXIT_FAILURE);
        _exit(s->request(n, words));
}

/* ---- requests ---- */

/* Exactly one, or none is kept. */
static int take_descriptor(struct msghdr *message) {
        int found[DESCRIPTORS_MAX];
        size_t n = 0;

        for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
                if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
                        continue;
                n = MIN((c->cmsg_len - CMSG_LEN(0)) / sizeof(int), DESCRIPTORS_MAX);
                memcpy(found, CMSG_DATA(c), n * sizeof(int));
        }
        if (n == 1)
                return found[0];
        for (size_t i = 0; i < n; i++)
                fd_close(found[i]);
        return -1;
}

/* 0 with a request, else what to say of it, or NULL where there is nothing to say. */
static int request_receive(int fd, char buffer[static MARK_REQUEST_MAX], size_t *ret_size, int *ret_pidfd, const char **ret_why) {
        union {
                struct cmsghdr header;
                char space[CMSG_SPACE(DESCRIPTORS_MAX * sizeof(int))];
        } control;
        struct iovec part = { .iov_base = buffer, .iov_len = MARK_REQUEST_MAX };
        struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control) };
        _cleanup_close_ int pidfd = -1;
        ssize_t n = recvmsg(fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

        if (n < 0)
                return -errno;
        pidfd = take_descriptor(&message);
        if (n == 0)
                return -ECONNRESET;
        *ret_why = message.msg_flags & MSG_TRUNC              ? "it is too long"
                : message.msg_flags & MSG_CTRUNC || pidfd < 0 ? "it does not come with one descriptor"
                : buffer[n - 1] != 0                          ? "its last word has no end"
                                                              : NULL;
        if (*ret_why)
                return -EBADMSG;
        *ret_size = (size_t) n;
        *ret_pidfd = TAKE_FD(pidfd);
        return 0;
}

static void client_answer(Server *s, size_t i) {
        Client *c = &s->clients[i];
        char buffer[MARK_REQUEST_MAX];
        _cleanup_close_ int pidfd = -1;
        const pid_t parent = getpid();
        const char *why = NULL;
        size_t size = 0;
        pid_t pid;
        int r;

        r = request_receive(c->fd, buffer, &size, &pidfd, &why);
        if (r == -EAGAIN || r == -EINTR)
                return;
        if (r < 0) {
                client_drop(s, i, why);
                return;
        }
        pid = fork();
        if (pid == 0)
                child_main(s, c->fd, pidfd, buffer, size, parent);
        if (pid > 0)
                c->child_fd = (int) syscall(SYS_pidfd_open, pid, 0);
        if (c->child_fd >= 0)
                return;
        why = strerror(errno);
        if (pid > 0) {
                (void) kill(pid, SIGKILL);
                (void) waitpid(pid, NULL, 0);
        }
        client_drop(s, i, why);
}

/* Who may connect says the socket's mode; that this was so when it was made says the socket itself. */
static bool is_ours(int fd) {
        struct ucred peer;
        socklen_t size = sizeof(peer);

        return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) >= 0 && peer.uid == geteuid();
}

static int client_accept(Server *s) {
        int fd = accept4(s->fd, NULL, NULL, SOCK_CLOEXEC);

        if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)) {
                /* It waits in the socket's queue until there is room; those under way go on meanwhile. */
                (void) poll(NULL, 0, SHORTAGE_NAP_MS);
                return 0;
        }
        if (fd < 0)
                return errno == EAGAIN || errno == EINTR || errno == ECONNABORTED ? 0 : -errno;
        s->clients[s->n++] = (Client) { .fd = fd, .child_fd = -1, .until_ns = now_ns() + REQUEST_LIMIT_NS };
        if (!is_ours(fd))
                client_drop(s, s->n - 1, "it is another user's");
        return 0;
}

/* ---- the loop ---- */

static void drop_late(Server *s) {
        for (size_t i = s->n; i-- > 0;)
                if (s->clients[i].child_fd < 0 && now_ns() >= s->clients[i].until_ns)
                        client_drop(s, i, "it did not come in time");
}

/* How long there may be nothing to do; NULL: for ever. */
static const struct timespec *time_left(const Server *s, struct timespec *ret) {
        uint64_t now = now_ns(), left = UINT64_MAX;

        for (size_t i = 0; i < s->n; i++)
                if (s->clients[i].child_fd < 0)
                        left = MIN(left, s->clients[i].until_ns - MIN(now, s->clients[i].until_ns));
        if (left == UINT64_MAX)
                return NULL;
        *ret = (struct timespec) { .tv_sec = (time_t) (left / 1000000000), .tv_nsec = (long) (left % 1000000000) };
        return ret;
}

/* Whoever has asked has nothing more to say: it has left, or shut its side down to be rid of the child. */
static void client_look(Server *s, size_t i) {
        Client *c = &s->clients[i];

        if (c->child_fd < 0) {
                client_answer(s, i);
                return;
        }
        (void) syscall(SYS_pidfd_send_signal, c->child_fd, SIGKILL, NULL, 0);
        c->left = true;
}

/* What to wait for: of each client its connection and its child, and last new connections. */
static size_t events_list(const Server *s, struct pollfd fds[static 2 * CLIENTS_MAX + 1]) {
        const size_t n = s->n;

        for (size_t i = 0; i < n; i++) {
                fds[2 * i] = (struct pollfd) { .fd = s->clients[i].left ? -1 : s->clients[i].fd, .events = POLLIN | POLLRDHUP };
                fds[2 * i + 1] = (struct pollfd) { .fd = s->clients[i].child_fd, .events = POLLIN };
        }
        fds[2 * n] = (struct pollfd) { .fd = n < CLIENTS_MAX ? s->fd : -1, .events = POLLIN };
        return n;
}

static int serve_once(Server *s) {
        struct pollfd fds[2 * CLIENTS_MAX + 1];
        const size_t n = events_list(s, fds);
        struct timespec left;
        int r;

        r = ppoll(fds, 2 * n + 1, time_left(s, &left), NULL);
        if (r <= 0)
                return r == 0 || errno == EINTR ? 0 : -errno;
        /* From the last on: one that is dropped leaves its place to one that was seen to, and a new one comes last. */
        for (size_t i = n; i-- > 0;)
                if (fds[2 * i + 1].revents != 0) {
                        (void) waitid(P_PIDFD, (id_t) s->clients[i].child_fd, NULL, WEXITED | WNOHANG);
                        client_drop(s, i, NULL);
                } else if (fds[2 * i].revents != 0)
                        client_look(s, i);
        return fds[2 * n].revents != 0 ? client_accept(s) : 0;
}

int serve_run(int listen_fd, ServeRequest request) {
        Server s = { .fd = listen_fd, .request = request };
        int r;

        /* Whoever gave it to us may listen too. */
        if (fcntl(listen_fd, F_SETFL, O_NONBLOCK) < 0)
                return -errno;
        do {
                r = serve_once(&s);
                drop_late(&s); /* of those that have said nothing by now: it may be us who was late */
        } while (r >= 0);
        return r;
}
