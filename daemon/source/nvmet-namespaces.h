/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the kernel's NVMe target on this machine uses for a namespace of a subsystem: a file or a device. It is in
 * configfs, whose directories stay locked while the kernel waits for what a namespace that is being removed has
 * still to write: read in a child only. An answer holds as long as the disk: the kernel lets no path change while
 * the namespace is enabled. */

#include "common/cleanup.h"

#define NVMET_KIND "nvmet"

/* The end of the question, "NQN NSID UUID", the name escaped; NULL when out of memory. */
char *nvmet_question(const char *nqn, const char *nsid, const char *uuid);
/* In the child: the path, escaped. -ENOENT: this machine's target has no such subsystem, or another
 * namespace of that number: the disk is another machine's. */
int nvmet_ask(const char *question, char **ret);
