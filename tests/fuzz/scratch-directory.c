/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <sys/stat.h>

#include "common/file.h"
#include "common/text.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/scratch-directory.h"

static char directory[64];

static int remove_one(const char *path, const struct stat *st _unused_, int type _unused_, struct FTW *ftw) {
        return ftw->level > 0 && remove(path) < 0 ? -1 : 0;
}

void scratch_clear(const char *path) {
        _cleanup_free_ char *full = text_format("%s/%s", directory, path);

        MUST(full && (nftw(full, remove_one, 16, FTW_DEPTH | FTW_PHYS) == 0 || errno == ENOENT));
}

static void remove_all(void) {
        scratch_clear("");
        (void) remove(directory);
}

const char *scratch_directory(void) {
        if (!directory[0]) {
                strcpy(directory, "/dev/shm/stackd-fuzz-XXXXXX");
                MUST(mkdtemp(directory));
                MUST(atexit(remove_all) == 0);
        }
        return directory;
}

void scratch_parents(const char *path) {
        _cleanup_free_ char *full = text_format("%s/%s", scratch_directory(), path);

        MUST(full);
        for (char *p = full + strlen(directory) + 1; (p = strchr(p, '/')); p++) {
                *p = 0;
                (void) mkdir(full, 0700);
                *p = '/';
        }
}

void scratch_file(const char *path, const void *content, size_t size) {
        _cleanup_free_ char *full = text_format("%s/%s", scratch_directory(), path);
        _cleanup_close_ int fd = full ? open(full, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600) : -1;

        if (fd < 0 && errno == ENOENT) {
                scratch_parents(path);
                fd = open(full, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
        }
        MUST(fd >= 0 && file_write_all(fd, content, size) >= 0);
}
