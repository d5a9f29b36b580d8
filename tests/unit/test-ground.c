/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a process runs from: of this one, and in answers. */
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "common/text.h"
#include "daemon/source/process-ground.h"
#include "daemon/source/process-table.h"
#include "tests/unit/tap.h"

static void of_oneself(void) {
        _cleanup_(sysroot_freep) Sysroot *s = NULL;
        _cleanup_free_ char *answer = NULL, *exe = NULL;
        bool program = false, directory = false, emulated;
        uint64_t start = 0;
        char *rest;
        Ground g;

        CHECK(sysroot_open(NULL, &s, NULL) == 0 && process_read_start(s, getpid(), &start) == 0);
        CHECK(sysroot_readlink(s, AREA_PROC, "self/exe", &exe) == 0);
        CHECK(ground_ask(getpid(), start + 1, &answer) == -ESRCH && !answer);
        CHECK(ground_ask(getpid(), start, &answer) == 0);
        CHECK(answer && !strchr(answer, '\n'));
        emulated = strstr(exe, "/qemu-") != NULL; /* which maps the program before itself, from the same file system */
        rest = answer;
        while (rest && ground_next(&rest, &g)) {
                program |= g.mount_id < 0 && g.device != 0 && (emulated || streq(g.what, exe));
                directory |= g.mount_id > 0 && streq(g.what, "its working directory");
        }
        CHECK(program && directory);
}

static void answers(void) {
        char text[] = "device 8:1 /usr/bin/x y\tnonsense\tdevice 8 /z\tmount 33 its root directory\tmount x y\tdevice 0:45 /mnt/a\\x09b";
        char *rest = text;
        Ground g;

        CHECK(ground_next(&rest, &g) && g.device == makedev(8, 1) && g.mount_id == -1 && streq(g.what, "/usr/bin/x y"));
        CHECK(ground_next(&rest, &g) && g.mount_id == 33 && streq(g.what, "its root directory"));
        CHECK(ground_next(&rest, &g) && g.device == makedev(0, 45) && streq(g.what, "/mnt/a\\x09b"));
        CHECK(!ground_next(&rest, &g) && !ground_next(&rest, &g));
}

TEST_MAIN(TEST(of_oneself), TEST(answers))
