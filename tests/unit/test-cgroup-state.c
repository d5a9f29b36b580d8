/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What memory control groups have, as their files say. */
#include "daemon/source/cgroup-state.h"
#include "tests/unit/fake-root.h"

#define MIB (1ULL << 20)

static void cgroup(const FakeRoot *f, const char *path, const char *min, const char *max) {
        static const char *const files[] = { "memory.low", "memory.swap.current" };

        for (size_t i = 0; i < ELEMENTSOF(files); i++)
                fake_file(f, PATH("sys/fs/cgroup%s/%s", path, files[i]), "0\n");
        fake_file(f, PATH("sys/fs/cgroup%s/memory.min", path), min);
        fake_file(f, PATH("sys/fs/cgroup%s/memory.max", path), max);
        fake_file(f, PATH("sys/fs/cgroup%s/memory.high", path), "max\n");
        fake_file(f, PATH("sys/fs/cgroup%s/memory.stat", path), "anon 1000\nfile 5000\nkernel 200\nshmem 30\nfile_mapped 4\n");
        fake_file(f, PATH("sys/fs/cgroup%s/cgroup.procs", path), "1\n2\n");
}

static FakeRoot machine(void) {
        FakeRoot f = fake_root_make();

        cgroup(&f, "/system.slice", "4096\n", "max\n");
        cgroup(&f, "/system.slice/a.service", "0\n", "100000\n");
        cgroup(&f, "/system.slice/b.service", "max\n", "max\n");
        fake_file(&f, "sys/fs/cgroup/system.slice/c.mount/cgroup.procs", ""); /* no memory controller there */
        return f;
}

static void chain(void) {
        _cleanup_fake_root_ FakeRoot f = machine();
        State s = {};
        CgroupState *c;

        CHECK(cgroup_state_read(f.root, "/system.slice/a.service", &s) == 0);
        CHECK(cgroup_state_read(f.root, "/system.slice/a.service", &s) == 0 && s.n_cgroups == 3);
        c = state_find_cgroup(&s, "/system.slice/a.service");
        CHECK(c && c->described && c->min == 0 && c->max == 100000 && c->high == MEMORY_UNLIMITED && c->used == 1234);
        CHECK(c && c->processes == 2 && !c->has_swap_max);
        c = state_find_cgroup(&s, "/system.slice");
        CHECK(c && c->described && c->min == 4096);
        c = state_find_cgroup(&s, "/system.slice/b.service");
        CHECK(c && !c->described && c->min == MEMORY_UNLIMITED);
        /* a neighbour becomes one that matters itself */
        CHECK(cgroup_state_read(f.root, "/system.slice/b.service", &s) == 0 && s.n_cgroups == 3);
        CHECK(state_find_cgroup(&s, "/system.slice/b.service")->described);
        state_done(&s);
}

/* One for which the memory controller is not enabled is told from one that is gone. */
static void without_controller(void) {
        _cleanup_fake_root_ FakeRoot f = machine();
        State s = {};

        CHECK(state_unreservable(&s, "/system.slice/c.mount") == NO_CONTROLLER);
        s.memory_controller = true;
        CHECK(cgroup_state_read(f.root, "/system.slice/c.mount", &s) == 0 && cgroup_state_read(f.root, "/system.slice/gone.service", &s) == 0);
        CHECK(cgroup_state_read(f.root, "/system.slice/a.service", &s) == 0);
        CHECK(state_unreservable(&s, "/system.slice/c.mount") == NOT_ENABLED);
        CHECK(state_unreservable(&s, "/system.slice/gone.service") == RESERVABLE);
        CHECK(state_unreservable(&s, "/system.slice/a.service") == RESERVABLE);
        CHECK(state_unreservable(&s, "/") == ROOT_CGROUP);
        state_done(&s);
}

/* What was swapped out is needed too. */
static void swapped(void) {
        _cleanup_fake_root_ FakeRoot f = machine();
        State s = {};

        fake_file(&f, "sys/fs/cgroup/system.slice/a.service/memory.swap.current", "5000\n");
        fake_file(&f, "sys/fs/cgroup/system.slice/a.service/memory.swap.max", "max\n");
        CHECK(cgroup_state_read(f.root, "/system.slice/a.service", &s) == 0);
        CHECK(state_find_cgroup(&s, "/system.slice/a.service")->used == 6234);
        CHECK(state_find_cgroup(&s, "/system.slice/a.service")->has_swap_max);
        state_done(&s);
}

/* Before Linux 5.18 the kernel's share is not summed up. */
static void old_statistics(void) {
        _cleanup_fake_root_ FakeRoot f = machine();
        State s = {};

        fake_file(&f, "sys/fs/cgroup/system.slice/a.service/memory.stat",
                  "anon 1000\nkernel_stack 1\npagetables 2\npercpu 3\nsock 4\nslab_reclaimable 500\nslab_unreclaimable 5\n");
        CHECK(cgroup_state_read(f.root, "/system.slice/a.service", &s) == 0);
        CHECK(state_find_cgroup(&s, "/system.slice/a.service")->used == 1015);
        state_done(&s);
}

static void what_is_not_there(void) {
        static const char *const paths[] = { "/", "", "/system.slice/gone.service", "relative" };
        _cleanup_fake_root_ FakeRoot f = machine();

        for (size_t i = 0; i < ELEMENTSOF(paths); i++) {
                State s = {};

                CHECK(cgroup_state_read(f.root, paths[i], &s) == 0);
                CHECK(!state_find_cgroup(&s, paths[i]));
                state_done(&s);
        }
}

/* min and what is used, in MiB. */
static void uses(const FakeRoot *f, const char *path, unsigned min, unsigned used) {
        fake_file(f, PATH("sys/fs/cgroup%s/memory.min", path), PATH("%llu\n", min * MIB));
        fake_file(f, PATH("sys/fs/cgroup%s/memory.current", path), PATH("%llu\n", used * MIB));
}

static uint64_t effective(const FakeRoot *f, const char *path, bool recursive) {
        _cleanup_(cgroup_uses_freep) CgroupUses *u = cgroup_uses_new();
        uint64_t value = 1, again = 2;

        CHECK(u && cgroup_effective_min(f->root, u, path, recursive, &value) == 0);
        CHECK(cgroup_effective_min(f->root, u, path, recursive, &again) == 0 && value == again);
        return value;
}

/* What a reservation of 100 MiB comes to: worked out by hand from mm/page_counter.c. */
static void in_effect(void) {
        _cleanup_fake_root_ FakeRoot f = fake_root_make();

        uses(&f, "/s", 0, 500);
        uses(&f, "/s/t", 100, 120);
        uses(&f, "/s/t/a", 100, 10);
        CHECK(effective(&f, "/s/t/a", true) == 0); /* an ancestor has nothing */
        uses(&f, "/s", 60, 500);
        CHECK(effective(&f, "/s/t/a", true) == 60 * MIB && effective(&f, "/s/t", true) == 60 * MIB);
        uses(&f, "/s", 100, 500);
        CHECK(effective(&f, "/s/t/a", true) == 100 * MIB); /* although it uses 10 now */
        /* a neighbour that has reserved, and uses, as much again: there is half for each; one that does not use it is none */
        uses(&f, "/s/t/b", 100, 100);
        CHECK(effective(&f, "/s/t/a", true) == 50 * MIB && effective(&f, "/s/t/a", false) == 50 * MIB);
        uses(&f, "/s/t/b", 100, 0);
        CHECK(effective(&f, "/s/t/a", true) == 100 * MIB);
        uses(&f, "/s/t/b", 0, 100);
        CHECK(effective(&f, "/s/t/a", true) == 100 * MIB);
        /* two neighbours, a level higher: of 100 MiB in all 100 of 300 */
        uses(&f, "/s/u", 200, 300);
        CHECK(effective(&f, "/s/t/a", true) == 33 * MIB + MIB / 3);
        /* terabytes: the product is larger than 64 bits */
        uses(&f, "/h", 3U << 20, 8U << 20);
        uses(&f, "/h/a", 2U << 20, 3U << 20);
        uses(&f, "/h/b", 3U << 20, 4U << 20);
        CHECK(effective(&f, "/h/a", true) == (6ULL << 40) / 5);
        /* no limit, all the way; and where only it has none it gets what is there */
        fake_file(&f, "sys/fs/cgroup/x/memory.min", "max\n");
        fake_file(&f, "sys/fs/cgroup/x/a/memory.min", "max\n");
        CHECK(effective(&f, "/x/a", true) == UINT64_MAX && effective(&f, "/x", true) == UINT64_MAX);
        uses(&f, "/x", 70, 10);
        CHECK(effective(&f, "/x/a", true) == 70 * MIB);
}

/* With memory_recursiveprot, what no child claims is shared out by what they use beyond their own. */
static void handed_down(void) {
        _cleanup_fake_root_ FakeRoot f = fake_root_make();

        uses(&f, "/s", 100, 200);
        uses(&f, "/s/a", 0, 50);
        uses(&f, "/s/b", 40, 40);
        uses(&f, "/s/c", 0, 110);
        CHECK(effective(&f, "/s/a", true) == 18 * MIB); /* (100 - 40) * 50 / (200 - 40) = 18.75, in whole MiB */
        CHECK(effective(&f, "/s/a", false) == 0);
        CHECK(effective(&f, "/s/b", true) == 40 * MIB && effective(&f, "/s/b", false) == 40 * MIB);
        uses(&f, "/s/a/inner", 0, 50);
        uses(&f, "/s/a/inner/most", 0, 25);
        CHECK(effective(&f, "/s/a/inner/most", true) == 9 * MIB);
        uses(&f, "/s/b", 200, 200); /* all of it is claimed */
        CHECK(effective(&f, "/s/a", true) == 0);
        /* without the memory controller it is charged to the one above */
        fake_file(&f, "sys/fs/cgroup/s/b/plain/cgroup.procs", "1\n");
        CHECK(effective(&f, "/s/b/plain", true) == effective(&f, "/s/b", true) && effective(&f, "/s/b", true) == 100 * MIB);
        CHECK(effective(&f, "/", true) == 0 && effective(&f, "/nowhere", true) == 0 && effective(&f, "", true) == 0);
}

static void limits(void) {
        _cleanup_fake_root_ FakeRoot f = machine();
        State s = {};

        fake_file(&f, "sys/fs/cgroup/system.slice/memory.high", "50000\n");
        CHECK(cgroup_state_read(f.root, "/system.slice/a.service", &s) == 0);
        CHECK(!state_find_limit(&s, "/system.slice/a.service", 50000, LIMIT_ANY));
        CHECK(streq(state_find_limit(&s, "/system.slice/a.service", 50001, LIMIT_ANY)->path, "/system.slice"));
        CHECK(streq(state_find_limit(&s, "/system.slice/a.service", 100001, LIMIT_ANY)->path, "/system.slice/a.service"));
        CHECK(!state_find_limit(&s, "/system.slice/a.service", 100000, LIMIT_MAX));
        CHECK(streq(state_find_limit(&s, "/system.slice/a.service", 100001, LIMIT_MAX)->path, "/system.slice/a.service"));
        CHECK(!state_find_limit(&s, "/gone", 100001, LIMIT_ANY) && !state_find_limit(&s, NULL, 100001, LIMIT_ANY));
        state_done(&s);
}

static void frozen(void) {
        _cleanup_fake_root_ FakeRoot f = machine();
        State s = {};

        fake_file(&f, "sys/fs/cgroup/system.slice/cgroup.events", "populated 1\nfrozen 0\n");
        fake_file(&f, "sys/fs/cgroup/system.slice/a.service/cgroup.events", "populated 1\nfrozen 1\n");
        CHECK(cgroup_state_read(f.root, "/system.slice/a.service", &s) == 0);
        CHECK(state_find_cgroup(&s, "/system.slice/a.service")->frozen && !state_find_cgroup(&s, "/system.slice")->frozen);
        state_done(&s);
}

static void processes(void) {
        _cleanup_fake_root_ FakeRoot f = machine();
        pid_t *pids = NULL;
        size_t n = 0;

        fake_file(&f, "sys/fs/cgroup/system.slice/cgroup.procs", "");
        fake_file(&f, "sys/fs/cgroup/system.slice/b.service/cgroup.procs", "30\n");
        CHECK(cgroup_list_processes(f.root, "/system.slice", 100, &pids, &n) == 0);
        CHECK(n == 3 && pids[0] == 1 && pids[1] == 2 && pids[2] == 30);
        free(pids);
        CHECK(cgroup_list_processes(f.root, "/system.slice", 2, &pids, &n) == 0 && n == 2);
        free(pids);
        CHECK(cgroup_list_processes(f.root, "/gone", 2, &pids, &n) == 0 && n == 0);
        free(pids);
}

TEST_MAIN(TEST(chain), TEST(limits), TEST(frozen), TEST(processes), TEST(without_controller), TEST(swapped), TEST(old_statistics), TEST(what_is_not_there),
          TEST(in_effect), TEST(handed_down))
