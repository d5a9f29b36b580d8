/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Reads the configuration, when starting and whenever asked to, in a child: it may lie on storage that hangs. */

#include <systemd/sd-event.h>

#include "daemon/configuration/configuration.h"

typedef struct Reload Reload;

/* Called when what holds may have changed. */
typedef void (*ReloadChanged)(void *userdata);
/* The answer to one request: 'result' 0 or a negative errno; what is wrong is in the configuration. */
typedef void (*ReloadDone)(int result, void *userdata);

/* The configuration is borrowed, and so is 'root' (of a captured machine, or NULL). */
int reload_new(sd_event *event, const char *root, Configuration *c, ReloadChanged changed, void *userdata, Reload **ret);
/* Requests not answered yet are forgotten. Returns NULL. */
Reload *reload_free(Reload *r);
DEFINE_TRIVIAL_CLEANUP_FUNC(Reload *, reload_free);

/* Reads everything anew, as it is from now on. A non-negative return means that 'done' (may be NULL) will be called. */
int reload_request(Reload *r, ReloadDone done, void *userdata);

/* The same, running the event loop until it is done. */
int reload_run(Reload *r);
