/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <sys/sysmacros.h>

#include "daemon/source/scan.h"
#include "tests/unit/fake-root.h"

static bool leads_to(const char *table, const char *path, int id) {
        _cleanup_fake_root_ FakeRoot f = fake_root_make();
        MountTable t = {};
        const Mount *m;
        bool equal;

        fake_file(&f, "proc/1/mountinfo", table);
        fake_link(&f, "proc/1/ns/mnt", "mnt:[1]");
        CHECK(mount_table_read(f.root, &t) == 0);
        m = mount_table_resolve(&t, 0, path);
        equal = id == 0 ? !m : m && m->id == id;
        mount_table_done(&t);
        return equal;
}

#define M(id, parent, target) #id " " #parent " 0:" #id " / " target " rw - ext4 none rw\n"

static void resolve(void) {
        static const char table[] = M(20, 1, "/") M(21, 20, "/mnt") M(22, 21, "/mnt/a") M(23, 20, "/mntx") M(24, 22, "/mnt/a/b/c");

        CHECK(leads_to(table, "/", 20));
        CHECK(leads_to(table, "/etc/x", 20));
        CHECK(leads_to(table, "/mnt", 21));
        CHECK(leads_to(table, "/mnt/ab", 21));
        CHECK(leads_to(table, "/mnt/a/b", 22));
        CHECK(leads_to(table, "/mnt/a/b/c/d", 24));
        CHECK(leads_to(table, "/mnt/a/b/cd", 22));
        CHECK(leads_to(table, "/mntx/f", 23));
        CHECK(leads_to(table, "relative", 0));
        CHECK(leads_to("", "/", 0));
}

/* What is mounted over one's parent hides it. */
static void overmounts(void) {
        CHECK(leads_to(M(20, 1, "/") M(21, 20, "/mnt") M(22, 21, "/mnt"), "/mnt/f", 22));
        CHECK(leads_to(M(20, 1, "/") M(21, 20, "/mnt/a") M(22, 20, "/mnt"), "/mnt/a/f", 22));
        CHECK(leads_to(M(20, 1, "/") M(21, 20, "/mnt/a") M(22, 20, "/mnt") M(23, 22, "/mnt/a"), "/mnt/a/f", 23));
        CHECK(leads_to(M(20, 1, "/") M(21, 20, "/"), "/f", 21));
}

static void an_initrd(void) {
        CHECK(leads_to(M(1, 1, "/") M(2, 1, "/mnt"), "/f", 1));
        CHECK(leads_to(M(1, 1, "/") M(2, 1, "/mnt"), "/mnt/f", 2));
}

/* Tables that no kernel writes must end the search all the same. */
static void nonsense(void) {
        CHECK(leads_to(M(20, 21, "/") M(21, 20, "/"), "/f", 0));
        CHECK(leads_to(M(20, 1, "/") "garbage\n" M(21, 20, "/mnt"), "/mnt/f", 21));
}

static const Mount *only_mount(FakeRoot *f, const char *line, MountTable *ret) {
        fake_file(f, "proc/1/mountinfo", line);
        fake_link(f, "proc/1/ns/mnt", "mnt:[1]");
        CHECK(mount_table_read(f->root, ret) == 0 && ret->n == 1);
        return &ret->mounts[0];
}

static void fields(void) {
        _cleanup_fake_root_ FakeRoot f = fake_root_make(), g = fake_root_make();
        _cleanup_(mount_table_done) MountTable t = {}, u = {};
        const Mount *m = only_mount(&f, "36 35 98:7 /sub\\040dir /mnt/a\\134b rw,noatime shared:1 master:2 - fuse.x \\043src rw,user_id=0\n", &t);

        CHECK(m->id == 36 && m->parent == 35 && m->device == makedev(98, 7) && m->space == 0);
        CHECK(streq(m->root, "/sub dir") && streq(m->target, "/mnt/a\\b") && streq(m->flags, "rw,noatime"));
        CHECK(streq(m->type, "fuse.x") && streq(m->source, "#src") && streq(m->options, "rw,user_id=0") && !m->raw_options);

        /* An empty source, and escapes that mean something to who takes the options of an overlay apart. */
        m = only_mount(&g, "36 35 0:7 / / rw - overlay  rw,lowerdir=/a\\054b\n", &u);
        CHECK(streq(m->source, "") && streq(m->options, "rw,lowerdir=/a,b") && streq(m->raw_options, "rw,lowerdir=/a\\054b"));
}

/* Nothing of a line that no kernel writes is taken, and all of the others. */
static void bad_lines(void) {
        static const char *const bad[] = {
                "", " ", "x 35 0:1 / /m rw - t s rw", "-36 35 0:1 / /m rw - t s rw", "99999999999 35 0:1 / /m rw - t s rw",
                "36 35 0 / /m rw - t s rw", "36 35 0:1 / /m rw t s rw", "36 35 0:1 / /m rw - t s", "36 35 0:1 / /m rw - t s ",
                "36 35 0:1 /  rw - t s rw", "36 35 0:1 / /m rw -", "36 35 0:1",
        };

        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                _cleanup_fake_root_ FakeRoot f = fake_root_make();
                _cleanup_(mount_table_done) MountTable t = {};

                CHECK(only_mount(&f, PATH("%s\n" M(20, 1, "/") "%s", bad[i], bad[i]), &t)->id == 20);
        }
}

static void other_namespaces(void) {
        _cleanup_fake_root_ FakeRoot f = fake_root_make();
        MountTable t = {};
        size_t n;

        fake_file(&f, "proc/1/mountinfo", M(20, 1, "/"));
        fake_link(&f, "proc/1/ns/mnt", "mnt:[1]");
        for (int pid = 7; pid <= 8; pid++) {
                fake_file(&f, PATH("proc/%d/mountinfo", pid), M(30, 1, "/") "31 30 0:20 / /a\\040b rw - ext4 none rw\n");
                fake_link(&f, PATH("proc/%d/ns/mnt", pid), "mnt:[2]");
        }
        CHECK(mount_table_read(f.root, &t) == 0);
        CHECK(t.n == 3 && t.n_spaces == 2 && t.gaps == 0);
        CHECK(mount_table_resolve(&t, 0, "/a b/f")->id == 20 && mount_table_resolve(&t, 1, "/a b/f")->id == 31);
        CHECK(mount_table_find_id(&t, 31)->space == 1 && !mount_table_find_id(&t, 32));
        (void) mount_table_device_range(&t, mount_table_find_id(&t, 20)->device, &n);
        CHECK(n == 2 && mount_table_find_device(&t, mount_table_find_id(&t, 20)->device)->id == 20);
        mount_table_done(&t);
}

/* A process that has changed its root sees less than another of its namespace; its table is better than none. */
static void changed_roots(void) {
        _cleanup_fake_root_ FakeRoot f = fake_root_make();
        MountTable t = {};

        fake_file(&f, "proc/1/mountinfo", M(20, 1, "/"));
        fake_link(&f, "proc/1/ns/mnt", "mnt:[1]");
        for (int pid = 7; pid <= 9; pid++) {
                fake_file(&f, PATH("proc/%d/mountinfo", pid), pid == 8 ? M(30, 1, "/") M(31, 30, "/a") : pid == 7 ? M(32, 30, "/") : M(40, 39, "/"));
                fake_link(&f, PATH("proc/%d/ns/mnt", pid), pid < 9 ? "mnt:[2]" : "mnt:[3]");
                fake_link(&f, PATH("proc/%d/root", pid), pid == 8 ? "/" : "/srv/jail");
        }
        CHECK(mount_table_read(f.root, &t) == 0);
        CHECK(t.n == 4 && t.n_spaces == 3);
        CHECK(mount_table_find_id(&t, 31) && !mount_table_find_id(&t, 32) && mount_table_find_id(&t, 40)->space == 2);
        mount_table_done(&t);
}

/* A namespace with 'n' mounts of 4 KiB of text each, whose user namespace is 'user'. */
static void make_large(const FakeRoot *f, int pid, const char *user, size_t n) {
        char *text = calloc(n, 4096), *p = text;

        CHECK(text);
        for (size_t i = 0; i < n; i++)
                p += snprintf(p, 4096, "%zu 1 0:%zu / /%04000d rw - tmpfs none rw\n", 1000 * (size_t) pid + i, 100 * (size_t) pid + i, 0);
        fake_file(f, PATH("proc/%d/mountinfo", pid), text);
        fake_link(f, PATH("proc/%d/ns/mnt", pid), PATH("mnt:[%d]", pid));
        fake_link(f, PATH("proc/%d/ns/user", pid), user);
        free(text);
}

/* What ordinary users make as much of as they like is read up to a limit; what is root's is read whatever they do. */
static void limits(void) {
        _cleanup_fake_root_ FakeRoot f = fake_root_make();
        Scan s = { .root = f.root };

        fake_file(&f, "proc/1/mountinfo", M(20, 1, "/"));
        fake_link(&f, "proc/1/ns/mnt", "mnt:[1]");
        fake_link(&f, "proc/1/ns/user", "user:[1]");
        make_large(&f, 10, "user:[1]", 1100); /* above 4 MiB */
        make_large(&f, 11, "user:[2]", 1000);
        CHECK(scan_refresh(&s, TABLE_MOUNTS) == 0);
        CHECK(s.mounts.n == 2101 && s.gaps == 0);
        CHECK(!mount_table_find_id(&s.mounts, 10000)->foreign && mount_table_find_id(&s.mounts, 11000)->foreign);
        /* One that is too large by itself. */
        make_large(&f, 12, "user:[3]", 1100);
        make_large(&f, 13, "user:[3]", 1);
        CHECK(scan_refresh(&s, TABLE_MOUNTS) == 0);
        CHECK(s.mounts.n == 2102 && s.gaps == GAP_NAMESPACE_LIMIT && !mount_table_find_id(&s.mounts, 12000) && mount_table_find_id(&s.mounts, 13000));
        /* All together. */
        for (int pid = 14; pid < 30; pid++)
                make_large(&f, pid, "user:[4]", 1000);
        make_large(&f, 40, "user:[1]", 1000);
        CHECK(scan_refresh(&s, TABLE_MOUNTS) == 0);
        CHECK(s.gaps == GAP_NAMESPACE_LIMIT && mount_table_find_id(&s.mounts, 40000) && mount_table_find_id(&s.mounts, 14000) && !mount_table_find_id(&s.mounts, 29000));
        CHECK(s.mounts.n > 8000 && s.mounts.n < 11200);
        scan_done(&s);
}

static void many_foreign_filesystems(void) {
        _cleanup_fake_root_ FakeRoot f = fake_root_make();
        Scan s = { .root = f.root };
        FactSet *facts = factset_new();
        _cleanup_free_ char *text = calloc(20000, 64);
        char *p = text;

        CHECK(text && facts);
        for (unsigned i = 0; i < 20000; i++)
                p += sprintf(p, "%u 1 0:%u / /%u rw - tmpfs none rw\n", 100 + i, 100 + i, i);
        fake_file(&f, "proc/1/mountinfo", text);
        fake_link(&f, "proc/1/ns/mnt", "mnt:[1]");
        fake_link(&f, "proc/1/ns/user", "user:[1]");
        CHECK(scan_refresh(&s, TABLE_MOUNTS) == 0 && source_filesystem_scan(&s, facts) == 0);
        CHECK(facts->n_nodes == 20000 && s.gaps == 0);
        factset_free(facts);
        facts = factset_new();
        CHECK(facts);
        fake_file(&f, "proc/1/mountinfo", "20 1 0:20 / / rw - tmpfs none rw\n21 20 0:20099 / /x rw - tmpfs none rw\n");
        fake_file(&f, "proc/9/mountinfo", text);
        fake_link(&f, "proc/9/ns/mnt", "mnt:[9]");
        fake_link(&f, "proc/9/ns/user", "user:[9]");
        CHECK(scan_refresh(&s, TABLE_MOUNTS) == 0 && s.gaps == 0 && source_filesystem_scan(&s, facts) == 0);
        CHECK(facts->n_nodes == 16384 + 2 && s.gaps == GAP_NAMESPACE_LIMIT);
        factset_free(facts);
        scan_done(&s);
}

/* The source of a tmpfs is whatever its user wrote there. */
static void a_source_proves_nothing(void) {
        _cleanup_fake_root_ FakeRoot f = fake_root_make();
        Scan s = { .root = f.root };
        FactSet *facts = factset_new();

        fake_file(&f, "proc/1/mountinfo", "20 1 0:30 / / rw - tmpfs /dev/sda rw\n21 20 0:31 / /b rw - bcachefs /dev/sda rw\n");
        fake_link(&f, "proc/1/ns/mnt", "mnt:[1]");
        CHECK(scan_refresh(&s, TABLE_MOUNTS) == 0);
        s.blocks.by_name = hashmap_new();
        Block sda = { .name = (char *) "sda", .device = 8 << 8 };
        CHECK(hashmap_put(s.blocks.by_name, sda.name, &sda) == 0);
        CHECK(source_filesystem_scan(&s, facts) == 0);
        CHECK(facts->n_edges == 1 && streq(facts->edges[0].upper, "fs:0:31"));
        factset_free(facts);
        scan_done(&s);
}

TEST_MAIN(TEST(resolve), TEST(overmounts), TEST(an_initrd), TEST(nonsense), TEST(fields), TEST(bad_lines),
          TEST(other_namespaces), TEST(changed_roots), TEST(limits), TEST(many_foreign_filesystems),
          TEST(a_source_proves_nothing))
