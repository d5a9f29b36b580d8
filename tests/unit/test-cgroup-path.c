/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>

#include "common/cgroup-path.h"
#include "common/text.h"
#include "tests/unit/tap.h"

static bool path_is(const char *text, const char *expected) {
        _cleanup_free_ char *path = NULL;
        int r = cgroup_path_of(text, &path);

        return expected ? r == 0 && streq(path, expected) : r == -ENOENT;
}

static void hierarchies(void) {
        CHECK(path_is("0::/system.slice/a.service\n", "/system.slice/a.service"));
        CHECK(path_is("0::/system.slice/a.service", "/system.slice/a.service"));
        CHECK(path_is("12:memory:/x\n1:name=systemd:/system.slice/a.service\n0::/y\n", "/system.slice/a.service"));
        CHECK(path_is("0::/y\n1:name=systemd:/system.slice/a.service\n", "/system.slice/a.service"));
        CHECK(path_is("2:cpu,cpuacct:/z\n0::/\n", "/"));
        CHECK(path_is("2:cpu:/z\n", NULL));
        CHECK(path_is("", NULL));
}

/* A directory of a user's may be called anything but '/' and newline. */
static void fields_within_the_path(void) {
        CHECK(path_is("0::/user.slice/:name=systemd:/system.slice/evil.service\n",
                      "/user.slice/:name=systemd:/system.slice/evil.service"));
        CHECK(path_is("3:cpu:/user.slice/0::/system.slice/evil.service\n0::/user.slice\n", "/user.slice"));
        CHECK(path_is("3:cpu:/1:name=systemd:/system.slice/evil.service\n", NULL));
}

static bool unit_is(const char *path, const char *expected) {
        _cleanup_free_ char *unit = NULL;
        int r = cgroup_path_to_unit(path, &unit);

        return expected ? r == 0 && streq(unit, expected) : r == -ENOENT;
}

static void units(void) {
        CHECK(unit_is("/system.slice/a.service", "a.service"));
        CHECK(unit_is("/system.slice/a.service/worker", "a.service"));
        CHECK(unit_is("/system.slice/system-a.slice/a@b.service/x.service", "a@b.service"));
        CHECK(unit_is("/system.slice/_memory.service", "memory.service"));
        CHECK(unit_is("/user.slice/user-7.slice/user@7.service/app.slice/a.service", "a.service"));
        CHECK(unit_is("/user.slice/user-7.slice/user@7.service/init.scope", "init.scope"));
        CHECK(unit_is("/user.slice/user-7.slice/user@7.service", "user@7.service"));
        CHECK(unit_is("/user.slice/user-7.slice/session-1.scope", "session-1.scope"));
        CHECK(unit_is("/lxc/a/system.slice/a.service", NULL));
        CHECK(unit_is("/a/b.service", NULL));
        CHECK(unit_is("/system.slice/.service", NULL));
        CHECK(unit_is("/system.slice", NULL));
        CHECK(unit_is("/", NULL));
        CHECK(unit_is("", NULL));
}

static void system_services(void) {
        CHECK(cgroup_path_is_system_service("/system.slice/a.service"));
        CHECK(cgroup_path_is_system_service("/system.slice/a.service/worker"));
        CHECK(cgroup_path_is_system_service("/a.service"));
        CHECK(cgroup_path_is_system_service("/system.slice/mnt-a.mount"));
        CHECK(cgroup_path_is_system_service("/user.slicer.slice/a.service"));
        CHECK(!cgroup_path_is_system_service("/user.slice/user-7.slice/user@7.service/app.slice/a.service"));
        CHECK(!cgroup_path_is_system_service("/user.slice/user-7.slice/user@7.service"));
        CHECK(!cgroup_path_is_system_service("/user.slice/a.service"));
        CHECK(!cgroup_path_is_system_service("/machine.slice/machine-a.scope/system.slice/a.service"));
        CHECK(!cgroup_path_is_system_service("/machine.slice/a.service"));
        CHECK(!cgroup_path_is_system_service("/system.slice/docker-1.scope/a.service"));
        CHECK(!cgroup_path_is_system_service("/lxc.payload.a/system.slice/a.service"));
        CHECK(!cgroup_path_is_system_service("/../a"));
        CHECK(!cgroup_path_is_system_service("/"));
}

TEST_MAIN(TEST(hierarchies), TEST(fields_within_the_path), TEST(units), TEST(system_services))
