/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Edges that no mount source, slave or holder names: journals, images, names that udev made, daemons that watch. */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "daemon/source/scan.h"
#include "tests/unit/fake-root.h"

typedef struct Fixture {
        FakeRoot fake;
        ProbeCache probes;
        Scan scan;
        FactSet *facts;
} Fixture;

static void fixture_init(Fixture *x) {
        *x = (Fixture) { .fake = fake_root_make(), .facts = factset_new() };
        CHECK(x->facts && probe_cache_init(&x->probes) == 0);
        x->scan = (Scan) { .root = x->fake.root, .probes = &x->probes };
        fake_link(&x->fake, "proc/1/ns/mnt", "mnt:[1]");
}

static void fixture_done(Fixture *x) {
        factset_free(x->facts);
        scan_done(&x->scan);
        probe_cache_done(&x->probes);
        fake_root_done(&x->fake);
}
#define _cleanup_fixture_ _cleanup_(fixture_done)

static void make_block(const Fixture *x, const char *name, const char *device, const char *directory) {
        fake_link(&x->fake, PATH("sys/class/block/%s", name), PATH("../../devices/%s/block/%s", directory, name));
        fake_file(&x->fake, PATH("sys/devices/%s/block/%s/dev", directory, name), device);
        fake_file(&x->fake, PATH("sys/devices/%s/block/%s/size", directory, name), "2048\n");
}

static void make_dm(const Fixture *x, const char *name, const char *device, const char *label, const char *uuid) {
        make_block(x, name, device, "virtual");
        fake_file(&x->fake, PATH("sys/devices/virtual/block/%s/dm/name", name), label);
        fake_file(&x->fake, PATH("sys/devices/virtual/block/%s/dm/uuid", name), uuid);
}

/* A process with a descriptor 3 of a device node. */
static void make_holder(const Fixture *x, pid_t pid, const char *comm, const char *path, int mount_id) {
        fake_file(&x->fake, PATH("proc/%d/stat", pid), PATH("%d (%s) S 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 7 0 0\n", pid, comm));
        fake_file(&x->fake, PATH("proc/%d/comm", pid), PATH("%s\n", comm));
        fake_link(&x->fake, PATH("proc/%d/fd/3", pid), path);
        fake_file(&x->fake, PATH("proc/%d/fdinfo/3", pid), PATH("pos:\t0\nflags:\t0100002\nmnt_id:\t%d\nino:\t9\n", mount_id));
}

static void scan(Fixture *x, int (*source)(Scan *s, FactSet *f)) {
        CHECK(scan_refresh(&x->scan, TABLE_ALL) == 0);
        CHECK(source(&x->scan, x->facts) == 0);
}

static int compare(const void *a, const void *b) {
        return strcmp(*(char *const *) a, *(char *const *) b);
}

/* All edges as "UPPER>LOWER" with the certainty as a letter, sorted; "!" before an error path. */
static void check_edges(const Fixture *x, const char *want) {
        _cleanup_strv_free_ char **edges = NULL;
        _cleanup_free_ char *have = strdup("");
        size_t n = 0;

        for (size_t i = 0; i < x->facts->n_edges; i++) {
                const EdgeFact *e = &x->facts->edges[i];

                CHECK(strv_append(&edges, &n, PATH("%s>%s%s%c", e->upper, e->role == ROLE_ERROR_PATH ? "!" : "", e->lower,
                                                   certainty_to_string(e->certainty)[0])) == 0);
        }
        if (n > 1)
                qsort(edges, n, sizeof(char *), compare);
        for (size_t i = 0; i < n; i++) {
                char *longer = text_format("%s%s%s", have, i > 0 ? " " : "", edges[i]);

                free(have);
                have = longer;
                CHECK(have);
        }
        if (!streq(have, want))
                printf("# have '%s'\n# want '%s'\n", have, want);
        CHECK(streq(have, want));
}

static void ext4_journal(void) {
        _cleanup_fixture_ Fixture x;

        fixture_init(&x);
        make_block(&x, "sda", "8:0\n", "pci");
        make_block(&x, "sdb", "8:16\n", "pci");
        make_block(&x, "sdc", "8:32\n", "pci");
        make_block(&x, "sdd", "8:48\n", "pci");
        fake_file(&x.fake, "proc/1/mountinfo",
                  "20 1 8:0 / / rw - ext4 /dev/sda rw\n21 20 8:16 / /inside rw - ext4 /dev/sdb rw\n"
                  "22 20 8:0 / /again rw - ext4 /dev/sda rw\n23 20 8:48 / /none rw - ext4 /dev/sdd rw\n");
        fake_file(&x.fake, "sys/fs/ext4/sda/journal_task", "200\n");
        fake_file(&x.fake, "proc/200/comm", "jbd2/sdc\n");
        fake_file(&x.fake, "sys/fs/ext4/sdb/journal_task", "201\n");
        fake_file(&x.fake, "proc/201/comm", "jbd2/sdb-8\n");
        fake_file(&x.fake, "sys/fs/ext4/sdd/journal_task", "<none>\n");
        scan(&x, source_journal_scan);
        check_edges(&x, "fs:8:0>block:8:32p");
}

static void xfs_log(void) {
        _cleanup_fixture_ Fixture x;

        fixture_init(&x);
        make_block(&x, "sda", "8:0\n", "pci");
        make_block(&x, "sdb", "8:16\n", "pci");
        make_dm(&x, "dm-0", "253:0\n", "vg-log\n", "LVM-x\n");
        fake_link(&x.fake, "run/udev/links/vg\\x2flog/b253:0", "0:/dev/dm-0");
        fake_file(&x.fake, "proc/1/mountinfo",
                  "20 1 8:0 / / rw - xfs /dev/sda rw,logdev=/dev/vg/log,rtdev=/dev/sdb,noquota\n");
        scan(&x, source_journal_scan);
        check_edges(&x, "fs:8:0>block:253:0u fs:8:0>block:8:16u");
}

/* Two claim a name: the higher priority has it, whoever is gone has not, and equals are not told apart. */
static void names(void) {
        _cleanup_fixture_ Fixture x;
        const BlockTable *t = &x.scan.blocks;

        fixture_init(&x);
        make_block(&x, "sda", "8:0\n", "pci");
        make_block(&x, "sdb", "8:16\n", "pci");
        fake_file(&x.fake, "proc/1/mountinfo", "");
        fake_link(&x.fake, "run/udev/links/disk\\x2fby-id\\x2fa/b8:0", "-10:/dev/sda");
        fake_link(&x.fake, "run/udev/links/disk\\x2fby-id\\x2fa/b8:16", "50:/dev/sdb");
        fake_link(&x.fake, "run/udev/links/disk\\x2fby-id\\x2fa/b8:99", "90:/dev/gone");
        fake_link(&x.fake, "run/udev/links/b/b8:0", "0:/dev/sda");
        fake_link(&x.fake, "run/udev/links/b/b8:16", "0:/dev/sdb");
        fake_link(&x.fake, "run/udev/links/c/nonsense", "x");
        CHECK(scan_refresh(&x.scan, TABLE_ALL) == 0);
        CHECK(block_table_resolve(x.fake.root, t, "/dev/sda") == block_table_find(t, "sda"));
        CHECK(block_table_resolve(x.fake.root, t, "/dev/disk/by-id/a") == block_table_find(t, "sdb"));
        CHECK(!block_table_resolve(x.fake.root, t, "/dev/b"));
        CHECK(!block_table_resolve(x.fake.root, t, "/dev/c"));
        CHECK(!block_table_resolve(x.fake.root, t, "/dev/../sda"));
        CHECK(!block_table_resolve(x.fake.root, t, "/dev/"));
        CHECK(!block_table_resolve(x.fake.root, t, "relative"));
}

static void erofs_image(void) {
        _cleanup_fixture_ Fixture x;

        fixture_init(&x);
        make_block(&x, "sda", "8:0\n", "pci");
        fake_file(&x.fake, "proc/1/mountinfo",
                  "20 1 8:0 / / rw - ext4 /dev/sda rw\n21 20 0:40 / /a rw - erofs /images/a ro\n"
                  "22 20 0:41 / /b rw - erofs relative ro\n23 20 8:0 / /c rw - erofs /dev/sda ro\n");
        scan(&x, source_filesystem_scan);
        check_edges(&x, "file:8:0:/images/a>fs:8:0i fs:0:40>file:8:0:/images/ai fs:8:0>block:8:0p");
}

static const NodeFact *find_node(const Fixture *x, const char *id) {
        for (size_t i = 0; i < x->facts->n_nodes; i++)
                if (streq(x->facts->nodes[i].id, id))
                        return &x->facts->nodes[i];
        return NULL;
}

/* A file system that is said to be mounted nowhere. */
static void check_unmounted(const Fixture *x, const char *id, const char *type) {
        const NodeFact *n = find_node(x, id);

        CHECK(n && n->kind == NODE_FILESYSTEM && streq(n->type, type) && n->incomplete && (!n->mounts || !n->mounts[0]));
}

static void make_bdi(const Fixture *x, const char *name) {
        fake_file(&x->fake, PATH("sys/devices/virtual/bdi/%s/max_ratio", name), "1\n");
        fake_link(&x->fake, PATH("sys/class/bdi/%s", name), PATH("../../devices/virtual/bdi/%s", name));
}

#define UUID_A "aaaaaaaa-0000-4000-8000-000000000001"
#define UUID_B "bbbbbbbb-0000-4000-8000-000000000002"

static void make_btrfs(const Fixture *x, const char *uuid, const char *member) {
        fake_link(&x->fake, PATH("sys/fs/btrfs/%s/devices/%s", uuid, member), PATH("../../../../devices/pci/block/%s", member));
}

/* The kernel's lists of file systems against the mount table. */
static void unmounted(void) {
        _cleanup_fixture_ Fixture x;

        fixture_init(&x);
        make_block(&x, "sda", "8:0\n", "pci");
        make_block(&x, "sdb", "8:16\n", "pci");
        make_block(&x, "sdc", "8:32\n", "pci");
        fake_file(&x.fake, "proc/1/mountinfo",
                  "20 1 8:0 / / rw - ext4 /dev/sda rw\n21 20 0:52 / /c rw - fuse.x x rw\n22 20 8:32 / /f rw - fuseblk /dev/sdc rw\n");
        fake_file(&x.fake, "sys/fs/ext4/features/lazy", "");
        fake_file(&x.fake, "sys/fs/ext4/sda/errors_count", "0\n");
        fake_file(&x.fake, "sys/fs/xfs/sdb/log", "");
        fake_file(&x.fake, "sys/fs/xfs/stats/stats", "");
        fake_file(&x.fake, "sys/fs/f2fs/gone/x", "");
        fake_file(&x.fake, "sys/fs/fuse/connections/50/waiting", "0\n");
        fake_file(&x.fake, "proc/1/net/nfsfs/volumes",
                  "NV SERVER   PORT DEV          FSID                              FSC\n"
                  "v4 7f000001  801 0:51         0:0                               no \n"
                  "v3 00000000000000000000000000000001  801 0:53         0:0                               no \n");
        for (const char *const *name = (const char *const[]) { "8:0", "0:50", "0:51", "0:52", "0:53", "0:54", "8:32-fuseblk", "8:64-fuseblk", "btrfs-1", "9p-2", NULL };
             *name; name++)
                make_bdi(&x, *name);
        scan(&x, source_filesystem_scan);
        check_edges(&x, "fs:8:0>block:8:0p fs:8:16>block:8:16p");
        CHECK(x.facts->n_nodes == 9);
        check_unmounted(&x, "fs:8:16", "xfs");
        check_unmounted(&x, "fs:0:50", "fuse");
        check_unmounted(&x, "fs:0:51", "nfs4");
        check_unmounted(&x, "fs:0:53", "nfs");
        check_unmounted(&x, "fs:0:54", "unknown");
        check_unmounted(&x, "fs:8:64", "fuseblk");
        CHECK(!find_node(&x, "fs:8:0")->incomplete && !find_node(&x, "fs:0:52")->incomplete && !find_node(&x, "fs:8:32")->incomplete);
        CHECK(x.scan.unwatched); /* the XFS */
        CHECK(streq(mount_table_find_device(&x.scan.mounts, makedev(0, 51))->options, "addr=127.0.0.1,port=2049"));
        CHECK(streq(mount_table_find_device(&x.scan.mounts, makedev(0, 53))->options, "addr=0:0:0:0:0:0:0:1,port=2049"));
        /* What was found is not found twice, and goes. */
        CHECK(scan_refresh(&x.scan, 0) == 0 && x.scan.mounts.n == 9);
        CHECK(unlink(PATH("%s/sys/class/bdi/0:54", x.fake.path)) == 0);
        CHECK(scan_refresh(&x.scan, 0) == 0 && x.scan.mounts.n == 8 && !mount_table_find_device(&x.scan.mounts, makedev(0, 54)));
}

/* One is mounted (twice), one is not: its number is nobody's. */
static void unmounted_btrfs(void) {
        _cleanup_fixture_ Fixture x;

        fixture_init(&x);
        make_block(&x, "sda", "8:0\n", "pci");
        make_block(&x, "sdb", "8:16\n", "pci");
        make_block(&x, "sdc", "8:32\n", "pci");
        fake_file(&x.fake, "sys/fs/btrfs/features/x", "");
        make_btrfs(&x, UUID_A, "sda");
        make_btrfs(&x, UUID_B, "sdb");
        make_btrfs(&x, UUID_B, "sdc");
        fake_file(&x.fake, "proc/1/mountinfo", "20 1 0:60 / / rw - btrfs /dev/sda rw\n21 20 0:60 /a /a rw - btrfs /dev/sda rw\n");
        scan(&x, source_filesystem_scan);
        check_edges(&x, "fs:0:60>block:8:0p fs:btrfs:" UUID_B ">block:8:16p fs:btrfs:" UUID_B ">block:8:32p");
        CHECK(x.facts->n_nodes == 2);
        check_unmounted(&x, "fs:btrfs:" UUID_B, "btrfs");
        CHECK(!find_node(&x, "fs:btrfs:" UUID_B)->device && !x.scan.unwatched);
}

/* Where it is not known which of them is mounted, none is said not to be. */
static void unknown_btrfs(void) {
        _cleanup_fixture_ Fixture x;

        fixture_init(&x);
        make_block(&x, "sda", "8:0\n", "pci");
        make_btrfs(&x, UUID_A, "sda");
        fake_file(&x.fake, "proc/1/mountinfo", "20 1 0:60 / / rw - btrfs /dev/root rw\n");
        scan(&x, source_filesystem_scan);
        check_edges(&x, "");
        CHECK(x.facts->n_nodes == 1);
}

/* Device nodes without a device: unbound, unconnected, an array without members. One that is not started has them. */
static void idle_devices(void) {
        static const char *const names[] = { "loop0", "nbd0", "md126", "md127", "sda", "ram0" };
        _cleanup_fixture_ Fixture x;

        fixture_init(&x);
        for (unsigned i = 0; i < ELEMENTSOF(names); i++) {
                make_block(&x, names[i], PATH("9:%u\n", i), "virtual");
                fake_file(&x.fake, PATH("sys/devices/virtual/block/%s/size", names[i]), "0\n");
        }
        fake_link(&x.fake, "sys/devices/virtual/block/md127/slaves/sda", "../../sda");
        fake_file(&x.fake, "proc/1/mountinfo", "20 1 0:30 / / rw - tmpfs tmpfs rw\n");
        scan(&x, source_block_scan);
        for (unsigned i = 0; i < ELEMENTSOF(names); i++) {
                bool found = false;

                for (size_t j = 0; j < x.facts->n_nodes; j++)
                        found |= streq(x.facts->nodes[j].name, names[i]);
                CHECK(found == (i >= 3));
        }
        check_edges(&x, "block:9:3>block:9:4p");
}

/* What holds a loop device's file lives on when it is mounted nowhere any more. */
static void unmounted_below_loop(void) {
        _cleanup_fixture_ Fixture x;

        fixture_init(&x);
        make_block(&x, "sda", "8:0\n", "pci");
        make_block(&x, "sdb", "8:16\n", "pci");
        make_block(&x, "sdc", "8:32\n", "pci");
        for (unsigned i = 0; i < 5; i++) {
                make_block(&x, PATH("loop%u", i), PATH("7:%u\n", i), "virtual");
                fake_file(&x.fake, PATH("sys/devices/virtual/block/loop%u/loop/backing_file", i), PATH("/%u\n", i));
        }
        fake_file(&x.fake, "sys/fs/xfs/sda/x", "");
        fake_file(&x.fake, "sys/fs/fuse/connections/50/waiting", "0\n");
        make_bdi(&x, "0:50");
        make_btrfs(&x, UUID_B, "sdc");
        fake_file(&x.fake, "proc/1/mountinfo", "20 1 0:30 / / rw - tmpfs tmpfs rw\n");
        CHECK(probe_cache_load(&x.probes, "loop 7:0 0=8:0 12\nloop 7:1 0=0:50 13\nloop 7:2 0=0:99 14\nloop 7:3 0=8:16 15\nloop 7:4 0=8:64 16\n") == 0);
        scan(&x, source_loop_scan);
        check_edges(&x, "block:7:0>file:8:0:12p block:7:1>file:0:50:13p block:7:2>file:loop2:/2p block:7:3>file:8:16:15p block:7:4>file:loop4:/4p "
                        "file:0:50:13>fs:0:50p file:8:0:12>fs:8:0p file:8:16:15>fs:8:16p file:loop2:/2>fs:btrfs:" UUID_B "i fs:8:16>block:8:16p");
        check_unmounted(&x, "fs:8:16", "unknown"); /* of a type that is listed nowhere */
        CHECK(x.scan.unwatched);
        CHECK(find_node(&x, "file:loop2:/2")->incomplete && find_node(&x, "file:loop4:/4")->incomplete);
}

/* The path of a swap file on it begins at its root. */
static void unmounted_below_swap(void) {
        for (int i = 0; i < 3; i++) {
                _cleanup_fixture_ Fixture x;

                fixture_init(&x);
                make_block(&x, "sda", "8:0\n", "pci");
                make_block(&x, "sdb", "8:16\n", "pci");
                fake_file(&x.fake, "proc/1/mountinfo", "20 1 8:0 / / rw - ext4 /dev/sda rw\n");
                fake_file(&x.fake, "proc/swaps", "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n/a\\040=\\134     file\t\t8188\t\t0\t\t-2\n");
                if (i > 0)
                        fake_file(&x.fake, "sys/fs/xfs/sdb/x", "");
                CHECK(probe_cache_load(&x.probes, i == 1 ? "file /a\\040\\075\\134=no\n" : "file /a\\040\\075\\134=yes\n") == 0);
                scan(&x, source_swap_scan);
                check_edges(&x, i == 1 ? "file:swap:/a =\\>fs:8:16i swap:/a =\\>file:swap:/a =\\p"
                                       : "file:8:0:/a =\\>fs:8:0u swap:/a =\\>file:8:0:/a =\\p");
        }
}

#define DEVTMPFS "20 1 0:5 / /dev rw - devtmpfs devtmpfs rw\n21 20 0:6 / /dev/shm rw - tmpfs tmpfs rw\n"

static void vduse(void) {
        _cleanup_fixture_ Fixture x;

        fixture_init(&x);
        make_block(&x, "vdd", "254:48\n", "virtual/vduse/vd0/vd0/virtio5");
        make_block(&x, "vde", "254:64\n", "virtual/vduse/vd01/vd01/virtio6");
        fake_file(&x.fake, "proc/1/mountinfo", DEVTMPFS);
        make_block(&x, "vdf", "254:80\n", "virtual/vduse/vd02/vd02/virtio7");
        make_holder(&x, 30, "server", "/dev/vduse/vd0", 20);
        make_holder(&x, 31, "control", "/dev/vduse/control", 20);
        make_holder(&x, 32, "server", "/dev/vduse/vd01", 20);
        scan(&x, source_vduse_scan);
        CHECK(x.scan.processes.n == 2);
        check_edges(&x, "block:254:48>process:30:7p block:254:64>process:32:7p");
        CHECK(x.scan.unserved); /* the third */
}

/* A server's files on mounts that are in no table: one question for each, and what it is on. */
static void unmounted_below_process(void) {
        _cleanup_fixture_ Fixture x;

        fixture_init(&x);
        make_block(&x, "sda", "8:0\n", "pci");
        make_block(&x, "sdb", "8:16\n", "pci");
        make_block(&x, "sdc", "8:32\n", "pci");
        make_block(&x, "vdd", "254:48\n", "virtual/vduse/vd0/vd0/virtio5");
        make_btrfs(&x, UUID_B, "sdc");
        fake_file(&x.fake, "sys/fs/xfs/sda/x", "");
        fake_file(&x.fake, "proc/1/mountinfo", DEVTMPFS);
        make_holder(&x, 30, "server", "/dev/vduse/vd0", 20);
        fake_file(&x.fake, "proc/30/status", "Uid:\t0 0 0 0\n");
        fake_file(&x.fake, "proc/30/cgroup", "0::/x\n");
        fake_link(&x.fake, "proc/30/task/30/none", "x");
        for (int i = 0; i < 6; i++) {
                static const int mounts[] = { 70, 70, 71, 72, 73, 74 };

                fake_link(&x.fake, PATH("proc/30/fd/%d", 10 + i), PATH("/f%d", i));
                fake_file(&x.fake, PATH("proc/30/fdinfo/%d", 10 + i),
                          PATH("pos:\t0\nflags:\t0%o\nmnt_id:\t%d\nino:\t%d\n", i == 1 ? O_DIRECTORY : O_RDWR, mounts[i], 100 + i));
        }
        CHECK(probe_cache_load(&x.probes, "descriptor 70 7 30/fd/10=8:0\ndescriptor 71 7 30/fd/12=0:90 " UUID_B "\n"
                                          "descriptor 72 7 30/fd/13=8:16\ndescriptor 73 7 30/fd/14=0:1\n") == 0);
        CHECK(scan_refresh(&x.scan, TABLE_ALL) == 0);
        probe_cache_begin(&x.probes);
        CHECK(source_vduse_scan(&x.scan, x.facts) == 0 && source_process_scan(&x.scan, x.facts) == 0);
        check_edges(&x, "block:254:48>process:30:7p file:8:0:100>fs:8:0p file:8:16:103>fs:8:16p file:btrfs:" UUID_B ":102>fs:btrfs:" UUID_B "p "
                        "fs:8:16>block:8:16p process:30:7>file:8:0:100p process:30:7>file:8:16:103p process:30:7>file:btrfs:" UUID_B ":102p "
                        "process:30:7>fs:8:0i");
        /* The last one is still to be asked. */
        _cleanup_strv_free_ char **wanted = NULL;
        CHECK(probe_cache_take_wanted(&x.probes, PROBE_QUICK, &wanted) == 0 && wanted && streq(wanted[0], "descriptor 74 7 30/fd/15") && !wanted[1]);
}

/* A process has as many files open as it likes: each is known up to a number, and what all of them are on. */
static void many_files(void) {
        _cleanup_fixture_ Fixture x;
        size_t files = 0;
        bool whole = false;

        fixture_init(&x);
        make_block(&x, "sda", "8:0\n", "pci");
        make_block(&x, "vdd", "254:48\n", "virtual/vduse/vd0/vd0/virtio5");
        fake_file(&x.fake, "proc/1/mountinfo", DEVTMPFS "30 1 8:0 / /srv rw - ext4 /dev/sda rw\n");
        make_holder(&x, 30, "server", "/dev/vduse/vd0", 20);
        fake_file(&x.fake, "proc/30/status", "Uid:\t0 0 0 0\n");
        fake_file(&x.fake, "proc/30/cgroup", "0::/x\n");
        fake_link(&x.fake, "proc/30/task/30/none", "x");
        for (int i = 0; i < 4100; i++) {
                fake_link(&x.fake, PATH("proc/30/fd/%d", 10 + i), PATH("/srv/f%d", i));
                fake_file(&x.fake, PATH("proc/30/fdinfo/%d", 10 + i), PATH("pos:\t0\nflags:\t0100002\nmnt_id:\t30\nino:\t%d\n", 100 + i));
        }
        CHECK(scan_refresh(&x.scan, TABLE_ALL) == 0);
        CHECK(source_vduse_scan(&x.scan, x.facts) == 0 && source_process_scan(&x.scan, x.facts) == 0);
        for (size_t i = 0; i < x.facts->n_edges; i++) {
                const EdgeFact *e = &x.facts->edges[i];

                files += streq(e->upper, "process:30:7") && startswith(e->lower, "file:8:0:");
                whole = whole || (streq(e->upper, "process:30:7") && streq(e->lower, "fs:8:0") && e->certainty == CERTAINTY_PROVEN);
        }
        CHECK(files >= 4090 && files <= 4096 && whole); /* its device and its mount are among those looked at */
}

/* A mount that is in no table is a reason to read it again; one that is not in that one either is none. */
static void mounts_that_stay_unknown(void) {
        static const struct {
                unsigned tables;
                int mount_id;
                bool outdated;
        } passes[] = { { TABLE_ALL, 70, true },     { 0, 70, true },  { TABLE_MOUNTS, 70, false }, { 0, 70, false }, { 0, 71, true },
                     { TABLE_MOUNTS, 71, false }, { 0, 71, false }, { TABLE_MOUNTS, 71, false }, { 0, 71, false }, { TABLE_MOUNTS, 20, false },
                     { TABLE_MOUNTS, 20, false }, { 0, 71, true } };
        _cleanup_fixture_ Fixture x;

        fixture_init(&x);
        make_block(&x, "vdd", "254:48\n", "virtual/vduse/vd0/vd0/virtio5");
        fake_file(&x.fake, "proc/1/mountinfo", DEVTMPFS);
        make_holder(&x, 30, "server", "/dev/vduse/vd0", 20);
        fake_file(&x.fake, "proc/30/status", "Uid:\t0 0 0 0\n");
        fake_file(&x.fake, "proc/30/cgroup", "0::/x\n");
        fake_link(&x.fake, "proc/30/task/30/none", "x");
        fake_link(&x.fake, "proc/30/fd/10", "/f");
        for (size_t i = 0; i < ELEMENTSOF(passes); i++) {
                fake_file(&x.fake, "proc/30/fdinfo/10", PATH("pos:\t0\nflags:\t0100002\nmnt_id:\t%d\nino:\t100\n", passes[i].mount_id));
                CHECK(scan_refresh(&x.scan, passes[i].tables) == 0);
                CHECK(source_vduse_scan(&x.scan, x.facts) == 0 && source_process_scan(&x.scan, x.facts) == 0);
                CHECK(x.scan.mounts_outdated == passes[i].outdated);
        }
}

static void watchers(void) {
        _cleanup_fixture_ Fixture x;

        fixture_init(&x);
        make_dm(&x, "dm-0", "253:0\n", "mpatha\n", "mpath-3600\n");
        make_dm(&x, "dm-1", "253:1\n", "vg-pool-tpool\n", "LVM-x-tpool\n");
        make_dm(&x, "dm-2", "253:2\n", "vg-plain\n", "LVM-y\n");
        make_dm(&x, "dm-3", "253:3\n", "by-hand\n", "\n");
        make_dm(&x, "dm-4", "253:4\n", "vg-origin\n", "LVM-z\n");
        CHECK(probe_cache_load(&x.probes, "dm 253:0 0=multipath 8:0\ndm 253:1 0=thin-pool\ndm 253:2 0=linear\ndm 253:3 0=snapshot\ndm 253:4 0=snapshot-origin\n") == 0);
        fake_file(&x.fake, "proc/1/mountinfo", DEVTMPFS);
        make_holder(&x, 30, "multipathd", "/dev/mapper/control", 20);
        make_holder(&x, 31, "dmeventd", "/dev/mapper/control", 20);
        make_holder(&x, 32, "lvm", "/dev/mapper/control", 20);
        make_holder(&x, 33, "multipathd", "/home/mapper/control", 99); /* a file of that name */
        scan(&x, source_dm_scan);
        check_edges(&x, "block:253:0>!process:30:7u block:253:0>block:8:0p block:253:1>!process:31:7i");
}

/* Two 9p mounts over TCP: the server of one is a process here, that of the other is elsewhere. */
static void ninep_tree(void) {
        _cleanup_fixture_ Fixture x;

        fixture_init(&x);
        fake_file(&x.fake, "proc/1/mountinfo",
                  "20 1 8:0 / / rw - ext4 /dev/sda rw\n"
                  "21 20 0:50 / /here rw - 9p 127.0.0.1 rw,trans=tcp,port=5640,aname=/srv/x\n"
                  "22 20 0:51 / /far rw - 9p 10.0.0.9 rw,trans=tcp,port=5640,aname=/srv/x\n"
                  "23 20 0:52 / /outside rw - 9p tag rw,trans=virtio,aname=/srv/x\n");
        fake_file(&x.fake, "proc/1/net/tcp",
                  "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
                  "   0: 0100007F:8000 0100007F:1608 01 00000000:00000000 00:00000000 00000000     0        0 71 1\n"
                  "   1: 0100007F:1608 0100007F:8000 01 00000000:00000000 00:00000000 00000000     0        0 72 1\n"
                  "   2: 0100000A:8000 0900000A:1608 01 00000000:00000000 00:00000000 00000000     0        0 73 1\n");
        make_holder(&x, 30, "diod", "socket:[72]", 0);
        scan(&x, source_network_scan);
        check_edges(&x, "fs:0:50>fs:8:0i fs:0:50>process:30:7p");
}

/* The kernel's end of a connection that a process has the other end of: the device's. One whose end is being accepted
 * while we look is not, nor is one to the bus. */
static void nbd_orphans(void) {
        static const char sockets[] = "81 82 0 \n82 81 0 /run/server\n91 92 0 \n92 91 0 /run/dbus/system_bus_socket\n";
        _cleanup_fixture_ Fixture x;

        fixture_init(&x);
        make_block(&x, "nbd0", "43:0\n", "virtual");
        fake_file(&x.fake, "sys/devices/virtual/block/nbd0/pid", "999\n");
        fake_file(&x.fake, "proc/1/mountinfo", DEVTMPFS);
        fake_file(&x.fake, "run/stackd/unix-sockets", sockets);
        make_holder(&x, 30, "server", "socket:[82]", 0);
        make_holder(&x, 31, "client", "socket:[91]", 0);
        scan(&x, source_nbd_scan);
        check_edges(&x, "block:43:0>process:30:7u");
        factset_free(x.facts);
        x.facts = factset_new();
        CHECK(x.facts);
        socket_table_done(&x.scan.earlier_sockets);
        CHECK(source_nbd_scan(&x.scan, x.facts) == 0);
        check_edges(&x, "");
}

/* A server of NFS is known by its connection also when nothing is mounted any more; what it exports is a guess. */
static void unmounted_nfs(void) {
        _cleanup_fixture_ Fixture x;

        fixture_init(&x);
        fake_file(&x.fake, "proc/1/mountinfo", "20 1 8:0 / / rw - ext4 /dev/sda rw\n21 20 8:16 / /srv/a\\040b rw - ext4 /dev/sdb rw\n");
        make_bdi(&x, "0:50");
        make_bdi(&x, "0:51");
        fake_file(&x.fake, "proc/1/net/nfsfs/volumes", "v4 7f000001  801 0:50         0:0  no \nv4 7f000002  802 0:51         0:0  no \n");
        fake_file(&x.fake, "proc/fs/nfsd/exports", "# Version 1.1\n/srv/a\\040b\t*(rw)\n/\t*(ro,v4root,fsid=0)\n");
        fake_file(&x.fake, "proc/1/net/tcp",
                  "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
                  "   0: 0100007F:0300 0100007F:0801 01 00000000:00000000 00:00000000 00000000     0        0 71 1\n"
                  "   1: 0100007F:0801 0100007F:0300 01 00000000:00000000 00:00000000 00000000     0        0 72 1\n"
                  "   2: 0100007F:0301 0200007F:0802 01 00000000:00000000 00:00000000 00000000     0        0 73 1\n"
                  "   3: 0200007F:0802 0100007F:0301 01 00000000:00000000 00:00000000 00000000     0        0 74 1\n");
        make_holder(&x, 30, "ganesha", "socket:[74]", 0);
        scan(&x, source_network_scan);
        check_edges(&x, "fs:0:50>fs:8:16i fs:0:51>process:30:7p");
}

#define TCP_HEADING "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
#define TCP_LINE(local, remote, inode) "   0: " local " " remote " 01 00000000:00000000 00:00000000 00000000     0        0 " inode " 1\n"

/* A process in a network namespace of its own, with that table. */
static void make_network(const Fixture *x, pid_t pid, const char *link, const char *table) {
        fake_link(&x->fake, PATH("proc/%d/ns/net", pid), link);
        fake_file(&x->fake, PATH("proc/%d/net/tcp", pid), table);
}

/* Servers of 9p mounts in other network namespaces: at an address of theirs; at a loopback address, which somebody there
 * uses too; two that claim to be it. */
static void other_networks(void) {
        _cleanup_fixture_ Fixture x;

        fixture_init(&x);
        fake_file(&x.fake, "proc/1/mountinfo",
                  "20 1 8:0 / / rw - ext4 /dev/sda rw\n"
                  "21 20 0:50 / /container rw - 9p 10.0.0.2 rw,trans=tcp,port=5640\n"
                  "22 20 0:51 / /loopback rw - 9p 127.0.0.1 rw,trans=tcp,port=5640\n"
                  "23 20 0:52 / /claimed rw - 9p 10.0.0.9 rw,trans=tcp,port=5640\n");
        make_network(&x, 1, "net:[1]",
                     TCP_HEADING
                     TCP_LINE("0100000A:8000", "0200000A:1608", "71")
                     TCP_LINE("0100007F:8000", "0100007F:1608", "72")
                     TCP_LINE("0100000A:8001", "0900000A:1608", "73"));
        make_holder(&x, 30, "diod", "socket:[81]", 0);
        make_network(&x, 30, "net:[2]",
                     TCP_HEADING
                     TCP_LINE("0200000A:1608", "0100000A:8000", "81")
                     TCP_LINE("0100007F:1608", "0100007F:8000", "81")
                     TCP_LINE("0900000A:1608", "0100000A:8001", "81"));
        make_holder(&x, 31, "diod", "socket:[82]", 0);
        make_network(&x, 31, "net:[3]", TCP_HEADING TCP_LINE("0900000A:1608", "0100000A:8001", "82"));
        /* Its namespace has been read. */
        make_holder(&x, 32, "other", "socket:[83]", 0);
        make_network(&x, 32, "net:[2]", TCP_HEADING TCP_LINE("0200000A:1608", "0100000A:8000", "83"));
        scan(&x, source_network_scan);
        CHECK(x.scan.sockets.n_spaces == 3);
        check_edges(&x, "fs:0:50>process:30:7u");
}

/* A mount made in a container, of a server in that container, while the machine itself talks to nobody there. */
static void network_of_a_container(void) {
        _cleanup_fixture_ Fixture x;

        fixture_init(&x);
        fake_file(&x.fake, "proc/1/mountinfo",
                  "20 1 8:0 / / rw - ext4 /dev/sda rw\n"
                  "21 20 0:50 / /x rw - 9p 127.0.0.1 rw,trans=tcp,port=5640\n");
        make_network(&x, 1, "net:[1]", TCP_HEADING);
        make_holder(&x, 30, "diod", "socket:[81]", 0);
        make_network(&x, 30, "net:[2]",
                     TCP_HEADING
                     TCP_LINE("0100007F:8000", "0100007F:1608", "80")
                     TCP_LINE("0100007F:1608", "0100007F:8000", "81"));
        scan(&x, source_network_scan);
        check_edges(&x, "fs:0:50>process:30:7p");
}

/* Samba: a process for each connection. One mount of one server; two of another, each over one of two connections; a
 * port that nobody tells; and a program that talks to the server itself. */
static void cifs(void) {
        _cleanup_fixture_ Fixture x;

        fixture_init(&x);
        fake_file(&x.fake, "proc/1/mountinfo",
                  "20 1 8:0 / / rw - ext4 /dev/sda rw\n"
                  "21 20 0:50 / /a rw - cifs //one/a rw,vers=3.1.1,addr=127.0.0.1\n"
                  "22 20 0:51 / /b rw - cifs //two/b rw,vers=3.1.1,addr=127.0.0.2\n"
                  "23 20 0:52 / /c rw - smb3 //two/c rw,vers=3.1.1,addr=127.0.0.2\n"
                  "24 20 0:53 / /d rw - cifs //two/d rw,vers=3.1.1,addr=127.0.0.2\n"
                  "25 20 0:54 / /e rw - cifs //three/e rw,vers=3.1.1,addr=127.0.0.3\n");
        make_network(&x, 1, "net:[1]",
                     TCP_HEADING
                     TCP_LINE("0100007F:8000", "0100007F:01BD", "70") TCP_LINE("0100007F:01BD", "0100007F:8000", "80")
                     TCP_LINE("0100007F:8001", "0100007F:01BD", "71") TCP_LINE("0100007F:01BD", "0100007F:8001", "81")
                     TCP_LINE("0100007F:8002", "0200007F:01BD", "72") TCP_LINE("0200007F:01BD", "0100007F:8002", "82")
                     TCP_LINE("0100007F:8003", "0200007F:01BD", "73") TCP_LINE("0200007F:01BD", "0100007F:8003", "83")
                     TCP_LINE("0100007F:8004", "0300007F:1F90", "74") TCP_LINE("0300007F:1F90", "0100007F:8004", "84"));
        make_holder(&x, 30, "smbd", "socket:[80]", 0);
        make_holder(&x, 31, "smbd", "socket:[81]", 0);
        make_holder(&x, 32, "smbd", "socket:[82]", 0);
        make_holder(&x, 33, "smbd", "socket:[83]", 0);
        make_holder(&x, 34, "smbd", "socket:[84]", 0);
        make_holder(&x, 40, "smbclient", "socket:[71]", 0);
        scan(&x, source_network_scan);
        check_edges(&x, "fs:0:50>process:30:7p "
                        "fs:0:51>process:32:7i fs:0:51>process:33:7i fs:0:52>process:32:7i fs:0:52>process:33:7i "
                        "fs:0:53>process:32:7i fs:0:53>process:33:7i fs:0:54>process:34:7u");
        for (size_t i = 0; i < x.facts->n_edges; i++)
                CHECK((x.facts->edges[i].alternative != 0) == (x.facts->edges[i].certainty == CERTAINTY_INFERRED));
}

/* What mount(2) needs before commas, colons and backslashes, what fsconfig(2) does not, and the kernel's own escapes. */
static void overlay_names(void) {
        _cleanup_fixture_ Fixture x;

        fixture_init(&x);
        fake_file(&x.fake, "proc/1/mountinfo",
                  "20 1 8:0 / / rw - ext4 /dev/sda rw\n"
                  "21 20 0:61 / /a,1 rw - xfs x rw\n"
                  "22 20 0:62 / /b:2 rw - xfs x rw\n"
                  "23 20 0:63 / /c\\1343 rw - xfs x rw\n"
                  "24 20 0:64 / /d\\0404 rw - xfs x rw\n"
                  "25 20 0:65 / /e\\0125 rw - xfs x rw\n"
                  "26 20 0:66 / /f,:\\1346 rw - xfs x rw\n"
                  "27 20 0:67 / /data rw - xfs x rw\n"
                  "30 20 0:70 / /ov rw - overlay ov rw,lowerdir=/a\\134\\0541:/b\\134:2:/c\\134\\1343:/d\\0404:/e\\0125::/data,"
                  "upperdir=/f\\134\\054:\\134\\1346/u,workdir=/f\\134\\054:\\134\\1346/w,redirect_dir=on\n"
                  "31 20 0:71 / /ov2 rw - overlay ov rw,lowerdir+=/f\\054:\\1346/x,datadir+=/b:2/y,metacopy=on\n");
        scan(&x, source_filesystem_scan);
        check_edges(&x, "fs:0:70>fs:0:61i fs:0:70>fs:0:62i fs:0:70>fs:0:63i fs:0:70>fs:0:64i fs:0:70>fs:0:65i fs:0:70>fs:0:66i "
                        "fs:0:70>fs:0:67i fs:0:71>fs:0:62i fs:0:71>fs:0:66i fs:8:0>block:8:0p");
}

/* Disks over NVMe's loop transport on two paths and on one, of which a file and a device are behind; one of another machine's
 * target; and nothing is asked where there is no target here. */
static void nvmet(void) {
        _cleanup_strv_free_ char **questions = NULL;
        _cleanup_fixture_ Fixture x;

        fixture_init(&x);
        fake_file(&x.fake, "proc/1/mountinfo", "20 1 8:0 / / rw - ext4 /dev/sda rw\n");
        make_block(&x, "loop0", "7:0", "virtual");
        for (int i = 1; i <= 3; i++) {
                const char *directory = i < 3 ? "virtual/nvme-subsystem/nvme-subsys0" : "virtual/nvme-fabrics/ctl/nvme1";

                fake_link(&x.fake, PATH("sys/class/block/nvme0n%d", i), PATH("../../devices/%s/nvme0n%d", directory, i));
                fake_file(&x.fake, PATH("sys/devices/%s/nvme0n%d/dev", directory, i), PATH("259:%d\n", i));
                fake_file(&x.fake, PATH("sys/devices/%s/nvme0n%d/diskseq", directory, i), "9\n");
                fake_file(&x.fake, PATH("sys/devices/%s/nvme0n%d/nsid", directory, i), PATH("%d\n", i));
                fake_file(&x.fake, PATH("sys/devices/%s/nvme0n%d/uuid", directory, i), PATH("d2e0422b-e2a5-4efa-9429-e8dbe5425f0%d\n", i));
        }
        fake_file(&x.fake, "sys/devices/virtual/nvme-subsystem/nvme-subsys0/subsysnqn", "a b\n");
        fake_file(&x.fake, "sys/devices/virtual/nvme-fabrics/ctl/nvme1/subsysnqn", "nqn.far\n");
        scan(&x, source_nvmet_scan);
        CHECK(probe_cache_take_wanted(&x.probes, PROBE_QUICK, &questions) == 0 && !questions);
        fake_file(&x.fake, "sys/module/nvmet/refcnt", "1\n");
        scan(&x, source_nvmet_scan);
        CHECK(x.scan.gaps == GAP_READ_ERROR && x.facts->n_edges == 0);
        CHECK(probe_cache_take_wanted(&x.probes, PROBE_QUICK, &questions) == 0 && questions);
        CHECK(strv_contains(questions, "nvmet 259:1 9 a\\040b 1 d2e0422b-e2a5-4efa-9429-e8dbe5425f01"));
        CHECK(strv_contains(questions, "nvmet 259:3 9 nqn.far 3 d2e0422b-e2a5-4efa-9429-e8dbe5425f03"));
        CHECK(probe_cache_answer(&x.probes, "nvmet 259:1 9 a\\040b 1 d2e0422b-e2a5-4efa-9429-e8dbe5425f01", "/srv/a\\040file") == 0);
        CHECK(probe_cache_answer(&x.probes, "nvmet 259:2 9 a\\040b 2 d2e0422b-e2a5-4efa-9429-e8dbe5425f02", "/dev/loop0") == 0);
        CHECK(probe_cache_answer(&x.probes, "nvmet 259:3 9 nqn.far 3 d2e0422b-e2a5-4efa-9429-e8dbe5425f03", "!2") == 0);
        scan(&x, source_nvmet_scan);
        CHECK(x.scan.gaps == 0);
        check_edges(&x, "block:259:1>file:8:0:/srv/a filep block:259:2>block:7:0p file:8:0:/srv/a file>fs:8:0u");
}

static void f2fs_devices(void) {
        _cleanup_fixture_ Fixture x;

        fixture_init(&x);
        fake_file(&x.fake, "proc/1/mountinfo", "20 1 7:0 / / rw - f2fs /dev/loop0 rw\n21 20 7:2 / /x rw - f2fs /dev/loop2 rw\n");
        make_block(&x, "loop0", "7:0", "virtual");
        make_block(&x, "loop1", "7:1", "virtual");
        make_block(&x, "loop2", "7:2", "virtual");
        fake_file(&x.fake, "proc/fs/f2fs/loop0/disk_map",
                  "Address Layout   :  4096B Block address (# of Segments)\n Main          : 0x0000001000 (       192)\n"
                  "\nDisk Map for multi devices:\n"
                  "Disk: 0 (zoned=0): 0x0000000000 - 0x000000c7ff on /dev/loop0\n"
                  "Disk: 1 (zoned=0): 0x000000c800 - 0x0000018fff on /dev/loop1\n"
                  "Disk: 2 (zoned=0): 0x0000019000 - 0x000001ffff on /dev/gone\n");
        fake_file(&x.fake, "proc/fs/f2fs/loop2/disk_map", "Address Layout   :  4096B Block address (# of Segments)\n");
        scan(&x, source_journal_scan);
        check_edges(&x, "fs:7:0>block:7:1u");
}

/* A device whose client is gone, beside a mount whose connection looks alike: that one's server is none of the device's. */
static void nbd_beside_a_mount(void) {
        _cleanup_fixture_ Fixture x;

        fixture_init(&x);
        fake_file(&x.fake, "proc/1/mountinfo",
                  "20 1 8:0 / / rw - ext4 /dev/sda rw\n"
                  "21 20 0:50 / /x rw - 9p 127.0.0.1 rw,trans=tcp,port=5640\n");
        make_block(&x, "nbd0", "43:0", "virtual");
        fake_file(&x.fake, "sys/devices/virtual/block/nbd0/pid", "99\n");
        make_network(&x, 1, "net:[1]",
                     TCP_HEADING
                     TCP_LINE("0100007F:8000", "0100007F:1608", "70") TCP_LINE("0100007F:1608", "0100007F:8000", "80")
                     TCP_LINE("0100007F:8001", "0100007F:2A39", "71") TCP_LINE("0100007F:2A39", "0100007F:8001", "81"));
        make_holder(&x, 30, "diod", "socket:[80]", 0);
        make_holder(&x, 31, "nbd-server", "socket:[81]", 0);
        scan(&x, source_network_scan);
        CHECK(source_nbd_scan(&x.scan, x.facts) == 0);
        check_edges(&x, "block:43:0>process:31:7u fs:0:50>process:30:7p");
}

/* A device on a mount of a namespace that was made after the mount table was read. */
static void newer_namespace(void) {
        _cleanup_fixture_ Fixture x;

        fixture_init(&x);
        fake_file(&x.fake, "proc/1/mountinfo", "20 1 8:0 / / rw - ext4 /dev/sda rw\n22 20 0:6 / /dev rw - devtmpfs none rw\n");
        make_block(&x, "ublkb0", "259:0", "virtual");
        CHECK(scan_refresh(&x.scan, TABLE_ALL) == 0 && !x.scan.mounts_outdated);
        make_holder(&x, 30, "ublk", "/dev/ublkc0", 99);
        fake_link(&x.fake, "proc/30/ns/mnt", "mnt:[2]");
        fake_file(&x.fake, "proc/30/mountinfo", "98 1 8:0 / / rw - ext4 /dev/sda rw\n99 98 0:6 / /dev rw - devtmpfs none rw\n");
        CHECK(scan_refresh(&x.scan, TABLE_PROCESSES) == 0 && x.scan.mounts_outdated && x.scan.processes.n == 0);
        CHECK(scan_refresh(&x.scan, TABLE_MOUNTS) == 0 && x.scan.processes_fresh && x.scan.processes.n == 1);
        CHECK(scan_refresh(&x.scan, TABLE_MOUNTS) == 0 && !x.scan.processes_fresh);
        scan(&x, source_ublk_scan);
        CHECK(!x.scan.mounts_outdated);
        check_edges(&x, "block:259:0>process:30:7p");
}

/* Mounts come and go all the time; whoever serves none of them is not looked at for that. */
static void processes_of_served_mounts(void) {
        static const struct {
                const char *more;
                unsigned tables;
                size_t holders;
        } passes[] = {
                { "30 1 0:30 / /proc/fs rw - fusectl fusectl rw\n", TABLE_ALL, 0 },         /* serves nothing */
                { "40 1 0:40 / /mnt/a rw - fuse.sshfs a rw,user_id=0\n", TABLE_MOUNTS, 2 }, /* came */
                { "40 1 0:40 / /mnt/a rw - fuse.sshfs a rw,user_id=0\n41 1 0:41 / /mnt/b rw - tmpfs none rw\n", TABLE_MOUNTS, 2 },
                { "42 1 0:42 / /mnt/c rw - fuse.sshfs a rw,user_id=0\n", TABLE_MOUNTS, 4 }, /* went, and another came */
                { "42 1 0:43 / /mnt/c rw - fuse.sshfs a rw,user_id=0\n", TABLE_MOUNTS, 5 }, /* another one of that id */
                { "42 1 0:43 / /mnt/c rw - fuse.sshfs a rw,user_id=0\n", TABLE_MOUNTS, 5 },
                { "42 1 0:43 / /mnt/c rw - fuse.sshfs a rw,user_id=0\n", TABLE_PROCESSES, 7 },
                { "42 1 0:43 / /mnt/c rw - fuse.sshfs a rw,user_id=0\n50 1 0:50 / /srv rw - nfs4 h:/ rw,addr=10.0.0.1\n", TABLE_MOUNTS, 8 },
                { "", TABLE_MOUNTS, 0 }, /* nothing is served any more */
        };
        _cleanup_fixture_ Fixture x;

        fixture_init(&x);
        for (size_t i = 0; i < ELEMENTSOF(passes); i++) {
                fake_file(&x.fake, "proc/1/mountinfo", PATH(DEVTMPFS "%s", passes[i].more));
                make_holder(&x, 100 + (pid_t) i, "server", "/dev/fuse", 20);
                CHECK(scan_refresh(&x.scan, passes[i].tables) == 0);
                CHECK(x.scan.processes.n == passes[i].holders);
        }
        /* One that has been unmounted, and lives. */
        make_bdi(&x, "0:60");
        fake_file(&x.fake, "sys/fs/fuse/connections/60/waiting", "0\n");
        CHECK(scan_refresh(&x.scan, 0) == 0 && x.scan.processes_fresh && x.scan.processes.n == ELEMENTSOF(passes));
        CHECK(scan_refresh(&x.scan, 0) == 0 && !x.scan.processes_fresh);
        CHECK(unlink(PATH("%s/sys/class/bdi/0:60", x.fake.path)) == 0);
        CHECK(scan_refresh(&x.scan, 0) == 0 && x.scan.processes_fresh && x.scan.processes.n == 0);
}

/* proc_pid_stat(5), field 41; of threads that have ended it does not count, and old captures end before it. */
static void realtime_threads(void) {
        static const char rest[] = "1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 7 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 17 0";
        static const struct {
                const char *state;
                unsigned policy, realtime, threads;
        } cases[] = { { "S", 0, 0, 1 }, { "S", 1, 1, 1 }, { "R", 2, 1, 1 }, { "S", 3, 0, 1 }, { "S", 5, 0, 1 }, { "D", 6, 1, 1 }, { "Z", 1, 0, 0 } };
        _cleanup_fixture_ Fixture x;

        fixture_init(&x);
        make_holder(&x, 30, "server", "/dev/null", 20);
        fake_file(&x.fake, "proc/30/status", "Uid:\t0 0 0 0\n");
        fake_file(&x.fake, "proc/30/cgroup", "0::/x\n");
        fake_file(&x.fake, "proc/30/task/31/stat", "31 (old) S 1 1 1 0 -1 0\n");
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_node_fact_ NodeFact f = {}, other = {};

                fake_file(&x.fake, "proc/30/task/30/stat", PATH("30 (a) R 1) %s %s 0 %u 0\n", cases[i].state, rest, cases[i].policy));
                CHECK(process_read_fact(x.scan.root, 30, 7, &f) == 0 && process_read_fact(x.scan.root, 30, 7, &other) == 0);
                CHECK(f.threads_realtime == cases[i].realtime && f.threads == cases[i].threads + 1);
                CHECK(node_fact_equal(&f, &other));
                other.threads_realtime++;
                CHECK(!node_fact_equal(&f, &other));
        }
}

TEST_MAIN(TEST(ext4_journal), TEST(xfs_log), TEST(names), TEST(erofs_image), TEST(unmounted), TEST(unmounted_btrfs), TEST(unknown_btrfs), TEST(idle_devices),
          TEST(unmounted_below_loop), TEST(unmounted_below_swap), TEST(vduse), TEST(unmounted_below_process), TEST(many_files), TEST(mounts_that_stay_unknown), TEST(watchers), TEST(ninep_tree),
          TEST(nbd_orphans), TEST(unmounted_nfs), TEST(other_networks), TEST(network_of_a_container), TEST(cifs), TEST(overlay_names),
          TEST(nvmet), TEST(f2fs_devices), TEST(nbd_beside_a_mount), TEST(newer_namespace),
          TEST(processes_of_served_mounts), TEST(realtime_threads))
