/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Asks the service stackd-mark to start the marker. A child of ours would have our seccomp filter, and to a tracer that has
 * one the kernel does not show that of the process which is to be marked. */

#include "daemon/child/child.h"

/* As child_start() of a spec with 'argv' and 'pass_fd': the request is its arguments, and the descriptor. The status is 0 as
 * soon as it has ended; its output tells the rest. -ECONNREFUSED: nobody listens at the path. -EAGAIN: too many do ask. */
int mark_client_start(sd_event *event, const char *path, const ChildSpec *spec, Child **ret);
