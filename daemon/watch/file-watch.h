/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Files of /proc that signal a change with POLLPRI: mountinfo, swaps, mdstat (fs/proc_namespace.c, mm/swapfile.c, drivers/md/md.c). */

#include <systemd/sd-event.h>

#include "daemon/sysroot/sysroot.h"

typedef struct FileWatch FileWatch;

typedef void (*FileChanged)(void *userdata);

/* 'path' is below /proc. 'once': it tells of one change only, and is over then. mdstat signals what was not read yet, and to read it
 * may have to wait for a device; what is opened anew has nothing to signal. And its driver cannot be unloaded while anybody waits for
 * it. -ENOENT where there is none. */
int file_watch_new(sd_event *event, const Sysroot *root, const char *path, bool once, FileChanged changed, void *userdata, FileWatch **ret);
/* Returns NULL. */
FileWatch *file_watch_free(FileWatch *w);

/* NULL is over. */
bool file_watch_is_over(const FileWatch *w);
