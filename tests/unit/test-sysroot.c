/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <linux/capability.h>
#include <signal.h>
#include <sys/inotify.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/file.h"
#include "tests/unit/fake-root.h"

/* More paths in one function than the stack could hold at once. */
static void path_in_a_loop(void) {
        for (int i = 0; i < 20000; i++)
                CHECK(strlen(PATH("%d/fd", i)) < 16);
}

static void no_way_out(void) {
        _cleanup_fake_root_ FakeRoot f = fake_root_make();
        _cleanup_free_ char *text = NULL;

        fake_file(&f, "secret", "out\n");
        fake_file(&f, "proc/inside", "in\n\n");
        fake_link(&f, "proc/up", "../secret");
        fake_link(&f, "proc/absolute", "/etc/passwd");
        CHECK(sysroot_read(f.root, AREA_PROC, "../secret", &text) == -ENOENT);
        CHECK(sysroot_read(f.root, AREA_PROC, "up", &text) == -ENOENT);
        CHECK(sysroot_read(f.root, AREA_PROC, "absolute", &text) == -ENOENT);
        CHECK(sysroot_read(f.root, AREA_PROC, "inside", &text) == 0 && streq(text, "in\n"));
}

/* While others rename and mount, the kernel does not follow "..": it is asked again. */
static void read_beside_renames(void) {
        _cleanup_fake_root_ FakeRoot f = fake_root_make();
        unsigned wrong = 0;
        pid_t other;

        fake_file(&f, "proc/a/b/file", "x\n");
        fake_link(&f, "proc/way", "a/b/../../a/b/../../a/b/../../a/b/../../a/b/file");
        fake_file(&f, "other/one", "");
        other = fork();
        CHECK(other >= 0);
        if (other == 0)
                for (prctl(PR_SET_PDEATHSIG, SIGKILL);;)
                        (void) (rename(PATH("%s/other/one", f.path), PATH("%s/other/two", f.path)) < 0 ||
                                rename(PATH("%s/other/two", f.path), PATH("%s/other/one", f.path)) < 0);
        for (unsigned i = 0; i < 20000; i++) {
                _cleanup_free_ char *text = NULL;

                wrong += sysroot_read(f.root, AREA_PROC, "way", &text) < 0;
        }
        CHECK(kill(other, SIGKILL) == 0 && waitpid(other, NULL, 0) == other);
        CHECK(wrong == 0);
}

static void trouble_is_kept(void) {
        _cleanup_fake_root_ FakeRoot f = fake_root_make();
        struct rlimit limit, none;
        const char *path;
        char *text;

        fake_file(&f, "proc/swaps", "x\n");
        CHECK(sysroot_read(f.root, AREA_PROC, "nothing", &text) == -ENOENT);
        CHECK(sysroot_trouble(f.root, &path) == 0);
        CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
        none = (struct rlimit) { .rlim_cur = 0, .rlim_max = limit.rlim_max };
        CHECK(setrlimit(RLIMIT_NOFILE, &none) == 0);
        CHECK(sysroot_read(f.root, AREA_PROC, "swaps", &text) == -EMFILE);
        CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
        CHECK(sysroot_read(f.root, AREA_PROC, "nothing", &text) == -ENOENT);
        CHECK(sysroot_trouble(f.root, &path) == -EMFILE && streq(path, "swaps"));
        sysroot_forget_trouble(f.root);
        CHECK(sysroot_trouble(f.root, &path) == 0);
}

static void a_fifo_does_not_wait(void) {
        _cleanup_fake_root_ FakeRoot f = fake_root_make();
        char *text;

        CHECK(mkfifo(PATH("%s/proc/swaps", f.path), 0644) == 0);
        CHECK(sysroot_read(f.root, AREA_PROC, "swaps", &text) == -EINVAL);
}

/* A bomb in a capture, or a kernel file that has no end. */
static void no_more_than_the_limit(void) {
        static const off_t limit = 64 << 20;
        _cleanup_fake_root_ FakeRoot f = fake_root_make();
        _cleanup_free_ char *text = NULL;

        fake_file(&f, "proc/swaps", "x");
        CHECK(truncate(PATH("%s/proc/swaps", f.path), limit) == 0);
        CHECK(sysroot_read(f.root, AREA_PROC, "swaps", &text) == 0 && streq(text, "x"));
        CHECK(truncate(PATH("%s/proc/swaps", f.path), limit + 1) == 0);
        CHECK(sysroot_read(f.root, AREA_PROC, "swaps", &text) == -EFBIG);
        CHECK(truncate(PATH("%s/proc/swaps", f.path), (off_t) 1 << 50) == 0 || errno == EFBIG);
        CHECK(sysroot_read(f.root, AREA_PROC, "swaps", &text) == -EFBIG);
}

/* What no file tells is in the capture all the same. */
static void a_text_of_no_file(void) {
        _cleanup_fake_root_ FakeRoot f = fake_root_make();
        _cleanup_(recorder_freep) Recorder *r = recorder_new();
        const Captured *c;

        sysroot_record_text(f.root, AREA_RUN, "stackd/nowhere", "before");
        sysroot_set_recorder(f.root, r);
        sysroot_record_text(f.root, AREA_RUN, "stackd/nowhere", "text\n");
        c = recorder_get(r, "run/stackd/nowhere");
        CHECK(c && c->kind == CAPTURED_FILE && streq(c->content, "text\n"));
        c = recorder_get(r, "run/stackd");
        CHECK(c && c->kind == CAPTURED_DIRECTORY);
}

/* inotify tells of every opening. */
static void a_device_is_not_opened(void) {
        _cleanup_fake_root_ FakeRoot f = fake_root_make();
        int watch = inotify_init1(IN_NONBLOCK | IN_CLOEXEC), fd;
        const char *path = PATH("%s/proc/swaps", f.path);
        char *text, events[4096];

        if (mknod(path, S_IFCHR | 0666, makedev(1, 3)) < 0) {
                CHECK(errno == EPERM); /* not root */
                close(watch);
                return;
        }
        CHECK(watch >= 0 && inotify_add_watch(watch, path, IN_OPEN) >= 0);
        CHECK(sysroot_read(f.root, AREA_PROC, "swaps", &text) == -EINVAL);
        CHECK(sysroot_open_at(f.root, AREA_PROC, "swaps", O_RDONLY | O_DIRECTORY) == -ENOTDIR);
        CHECK(read(watch, events, sizeof(events)) < 0 && errno == EAGAIN);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd >= 0) { /* where devices may be opened at all */
                CHECK(read(watch, events, sizeof(events)) > 0);
                close(fd);
        }
        close(watch);
}

/* As a capture keeps what could not be read, be it a file, a directory or a link. */
static void a_file_without_permissions_is_denied(void) {
        _cleanup_fake_root_ FakeRoot f = fake_root_make();
        _cleanup_strv_free_ char **names = NULL;
        char *text;

        fake_file(&f, "proc/denied", "");
        CHECK(chmod(PATH("%s/proc/denied", f.path), 0) == 0);
        CHECK(sysroot_read(f.root, AREA_PROC, "denied", &text) == -EACCES);
        CHECK(sysroot_list(f.root, AREA_PROC, "denied", &names) == -EACCES);
        CHECK(sysroot_readlink(f.root, AREA_PROC, "denied", &text) == -EACCES);
        CHECK(!sysroot_exists(f.root, AREA_PROC, "denied"));
        fake_file(&f, "proc/plain", "");
        CHECK(sysroot_list(f.root, AREA_PROC, "plain", &names) == -ENOTDIR);
        CHECK(sysroot_readlink(f.root, AREA_PROC, "plain", &text) == -EINVAL);
        CHECK(sysroot_read(f.root, AREA_PROC, ".", &text) == -EINVAL);
}

/* Of kernels that tell no size, or a wrong one, and of files that grow. */
static void a_size_is_a_hint_only(void) {
        static const size_t hints[] = { 0, 5, 9999, 10000, 10001, 4096 };
        _cleanup_fake_root_ FakeRoot f = fake_root_make();
        _cleanup_free_ char *whole = malloc(10001);

        CHECK(whole);
        memset(whole, 'x', 10000);
        whole[10000] = 0;
        fake_file(&f, "proc/file", whole);
        for (size_t i = 0; i < ELEMENTSOF(hints); i++) {
                int fd = sysroot_open_at(f.root, AREA_PROC, "file", O_RDONLY);
                _cleanup_free_ char *text = NULL;
                size_t size;

                CHECK(fd >= 0 && file_read_sized(fd, hints[i], 20000, &text, &size) == 0);
                CHECK(size == 10000 && streq(text, whole));
                close(fd);
        }
}

/* Where no mount can be cloned, each thing is looked at before it is opened. */
static void without_privileges(void) {
        struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
        struct __user_cap_data_struct data[2] = {};
        int status;
        pid_t pid = fork();

        CHECK(pid >= 0);
        if (pid == 0) {
                CHECK(syscall(SYS_capget, &header, data) == 0);
                data[0].effective &= ~(1U << CAP_SYS_ADMIN);
                CHECK(syscall(SYS_capset, &header, data) == 0);
                no_way_out();
                a_fifo_does_not_wait();
                a_device_is_not_opened();
                a_file_without_permissions_is_denied();
                _exit(0);
        }
        CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

TEST_MAIN(
        TEST(path_in_a_loop),
        TEST(no_way_out),
        TEST(read_beside_renames),
        TEST(trouble_is_kept),
        TEST(a_fifo_does_not_wait),
        TEST(no_more_than_the_limit),
        TEST(a_text_of_no_file),
        TEST(a_device_is_not_opened),
        TEST(a_file_without_permissions_is_denied),
        TEST(a_size_is_a_hint_only),
        TEST(without_privileges))
