/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Looks at a made-up machine: XFS on a ublk device, whose server has its image on ext4. */
#include <unistd.h>

#include "daemon/world/world.h"
#include "tests/unit/fake-root.h"

#define MOUNTS "20 1 8:0 / / rw - xfs /dev/sda rw\n21 20 8:16 / /srv rw - ext4 /dev/sdb rw\n22 20 0:6 / /dev rw - devtmpfs none rw\n"
#define UPPER "23 20 259:0 / /mnt rw - xfs /dev/ublkb0 rw\n"
#define SERVER 800
#define SERVER_ID "process:800:7"

typedef struct Machine {
        FakeRoot fake;
        World world;
        const Action *failed; /* what was tried last, in vain */
        RecordView done;
} Machine;

static void block(const Machine *m, const char *name, const char *number, const char *directory) {
        fake_link(&m->fake, PATH("sys/class/block/%s", name), PATH("../../devices/%s/block/%s", directory, name));
        fake_file(&m->fake, PATH("sys/devices/%s/block/%s/dev", directory, name), number);
        fake_file(&m->fake, PATH("sys/devices/%s/block/%s/size", directory, name), "2048\n");
}

static void open_file(const Machine *m, int fd, const char *path, int mount) {
        fake_link(&m->fake, PATH("proc/%d/fd/%d", SERVER, fd), path);
        fake_file(&m->fake, PATH("proc/%d/fdinfo/%d", SERVER, fd), PATH("pos:\t0\nflags:\t0100002\nmnt_id:\t%d\nino:\t9\n", mount));
}

static void server(const Machine *m) {
        static const char stat[] = "800 (ublk) S 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 7 0 0\n";

        fake_file(&m->fake, "proc/800/stat", stat);
        fake_file(&m->fake, "proc/800/task/800/stat", stat);
        fake_file(&m->fake, "proc/800/comm", "ublk\n");
        fake_file(&m->fake, "proc/800/status", "Tgid:\t800\nUid:\t0\t0\t0\t0\nCapEff:\t000001ffffffffff\n");
        fake_file(&m->fake, "proc/800/cgroup", "0::/system.slice/server.service\n");
        fake_link(&m->fake, "proc/800/ns/mnt", "mnt:[1]");
        fake_link(&m->fake, "proc/800/ns/net", "net:[1]");
        open_file(m, 3, "/dev/ublkc0", 22);
        open_file(m, 4, "/srv/image", 21);
}

static void machine_init(Machine *m, const char *mounts) {
        char *trouble = NULL;

        *m = (Machine) { .fake = fake_root_make() };
        fake_link(&m->fake, "proc/1/ns/mnt", "mnt:[1]");
        fake_link(&m->fake, "proc/1/ns/net", "net:[1]");
        fake_file(&m->fake, "proc/1/mountinfo", mounts);
        fake_file(&m->fake, "proc/sys/kernel/osrelease", "6.12.57\n");
        block(m, "sda", "8:0\n", "pci0");
        block(m, "sdb", "8:16\n", "pci1");
        block(m, "ublkb0", "259:0\n", "virtual");
        fake_file(&m->fake, "sys/class/ublk-char/ublkc0/dev", "240:0\n");
        server(m);
        CHECK(world_init(&m->world) == 0 && world_open(&m->world, m->fake.path, &trouble) == 0 && !trouble);
}

static void machine_done(Machine *m) {
        world_done(&m->world);
        fake_root_done(&m->fake);
}
#define _cleanup_machine_ _cleanup_(machine_done)

static const Action *failed(void *userdata, const Action *a) {
        const Machine *m = userdata;

        return m->failed && a->kind == m->failed->kind ? m->failed : NULL;
}

static int look(Machine *m, unsigned tables, bool acts) {
        const WorldInput in = { .acts = acts, .marks = true, .complete = world_is_complete(&m->world), .done = m->done, .failed = failed,
                                .userdata = m };
        int r;

        r = world_look(&m->world, tables, NULL);
        return r < 0 ? r : world_judge(&m->world, &in);
}

static const Action *planned(const Machine *m, ActionKind kind) {
        for (size_t i = 0; i < m->world.plan.n; i++)
                if (m->world.plan.actions[i].kind == kind && m->world.plan.actions[i].state == ACTION_PLANNED)
                        return &m->world.plan.actions[i];
        return NULL;
}

static const Hazard *hazard(const Machine *m, HazardKind kind) {
        for (size_t i = 0; i < m->world.hazards.n; i++)
                if (m->world.hazards.hazards[i].kind == kind)
                        return &m->world.hazards.hazards[i];
        return NULL;
}

/* What is about to be done is no hazard; who only looks has nothing to do, and says so. */
static void what_follows_from_a_look(void) {
        _cleanup_machine_ Machine m;

        machine_init(&m, MOUNTS UPPER);
        CHECK(look(&m, TABLE_ALL, false) == 0);
        CHECK(m.world.looked && graph_find(m.world.graph, "fs:259:0") && graph_find(m.world.graph, SERVER_ID));
        CHECK(m.world.plan.n == 0 && hazard(&m, HAZARD_NOFS_MISSING));
        CHECK(look(&m, TABLE_ALL, true) == 0);
        CHECK(planned(&m, ACTION_IO_FLUSHER) && planned(&m, ACTION_IO_FLUSHER)->pid == SERVER && !hazard(&m, HAZARD_NOFS_MISSING));
}

/* What was tried in vain is one again; of what cannot be done at all it says why. */
static void what_was_tried_in_vain(void) {
        _cleanup_machine_ Machine m;
        Action vain = { .kind = ACTION_IO_FLUSHER, .state = ACTION_FAILED };

        machine_init(&m, MOUNTS UPPER);
        m.failed = &vain;
        CHECK(look(&m, TABLE_ALL, true) == 0);
        CHECK(planned(&m, ACTION_IO_FLUSHER) && hazard(&m, HAZARD_NOFS_MISSING));
        CHECK(!strstr(hazard(&m, HAZARD_NOFS_MISSING)->message, "a stack of its own"));
        vain.refused = true;
        vain.error = (char *) "a stack of its own";
        CHECK(look(&m, 0, true) == 0);
        CHECK(strstr(hazard(&m, HAZARD_NOFS_MISSING)->message, "a stack of its own"));
}

/* A kernel that is not known gets no marks, and everything else. */
static void who_may_not_mark(void) {
        _cleanup_machine_ Machine m;
        WorldInput in = { .acts = true, .complete = true, .failed = failed, .userdata = &m };

        machine_init(&m, MOUNTS UPPER);
        CHECK(world_look(&m.world, TABLE_ALL, NULL) == 0 && world_judge(&m.world, &in) == 0);
        CHECK(!planned(&m, ACTION_IO_FLUSHER) && m.world.plan.n > 0 && hazard(&m, HAZARD_NOFS_MISSING));
}

/* Only tables that are named are read: what they do not show is not known yet. */
static void tables_that_are_named(void) {
        _cleanup_machine_ Machine m;

        machine_init(&m, MOUNTS);
        CHECK(look(&m, TABLE_ALL, false) == 0 && !graph_find(m.world.graph, "fs:259:0"));
        fake_file(&m.fake, "proc/1/mountinfo", MOUNTS UPPER);
        CHECK(look(&m, TABLE_BLOCKS, false) == 0 && !graph_find(m.world.graph, "fs:259:0"));
        CHECK(look(&m, TABLE_MOUNTS, false) == 0 && graph_find(m.world.graph, "fs:259:0"));
}

/* Nothing is concluded from a look that failed. */
static void a_look_that_fails(void) {
        _cleanup_machine_ Machine m;

        machine_init(&m, MOUNTS UPPER);
        CHECK(look(&m, TABLE_ALL, true) == 0 && planned(&m, ACTION_IO_FLUSHER));
        CHECK(unlink(PATH("%s/proc/1/mountinfo", m.fake.path)) == 0);
        CHECK(look(&m, TABLE_ALL, true) < 0);
        CHECK(graph_find(m.world.graph, "fs:259:0") && planned(&m, ACTION_IO_FLUSHER));
        fake_file(&m.fake, "proc/1/mountinfo", MOUNTS UPPER);
        CHECK(look(&m, TABLE_ALL, true) == 0 && planned(&m, ACTION_IO_FLUSHER));
}

/* A server that has gone may come back; what is gone with it is told as changes, once. */
static void a_server_ends(void) {
        _cleanup_machine_ Machine m;

        machine_init(&m, MOUNTS UPPER);
        CHECK(look(&m, TABLE_ALL, false) == 0 && !m.world.scan.unserved && m.world.changes.n_touched > 0);
        graph_changes_done(&m.world.changes);
        CHECK(look(&m, 0, false) == 0 && m.world.changes.n_touched + m.world.changes.n_removed == 0);
        CHECK(rename(PATH("%s/proc/800", m.fake.path), PATH("%s/gone", m.fake.path)) == 0);
        CHECK(look(&m, TABLE_PROCESSES, false) == 0);
        CHECK(m.world.lost && m.world.scan.unserved && !graph_find(m.world.graph, SERVER_ID) && m.world.changes.n_removed > 0);
        CHECK(look(&m, 0, false) == 0 && m.world.lost); /* for as long as nobody takes over */
        CHECK(rename(PATH("%s/gone", m.fake.path), PATH("%s/proc/800", m.fake.path)) == 0);
        CHECK(look(&m, TABLE_PROCESSES, false) == 0 && !m.world.lost && graph_find(m.world.graph, SERVER_ID));
}

/* ---- control groups ---- */

#define MIB (1ULL << 20)

static void group(const Machine *m, const char *path, uint64_t min, const char *max, uint64_t used) {
        fake_file(&m->fake, PATH("sys/fs/cgroup%s/memory.min", path), PATH("%llu\n", (unsigned long long) min));
        fake_file(&m->fake, PATH("sys/fs/cgroup%s/memory.low", path), "0\n");
        fake_file(&m->fake, PATH("sys/fs/cgroup%s/memory.max", path), max);
        fake_file(&m->fake, PATH("sys/fs/cgroup%s/memory.high", path), "max\n");
        fake_file(&m->fake, PATH("sys/fs/cgroup%s/memory.swap.max", path), "max\n");
        fake_file(&m->fake, PATH("sys/fs/cgroup%s/memory.current", path), PATH("%llu\n", (unsigned long long) used));
        fake_file(&m->fake, PATH("sys/fs/cgroup%s/memory.stat", path), PATH("anon %llu\nshmem 0\nfile_mapped 0\nkernel 0\n", (unsigned long long) used));
        fake_file(&m->fake, PATH("sys/fs/cgroup%s/cgroup.procs", path), "");
        fake_file(&m->fake, PATH("sys/fs/cgroup%s/cgroup.events", path), "populated 1\nfrozen 0\n");
}

/* A server and a neighbour in a slice of theirs. */
static void box(Machine *m, bool recursive, uint64_t min, const char *max) {
        machine_init(m, PATH(MOUNTS UPPER "24 20 0:30 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw%s\n", recursive ? ",memory_recursiveprot" : ""));
        fake_file(&m->fake, "sys/fs/cgroup/cgroup.controllers", "memory\n");
        fake_file(&m->fake, "proc/meminfo", "MemTotal: 8000000 kB\n");
        fake_file(&m->fake, "proc/800/cgroup", "0::/box.slice/server.service\n");
        group(m, "/box.slice", min, max, 480 * MIB);
        group(m, "/box.slice/server.service", 0, "max\n", 400 * MIB);
        group(m, "/box.slice/neighbour.service", 0, "max\n", 80 * MIB);
}

/* In MiB, rounded up; 0: none is planned. */
static uint64_t reserved(const Machine *m, const char *target, const char **ret_reason) {
        for (size_t i = 0; i < m->world.plan.n; i++) {
                const Action *a = &m->world.plan.actions[i];

                if (a->kind != ACTION_MEMORY_MIN || a->state != ACTION_PLANNED || !streq(a->target, target))
                        continue;
                if (ret_reason)
                        *ret_reason = a->reason;
                return (strtoull(a->to, NULL, 10) + MIB - 1) / MIB;
        }
        return 0;
}

#define MIN_RECORD(unit)                                                                        \
        { .kind = ACTION_MEMORY_MIN, .target = (char *) "unit:" unit, .key = (char *) "", .subject = (char *) "", .name = (char *) unit, \
          .from = (char *) "0", .to = (char *) "387973120", .set = (char *) "387973120" }

/* What is reserved now of our doing, and what the box uses. */
static void box_holds(const Machine *m, uint64_t reserved, uint64_t used) {
        group(m, "/box.slice/server.service", reserved, "max\n", 400 * MIB);
        group(m, "/box.slice", reserved, "536870912\n", used);
}

/* Where the box is full, something in it can still be reclaimed, and somebody else than the neighbour has to give. */
static void a_limit_above_the_server(void) {
        static const Record records[] = { MIN_RECORD("server.service"), MIN_RECORD("box.slice") };
        _cleanup_machine_ Machine m;
        const char *reason = NULL;

        box(&m, true, 0, "536870912\n");
        CHECK(look(&m, TABLE_ALL, true) == 0);
        CHECK(reserved(&m, "unit:server.service", &reason) == 448 - 80 && reserved(&m, "unit:box.slice", NULL) == 448 - 80);
        CHECK(strstr(reason, "/box.slice may hold no more than 524288 KiB"));
        /* Once it is so it stays, also when the neighbour needs a little more, or less; not when it needs much more. */
        m.done = (RecordView) { .records = records, .n = ELEMENTSOF(records) };
        for (uint64_t used = 460; used <= 500; used += 20) {
                box_holds(&m, 370 * MIB, used * MIB);
                CHECK(look(&m, 0, true) == 0 && reserved(&m, "unit:server.service", NULL) == 0 && reserved(&m, "unit:box.slice", NULL) == 0);
        }
        box_holds(&m, 370 * MIB, 600 * MIB);
        CHECK(look(&m, 0, true) == 0 && reserved(&m, "unit:server.service", NULL) == 448 - 200 && reserved(&m, "unit:box.slice", NULL) == 448 - 200);
}

/* An administrator's reservation for all in the box stays theirs, where the kernel hands it down. */
static void a_reservation_above_the_server(void) {
        for (unsigned recursive = 0; recursive < 2; recursive++) {
                _cleanup_machine_ Machine m;

                box(&m, recursive, 400 * MIB, "max\n");
                CHECK(look(&m, TABLE_ALL, true) == 0);
                CHECK(reserved(&m, "unit:server.service", NULL) == 516);
                CHECK(reserved(&m, "unit:box.slice", NULL) == (recursive ? 916 : 516));
        }
}

static void what_is_no_capture(void) {
        _cleanup_free_ char *trouble = NULL;
        World w;

        CHECK(world_init(&w) == 0 && world_open(&w, "/no/such/root", &trouble) == 0);
        CHECK(trouble && strstr(trouble, "/no/such/root"));
        world_done(&w);
}

TEST_MAIN(TEST(what_follows_from_a_look), TEST(what_was_tried_in_vain), TEST(who_may_not_mark), TEST(tables_that_are_named),
          TEST(a_look_that_fails), TEST(a_server_ends), TEST(a_limit_above_the_server), TEST(a_reservation_above_the_server),
          TEST(what_is_no_capture))
