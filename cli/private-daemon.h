/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A stackd of our own at the end of a socket pair, which ends when the socket closes. */

#include <stdbool.h>
#include <sys/types.h>

/* The descriptor is the caller's. */
int private_daemon_start(const char *root, pid_t *ret_pid, int *ret_fd);

/* One that writes a capture to the descriptor, a cpio archive, and ends. */
int private_daemon_capture(const char *root, bool scrubbed, pid_t *ret_pid, int *ret_fd);

/* Takes the process away, with a nudge if it is slow. -ETIMEDOUT if it does not end; it is left to init then. */
int private_daemon_wait(pid_t pid, int *ret_status);
/* "exited with status 3"; owned by the caller, NULL when out of memory. */
char *private_daemon_describe_end(int status);

/* After the socket was closed, by either side: takes the process away, with a nudge if it is slow. How it
 * ended goes to ret_how ("exited with status 3"), which may be NULL; owned by the caller. -ETIMEDOUT if it
 * does not end; it is left to init then. */
int private_daemon_end(pid_t pid, char **ret_how);
