/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What discovery has read, as a tree of files: what a capture is made of. Paths are relative to the root of
 * the capture ("proc/1/mountinfo") and go through no symbolic link. */

#include <stddef.h>

#include "common/cleanup.h"

typedef enum CapturedKind {
        CAPTURED_LISTED,    /* its name was seen in its directory, no more: an empty file */
        CAPTURED_DENIED,    /* might not be read */
        CAPTURED_FILE,
        CAPTURED_LINK,      /* content is the target */
        CAPTURED_DIRECTORY,
} CapturedKind;

typedef struct Captured {
        char *path;
        CapturedKind kind;
        char *content; /* NUL-terminated beyond its size; never NULL */
        size_t size;
} Captured;

typedef struct Recorder Recorder;

Recorder *recorder_new(void); /* NULL when out of memory */
Recorder *recorder_free(Recorder *r);
DEFINE_TRIVIAL_CLEANUP_FUNC(Recorder *, recorder_free);

/* The first record of a path stays, but for one that is only LISTED or DENIED. Its parents become directories.
 * Being out of memory is kept for recorder_finish(): whoever reads need not care. */
void recorder_add(Recorder *r, CapturedKind kind, const char *path, const char *content, size_t size);

/* NULL where nothing is recorded. Valid until the next recorder_add(). */
const Captured *recorder_get(const Recorder *r, const char *path);

/* All records sorted by path, a directory before what is in it; they stay the recorder's, and may be changed in
 * place. -ENOMEM if any could not be kept. */
int recorder_finish(Recorder *r, Captured ***ret, size_t *ret_n);
