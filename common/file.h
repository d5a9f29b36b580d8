/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Reading small files of kernel file systems, relative to a directory descriptor. */

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/cleanup.h"

/* Reads a descriptor to its end; at most 'max' bytes, -EFBIG beyond. The result is NUL-terminated and
 * owned by the caller; its length (it may contain NUL bytes) goes to ret_size, which may be NULL. */
int file_read_fd(int fd, size_t max, char **ret, size_t *ret_size);

/* The same of a file that is said to be of this size: where a read that asks for more ends just there, no other one is needed
 * to see that it has ended. */
int file_read_sized(int fd, size_t size, size_t max, char **ret, size_t *ret_size);

/* Opens below the root and nowhere else (openat2(2), RESOLVE_IN_ROOT and whatever else is given). Where ".." is on the way,
 * the kernel gives up when anything is renamed or mounted meanwhile, anywhere on the machine: it is asked again. */
int file_open_in_root(int root_fd, const char *path, int flags, uint64_t resolve);

/* The target of a symbolic link, owned by the caller. */
int file_readlink(int dir_fd, const char *path, char **ret);

/* Writes a whole new file beside 'path' and renames it over: readers see the old or the new content. */
int file_write_atomic(int dir_fd, const char *path, const char *content);
/* The same for files that must survive a power cut: it waits until file and directory are on the disk. */
int file_write_durable(const char *path, const char *content, mode_t mode);
/* Waits until the directory that the path is in is on the disk, with what was created and removed there. */
int file_sync_parent(const char *path);

/* Writes all of it, retrying short writes. */
int file_write_all(int fd, const char *data, size_t size);

/* Whether a (negative) error says that what was to be read is gone: the normal case in a table of things that
 * come and go. */
static inline bool error_is_gone(int r) {
        return r == -ENOENT || r == -ESRCH || r == -ENODEV || r == -ENXIO;
}

/* It says nothing about what was to be looked at, and may be over at another time. */
static inline bool error_is_shortage(int r) {
        return r == -ENOMEM || r == -EMFILE || r == -ENFILE || r == -EAGAIN;
}

/* Removes exactly one newline from the end, as the kernel adds one to attributes. Returns s. */
char *file_chomp(char *s);
