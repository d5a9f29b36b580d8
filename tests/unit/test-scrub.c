/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <ctype.h>
#include <string.h>

#include "common/text.h"
#include "daemon/capture/scrub.h"
#include "tests/unit/tap.h"

static char *scrubbed(Scrubber *s, const char *path, const char *content) {
        Captured c = { .path = strdup(path), .kind = CAPTURED_FILE, .content = strdup(content), .size = strlen(content) };

        CHECK(c.path && c.content);
        CHECK(scrub_all(s, (Captured *[]) { &c }, 1) == 0);
        CHECK(streq(c.path, path));
        CHECK(strlen(c.content) == c.size);
        free(c.path);
        return c.content;
}

static bool same_form(const char *a, const char *b) {
        for (; *a && *b; a++, b++)
                if (!isalnum((unsigned char) *a) ? *a != *b : !isxdigit((unsigned char) *a) != !isxdigit((unsigned char) *b))
                        return false;
        return *a == *b;
}

/* Every byte that can differ does so with high probability: texts are long enough. */
static void check_replaced(const char *old, const char *new) {
        CHECK(same_form(old, new));
        CHECK(!streq(old, new));
}

/* The question about a disk of LIO names its wwid, which must go on matching. */
static void check_pair(const char *wwid) {
        _cleanup_(scrubber_freep) Scrubber *s = scrubber_new();
        _cleanup_free_ char *new_wwid = NULL, *new_answers = NULL, *answers = NULL, *expected = NULL;

        CHECK(s);
        new_wwid = scrubbed(s, "sys/devices/x/wwid", wwid);
        answers = text_format("dm 252:0 1=linear 8:0\nlio 8:0 15 %s=core/user_0/z uio:uio0\n", wwid);
        new_answers = scrubbed(s, "run/stackd/probes", answers);
        check_replaced(wwid, new_wwid);
        CHECK(startswith(new_wwid, "naa.6001405"));
        expected = text_format("dm 252:0 1=linear 8:0\nlio 8:0 15 %s=core/user_0/z uio:uio0\n", new_wwid);
        CHECK(expected && streq(new_answers, expected));
}

/* So does what the question about an NVMe disk names. */
static void check_nvme(const char *nqn) {
        static const char uuid[] = "d2e0422b-e2a5-4efa-9429-e8dbe5425f08";
        _cleanup_(scrubber_freep) Scrubber *s = scrubber_new();
        _cleanup_free_ char *escaped = text_escape_octal(nqn), *new_escaped = NULL, *new_nqn = NULL, *new_uuid = NULL, *answers = NULL, *new_answers = NULL, *expected = NULL;

        CHECK(s);
        new_nqn = scrubbed(s, "sys/devices/virtual/nvme-subsystem/nvme-subsys0/subsysnqn", nqn);
        new_uuid = scrubbed(s, "sys/devices/virtual/nvme-subsystem/nvme-subsys0/nvme0n1/uuid", uuid);
        check_replaced(nqn, new_nqn);
        check_replaced(uuid, new_uuid);
        answers = text_format("dm 252:0 1=linear 8:0\nnvmet 259:1 15 %s 12345678 %s=/srv/nvmet 1 2 3\n", escaped, uuid);
        new_escaped = text_escape_octal(new_nqn);
        new_answers = scrubbed(s, "run/stackd/probes", answers);
        expected = text_format("dm 252:0 1=linear 8:0\nnvmet 259:1 15 %s 12345678 %s=/srv/nvmet 1 2 3\n", new_escaped, new_uuid);
        CHECK(expected && streq(new_answers, expected));
}

static void test_nvme_identities_go_on_matching(void) {
        check_nvme("nqn.2014-08.org.example:S5GXNX0T123456");
        check_nvme("some name: 0123456789 of it");
}

static void test_wwids_go_on_matching(void) {
        check_pair("naa.60014055b0d1a3e0f4c4b779a61d3a0c3b2");
        check_pair("naa.60014050012340000000000000000000");
}

static void test_dm_uuid_keeps_its_maker(void) {
        static const char *const cases[][2] = {
                { "CRYPT-LUKS2-0123456789abcdef0123456789abcdef-home\n", "CRYPT-LUKS2-" },
                { "LVM-2ZcPkLmNoPqRsTuVwXyZ0123456789abCDEFghIJKLmnOPQRstUVwxYZ01234567-tpool\n", "LVM-" },
                { "part2-mpath-360014055b0d1a3e0f4c4b779a61d3a0c\n", "part2-mpath-" },
                { "dmz-5b0d1a3e-0f4c-4b77-9a61-d3a0c3b2e1f0\n", "dmz-" },
                { "something of its own: 12345678\n", "" },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(scrubber_freep) Scrubber *s = scrubber_new();
                _cleanup_free_ char *new = s ? scrubbed(s, "sys/devices/virtual/block/dm-0/dm/uuid", cases[i][0]) : NULL;

                CHECK(new);
                check_replaced(cases[i][0], new);
                CHECK(startswith(new, cases[i][1]));
                if (i == 1)
                        CHECK(endswith(new, "-tpool\n"));
        }
}

static void test_mountinfo(void) {
        static const char text[] =
                "21 1 8:0 / /run/media/c6a1b2d3-1111-4222-8333-d3a0c3b2e1f0 rw - ext4 /dev/disk/by-uuid/5b0d1a3e-0f4c-4b77-9a61-d3a0c3b2e1f1 rw\n"
                "22 1 0:9 / /o rw - overlay o rw,lowerdir=/a/77e5d4c3-1111-4222-8333-d3a0c3b2e1f2\n"
                "23 1 0:9 / /c rw - ceph x rw,fsid=5b0d1a3e-0f4c-4b77-9a61-d3a0c3b2e1f3";
        _cleanup_(scrubber_freep) Scrubber *s = scrubber_new();
        _cleanup_free_ char *new = s ? scrubbed(s, "proc/1/mountinfo", text) : NULL;

        CHECK(new);
        CHECK(strstr(new, "d3a0c3b2e1f0 rw - ext4"));
        CHECK(!strstr(new, "d3a0c3b2e1f1"));
        CHECK(strstr(new, "d3a0c3b2e1f2"));
        CHECK(!strstr(new, "d3a0c3b2e1f3"));
        free(TAKE_PTR(new));
        new = scrubbed(s, "proc/fs/nfsd/exports", "/srv\t*(rw,uuid=5b0d1a3e:0f4c4b77:9a61d3a0:c3b2e1f0,sec=1)\n");
        CHECK(startswith(new, "/srv\t*(rw,uuid=") && !strstr(new, "5b0d1a3e") && endswith(new, ",sec=1)\n"));
}

static void test_the_same_becomes_the_same(void) {
        static const char path[] = "sys/fs/btrfs/5b0d1a3e-0f4c-4b77-9a61-d3a0c3b2e1f0/devices/sda", uuid[] = "5b0d1a3e-0f4c-4b77-9a61-d3a0c3b2e1f0";
        _cleanup_(scrubber_freep) Scrubber *s = scrubber_new(), *other = scrubber_new();
        Captured c = { .path = strdup(path), .kind = CAPTURED_LISTED, .content = strdup("") };
        char again[sizeof(uuid)], another[sizeof(uuid)];

        CHECK(s && other && c.path);
        memcpy(again, uuid, sizeof(uuid));
        memcpy(another, uuid, sizeof(uuid));
        CHECK(scrub_all(s, (Captured *[]) { &c }, 1) == 0);
        CHECK(scrub_identifier(s, again) == 0 && scrub_identifier(other, another) == 0);
        check_replaced(uuid, again);
        CHECK(startswith(c.path, "sys/fs/btrfs/") && strncmp(c.path + strlen("sys/fs/btrfs/"), again, strlen(again)) == 0);
        CHECK(endswith(c.path, "/devices/sda"));
        CHECK(!streq(again, another)); /* nothing to look up in another capture */
        free(c.path);
        free(c.content);
}

/* Multipath and dm-zoned name devices after the disk, and these names are in paths. */
static void test_numbers_in_names(void) {
        _cleanup_(scrubber_freep) Scrubber *s = scrubber_new();
        _cleanup_free_ char *wwid = s ? scrubbed(s, "sys/x/wwid", "naa.60014059d437b2cec46475294717a7af\n") : NULL, *uuid = NULL, *name = NULL,
                            *mounts = NULL, *status = NULL;

        CHECK(wwid);
        uuid = scrubbed(s, "sys/x/dm/uuid", "mpath-360014059d437b2cec46475294717a7af\n");
        CHECK(startswith(uuid, "mpath-36001405") && streq(startswith(uuid, "mpath-3"), startswith(wwid, "naa.")));
        name = scrubbed(s, "sys/x/dm/name", "dmz-60014059d437b2cec464752947\n");
        CHECK(startswith(name, "dmz-6001405") && strncmp(startswith(name, "dmz-"), startswith(wwid, "naa."), 26) == 0);
        mounts = scrubbed(s, "proc/1/mountinfo", "1 1 253:0 / /mnt/9D437B2C-EC46-4752 rw - xfs /dev/mapper/dmz-60014059d437b2cec464752947 rw\n");
        CHECK(!strstr(mounts, "9d437b2c") && !strstr(mounts, "9D437B2C") && strstr(mounts, "/mnt/"));
        status = scrubbed(s, "proc/1/status", "CapEff:\t000001ffffffffff\nx\t9d437b2cec4\n");
        CHECK(streq(status, "CapEff:\t000001ffffffffff\nx\t9d437b2cec4\n"));
}

/* The ledger of stackd holds only for the boot that it names. */
static void test_boot_and_ledger_go_on_matching(void) {
        static const char id[] = "265997a3-4593-47fe-3afd-ac5adc2542c0";
        _cleanup_(scrubber_freep) Scrubber *s = scrubber_new();
        _cleanup_free_ char *boot = s ? scrubbed(s, "proc/sys/kernel/random/boot_id", id) : NULL, *ledger = NULL;

        CHECK(boot);
        check_replaced(id, boot);
        ledger = scrubbed(s, "run/stackd/ledger", "boot 265997a3-4593-47fe-3afd-ac5adc2542c0\nio-flusher 529 9254 none\n");
        CHECK(strncmp(startswith(ledger, "boot "), boot, strlen(boot)) == 0 && endswith(ledger, "\nio-flusher 529 9254 none\n"));
}

static void test_others_stay(void) {
        _cleanup_(scrubber_freep) Scrubber *s = scrubber_new();
        _cleanup_free_ char *stat = s ? scrubbed(s, "proc/5/stat", "5 (a) S 1 5b0d1a3e-0f4c-4b77-9a61-d3a0c3b2e1f0\n") : NULL;

        CHECK(stat && streq(stat, "5 (a) S 1 5b0d1a3e-0f4c-4b77-9a61-d3a0c3b2e1f0\n"));
}

TEST_MAIN(TEST(test_wwids_go_on_matching), TEST(test_nvme_identities_go_on_matching), TEST(test_dm_uuid_keeps_its_maker), TEST(test_mountinfo),
          TEST(test_the_same_becomes_the_same),
          TEST(test_numbers_in_names),
          TEST(test_boot_and_ledger_go_on_matching), TEST(test_others_stay))
