/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Files that are there whole or not at all. 'what' completes "Cannot write the ... to". */

#include <stddef.h>
#include <sys/types.h>

/* Complains unless it is a name whose file may be replaced, and nothing else: not a device node, not a link to
 * somewhere. */
int save_check(const char *name, const char *what);

/* Writes beside it and renames. A signal that would end us waits until there is a whole file or none. */
int save_file(const char *name, const char *what, const char *content, size_t size, mode_t mode);
