/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A directory that is read as if it were a machine (sysroot.h), made by a test and removed by it. */

#include <errno.h>
#include <ftw.h>
#include <sys/stat.h>

#include "common/text.h"
#include "daemon/sysroot/sysroot.h"
#include "tests/unit/tap.h"

typedef struct FakeRoot {
        char path[64];
        Sysroot *root;
} FakeRoot;

static _unused_ void fake_parents(char *path) {
        for (char *p = path + 1; (p = strchr(p, '/')); p++) {
                *p = 0;
                CHECK(mkdir(path, 0755) == 0 || errno == EEXIST);
                *p = '/';
        }
}

/* Creates a file with its directories, or a symbolic link where 'link' is true. */
static _unused_ void fake_put(const FakeRoot *f, const char *path, const char *content, bool link) {
        _cleanup_free_ char *full = text_format("%s/%s", f->path, path);
        FILE *file;

        CHECK(full);
        fake_parents(full);
        if (link) {
                CHECK(symlink(content, full) == 0);
                return;
        }
        file = fopen(full, "we");
        CHECK(file && fputs(content, file) >= 0 && fclose(file) == 0);
}

static _unused_ void fake_file(const FakeRoot *f, const char *path, const char *content) {
        fake_put(f, path, content, false);
}

static _unused_ void fake_link(const FakeRoot *f, const char *path, const char *target) {
        fake_put(f, path, target, true);
}

static _unused_ FakeRoot fake_root_make(void) {
        FakeRoot f = { .path = "/tmp/stackd-test-XXXXXX" };

        CHECK(mkdtemp(f.path));
        for (size_t i = 0; i < 3; i++)
                CHECK(mkdir(PATH("%s/%s", f.path, (const char *[]) { "proc", "sys", "run" }[i]), 0755) == 0);
        CHECK(sysroot_open(f.path, &f.root, NULL) == 0);
        return f;
}

static _unused_ int fake_remove(const char *path, const struct stat *st _unused_, int type _unused_, struct FTW *ftw _unused_) {
        return remove(path);
}

static _unused_ void fake_root_done(FakeRoot *f) {
        sysroot_free(f->root);
        CHECK(nftw(f->path, fake_remove, 16, FTW_DEPTH | FTW_PHYS) == 0);
}
#define _cleanup_fake_root_ _cleanup_(fake_root_done)
