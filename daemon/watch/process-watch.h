/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Tells when processes end. */

#include <systemd/sd-event.h>

#include "daemon/sysroot/sysroot.h"

typedef struct ProcessWatch ProcessWatch;

typedef void (*ProcessEnded)(void *userdata);

/* The root is borrowed. */
int process_watch_new(sd_event *event, const Sysroot *root, ProcessEnded ended, void *userdata, ProcessWatch **ret);
ProcessWatch *process_watch_free(ProcessWatch *w);

/* Between these two all that are to be watched are named: the others are so no more. */
void process_watch_begin(ProcessWatch *w);
void process_watch_end(ProcessWatch *w);
/* -ESRCH: it is gone. */
int process_watch_add(ProcessWatch *w, pid_t pid, uint64_t start);
