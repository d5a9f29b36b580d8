/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What mountinfo shows, as settings with a way back. */
#include <errno.h>

#include "common/text.h"
#include "daemon/policy/mount-option.h"
#include "tests/unit/tap.h"

static const char *value(const char *type, const char *word, const char *mount, const char *super) {
        static char text[100];
        _cleanup_free_ char *found = NULL;
        MountOption option;

        CHECK(mount_option_find(type, word, &option) == 0);
        found = mount_option_value(type, &option, mount, super);
        snprintf(text, sizeof(text), "%s", found ?: "(null)");
        return text;
}

static void of_a_mount(void) {
        CHECK(streq(value("ext4", "noatime", "rw,relatime", "rw"), "relatime"));
        CHECK(streq(value("ext4", "relatime", "rw,nosuid,noatime", "rw"), "noatime"));
        CHECK(streq(value("ext4", "noatime", "rw", "rw,noatime"), "strictatime")); /* the file system's list is another */
        CHECK(streq(value("fuse.x", "nodev", "rw,nosuid,nodev", "rw"), "nodev"));
        CHECK(streq(value("fuse.x", "nodev", "rw,nosuid,nodevil", "rw"), "dev"));
        CHECK(streq(value("xfs", "exec", "rw,noexec", "rw"), "noexec"));
}

static void of_a_file_system(void) {
        CHECK(streq(value("ext4", "commit=30", "rw", "rw"), "commit=5"));
        CHECK(streq(value("ext4", "commit=30", "rw", "rw,commit=77,x"), "commit=77"));
        CHECK(streq(value("ext4", "commit=30", "rw", "rw,nocommit=77"), "commit=5"));
        CHECK(streq(value("btrfs", "commit=30", "rw", "rw"), "commit=30"));
        CHECK(streq(value("ext4", "discard", "rw", "rw,discard"), "discard"));
        CHECK(streq(value("ext4", "discard", "rw", "rw"), "nodiscard"));
        CHECK(streq(value("ext4", "nobarrier", "rw", "rw"), "barrier"));
        CHECK(streq(value("tmpfs", "lazytime", "rw", "rw,lazytime"), "lazytime"));
        CHECK(streq(value("xfs", "sync", "rw", "rw,dirsync"), "async"));
}

static void what_is_wanted_reads_as_what_is(void) {
        static const struct {
                const char *type, *word, *expected;
        } cases[] = { { "ext4", "commit=030", "commit=30" }, { "ext4", "noatime", "noatime" }, { "ext4", "commit=x", "commit=x" } };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                MountOption option;

                CHECK(mount_option_find(cases[i].type, cases[i].word, &option) == 0);
                char *wanted = mount_option_wanted(cases[i].type, &option, cases[i].word);
                CHECK(wanted && streq(wanted, cases[i].expected));
                free(wanted);
        }
}

static void without_a_way_back(void) {
        static const char *const words[] = { "", "ro", "data=journal", "commit", "commit=", "noquota", "subvol=/x", "=", "atime" };
        MountOption option;

        for (size_t i = 0; i < ELEMENTSOF(words); i++)
                CHECK(mount_option_find("ext4", words[i], &option) == -EOPNOTSUPP);
        CHECK(mount_option_find("vfat", "commit=5", &option) == -EOPNOTSUPP);
        CHECK(mount_option_find("vfat", "discard", &option) == -EOPNOTSUPP);
}

static void lists(void) {
        char **words = mount_options_split(",a,,b=c,");

        CHECK(words && streq(words[0], "a") && streq(words[1], "b=c") && !words[2]);
        strv_free(words);
        words = mount_options_split("");
        CHECK(words && !words[0]);
        strv_free(words);
}

TEST_MAIN(TEST(of_a_mount), TEST(of_a_file_system), TEST(what_is_wanted_reads_as_what_is), TEST(without_a_way_back), TEST(lists))
