/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What memory control groups have, as their files say. */
#include "daemon/source/cgroup-state.h"
#include "tests/unit/fake-root.h"

static void cgroup(const FakeRoot *f, const char *path, const char *min, const char *max) {
        static const char *const files[] = { "memory.low", "memory.current" };

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

static void handed_down(void) {
        _cleanup_fake_root_ FakeRoot f = machine();

        cgroup(&f, "/system.slice/a.service", "8192\n", "max\n");
        cgroup(&f, "/system.slice/a.service/inner", "0\n", "max\n");
        cgroup(&f, "/system.slice/a.service/inner/most", "0\n", "max\n");
        CHECK(cgroup_inherited_min(f.root, "/system.slice/a.service/inner") == 4096);
        cgroup(&f, "/system.slice", "10000000\n", "max\n");
        CHECK(cgroup_inherited_min(f.root, "/system.slice/a.service/inner") == 8192);
        /* claimed by others */
        CHECK(cgroup_inherited_min(f.root, "/system.slice/c.service") == 0);
        CHECK(cgroup_inherited_min(f.root, "/") == 0 && cgroup_inherited_min(f.root, "/x") == 0);
        cgroup(&f, "/system.slice/a.service/other", "1\n", "max\n");
        CHECK(cgroup_inherited_min(f.root, "/system.slice/a.service/inner") == 0);
}

TEST_MAIN(TEST(chain), TEST(swapped), TEST(old_statistics), TEST(what_is_not_there), TEST(handed_down))
