/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The one place that knows where the kernel's files are: /proc, /sys, /run, /dev of this machine, or those
 * below a captured directory, out of which no path leads (openat2(2), RESOLVE_IN_ROOT). What is read through
 * these functions can be recorded: that is how a capture is made. */

#include <dirent.h>
#include <stdbool.h>
#include <stddef.h>

#include "common/cleanup.h"
#include "daemon/capture/recorder.h"

typedef struct Sysroot Sysroot;

typedef enum SysrootArea {
        AREA_PROC,
        AREA_SYS,
        AREA_RUN,
        AREA_DEV, /* on a machine only */
        _AREA_MAX,
} SysrootArea;

/* 'directory' NULL means this machine. -ENOENT, -ENOTDIR: the directory, or proc or sys in it, is not
 * there; ret_missing (may be NULL) then names which, as a constant string. */
int sysroot_open(const char *directory, Sysroot **ret, const char **ret_missing);
Sysroot *sysroot_free(Sysroot *s);
DEFINE_TRIVIAL_CLEANUP_FUNC(Sysroot *, sysroot_free);

/* Whether this is the running machine, and not a capture of one. */
bool sysroot_is_machine(const Sysroot *s);

/* What it holds open, for a child that is to have nothing else of ours; some may be negative. */
const int *sysroot_descriptors(const Sysroot *s, size_t *ret_n);

/* From now on what is read goes there too; NULL ends it. Not owned. */
void sysroot_set_recorder(Sysroot *s, Recorder *r);
bool sysroot_is_recorded(const Sysroot *s);

/* A new descriptor for a path relative to an area. Never recorded. */
int sysroot_open_at(const Sysroot *s, SysrootArea area, const char *path, int flags);
/* The whole of a file without its last newline, up to the first NUL: at most 64 MiB, -EFBIG beyond. */
int sysroot_read(const Sysroot *s, SysrootArea area, const char *path, char **ret);
/* The same with another limit below that one. */
int sysroot_read_limited(const Sysroot *s, SysrootArea area, const char *path, size_t most, char **ret);
int sysroot_readlink(const Sysroot *s, SysrootArea area, const char *path, char **ret);
/* The same of an entry of a directory, which the caller has listed and opened. */
int sysroot_readlink_at(const Sysroot *s, SysrootArea area, int dir_fd, const char *directory, const char *name, char **ret);
bool sysroot_exists(const Sysroot *s, SysrootArea area, const char *path);

/* Names in a directory, sorted by number where they differ in one; an empty list when it is not there. */
int sysroot_list(const Sysroot *s, SysrootArea area, const char *path, char ***ret);
/* The numbers among the names in a directory (processes, threads, descriptors), ascending. That they are there
 * is not recorded, only what is read below them. */
int sysroot_list_numbers(const Sysroot *s, SysrootArea area, const char *path, int **ret, size_t *ret_n);

/* Reads a link of which there are many and few matter; the caller has those recorded that do. */
int sysroot_peek_link(const Sysroot *s, SysrootArea area, const char *path, char **ret);
void sysroot_record_link(const Sysroot *s, SysrootArea area, const char *path, const char *target);
/* What was learnt from elsewhere than that file, which need not be on the machine. */
void sysroot_record_text(const Sysroot *s, SysrootArea area, const char *path, const char *text);

/* What is missing of what was read since it was forgotten although it may be there: 0 or the error. -ENOMEM, -EMFILE and
 * -ENFILE say nothing about the machine; -EIO and -EAGAIN are about one file, whose path is in 'ret_path' (may be NULL) until the next
 * call. So callers may go on without a file that cannot be read, and whoever is to believe what they made of that asks here. */
void sysroot_forget_trouble(const Sysroot *s);
int sysroot_trouble(const Sysroot *s, const char **ret_path);
/* 'r', but where something could not be read only for a shortage (error_is_shortage()) that. */
int sysroot_result(const Sysroot *s, int r);

/* printf-style path building: sysroot_read(s, AREA_PROC, PATH("%d/stat", pid), &text). The string lives until
 * the end of the enclosing block, so that a loop takes the room only once; alloca() would take it each time,
 * and a process with thousands of descriptors would end the stack. */
#define PATH_TEXT_SIZE 4352
#define PATH(...) path_text((char[PATH_TEXT_SIZE]) {}, __VA_ARGS__)
const char *path_text(char buffer[PATH_TEXT_SIZE], const char *format, ...) _printf_(2, 3);
