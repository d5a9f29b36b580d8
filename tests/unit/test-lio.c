/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A disk of LIO and what is behind it, from what the probe has answered. */
#include "daemon/source/lio-backstores.h"
#include "daemon/source/scan.h"
#include "tests/unit/fake-root.h"

#define WWID "naa.60014055b0d1a3e0f4c4b779a61d3a0c3b2"
#define QUESTION "lio 8:0 15 " WWID

static void parse(void) {
        Backstores l = {};

        CHECK(lio_parse("core/user_0/z uio:uio0 core/fileio_1/a\\040b path:/srv/\\134x\\012 core/odd/x what:else core/cut", &l) == 0);
        CHECK(l.n == 2);
        CHECK(streq(l.items[0].place, "core/user_0/z") && streq(l.items[0].uio, "uio0") && !l.items[0].path);
        CHECK(streq(l.items[1].place, "core/fileio_1/a b") && streq(l.items[1].path, "/srv/\\x\n") && !l.items[1].uio);
        backstores_done(&l);
        CHECK(lio_parse("", &l) == 0 && l.n == 0);
        CHECK(lio_ask("naa.5000c500a1b2c3d4", NULL) == -EINVAL);
}

static FactSet *scan(const FakeRoot *f, ProbeCache *c, bool *ret_incomplete) {
        Scan s = { .root = f->root, .probes = c };
        FactSet *facts = factset_new();

        CHECK(facts && scan_refresh(&s, TABLE_ALL) == 0 && s.processes.n == 1);
        CHECK(source_lio_scan(&s, facts) == 0);
        *ret_incomplete = scan_is_incomplete(&s);
        scan_done(&s);
        return facts;
}

/* The server's main thread has exited: its files are those of another thread. */
static FakeRoot make_machine(const char *wwid) {
        FakeRoot f = fake_root_make();

        fake_file(&f, "proc/1/mountinfo", "20 1 0:5 / / rw - ext4 none rw\n22 20 0:6 / /dev rw - devtmpfs none rw\n");
        fake_link(&f, "proc/1/ns/mnt", "mnt:[1]");
        fake_link(&f, "proc/645/ns/mnt", "mnt:[1]");
        fake_file(&f, "proc/645/stat", "645 (tcmu-runner) Z 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 4711 0 0\n");
        CHECK(mkdir(PATH("%s/proc/645/fd", f.path), 0755) == 0);
        fake_link(&f, "proc/645/task/645/cwd", "/");
        fake_link(&f, "proc/645/task/647/fd/12", "/dev/uio0");
        fake_file(&f, "proc/645/task/647/fdinfo/12", "pos:\t0\nflags:\t02\nmnt_id:\t22\nino:\t5\n");
        fake_file(&f, "sys/class/uio/uio0/name", "tcm-user/0/z/zbc/x@/srv/z");
        fake_link(&f, "sys/class/block/sda", "../../devices/host2/2:0:0:0/block/sda");
        fake_file(&f, "sys/devices/host2/2:0:0:0/block/sda/dev", "8:0");
        fake_file(&f, "sys/devices/host2/2:0:0:0/block/sda/diskseq", "15");
        fake_file(&f, "sys/devices/host2/2:0:0:0/block/sda/device/wwid", wwid);
        return f;
}

static void server(void) {
        _cleanup_fake_root_ FakeRoot f = make_machine(WWID "\n");
        _cleanup_(factset_freep) FactSet *facts = NULL, *told = NULL;
        _cleanup_strv_free_ char **questions = NULL;
        bool incomplete = false;
        ProbeCache c;

        CHECK(probe_cache_init(&c) == 0);
        facts = scan(&f, &c, &incomplete);
        CHECK(facts->n_edges == 0 && incomplete); /* so that nothing is undone meanwhile */
        CHECK(probe_cache_take_wanted(&c, PROBE_QUICK, &questions) == 0);
        CHECK(questions && streq(questions[0], QUESTION) && !questions[1]);
        CHECK(probe_cache_answer(&c, QUESTION, "core/user_0/z uio:uio0") == 0);
        told = scan(&f, &c, &incomplete);
        CHECK(told->n_edges == 1 && !incomplete);
        CHECK(streq(told->edges[0].upper, "block:8:0") && streq(told->edges[0].lower, "process:645:4711"));
        CHECK(told->edges[0].certainty == CERTAINTY_PROVEN && endswith(told->edges[0].evidence, "/proc/645/task/647/fd/12"));
        probe_cache_done(&c);
}

/* The serial of a backstore can be set by hand, twice the same: which it is nobody knows. */
static void twice_the_same(void) {
        _cleanup_fake_root_ FakeRoot f = make_machine(WWID "\n");
        _cleanup_(factset_freep) FactSet *facts = NULL;
        bool incomplete = false;
        ProbeCache c;

        CHECK(probe_cache_init(&c) == 0 && probe_cache_load(&c, QUESTION "=core/user_0/z uio:uio0 core/fileio_1/f path:/srv/f\n") == 0);
        facts = scan(&f, &c, &incomplete);
        CHECK(facts->n_edges == 3 && !incomplete); /* to the process, to the file, and from that to its file system */
        for (size_t i = 0; i < 2; i++)
                CHECK(!streq(facts->edges[i].upper, "block:8:0") || facts->edges[i].certainty == CERTAINTY_INFERRED);
        probe_cache_done(&c);
}

/* Disks of others are asked nothing, whatever they call themselves. */
static void other_disks(void) {
        static const char *const wwids[] = { "t10.ATA x\n", "naa.5000c500a1b2c3d4\n", WWID " x\n", WWID "=\n", "\n" };

        for (size_t i = 0; i < ELEMENTSOF(wwids); i++) {
                _cleanup_fake_root_ FakeRoot f = make_machine(wwids[i]);
                _cleanup_(factset_freep) FactSet *facts = NULL;
                _cleanup_strv_free_ char **questions = NULL;
                bool incomplete = true;
                ProbeCache c;

                CHECK(probe_cache_init(&c) == 0);
                facts = scan(&f, &c, &incomplete);
                CHECK(facts->n_edges == 0 && !incomplete);
                CHECK(probe_cache_take_wanted(&c, PROBE_QUICK, &questions) == 0 && !questions);
                probe_cache_done(&c);
        }
}

/* A disk of tcm_loop that has no identity (an optical disc of tcmu-runner's) has an address. */
static void by_address(void) {
        _cleanup_fake_root_ FakeRoot f = make_machine(WWID "\n");
        _cleanup_(factset_freep) FactSet *facts = NULL;
        bool incomplete = true;
        ProbeCache c;

        fake_link(&f, "sys/class/block/sr0", "../../devices/tcm_loop_0/tcm_loop_adapter_0/host6/target6:0:1/6:0:1:1/block/sr0");
        fake_file(&f, "sys/devices/tcm_loop_0/tcm_loop_adapter_0/host6/target6:0:1/6:0:1:1/block/sr0/dev", "11:0\n");
        fake_file(&f, "sys/devices/tcm_loop_0/tcm_loop_adapter_0/host6/target6:0:1/6:0:1:1/block/sr0/diskseq", "16\n");
        CHECK(probe_cache_init(&c) == 0 && probe_cache_load(&c, QUESTION "=core/user_0/z uio:uio0\nlio 11:0 16 6:0:1:1=core/user_0/o uio:uio0\n") == 0);
        facts = scan(&f, &c, &incomplete);
        CHECK(facts->n_edges == 2 && !incomplete);
        CHECK(streq(facts->edges[1].upper, "block:11:0") && streq(facts->edges[1].lower, "process:645:4711"));
        probe_cache_done(&c);
}

TEST_MAIN(TEST(by_address), TEST(parse), TEST(server), TEST(twice_the_same), TEST(other_disks))
