/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What ordinary users hold, bind, mount or send is no reason to take them for servers of others' layers, nor to know less of these. */
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "daemon/source/scan.h"
#include "tests/unit/fake-root.h"

#define DEVTMPFS "20 1 8:0 / / rw - xfs /dev/sda rw\n22 20 0:6 / /dev rw - devtmpfs none rw\n23 22 0:24 / /dev/shm rw - tmpfs none rw\n"
#define SYSFS "24 20 0:22 / /sys rw - sysfs none rw\n"
#define USER "/user.slice/user-1000.slice/session-1.scope"
#define WRITABLE "0100002"
#define READ_ONLY "0100000"
#define AS_A_PATH "012000000"

/* A machine whose processes are added one by one, each with one descriptor more than the one before. */
typedef struct Machine {
        FakeRoot fake;
        Scan scan;
        FactSet *facts;
} Machine;

static void machine_init(Machine *m, const char *mounts) {
        *m = (Machine) { .fake = fake_root_make(), .facts = factset_new() };
        CHECK(m->facts);
        m->scan = (Scan) { .root = m->fake.root };
        fake_link(&m->fake, "proc/1/ns/mnt", "mnt:[1]");
        fake_link(&m->fake, "proc/1/ns/net", "net:[1]");
        fake_file(&m->fake, "proc/1/mountinfo", mounts);
        fake_file(&m->fake, "proc/sys/kernel/osrelease", "6.12.57\n");
}

static void machine_done(Machine *m) {
        factset_free(m->facts);
        scan_done(&m->scan);
        fake_root_done(&m->fake);
}
#define _cleanup_machine_ _cleanup_(machine_done)

static void add_process(const Machine *m, int pid, const char *comm, unsigned uid, const char *cgroup) {
        const FakeRoot *f = &m->fake;

        fake_file(f, PATH("proc/%d/stat", pid), PATH("%d (%s) S 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 7 0 0\n", pid, comm));
        fake_file(f, PATH("proc/%d/task/%d/stat", pid, pid), PATH("%d (%s) S 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 7 0 0\n", pid, comm));
        fake_file(f, PATH("proc/%d/comm", pid), PATH("%s\n", comm));
        fake_file(f, PATH("proc/%d/status", pid), PATH("Tgid:\t%d\nUid:\t%u\t%u\t%u\t%u\nCapEff:\t0\n", pid, uid, uid, uid, uid));
        fake_file(f, PATH("proc/%d/cgroup", pid), PATH("0::%s\n", cgroup));
        fake_link(f, PATH("proc/%d/ns/mnt", pid), "mnt:[1]");
        fake_link(f, PATH("proc/%d/ns/net", pid), "net:[1]");
}

static void add_file(const Machine *m, int pid, int fd, const char *path, const char *flags, int mount) {
        fake_link(&m->fake, PATH("proc/%d/fd/%d", pid, fd), path);
        fake_file(&m->fake, PATH("proc/%d/fdinfo/%d", pid, fd), PATH("pos:\t0\nflags:\t%s\nmnt_id:\t%d\nino:\t9\n", flags, mount));
}

static void add_root(const Machine *m, int pid, const char *path, const char *flags, int mount) {
        add_process(m, pid, "server", 0, "/system.slice/server.service");
        add_file(m, pid, 3, path, flags, mount);
}

static void add_user(const Machine *m, int pid, const char *path, const char *flags, int mount) {
        add_process(m, pid, "server", 1000, USER);
        add_file(m, pid, 3, path, flags, mount);
}

static void add_block(const Machine *m, const char *name, const char *number, const char *directory) {
        fake_link(&m->fake, PATH("sys/class/block/%s", name), PATH("../../devices/%s/block/%s", directory, name));
        fake_file(&m->fake, PATH("sys/devices/%s/block/%s/dev", directory, name), number);
        fake_file(&m->fake, PATH("sys/devices/%s/block/%s/size", directory, name), "2048\n");
}

/* The pids of the servers with the certainty as a letter, "a" behind an alternative. */
static void check_servers(Machine *m, int (*source)(Scan *s, FactSet *f), const char *want) {
        char have[512] = "";

        CHECK(scan_refresh(&m->scan, TABLE_ALL) == 0 && source(&m->scan, m->facts) == 0);
        for (size_t i = 0; i < m->facts->n_edges; i++) {
                const EdgeFact *e = &m->facts->edges[i];
                size_t n = strlen(have);
                int pid;

                if (sscanf(e->lower, "process:%d:", &pid) == 1)
                        snprintf(have + n, sizeof(have) - n, "%s%d%c%s", n > 0 ? " " : "", pid, certainty_to_string(e->certainty)[0],
                                 e->alternative ? "a" : "");
        }
        if (!streq(have, want))
                printf("# have '%s'\n# want '%s'\n", have, want);
        CHECK(streq(have, want));
}

/* ---- devices ---- */

/* O_PATH needs no permission, and no one can serve through what is only read. */
static void opened_as_a_path(void) {
        static const struct {
                const char *block, *directory, *device;
                int (*source)(Scan *s, FactSet *f);
        } kinds[] = {
                { "ublkb0", "virtual", "/dev/ublkc0", source_ublk_scan },
                { "vdd", "virtual/vduse/vd0/vd0/virtio5", "/dev/vduse/vd0", source_vduse_scan },
        };

        for (size_t i = 0; i < ELEMENTSOF(kinds); i++) {
                _cleanup_machine_ Machine m;

                machine_init(&m, DEVTMPFS);
                add_block(&m, kinds[i].block, "259:0\n", kinds[i].directory);
                add_root(&m, 800, kinds[i].device, WRITABLE, 22);
                add_user(&m, 801, kinds[i].device, AS_A_PATH, 22);
                add_process(&m, 802, "apache2", 33, "/system.slice/apache2.service");
                add_file(&m, 802, 3, kinds[i].device, AS_A_PATH, 22);
                add_file(&m, 802, 4, kinds[i].device, READ_ONLY, 22);
                check_servers(&m, kinds[i].source, "800p");
        }
}

/* Nor is one of its own a reason to doubt: somebody who may has opened it. */
static void a_users_own_device(void) {
        _cleanup_machine_ Machine m;

        machine_init(&m, DEVTMPFS);
        add_block(&m, "ublkb0", "259:0\n", "virtual");
        add_user(&m, 801, "/dev/ublkc0", WRITABLE, 22);
        check_servers(&m, source_ublk_scan, "801p");
}

/* Anybody makes a whiteout on a tmpfs, and mounts a file of devtmpfs in another place. */
static void called_as_a_device(void) {
        _cleanup_machine_ Machine m;

        machine_init(&m, DEVTMPFS "25 20 0:6 /null /c/ublkc0 rw - devtmpfs none rw\n26 20 0:6 /ublkc0 /d/dev/ublkc0 rw - devtmpfs none rw\n");
        add_block(&m, "ublkb0", "259:0\n", "virtual");
        fake_file(&m.fake, "sys/class/ublk-char/ublkc0/dev", "240:0\n");
        add_root(&m, 800, "/dev/ublkc0", WRITABLE, 22);
        add_user(&m, 801, "/dev/shm/ublkc0", WRITABLE, 23);
        add_user(&m, 802, "/c/ublkc0", WRITABLE, 25);
        add_root(&m, 803, "/d/dev/ublkc0", WRITABLE, 26);
        add_root(&m, 804, "/dev/shm/ublkc0", WRITABLE, 23);
        fake_file(&m.fake, "run/stackd/nodes/804-3", "0:0\n");
        add_root(&m, 805, "/dev/shm/ublkc0", WRITABLE, 23); /* of a container's */
        fake_file(&m.fake, "run/stackd/nodes/805-3", "240:0\n");
        add_user(&m, 806, "/home/u/ublkc0", WRITABLE, 20);
        add_user(&m, 807, "/dev/shm/ublkc0", WRITABLE, 23);
        fake_file(&m.fake, "run/stackd/nodes/807-3", "240:0\n"); /* it is the device, however it got there */
        check_servers(&m, source_ublk_scan, "800p 803p 805p 807p");
}

/* In a jail with nodes of its own the number has to be asked for: in a child, and for those only who may decide something. */
static void made_by_hand(void) {
        _cleanup_strv_free_ char **questions = NULL;
        _cleanup_machine_ Machine m;
        ProbeCache probes;

        machine_init(&m, DEVTMPFS);
        CHECK(probe_cache_init(&probes) == 0);
        m.scan.probes = &probes;
        add_block(&m, "ublkb0", "259:0\n", "virtual");
        fake_file(&m.fake, "sys/class/ublk-char/ublkc0/dev", "240:0\n");
        add_root(&m, 800, "/jail/dev/ublkc0", WRITABLE, 20);
        add_root(&m, 801, "/jail/dev/ublkc0", AS_A_PATH, 20);
        add_root(&m, 802, "/srv/ublkc0", WRITABLE, 20);
        add_user(&m, 803, "/home/u/ublkc0", WRITABLE, 20);
        check_servers(&m, source_ublk_scan, "");
        CHECK(probe_cache_take_wanted(&probes, PROBE_QUICK, &questions) == 0);
        CHECK(strv_contains(questions, "node 20 7 800/fd/3") && strv_contains(questions, "node 20 7 802/fd/3") && !questions[2]);
        CHECK(probe_cache_answer(&probes, "node 20 7 800/fd/3", "240:0") == 0);
        CHECK(probe_cache_answer(&probes, "node 20 7 802/fd/3", "none") == 0);
        check_servers(&m, source_ublk_scan, "800p");
        m.scan.probes = NULL;
        probe_cache_done(&probes);
}

/* Of sysfs a user has files that he may write, those of a network namespace of his own. */
static void array_state(void) {
        _cleanup_machine_ Machine m;

        machine_init(&m, DEVTMPFS SYSFS "27 24 0:22 /devices/virtual/net/lo/mtu /sys/devices/virtual/block/md0/md/array_state rw - sysfs none rw\n");
        add_block(&m, "md0", "9:0\n", "virtual");
        add_root(&m, 800, "/sys/devices/virtual/block/md0/md/array_state", WRITABLE, 24);
        add_user(&m, 801, "/sys/devices/virtual/block/md0/md/array_state", WRITABLE, 27);
        add_user(&m, 802, "/sys/devices/virtual/block/md0/md/array_state", READ_ONLY, 24);
        add_user(&m, 803, "/sys/devices/virtual/block/md0/md/array_state", WRITABLE, 23);
        check_servers(&m, source_md_scan, "800p");
}

/* On this machine: the descriptors are real. */
static int check_own(const MountTable *mounts, const Sysroot *s, int fd, const char *device) {
        _cleanup_(open_files_done) OpenFiles files = {};

        CHECK(process_read_files(s, getpid(), &files) == 0);
        for (size_t i = 0; i < files.n; i++)
                if (files.files[i].fd == fd)
                        return authority_check_node(s, mount_table_find_id(mounts, files.files[i].mount_id), getpid(), &files.place, &files.files[i],
                                                    files.files[i].path, device);
        return -1;
}

static void real_descriptors(void) {
        _cleanup_(sysroot_freep) Sysroot *s = NULL;
        _cleanup_close_ int fuse = open("/dev/fuse", O_RDWR | O_CLOEXEC), reading = open("/dev/fuse", O_RDONLY | O_CLOEXEC),
                            path = open("/dev/fuse", O_PATH | O_CLOEXEC), null = open("/dev/null", O_RDWR | O_CLOEXEC);
        char name[] = "/dev/shm/stackd-test-XXXXXX";
        MountTable mounts;

        if (path < 0 || null < 0 || sysroot_open(NULL, &s, NULL) < 0 || mount_table_read(s, &mounts) < 0)
                return;
        CHECK(check_own(&mounts, s, path, "fuse") == NODE_IS_OTHER);
        CHECK(check_own(&mounts, s, null, "fuse") == NODE_IS_OTHER);
        CHECK(fuse < 0 || check_own(&mounts, s, fuse, "fuse") == NODE_IS_DEVICE);
        CHECK(reading < 0 || check_own(&mounts, s, reading, "fuse") == NODE_IS_OTHER);
        CHECK(fuse < 0 || check_own(&mounts, s, fuse, "mapper/control") == NODE_IS_OTHER);
        if (mkdtemp(name)) {
                const char *node = PATH("%s/fuse", name);

                for (unsigned i = 0; i < 2; i++) {
                        _cleanup_close_ int fd = mknod(node, S_IFCHR | 0600, i == 0 ? 0 : makedev(10, 229)) < 0 ? -1
                                : open(node, (i == 0 ? O_PATH : O_RDWR) | O_CLOEXEC);

                        CHECK(fd < 0 || check_own(&mounts, s, fd, "fuse") == (i == 0 ? NODE_IS_OTHER : NODE_IS_DEVICE));
                        (void) unlink(node);
                }
                CHECK(rmdir(name) == 0);
        }
        mount_table_done(&mounts);
}

/* ---- sockets ---- */

/* Who made a socket of ours, and to what name it was bound. */
static void real_sockets(void) {
        _cleanup_(sysroot_freep) Sysroot *s = NULL;
        int ends[2];
        SocketTable t;
        struct stat st;

        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
                return;
        if (sysroot_open(NULL, &s, NULL) >= 0 && socket_table_read(s, &t) >= 0) {
                CHECK(fstat(ends[0], &st) == 0);
                const Socket *own = socket_table_find(&t, st.st_ino);

                CHECK(!own || own->uid == geteuid() || own->uid == UID_UNKNOWN);
                socket_table_done(&t);
        }
        close(ends[0]);
        close(ends[1]);
}

#define NINEP "30 20 0:50 / /x rw - 9p /run/9p.sock rw,trans=unix\n"

/* A user binds a socket to the same path in a mount namespace of his own, and has its other end open, or on its way. */
static void bound_to_the_path(void) {
        static const char *const tables[] = {
                "81 82 0 0 \n82 81 0 0 /run/9p.sock\n91 92 0 1000 \n92 91 0 1000 /run/9p.sock\n101 102 0 1000 \n102 101 0 1000 /run/9p.sock\n",
                /* An earlier capture does not say who made them. */
                "81 82 0 \n82 81 0 /run/9p.sock\n91 92 0 \n92 91 0 /run/9p.sock\n101 102 0 \n102 101 0 /run/9p.sock\n",
        };

        for (size_t i = 0; i < ELEMENTSOF(tables); i++) {
                _cleanup_machine_ Machine m;

                machine_init(&m, DEVTMPFS NINEP);
                fake_file(&m.fake, "run/stackd/unix-sockets", tables[i]);
                add_root(&m, 30, "socket:[82]", WRITABLE, 0);
                add_user(&m, 31, "socket:[92]", WRITABLE, 0);
                add_user(&m, 32, "socket:[101]", WRITABLE, 0);
                add_file(&m, 32, 4, "socket:[102]", WRITABLE, 0);
                check_servers(&m, source_network_scan, "30p");
        }
}

static void nobody_but_a_user_bound_to_the_path(void) {
        _cleanup_machine_ Machine m;

        machine_init(&m, DEVTMPFS NINEP);
        fake_file(&m.fake, "run/stackd/unix-sockets", "91 92 0 1000 \n92 91 0 1000 /run/9p.sock\n101 102 0 1000 \n102 101 0 1000 /run/9p.sock\n");
        add_user(&m, 31, "socket:[92]", WRITABLE, 0);
        add_user(&m, 32, "socket:[101]", WRITABLE, 0);
        add_file(&m, 32, 4, "socket:[102]", WRITABLE, 0);
        check_servers(&m, source_network_scan, "");
}

#define TCP "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
#define CONNECTION(local, remote, state, uid, inode) \
        "   0: " local " " remote " " state " 00000000:00000000 00:00000000 00000000  " uid "        0 " inode " 1\n"
#define NO_ADDRESS "00000000:0000"

/* In a network namespace of his own a user has any address. */
static void address_of_a_server(void) {
        static const struct {
                const char *uid, *servers;
        } cases[] = { { "1000", "" }, { "   0", "31p" } };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_machine_ Machine m;

                machine_init(&m, DEVTMPFS "30 20 0:50 / /n rw - nfs4 h:/ rw,addr=10.0.0.5,port=2049\n");
                fake_file(&m.fake, "proc/1/net/tcp", TCP);
                add_process(&m, 31, "ganesha", 1000, USER);
                add_file(&m, 31, 3, "socket:[92]", WRITABLE, 0);
                CHECK(unlink(PATH("%s/proc/31/ns/net", m.fake.path)) == 0);
                fake_link(&m.fake, "proc/31/ns/net", "net:[2]");
                fake_file(&m.fake, "proc/31/net/tcp",
                          PATH("%s   0: 0500000A:0300 0500000A:0801 01 00000000:00000000 00:00000000 00000000  %s        0 91 1\n"
                               "   1: 0500000A:0801 0500000A:0300 01 00000000:00000000 00:00000000 00000000  %s        0 92 1\n",
                               TCP, cases[i].uid, cases[i].uid));
                check_servers(&m, source_network_scan, cases[i].servers);
        }
}

/* The kernel's end is that of a server of its own, and a user has chosen the port at the other one. */
static void port_of_a_server(void) {
        static const struct {
                const char *listener, *servers;
        } cases[] = { { CONNECTION("00000000:01BD", NO_ADDRESS, "0A", "   0", "60"), "" }, { "", "31u" } };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_machine_ Machine m;

                machine_init(&m, DEVTMPFS "30 20 0:50 / /n rw - cifs //h/x rw,addr=127.0.0.1\n");
                fake_file(&m.fake, "proc/1/net/tcp",
                          PATH(TCP CONNECTION("0100007F:01BD", "0100007F:9000", "01", "   0", "91") CONNECTION("0100007F:9000", "0100007F:01BD", "01", "   0", "92") "%s",
                               cases[i].listener));
                add_process(&m, 31, "smbclient", 1000, USER);
                add_file(&m, 31, 3, "socket:[92]", WRITABLE, 0);
                check_servers(&m, source_network_scan, cases[i].servers);
        }
}

/* A user listens on the port of root's connection, with the other version of IP. */
static void listener_of_a_user(void) {
        _cleanup_machine_ Machine m;

        machine_init(&m, DEVTMPFS);
        add_block(&m, "nbd0", "43:0\n", "virtual");
        fake_file(&m.fake, "sys/devices/virtual/block/nbd0/pid", "999\n");
        fake_file(&m.fake, "proc/1/net/tcp",
                  TCP CONNECTION("0100007F:2A39", NO_ADDRESS, "0A", "   0", "60") CONNECTION("0100007F:2A39", "0100007F:9000", "01", "   0", "81")
                          CONNECTION("0100007F:9000", "0100007F:2A39", "01", "   0", "71"));
        fake_file(&m.fake, "proc/1/net/tcp6",
                  TCP CONNECTION("00000000000000000000000000000000:9000", "00000000000000000000000000000000:0000", "0A", "1000", "61"));
        add_root(&m, 500, "socket:[81]", WRITABLE, 0);
        check_servers(&m, source_nbd_scan, "500u");
}

static void nbd_init(Machine *m, const char *sockets) {
        machine_init(m, DEVTMPFS);
        add_block(m, "nbd0", "43:0\n", "virtual");
        fake_file(&m->fake, "sys/devices/virtual/block/nbd0/pid", "999\n");
        fake_file(&m->fake, "run/stackd/unix-sockets", sockets);
        fake_file(&m->fake, "proc/1/net/tcp", TCP);
        add_root(m, 500, "socket:[81]", WRITABLE, 0);
}

#define NBD "71 81 0 0 \n81 71 0 0 /run/nbd.sock\n"

static void several_connections(void) {
        _cleanup_machine_ Machine m;

        nbd_init(&m, NBD "72 82 0 0 \n82 72 0 0 /run/nbd.sock\n");
        add_file(&m, 500, 4, "socket:[82]", WRITABLE, 0);
        check_servers(&m, source_nbd_scan, "500u 500u");
}

/* nbd-server has a process for each. */
static void a_process_for_each_connection(void) {
        _cleanup_machine_ Machine m;

        nbd_init(&m, NBD "72 82 0 0 \n82 72 0 0 /run/nbd.sock\n");
        add_root(&m, 501, "socket:[82]", WRITABLE, 0);
        check_servers(&m, source_nbd_scan, "500u 501u");
}

static void two_servers(void) {
        _cleanup_machine_ Machine m;

        nbd_init(&m, NBD "72 82 0 0 \n82 72 0 0 /run/other.sock\n");
        add_root(&m, 501, "socket:[82]", WRITABLE, 0);
        check_servers(&m, source_nbd_scan, "500i 501i");
        add_block(&m, "nbd1", "43:32\n", "virtual");
        fake_file(&m.fake, "sys/devices/virtual/block/nbd1/pid", "998\n");
        factset_free(m.facts);
        m.facts = factset_new();
        check_servers(&m, source_nbd_scan, "500ia 501ia 500ia 501ia");
}

static void rpcbind(void) {
        static const char *const names[] = { "/run/rpcbind.sock", "@/run/rpcbind.sock", "/var/lib/gssproxy/default.sock", "/run/gssproxy.sock" };

        for (size_t i = 0; i < ELEMENTSOF(names); i++) {
                _cleanup_machine_ Machine m;

                nbd_init(&m, PATH(NBD "72 82 0 0 \n82 72 0 0 %s\n", names[i]));
                add_process(&m, 501, "rpcbind", 107, "/system.slice/rpcbind.service");
                add_file(&m, 501, 3, "socket:[82]", WRITABLE, 0);
                check_servers(&m, source_nbd_scan, "500u");
        }
}

/* One end is on its way to another process, or registered with io_uring. Also of a service that somebody has taken over. */
static void a_users_socket_pair(void) {
        static const char *const tables[] = { NBD "72 82 0 1000 \n82 72 0 1000 \n", "71 81 0 \n81 71 0 /run/nbd.sock\n72 82 0 \n82 72 0 \n" };

        for (size_t i = 0; i < ELEMENTSOF(tables); i++) {
                _cleanup_machine_ Machine m;

                nbd_init(&m, tables[i]);
                add_user(&m, 501, "socket:[82]", WRITABLE, 0);
                check_servers(&m, source_nbd_scan, "500u");
        }
}

static void a_services_socket_pair(void) {
        _cleanup_machine_ Machine m;

        nbd_init(&m, NBD "72 82 0 33 \n82 72 0 33 \n");
        add_process(&m, 501, "apache2", 33, "/system.slice/apache2.service");
        add_file(&m, 501, 3, "socket:[82]", WRITABLE, 0);
        check_servers(&m, source_nbd_scan, "500u");
}

/* Root's client may be connected to a user's server. */
static void a_users_server(void) {
        _cleanup_machine_ Machine m;

        machine_init(&m, DEVTMPFS);
        add_block(&m, "nbd0", "43:0\n", "virtual");
        fake_file(&m.fake, "sys/devices/virtual/block/nbd0/pid", "999\n");
        fake_file(&m.fake, "run/stackd/unix-sockets", "71 81 0 0 \n81 71 0 1000 /home/u/nbd.sock\n72 82 0 1000 \n82 72 0 1000 \n");
        add_user(&m, 501, "socket:[81]", WRITABLE, 0);
        add_user(&m, 502, "socket:[82]", WRITABLE, 0);
        check_servers(&m, source_nbd_scan, "501u");
}

/* Anybody may connect to the kernel's servers: these ends are the kernel's, too. */
static void a_client_of_the_kernels_server(void) {
        static const char *const listeners[] = { NO_ADDRESS, "00000000000000000000000000000000:0000" };

        for (size_t i = 0; i < ELEMENTSOF(listeners); i++) {
                _cleanup_machine_ Machine m;

                nbd_init(&m, NBD);
                fake_file(&m.fake, i == 0 ? "proc/1/net/tcp" : "proc/1/net/tcp6",
                          i == 0 ? TCP CONNECTION("00000000:0801", NO_ADDRESS, "0A", "   0", "60") CONNECTION("0100007F:0801", "0100007F:9000", "01", "   0", "61")
                                             CONNECTION("0100007F:9000", "0100007F:0801", "01", "   0", "62")
                                 : TCP CONNECTION("00000000000000000000000000000000:0801", "00000000000000000000000000000000:0000", "0A", "   0", "60")
                                             CONNECTION("0000000000000000FFFF00000100007F:0801", "0000000000000000FFFF00000100007F:9000", "01", "   0", "61")
                                                     CONNECTION("0000000000000000FFFF00000100007F:9000", "0000000000000000FFFF00000100007F:0801", "01", "   0", "62"));
                add_process(&m, 501, "libnfs", 0, "/system.slice/backup.service");
                add_file(&m, 501, 3, "socket:[62]", WRITABLE, 0);
                check_servers(&m, source_nbd_scan, "500u");
        }
}

/* A user waits for the number of the client that has gone, and calls himself so. */
static void number_of_a_client(void) {
        _cleanup_machine_ Machine m;

        nbd_init(&m, NBD "72 82 0 1000 \n82 72 0 1000 \n");
        add_process(&m, 999, "nbd-client", 1000, USER);
        add_file(&m, 999, 3, "socket:[72]", WRITABLE, 0);
        add_user(&m, 998, "socket:[82]", WRITABLE, 0);
        check_servers(&m, source_nbd_scan, "500u");
}

/* In a capture that does not say where it sleeps it may be the client, and its socket pair to the server; but the kernel's only
 * connection says more. */
static void perhaps_a_client(void) {
        _cleanup_machine_ Machine m;

        nbd_init(&m, NBD "72 82 0 0 \n82 72 0 0 \n");
        add_process(&m, 999, "other", 0, "/system.slice/other.service");
        add_file(&m, 999, 3, "socket:[72]", WRITABLE, 0);
        add_root(&m, 998, "socket:[82]", WRITABLE, 0);
        check_servers(&m, source_nbd_scan, "998i 999i 500u");
}

/* It is known by where it sleeps, however it is called. */
static void client_in_the_driver(void) {
        _cleanup_machine_ Machine m;

        nbd_init(&m, "71 81 0 0 \n81 71 0 0 \n");
        add_process(&m, 999, "rauc", 0, "/system.slice/rauc.service");
        add_file(&m, 999, 3, "socket:[71]", WRITABLE, 0);
        fake_file(&m.fake, "proc/999/task/999/wchan", "nbd_start_device_ioctl");
        check_servers(&m, source_nbd_scan, "500p 999p");
        CHECK(m.facts->edges[1].role == ROLE_ERROR_PATH);
}

/* ---- FUSE ---- */

#define FUSE(number, user) "4" number " 20 0:4" number " / /m" number " rw - fuse.x x rw,user_id=" user ",group_id=0\n"

/* A kernel that says of each descriptor what it is of says so also while nobody serves anything. */
static void releases(void) {
        static const struct {
                const char *release, *servers;
        } cases[] = {
                { "6.15.11-generic\n", "100u" }, { "5.10.0\n", "100u" }, { "6.16.0-rc1\n", "" }, { "6.18.44\n", "" }, { "7.0\n", "" },
                { NULL, "100i" }, /* a capture that does not say */
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_machine_ Machine m;

                machine_init(&m, DEVTMPFS FUSE("1", "0"));
                CHECK(unlink(PATH("%s/proc/sys/kernel/osrelease", m.fake.path)) == 0);
                if (cases[i].release)
                        fake_file(&m.fake, "proc/sys/kernel/osrelease", cases[i].release);
                add_root(&m, 100, "/dev/fuse", WRITABLE, 22);
                check_servers(&m, source_fuse_scan, cases[i].servers);
                CHECK(scan_is_deserted(&m.scan, makedev(0, 41)) == (cases[i].servers[0] == 0));
        }
}

static void nobody_serves_it(void) {
        _cleanup_machine_ Machine m;
        bool said = false;

        machine_init(&m, DEVTMPFS FUSE("1", "0") FUSE("2", "0"));
        add_root(&m, 100, "/dev/fuse", WRITABLE, 22);
        fake_file(&m.fake, "proc/100/fdinfo/3", "pos:\t0\nflags:\t0100002\nmnt_id:\t22\nino:\t9\nfuse_connection:\t42\n");
        check_servers(&m, source_fuse_scan, "100p");
        CHECK(source_filesystem_scan(&m.scan, m.facts) == 0);
        for (size_t i = 0; i < m.facts->n_nodes; i++) {
                const NodeFact *n = &m.facts->nodes[i];

                CHECK(!n->incomplete || streq(n->id, "fs:0:41"));
                said |= streq_ptr(n->incomplete, "nobody that can be seen serves it");
        }
        CHECK(said);
}

/* A server that has gone leaves its mount behind: of a user's that is no reason to doubt root's. */
static void a_users_dead_mount(void) {
        _cleanup_machine_ Machine m;

        machine_init(&m, DEVTMPFS FUSE("1", "0") FUSE("2", "1000") FUSE("3", "1000"));
        add_root(&m, 100, "/dev/fuse", WRITABLE, 22);
        check_servers(&m, source_fuse_scan, "100u 100i 100i");
}

/* In a user namespace of his own a user is 0 to himself; and whose it is that he has unmounted, only its directory says. */
static void mounts_of_a_namespace(void) {
        _cleanup_machine_ Machine m;

        machine_init(&m, DEVTMPFS FUSE("1", "0"));
        fake_link(&m.fake, "proc/1/ns/user", "user:[1]");
        add_root(&m, 100, "/dev/fuse", WRITABLE, 22);
        fake_link(&m.fake, "proc/100/ns/user", "user:[1]");
        add_process(&m, 101, "server", 1000, USER);
        fake_link(&m.fake, "proc/101/ns/user", "user:[2]");
        CHECK(unlink(PATH("%s/proc/101/ns/mnt", m.fake.path)) == 0);
        fake_link(&m.fake, "proc/101/ns/mnt", "mnt:[2]");
        fake_file(&m.fake, "proc/101/mountinfo", "60 1 0:60 / / rw - tmpfs none rw\n61 60 0:61 / /m rw - fuse.x x rw,user_id=0,group_id=0\n");
        fake_file(&m.fake, "run/stackd/fuse-owners/61", "1000\n");
        fake_link(&m.fake, "sys/class/bdi/0:62", "../../devices/virtual/bdi/0:62");
        fake_file(&m.fake, "sys/devices/virtual/bdi/0:62/x", "");
        fake_file(&m.fake, "sys/fs/fuse/connections/62/waiting", "0\n");
        fake_file(&m.fake, "run/stackd/fuse-owners/62", "1000\n");
        add_file(&m, 101, 3, "/dev/fuse", WRITABLE, 22);
        check_servers(&m, source_fuse_scan, "100u 100i 100i 101ia 101ia");
}

/* What a user serves himself is his, and known. */
static void a_users_own_mount(void) {
        _cleanup_machine_ Machine m;

        machine_init(&m, DEVTMPFS FUSE("2", "1000"));
        add_user(&m, 101, "/dev/fuse", WRITABLE, 22);
        check_servers(&m, source_fuse_scan, "101u");
}

static void add_told(const Machine *m, int pid, const char *place) {
        add_root(m, pid, "/dev/fuse", WRITABLE, 22);
        fake_file(&m->fake, PATH("proc/%d/fdinfo/3", pid), "pos:\t0\nflags:\t0100002\nmnt_id:\t22\nino:\t9\nfuse_connection:\t41\n");
        fake_file(&m->fake, PATH("proc/%d/task/%d/wchan", pid, pid), place);
}

/* Of those who have the descriptor, the one that reads it. */
static void held_by_a_child(void) {
        static const struct {
                const char *first, *second, *servers;
        } cases[] = {
                { "fuse_dev_do_read.constprop.0", "hrtimer_nanosleep", "100p 101i" },
                { "fuse_dev_do_read", "fuse_dev_do_read", "100p 101p" },
                { "ep_poll", "hrtimer_nanosleep", "100p 101p" }, /* or so: it is not seen who reads */
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_machine_ Machine m;

                machine_init(&m, DEVTMPFS FUSE("1", "0"));
                add_told(&m, 100, cases[i].first);
                add_told(&m, 101, cases[i].second);
                check_servers(&m, source_fuse_scan, cases[i].servers);
        }
}

TEST_MAIN(TEST(opened_as_a_path), TEST(a_users_own_device), TEST(called_as_a_device), TEST(made_by_hand), TEST(array_state), TEST(real_descriptors), TEST(real_sockets),
          TEST(bound_to_the_path), TEST(nobody_but_a_user_bound_to_the_path), TEST(address_of_a_server), TEST(port_of_a_server),
          TEST(listener_of_a_user), TEST(several_connections),
          TEST(a_process_for_each_connection), TEST(two_servers), TEST(rpcbind), TEST(a_users_socket_pair), TEST(a_services_socket_pair),
          TEST(a_users_server), TEST(a_client_of_the_kernels_server), TEST(number_of_a_client), TEST(perhaps_a_client), TEST(client_in_the_driver), TEST(releases),
          TEST(nobody_serves_it), TEST(a_users_dead_mount), TEST(mounts_of_a_namespace), TEST(a_users_own_mount), TEST(held_by_a_child))
