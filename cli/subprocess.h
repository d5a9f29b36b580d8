/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

/* Starts a program (an absolute path) with one descriptor of ours under the number 'fd_as', all others but
 * the standard ones closed, no signal blocked or ignored. In the background: standard input is empty,
 * standard output goes to standard error, and the keyboard's signals do not reach it. 0 or what exec said. */
int subprocess_start(char *const *argv, int fd, int fd_as, bool background, pid_t *ret_pid);

/* Runs a program in the foreground from one text to another, which is owned by the caller. */
int subprocess_filter(char *const *argv, const char *input, size_t size, char **ret, size_t *ret_size, int *ret_status);

/* Waits for its end, at most 'milliseconds' (< 0: without limit): 0 and the wait status, -ETIMEDOUT or
 * another error. */
int subprocess_wait(pid_t pid, int milliseconds, int *ret_status);
