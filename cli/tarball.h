/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* An archive in memory, of whatever format, as a tar file. */

#include <stddef.h>

/* Compressed as the end of 'name' says. What went wrong is complained about. ret_n: its entries. */
int tarball_write(const char *archive, size_t size, const char *name, int fd, size_t *ret_n);
