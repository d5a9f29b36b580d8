/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What a user names on the command line, made fit for the daemon. Nothing here touches a file system that
 * might hang: paths are made absolute as text; symbolic links are read below the given /dev only, never
 * across a mount point. */

/* 'dev_fd': /dev, or negative to read no links. 'cwd': the absolute directory that relative paths start from.
 * A name without a slash is no path ("./name" is). The result is owned by the caller. */
int operand_resolve(const char *what, const char *cwd, int dev_fd, char **ret);
