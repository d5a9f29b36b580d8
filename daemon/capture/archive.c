/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "common/text.h"
#include "daemon/capture/archive.h"
#include "daemon/capture/scrub.h"

#define TRAILER "TRAILER!!!"

static int scrub_new(Captured **all, size_t n) {
        _cleanup_(scrubber_freep) Scrubber *s = scrubber_new();

        return s ? scrub_all(s, all, n) : -ENOMEM;
}

static unsigned mode_of(CapturedKind kind) {
        switch (kind) {
        case CAPTURED_DIRECTORY:
                return S_IFDIR | 0755;
        case CAPTURED_LINK:
                return S_IFLNK | 0777;
        case CAPTURED_DENIED:
                return S_IFREG; /* which is how a replay knows */
        default:
                return S_IFREG | 0644;
        }
}

static void pad(FILE *f, size_t size) {
        fwrite("\0\0", 1, (4 - size % 4) % 4, f);
}

static void put_entry(FILE *f, unsigned ino, unsigned mode, time_t when, const char *path, const char *content, size_t size) {
        size_t name_size = strlen(path) + 1;

        /* magic, ino, mode, uid, gid, nlink, mtime, filesize, device, its number, name's size, checksum */
        fprintf(f, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x", ino, mode, 0, 0, S_ISDIR(mode) ? 2 : 1,
                (unsigned) when, (unsigned) size, 0, 0, 0, 0, (unsigned) name_size, 0);
        fwrite(path, 1, name_size, f);
        pad(f, 110 + name_size);
        if (size > 0)
                fwrite(content, 1, size, f);
        pad(f, size);
}

int capture_write(Recorder *recorder, bool scrubbed, int fd) {
        _cleanup_fclose_ FILE *f = NULL;
        Captured **all;
        size_t n;
        int r;

        r = recorder_finish(recorder, &all, &n);
        if (r >= 0 && scrubbed)
                r = scrub_new(all, n);
        if (r < 0)
                return r;
        f = fdopen(fd, "we");
        if (!f)
                return -errno;
        for (size_t i = 0; i < n; i++)
                put_entry(f, (unsigned) i + 1, mode_of(all[i]->kind), time(NULL), all[i]->path, all[i]->content, all[i]->size);
        put_entry(f, 0, 0, 0, TRAILER, "", 0);
        return fflush(f) == 0 ? 0 : -errno;
}
