/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a child says of what it did; of its own OOM score on the machine, and of files below a fake root. */
#include <errno.h>
#include <fcntl.h>

#include "common/file.h"
#include "daemon/actuator/actuator.h"
#include "tests/unit/fake-root.h"

/* Runs it and takes what it said apart: "STATUS VALUE", with the trouble where there is any. */
static const char *run(const Sysroot *s, Action *a) {
        static const char *const names[] = { "done", "same", "gone", "left", "stale", "refused", "failed" };
        static char text[400];
        _cleanup_free_ char *output = NULL;
        DeedResult result;
        int fds[2];

        CHECK(pipe2(fds, O_CLOEXEC) == 0);
        deed_run(s, a, fds[1]);
        close(fds[1]);
        CHECK(file_read_fd(fds[0], 4096, &output, NULL) == 0);
        close(fds[0]);
        CHECK(deed_result_parse(output, &result) == 0);
        snprintf(text, sizeof(text), "%s %s", names[result.status], result.value ?: "-");
        CHECK((result.status == DEED_REFUSED || result.status == DEED_FAILED) == (result.trouble != NULL));
        deed_result_done(&result);
        return text;
}

/* Below /proc: an emulator has a file of its own at the whole path. */
static uint64_t own_start(const Sysroot *s) {
        _cleanup_free_ char *line = NULL;
        unsigned long long start = 0;

        CHECK(sysroot_read(s, AREA_PROC, "self/stat", &line) == 0);
        CHECK(sscanf(strrchr(line, ')') + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu", &start) == 1);
        return start;
}

/* Raising is allowed to everyone, and back to where it was. */
static void oom_score(void) {
        _cleanup_(sysroot_freep) Sysroot *s = NULL;
        Action a = { .kind = ACTION_OOM_SCORE, .target = (char *) "process", .key = (char *) "", .pid = getpid() };
        _cleanup_free_ char *before = NULL;

        CHECK(sysroot_open(NULL, &s, NULL) == 0);
        a.start = own_start(s);
        CHECK(sysroot_read(s, AREA_PROC, "self/oom_score_adj", &before) == 0);
        a.from = before;
        a.to = (char *) "777";
        CHECK(streq(run(s, &a), "done 777"));
        CHECK(streq(run(s, &a), "same 777"));
        a.to = (char *) "778";
        CHECK(streq(run(s, &a), "stale 777"));
        a.undo = true;
        a.to = before;
        a.from = (char *) "776";
        CHECK(streq(run(s, &a), "left 777"));
        a.from = (char *) "777";
        CHECK(strncmp(run(s, &a), "done ", 5) == 0);
        CHECK(streq(run(s, &a) + 5, before));
        a.undo = false;
        a.from = NULL;
        a.to = (char *) "1001";
        CHECK(strncmp(run(s, &a), "refused ", 8) == 0);
        a.start++;
        CHECK(streq(run(s, &a), "gone -"));
}

static const char *share(FakeRoot *f, const char *fine, const char *ratio) {
        static char text[40];
        _cleanup_free_ char *value = NULL;

        if (fine)
                fake_file(f, "sys/class/bdi/0:9/max_ratio_fine", fine);
        fake_file(f, "sys/class/bdi/0:9/max_ratio", ratio);
        CHECK(actuator_read(f->root, ACTION_WRITEBACK_LIMIT, "bdi:0:9:0", "max_ratio", &value) == 0);
        snprintf(text, sizeof(text), "%s", value ?: "(null)");
        return text;
}

/* A share is read in the finest unit that the kernel has, and written as people do. */
static void writeback_share(void) {
        _cleanup_fake_root_ FakeRoot f = fake_root_make();

        CHECK(streq(share(&f, NULL, "100\n"), "100%"));
        CHECK(streq(share(&f, NULL, "1\n"), "1%"));
        CHECK(streq(share(&f, "3111\n", "0\n"), "0.3111%"));
        CHECK(streq(share(&f, "1000000\n", "100\n"), "100%"));
        CHECK(streq(share(&f, "10500\n", "1\n"), "1.05%"));
        CHECK(streq(share(&f, "0\n", "0\n"), "0%"));
}

static bool was_told(const FakeRoot *f, ActionKind kind, const char *expected) {
        _cleanup_free_ char *told = NULL;

        CHECK(unit_read_told(f->root, kind, "a.service", &told) == 0);
        return streq_ptr(told, expected);
}

/* As systemd 257 writes them. */
static void what_systemd_was_told(void) {
        _cleanup_fake_root_ FakeRoot f = fake_root_make();

        CHECK(was_told(&f, ACTION_MEMORY_MIN, NULL));
        fake_file(&f, "run/systemd/system.control/a.service.d/50-MemoryMin.conf",
                  "# This is a drop-in unit file extension, created via \"systemctl set-property\"\n# or an equivalent operation. Do not edit.\n"
                  "[Service]\nMemoryMin=17825792\n");
        fake_file(&f, "run/systemd/system.control/a.service.d/50-MemoryLow.conf", "[Service]\nMemoryLowest=1\nMemoryLow=infinity");
        fake_file(&f, "run/systemd/transient/a.service.d/50-ManagedOOMPreference.conf", "[Service]\nManagedOOMPreference=omit\n");
        fake_file(&f, "run/systemd/transient/a.service.d/50-MemorySwapMax.conf", "");
        CHECK(was_told(&f, ACTION_MEMORY_MIN, "17825792") && was_told(&f, ACTION_MEMORY_LOW, "max"));
        CHECK(was_told(&f, ACTION_OOMD_PREFERENCE, "omit") && was_told(&f, ACTION_SWAP_MAX, ""));
}

static void broken_output(void) {
        static const char *const outputs[] = { "", "done", "done\n", "done\n1", "done\n1\n", "done\n1\nx", "well\n1\n\n", "\n\n\n" };

        for (size_t i = 0; i < ELEMENTSOF(outputs); i++) {
                DeedResult result;

                CHECK(deed_result_parse(outputs[i], &result) == -EBADMSG);
        }
}

/* A source may be an empty text: then two blanks follow one another. */
static void a_mount_without_a_source(void) {
        _cleanup_fake_root_ FakeRoot f = fake_root_make();
        _cleanup_free_ char *value = NULL;

        fake_file(&f, "proc/self/mountinfo", "29 20 0:49 / /w rw,relatime - tmpfs none rw,size=8k\n30 20 0:50 / /x rw,noatime - tmpfs  rw,size=1k\n");
        CHECK(actuator_read(f.root, ACTION_MOUNT_OPTION, "mount:30:0:50:0", "atime", &value) == 0);
        CHECK(streq(value, "noatime"));
}

TEST_MAIN(TEST(oom_score), TEST(writeback_share), TEST(what_systemd_was_told), TEST(broken_output), TEST(a_mount_without_a_source))
