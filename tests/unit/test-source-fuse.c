/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What becomes of the edges of a FUSE file system as answers of the BPF program come, fail and grow old. */
#include <fcntl.h>
#include <ftw.h>
#include <sys/stat.h>

#include "common/file.h"
#include "common/text.h"
#include "daemon/source/scan.h"
#include "tests/unit/tap.h"

#define HOLDER(number, descriptor) \
        { .pid = (number), .place = { #number }, .start = 1000 + (number), .fd = (descriptor), .device = fuse, .fuse_connection = -1 }
#define MOUNT(number, where) \
        { .id = 100 + (number), .device = (number), .root = slash, .target = where, .type = fuse, .source = none, .options = none }

static char fuse[] = "fuse", none[] = "", slash[] = "/", mnt_a[] = "/mnt/a", mnt_b[] = "/mnt/b", mnt_c[] = "/mnt/c";

/* Two connections and a third to come, of devices 0:40 and on; 20 and 21 serve, 22 does not. */
static Mount mounts[] = { MOUNT(40, mnt_a), MOUNT(41, mnt_b), MOUNT(42, mnt_c) };
static size_t by_device[] = { 0, 1, 2 };
static Holder holders[] = { HOLDER(20, 3), HOLDER(21, 3), HOLDER(22, 3), HOLDER(23, 3) };

typedef struct Fixture {
        char directory[32];
        Sysroot *root;
        ProbeCache probes;
        Scan scan;
        FactSet *facts;
} Fixture;

static void write_file(const char *directory, const char *name, const char *text) {
        _cleanup_free_ char *path = text_format("%s/%s", directory, name);

        CHECK(path && file_write_atomic(AT_FDCWD, path, text) == 0);
}

static void make_process(Fixture *x, pid_t pid) {
        _cleanup_free_ char *directory = text_format("%s/proc/%d", x->directory, pid), *task = NULL, *stat = NULL;

        task = text_format("%s/task", directory);
        stat = text_format("%d (server) S 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 %d 0 0\n", pid, 1000 + pid);
        CHECK(directory && task && stat && mkdir(directory, 0700) == 0 && mkdir(task, 0700) == 0);
        write_file(directory, "stat", stat);
        write_file(directory, "status", "Uid:\t0\t0\t0\t0\nCapEff:\tffffffffffffffff\n");
        write_file(directory, "cgroup", "0::/system.slice/servers.service\n");
}

static void fixture_init(Fixture *x) {
        *x = (Fixture) { .directory = "/tmp/stackd-test-XXXXXX" };
        CHECK(mkdtemp(x->directory));
        CHECK(mkdir(PATH("%s/proc", x->directory), 0700) == 0 && mkdir(PATH("%s/sys", x->directory), 0700) == 0);
        for (size_t i = 0; i < ELEMENTSOF(holders); i++)
                make_process(x, holders[i].pid);
        CHECK(sysroot_open(x->directory, &x->root, NULL) == 0 && probe_cache_init(&x->probes) == 0);
        x->scan = (Scan) {
                .root = x->root,
                .probes = &x->probes,
                .mounts = { .mounts = mounts, .n = 2, .n_mounted = 2, .by_device = by_device },
                .processes = { .holders = holders, .n = 3 },
        };
}

static int remove_one(const char *path, const struct stat *st _unused_, int type _unused_, struct FTW *where _unused_) {
        return remove(path);
}

static void fixture_done(Fixture *x) {
        factset_free(x->facts);
        /* These are nobody's. */
        x->scan.mounts = (MountTable) {};
        x->scan.processes = (ProcessTable) {};
        scan_done(&x->scan);
        probe_cache_done(&x->probes);
        sysroot_free(x->root);
        (void) nftw(x->directory, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}
#define _cleanup_fixture_ _cleanup_(fixture_done)

/* So that no processes are read but ours. */
static void take_mounts_as_known(Scan *s) {
        free(s->served_mounts);
        s->n_served_mounts = s->mounts.n;
        s->served_mounts = calloc(s->mounts.n, sizeof(ServedMount));
        CHECK(s->served_mounts);
        for (size_t i = 0; i < s->mounts.n; i++)
                s->served_mounts[i] = (ServedMount) { .id = s->mounts.mounts[i].id, .device = s->mounts.mounts[i].device };
}

static void scan(Fixture *x) {
        x->facts = factset_free(x->facts);
        x->facts = factset_new();
        probe_cache_begin(&x->probes);
        take_mounts_as_known(&x->scan);
        CHECK(scan_refresh(&x->scan, 0) == 0);
        CHECK(x->facts && source_fuse_scan(&x->scan, x->facts) == 0);
        probe_cache_expire(&x->probes);
}

/* Answers the one question that is open; returns whether there was one. */
static bool answer(Fixture *x, const char *text) {
        _cleanup_strv_free_ char **questions = NULL;

        CHECK(probe_cache_take_wanted(&x->probes, PROBE_SLOW, &questions) == 0);
        if (!questions)
                return false;
        CHECK(startswith(questions[0], "fuse-servers ") && !questions[1]);
        CHECK(probe_cache_answer(&x->probes, questions[0], text) == 0);
        return true;
}

/* The edges as "MINOR>PID" with their certainty as a letter, in order. */
static void check_edges(const Fixture *x, const char *want) {
        _cleanup_free_ char *have = strdup("");

        for (size_t i = 0; i < x->facts->n_edges; i++) {
                const EdgeFact *e = &x->facts->edges[i];
                unsigned minor_number = 0, pid = 0;
                char *longer;

                CHECK(sscanf(e->upper, "fs:0:%u", &minor_number) == 1 && sscanf(e->lower, "process:%u", &pid) == 1);
                CHECK(e->certainty != CERTAINTY_PROVEN || streq(e->evidence, PATH("BPF task_file iterator: /proc/%u/fd/3", pid)));
                longer = text_format("%s%s%u>%u%c", have, i > 0 ? " " : "", minor_number, pid, certainty_to_string(e->certainty)[0]);
                free(have);
                have = longer;
                CHECK(have);
        }
        if (!streq(have, want))
                printf("# have '%s', want '%s'\n", have, want);
        CHECK(streq(have, want));
}

#define GUESSES "40>20i 41>20i 40>21i 41>21i 40>22i 41>22i"
#define TOLD "20:1020:3:40 21:1021:3:41 22:1022:3:0"

static void test_answer_replaces_guesses(void) {
        _cleanup_fixture_ Fixture x;

        fixture_init(&x);
        scan(&x);
        check_edges(&x, GUESSES);
        CHECK(answer(&x, TOLD));
        scan(&x);
        check_edges(&x, "40>20p 41>21p");
        CHECK(!x.scan.unserved);
        scan(&x);
        check_edges(&x, "40>20p 41>21p");
        CHECK(!answer(&x, "not asked twice"));
}

static void test_old_answer_serves_until_the_new_one(void) {
        _cleanup_fixture_ Fixture x;

        fixture_init(&x);
        scan(&x);
        CHECK(answer(&x, TOLD));
        scan(&x);
        /* 22 was not mounted then, and may be now. */
        x.scan.mounts.n = x.scan.mounts.n_mounted = 3;
        x.scan.processes.n = 4;
        scan(&x);
        check_edges(&x, "40>20p 41>21p 42>22i 42>23i");
        CHECK(answer(&x, TOLD " 23:1023:3:42"));
        scan(&x);
        check_edges(&x, "40>20p 41>21p 42>23p");
}

static void check_no_answer(const char *text) {
        _cleanup_fixture_ Fixture x;

        fixture_init(&x);
        scan(&x);
        CHECK(answer(&x, text));
        scan(&x);
        check_edges(&x, GUESSES);
        CHECK(!answer(&x, "not asked twice"));
        /* Nor does an old answer outlive it. */
        x.scan.processes.n = 2;
        scan(&x);
        CHECK(answer(&x, "20:1020:3:40 21:1021:3:41"));
        scan(&x);
        check_edges(&x, "40>20p 41>21p");
        x.scan.processes.n = 3;
        scan(&x);
        check_edges(&x, "40>20p 41>21p");
        CHECK(answer(&x, text));
        scan(&x);
        check_edges(&x, GUESSES);
}

static void test_guesses_stay_without_an_answer(void) {
        check_no_answer("!1");
        check_no_answer(NULL); /* it hung */
}

/* Which keeps the descriptor of a service that is about to start again. */
static void test_service_manager_serves_nothing(void) {
        static Holder manager[] = { HOLDER(1, 3) };
        _cleanup_fixture_ Fixture x;

        fixture_init(&x);
        make_process(&x, 1);
        x.scan.mounts.n = x.scan.mounts.n_mounted = 1;
        x.scan.processes.holders = manager;
        x.scan.processes.n = 1;
        x.scan.processes.tells_connection = true;
        manager[0].fuse_connection = 40;
        scan(&x);
        check_edges(&x, "40>1i");
        CHECK(x.scan.unserved);
}

/* Neither a start time that is another's nor a connection that nobody knows makes an edge. */
static void test_others_are_not_taken(void) {
        _cleanup_fixture_ Fixture x;

        fixture_init(&x);
        scan(&x);
        CHECK(answer(&x, "20:9999:3:40 21:1021:3:77 22:1022:4:41 99:1099:3:41"));
        scan(&x);
        check_edges(&x, "");
        CHECK(x.scan.unserved);
}

static void test_asks_only_where_needed(void) {
        _cleanup_fixture_ Fixture x;

        fixture_init(&x);
        x.scan.processes.tells_connection = true;
        scan(&x);
        CHECK(!answer(&x, ""));
        x.scan.processes.tells_connection = false;
        x.scan.mounts.n = x.scan.mounts.n_mounted = 0;
        scan(&x);
        CHECK(!answer(&x, ""));
        x.scan.mounts.n = x.scan.mounts.n_mounted = 2;
        x.scan.processes.n = 0;
        scan(&x);
        CHECK(!answer(&x, "") && x.scan.unserved);
        x.scan.processes.n = 3;
        x.scan.probes = NULL;
        scan(&x);
        CHECK(!answer(&x, ""));
        check_edges(&x, GUESSES);
}

/* Whose it is that is mounted nowhere is not told: that one of several serves it is a guess, whoever they are. */
static void test_owner_unknown(void) {
        _cleanup_fixture_ Fixture x;

        fixture_init(&x);
        x.scan.processes.n = 2;
        scan(&x);
        check_edges(&x, "40>20i 41>20i 40>21i 41>21i");
        for (size_t i = 0; i < x.facts->n_edges; i++)
                CHECK(x.facts->edges[i].alternative > 0);
        mounts[0].space = SPACE_NONE;
        scan(&x);
        check_edges(&x, "40>20i 41>20i 40>21i 41>21i");
        for (size_t i = 0; i < x.facts->n_edges; i++)
                CHECK(x.facts->edges[i].alternative == 0);
        x.scan.mounts.n = x.scan.mounts.n_mounted = x.scan.processes.n = 1;
        scan(&x);
        check_edges(&x, "40>20u");
        mounts[0].space = 0;
}

TEST_MAIN(
        TEST(test_answer_replaces_guesses),
        TEST(test_old_answer_serves_until_the_new_one),
        TEST(test_guesses_stay_without_an_answer),
        TEST(test_service_manager_serves_nothing),
        TEST(test_others_are_not_taken),
        TEST(test_asks_only_where_needed),
        TEST(test_owner_unknown))
