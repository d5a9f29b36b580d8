/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What was read of a machine (the input is as memory-root.h has it), scrubbed and written as an archive, which stackctl
 * takes apart. */
#include <ctype.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cli/tarball.h"
#include "common/file.h"
#include "common/text.h"
#include "daemon/capture/archive.h"
#include "daemon/capture/recorder.h"
#include "daemon/capture/scrub.h"
#include "tests/fuzz/fuzz.h"

static void record_one(Recorder *r, char *entry) {
        char *content = strchrnul(entry, '\n'), *link;

        if (*content)
                *content++ = 0;
        link = strstr(entry, " -> ");
        if (link) {
                *link = 0;
                recorder_add(r, CAPTURED_LINK, entry, link + 4, strlen(link + 4));
        } else
                recorder_add(r, strstr(entry, " !") ? CAPTURED_DENIED : CAPTURED_FILE, entry, content, strlen(content));
}

static Recorder *record(const uint8_t *data, size_t size) {
        Recorder *r = recorder_new();
        FuzzInput in = { data, size };

        MUST(r);
        while (in.left > 0) {
                _cleanup_free_ char *entry = fuzz_part(&in, '@');

                record_one(r, entry);
        }
        return r;
}

static bool is_like(char old, char new) {
        if (isxdigit((unsigned char) old))
                return isxdigit((unsigned char) new);
        return old == new || (isalpha((unsigned char) old) && isalpha((unsigned char) new) && !isxdigit((unsigned char) new));
}

/* Nothing but digits and letters is replaced, by their like, and nothing moves. */
static void check_form(const char *old, const char *new) {
        MUST(strlen(old) == strlen(new));
        for (; *old; old++, new++)
                MUST(is_like(*old, *new));
}

static void scrub(Recorder *r) {
        _cleanup_(scrubber_freep) Scrubber *s = scrubber_new();
        _cleanup_strv_free_ char **paths = NULL, **contents = NULL;
        size_t n, n_paths = 0, n_contents = 0;
        _cleanup_free_ Captured **order = NULL;
        Captured **all;

        MUST(s && recorder_finish(r, &all, &n) >= 0);
        order = malloc((n + 1) * sizeof(Captured *));
        MUST(order);
        for (size_t i = 0; i < n; i++) {
                order[i] = all[i];
                MUST(strv_append(&paths, &n_paths, all[i]->path) >= 0 && strv_append(&contents, &n_contents, all[i]->content) >= 0);
        }
        MUST(scrub_all(s, all, n) >= 0);
        for (size_t i = 0; i < n; i++) {
                check_form(paths[i], order[i]->path);
                check_form(contents[i], order[i]->content);
        }
}

static void write_archive(Recorder *r) {
        _cleanup_close_ int fd = memfd_create("archive", MFD_CLOEXEC);
        _cleanup_free_ char *archive = NULL, *tarball = NULL;
        size_t size, tarball_size, n, n_files = 0;
        Captured **all;

        MUST(fd >= 0 && recorder_finish(r, &all, &n) >= 0);
        MUST(capture_write(r, false, fcntl(fd, F_DUPFD_CLOEXEC, 3)) >= 0);
        MUST(lseek(fd, 0, SEEK_SET) == 0 && file_read_fd(fd, 1 << 26, &archive, &size) >= 0);
        if (tarball_new(archive, size, "x.tar", &tarball, &tarball_size, &n_files) >= 0)
                free(TAKE_PTR(tarball));
}

/* stackctl reads what a stackd of its own writes, but takes nothing for granted. */
static void read_archive(const uint8_t *data, size_t size) {
        _cleanup_free_ char *tarball = NULL;
        size_t tarball_size, n = 0;

        (void) tarball_new((const char *) data, size, "x.tar", &tarball, &tarball_size, &n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_(recorder_freep) Recorder *r = NULL;

        if (size > 6 && memcmp(data, "0707", 4) == 0) {
                read_archive(data, size);
                return 0;
        }
        r = record(data, size);
        scrub(r);
        write_archive(r);
        return 0;
}
