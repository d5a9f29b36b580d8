/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which process serves which FUSE mount where the kernel does not tell: users must not be able to decide that for
 * others. */
#include "daemon/source/scan.h"
#include "tests/unit/fake-root.h"

#define ROOT_MOUNTS                                                     \
        "20 1 8:1 / / rw - ext4 /dev/sda1 rw\n"                         \
        "21 20 0:5 / /dev rw - devtmpfs udev rw\n"
#define FUSE_MOUNT(number, target, user) \
        "3" number " 20 0:4" number " / " target " rw - fuse server rw,user_id=" user ",group_id=0\n"

static void fake_process(const FakeRoot *f, int pid, unsigned uid, const char *cgroup) {
        fake_file(f, PATH("proc/%d/stat", pid), PATH("%d (server) S 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 %d 0 0\n", pid, pid * 10));
        fake_file(f, PATH("proc/%d/status", pid), PATH("Name:\tserver\nUid:\t%u\t%u\t%u\t%u\nCapEff:\t000001ffffffffff\n", uid, uid, uid, uid));
        fake_file(f, PATH("proc/%d/cgroup", pid), PATH("0::%s\n", cgroup));
        fake_file(f, PATH("proc/%d/task/%d/stat", pid, pid), PATH("%d (server) S 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 %d 0 0\n", pid, pid * 10));
        fake_link(f, PATH("proc/%d/fd/3", pid), "/dev/fuse");
        fake_link(f, PATH("proc/%d/ns/mnt", pid), "mnt:[1]");
        fake_file(f, PATH("proc/%d/fdinfo/3", pid), "pos:\t0\nflags:\t0100002\nmnt_id:\t21\nino:\t86\n");
}

static FakeRoot machine(const char *mounts) {
        FakeRoot f = fake_root_make();

        fake_file(&f, "proc/1/mountinfo", mounts);
        fake_file(&f, "proc/sys/kernel/osrelease", "6.1.0-40-amd64\n");
        fake_link(&f, "proc/1/ns/mnt", "mnt:[1]");
        fake_file(&f, "proc/1/fd/.none", "");
        return f;
}

/* "FS PROCESS CERTAINTY[ alternative]" of each edge, separated by newlines. */
static char *pairs(const FakeRoot *f) {
        Scan s = { .root = f->root };
        FactSet *facts = factset_new();
        char *text = strdup("");

        CHECK(facts && scan_refresh(&s, TABLE_ALL) == 0 && source_fuse_scan(&s, facts) == 0);
        for (size_t i = 0; i < facts->n_edges; i++) {
                const EdgeFact *e = &facts->edges[i];
                char *longer = text_format("%s%s %s %s%s\n", text, e->upper, e->lower, certainty_to_string(e->certainty),
                                           e->alternative ? " alternative" : "");

                free(text);
                text = longer;
        }
        factset_free(facts);
        scan_done(&s);
        return text;
}

static bool pairs_are(FakeRoot *f, const char *expected) {
        _cleanup_free_ char *text = pairs(f);
        bool equal = streq(text, expected);

        if (!equal)
                printf("# got:\n%s# expected:\n%s", text, expected);
        fake_root_done(f);
        return equal;
}

static void one_of_each(void) {
        FakeRoot f = machine(ROOT_MOUNTS FUSE_MOUNT("1", "/mnt/a", "0"));

        fake_process(&f, 100, 0, "/system.slice/a.service");
        CHECK(pairs_are(&f, "fs:0:41 process:100:1000 unique\n"));
}

static void two_of_each(void) {
        FakeRoot f = machine(ROOT_MOUNTS FUSE_MOUNT("1", "/mnt/a", "0") FUSE_MOUNT("2", "/mnt/b", "0"));
        _cleanup_free_ char *text = NULL;

        fake_process(&f, 100, 0, "/system.slice/a.service");
        fake_process(&f, 101, 0, "/system.slice/b.service");
        text = pairs(&f);
        for (int fs = 41; fs <= 42; fs++)
                for (int pid = 100; pid <= 101; pid++)
                        CHECK(strstr(text, PATH("fs:0:%d process:%d:%d inferred alternative\n", fs, pid, pid * 10)));
        fake_root_done(&f);
}

static void more_servers_than_mounts(void) {
        FakeRoot f = machine(ROOT_MOUNTS FUSE_MOUNT("1", "/mnt/a", "0"));
        _cleanup_free_ char *text = NULL;

        fake_process(&f, 100, 0, "/system.slice/a.service");
        fake_process(&f, 101, 0, "/system.slice/b.service");
        text = pairs(&f);
        CHECK(strstr(text, "fs:0:41 process:100:1000 inferred\n") && strstr(text, "fs:0:41 process:101:1010 inferred\n"));
        fake_root_done(&f);
}

/* Whoever opens /dev/fuse is no reason to doubt what root's servers serve. */
static void others_that_hold_the_device(void) {
        FakeRoot f = machine(ROOT_MOUNTS FUSE_MOUNT("1", "/mnt/a", "0"));

        fake_process(&f, 100, 0, "/system.slice/a.service");
        fake_process(&f, 101, 1000, "/user.slice/user-1000.slice/session-1.scope");
        fake_process(&f, 102, 1000, "/user.slice/user-1000.slice/session-1.scope");
        CHECK(pairs_are(&f, "fs:0:41 process:100:1000 unique\n"));
}

/* Root's server might have been given the user's mount as well, but its own is certain. */
static void mounts_of_others(void) {
        FakeRoot f = machine(ROOT_MOUNTS FUSE_MOUNT("1", "/mnt/a", "0") FUSE_MOUNT("2", "/home/u/m", "1000"));
        _cleanup_free_ char *text = NULL;

        fake_process(&f, 100, 0, "/system.slice/a.service");
        fake_process(&f, 101, 1000, "/user.slice/user-1000.slice/session-1.scope");
        text = pairs(&f);
        CHECK(strstr(text, "fs:0:41 process:100:1000 unique\n") && strstr(text, "fs:0:42 process:100:1000 inferred\n"));
        CHECK(strstr(text, "fs:0:42 process:101:1010 inferred alternative\n") && !strstr(text, "fs:0:41 process:101"));
        fake_root_done(&f);
}

static void a_users_mount_served_by_root(void) {
        FakeRoot f = machine(ROOT_MOUNTS FUSE_MOUNT("2", "/home/u/m", "1000"));

        fake_process(&f, 100, 0, "/system.slice/a.service");
        CHECK(pairs_are(&f, "fs:0:42 process:100:1000 unique\n"));
}

static void mount_units(void) {
        FakeRoot f = machine(ROOT_MOUNTS FUSE_MOUNT("1", "/mnt/a-b", "0") FUSE_MOUNT("2", "/mnt/c", "0"));
        _cleanup_free_ char *text = NULL;

        fake_process(&f, 100, 0, "/system.slice/mnt-a\\x2db.mount");
        fake_process(&f, 101, 0, "/system.slice/c.service");
        text = pairs(&f);
        CHECK(streq(text, "fs:0:41 process:100:1000 proven\nfs:0:42 process:101:1010 unique\n"));
        fake_root_done(&f);
}

static void one_server_of_two(void) {
        FakeRoot f = machine(ROOT_MOUNTS FUSE_MOUNT("1", "/mnt/a", "0") FUSE_MOUNT("2", "/mnt/b", "0"));

        fake_process(&f, 100, 0, "/system.slice/a.service");
        CHECK(pairs_are(&f, "fs:0:41 process:100:1000 inferred alternative\nfs:0:42 process:100:1000 inferred alternative\n"));
}

/* Somebody who cannot be looked at may hold the device as well. */
static void the_only_one_that_can_be_seen(void) {
        FakeRoot f = machine(ROOT_MOUNTS FUSE_MOUNT("1", "/mnt/a", "0"));

        fake_process(&f, 100, 0, "/system.slice/a.service");
        fake_file(&f, "proc/101/fd", "no directory");
        CHECK(pairs_are(&f, "fs:0:41 process:100:1000 inferred alternative\n"));
}

static void a_user_with_many_of_both(void) {
        _cleanup_free_ char *table = strdup(ROOT_MOUNTS FUSE_MOUNT("1", "/mnt/a", "0"));
        FakeRoot f;

        for (int i = 100; i < 170; i++) {
                char *longer = text_format("%s9%d 20 0:%d / /home/u/%d rw - fuse server rw,user_id=1000,group_id=0\n", table, i, i, i);

                CHECK(longer);
                free(table);
                table = longer;
        }
        f = machine(table);
        fake_process(&f, 100, 0, "/system.slice/a.service");
        for (int pid = 1000; pid < 1070; pid++)
                fake_process(&f, pid, 1000, "/user.slice/user-1000.slice/session-1.scope");
        _cleanup_free_ char *text = pairs(&f);
        CHECK(strstr(text, "fs:0:41 process:100:1000 unique\n") && !strstr(text, "process:1000:"));
        fake_root_done(&f);
}

/* A user's cgroup with the name of root's mount unit. */
static void mount_units_of_users(void) {
        FakeRoot f = machine(ROOT_MOUNTS FUSE_MOUNT("1", "/mnt/a", "0"));

        fake_process(&f, 100, 0, "/system.slice/a.service");
        fake_process(&f, 101, 1000, "/user.slice/user-1000.slice/user@1000.service/mnt-a.mount");
        CHECK(pairs_are(&f, "fs:0:41 process:100:1000 unique\n"));
}

TEST_MAIN(TEST(one_of_each),
          TEST(two_of_each),
          TEST(more_servers_than_mounts),
          TEST(others_that_hold_the_device),
          TEST(mounts_of_others),
          TEST(a_users_mount_served_by_root),
          TEST(mount_units),
          TEST(one_server_of_two),
          TEST(the_only_one_that_can_be_seen),
          TEST(a_user_with_many_of_both),
          TEST(mount_units_of_users))
