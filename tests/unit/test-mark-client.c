/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What stackd does with the service that marks, in whose place the test itself listens: who answers, who does not, who
 * takes too long. */

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "common/text.h"
#include "daemon/actuator/mark/mark-protocol.h"
#include "daemon/executor/mark-client.h"
#include "daemon/executor/mark-outcome.h"
#include "tests/unit/tap.h"

#define LONG_USEC UINT64_C(3600000000)

typedef struct Scene {
        char directory[32];
        struct sockaddr_un address;
        int listen_fd;
        sd_event *event;
        Child *child;
        int status;
        unsigned n_done;
        char *output;
} Scene;

static void scene_init(Scene *s, int backlog) {
        *s = (Scene) { .directory = "/tmp/test-mark-client.XXXXXX", .address.sun_family = AF_UNIX };
        CHECK(mkdtemp(s->directory));
        snprintf(s->address.sun_path, sizeof(s->address.sun_path), "%s/socket", s->directory);
        s->listen_fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        CHECK(s->listen_fd >= 0);
        CHECK(bind(s->listen_fd, (const struct sockaddr *) &s->address, sizeof(s->address)) == 0);
        CHECK(listen(s->listen_fd, backlog) == 0);
        CHECK(sd_event_new(&s->event) >= 0);
}

static void scene_done(Scene *s) {
        CHECK(child_count_stuck(CHILD_MARK) == 0);
        sd_event_unref(s->event);
        fd_close(s->listen_fd);
        (void) unlink(s->address.sun_path);
        CHECK(rmdir(s->directory) == 0);
        free(s->output);
}

static void on_done(int status, const char *output, void *userdata) {
        Scene *s = userdata;

        s->child = NULL;
        s->status = status;
        s->n_done++;
        free(s->output);
        s->output = strdup(output);
        CHECK(s->output);
}

static int ask(Scene *s, uint64_t deadline_usec) {
        static const char *const argv[] = { "stackd-mark", "--pid", "77", "--set", NULL };
        const ChildSpec spec = {
                .kind = CHILD_MARK,
                .argv = argv,
                .pass_fd = STDIN_FILENO,
                .deadline_usec = deadline_usec,
                .done = on_done,
                .userdata = s,
        };

        return mark_client_start(s->event, s->address.sun_path, &spec, &s->child);
}

/* The other end, with the request read. */
static int take_request(Scene *s) {
        static const char wanted[] = "--pid\0" "77\0" "--set";
        char buffer[MARK_REQUEST_MAX], control[CMSG_SPACE(sizeof(int))];
        struct iovec part = { .iov_base = buffer, .iov_len = sizeof(buffer) };
        struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control) };
        int fd = accept(s->listen_fd, NULL, NULL), passed;
        struct stat a, b;

        CHECK(fd >= 0);
        CHECK(recvmsg(fd, &message, MSG_CMSG_CLOEXEC) == sizeof(wanted));
        CHECK(memcmp(buffer, wanted, sizeof(wanted)) == 0);
        CHECK(CMSG_FIRSTHDR(&message) && CMSG_FIRSTHDR(&message)->cmsg_type == SCM_RIGHTS);
        memcpy(&passed, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(int));
        CHECK(fstat(passed, &a) == 0 && fstat(STDIN_FILENO, &b) == 0 && a.st_ino == b.st_ino && a.st_dev == b.st_dev);
        fd_close(passed);
        return fd;
}

static void say(int fd, const char *text) {
        CHECK(send(fd, text, strlen(text), MSG_NOSIGNAL) == (ssize_t) strlen(text));
}

static void run_until(Scene *s, unsigned n_done) {
        while (s->n_done < n_done)
                CHECK(sd_event_run(s->event, UINT64_MAX) >= 0);
}

static int status_of(const Scene *s) {
        MarkOutcome o;

        mark_outcome_parse(s->output, &o);
        return mark_outcome_to_status(&o);
}

static void test_answer(void) {
        static char line[BUFSIZ + 1];
        Scene s;
        int fd;

        scene_init(&s, 1);
        CHECK(ask(&s, LONG_USEC) == 0);
        fd = take_request(&s);
        /* As much as stdio says at once is taken at once, or some of it would be lost. */
        memset(line, 'x', BUFSIZ - 1);
        line[BUFSIZ - 1] = '\n';
        say(fd, line);
        say(fd, "thread 77 done 5\n");
        say(fd, "result all total 1 marked 1 passes 1 cut 0 max-stopped-ns 5\n");
        fd_close(fd);
        run_until(&s, 1);
        CHECK(s.status == 0 && status_of(&s) == 0);
        CHECK(strlen(s.output) > BUFSIZ && endswith(s.output, "\nresult all total 1 marked 1 passes 1 cut 0 max-stopped-ns 5\n"));
        scene_done(&s);
}

static void test_no_answer(void) {
        Scene s;
        int fd;

        scene_init(&s, 1);
        for (unsigned i = 1; i <= 3; i++) {
                CHECK(ask(&s, LONG_USEC) == 0);
                fd = i < 3 ? take_request(&s) : accept(s.listen_fd, NULL, NULL);
                if (i == 2)
                        say(fd, "thread 77 busy 5\n");
                fd_close(fd); /* the third time with a request that nobody has read */
                run_until(&s, i);
                CHECK(s.status == 0 && status_of(&s) == -EIO);
        }
        scene_done(&s);
}

static void test_not_there(void) {
        char *why;
        Scene s;

        scene_init(&s, 1);
        s.listen_fd = fd_close(s.listen_fd);
        CHECK(ask(&s, LONG_USEC) == -ECONNREFUSED);
        CHECK(unlink(s.address.sun_path) == 0);
        CHECK(ask(&s, LONG_USEC) == -ECONNREFUSED);
        why = mark_outcome_to_error(&(MarkOutcome) {}, -ECONNREFUSED, s.address.sun_path);
        CHECK(why && strstr(why, s.address.sun_path) && strstr(why, "stackd-mark.socket"));
        free(why);
        scene_done(&s);
}

static void test_full(void) {
        Child *first;
        Scene s;

        scene_init(&s, 0);
        CHECK(ask(&s, LONG_USEC) == 0);
        first = s.child;
        s.child = NULL;
        for (;;) {
                int r = ask(&s, LONG_USEC);

                if (r == -EAGAIN)
                        break;
                CHECK(r == 0);
                child_cancel(s.child);
        }
        child_cancel(first);
        CHECK(child_count_stuck(CHILD_MARK) > 0 && s.n_done == 0);
        s.listen_fd = fd_close(s.listen_fd);
        while (child_count_stuck(CHILD_MARK) > 0)
                CHECK(sd_event_run(s.event, UINT64_MAX) >= 0);
        CHECK(s.n_done == 0);
        scene_done(&s);
}

/* What was said by then is all; the other side is told to stop, and counts until it has. */
static void test_late(void) {
        Scene s;
        int fd;

        scene_init(&s, 1);
        CHECK(ask(&s, 1000) == 0);
        fd = take_request(&s);
        say(fd, "thread 77 busy 5\n");
        run_until(&s, 1);
        CHECK(s.status == -ETIME && streq(s.output, "thread 77 busy 5\n"));
        CHECK(child_count_stuck(CHILD_MARK) == 1);
        CHECK(poll(&(struct pollfd) { .fd = fd, .events = POLLRDHUP }, 1, -1) == 1);
        say(fd, "result all total 1 marked 1 passes 1 cut 0 max-stopped-ns 5\n");
        fd_close(fd);
        while (child_count_stuck(CHILD_MARK) > 0)
                CHECK(sd_event_run(s.event, UINT64_MAX) >= 0);
        CHECK(s.n_done == 1);
        scene_done(&s);
}

static void test_too_much(void) {
        static char packet[65536];
        Scene s;
        int fd;

        scene_init(&s, 1);
        CHECK(ask(&s, LONG_USEC) == 0);
        fd = take_request(&s);
        memset(packet, '\n', sizeof(packet));
        while (s.n_done == 0) {
                (void) send(fd, packet, BUFSIZ, MSG_NOSIGNAL | MSG_DONTWAIT);
                CHECK(sd_event_run(s.event, 0) >= 0);
        }
        CHECK(s.status == -EFBIG);
        CHECK(poll(&(struct pollfd) { .fd = fd, .events = POLLRDHUP }, 1, -1) == 1);
        fd_close(fd);
        scene_done(&s);
}

TEST_MAIN(
        TEST(test_answer),
        TEST(test_no_answer),
        TEST(test_not_there),
        TEST(test_full),
        TEST(test_late),
        TEST(test_too_much),
)
