/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* stackd-mark as a service: whoever connects to its socket asks for one process to be marked, as the command line
 * would, and is answered by a child of the service. See mark-protocol.h for what is said. */

#include <stdint.h>

/* Called in the child, with the words of the request as a command line, the process at descriptor MARK_PIDFD, and the
 * connection as standard output. Returns the child's exit status. */
typedef int (*ServeRequest)(int argc, char *argv[]);

/* Serves at a listening socket: returns what went wrong. It does not end when there is nothing to do: to be started again would
 * take memory just when there may be none. */
int serve_run(int listen_fd, ServeRequest request);
