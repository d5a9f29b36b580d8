/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Files of /proc that signal a change with POLLPRI: mountinfo, swaps, mdstat (fs/proc_namespace.c, mm/swapfile.c, drivers/md/md.c). */

#include <systemd/sd-event.h>

#include "daemon/sysroot/sysroot.h"

typedef struct FileWatch FileWatch;

typedef void (*FileChanged)(void *userdata);

/* 'path' is below /proc; 'acknowledge': what was signalled is so until the file is read. -ENOENT where there is none. */
int file_watch_new(sd_event *event, const Sysroot *root, const char *path, bool acknowledge, FileChanged changed, void *userdata, FileWatch **ret);
/* Returns NULL. */
FileWatch *file_watch_free(FileWatch *w);

/* The file can be read; no more when the driver that had made it was unloaded, and another one has to be opened. False for NULL. */
bool file_watch_is_alive(const FileWatch *w);
