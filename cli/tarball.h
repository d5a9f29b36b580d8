/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A cpio archive as a tar file, both in memory: a capture is small, and what is whole can be written whole. */

#include <stddef.h>

/* Compressed as the end of 'name' says. What is wrong with the archive is complained about. The result is owned
 * by the caller; ret_n is the number of its entries. */
int tarball_new(const char *archive, size_t size, const char *name, char **ret, size_t *ret_size, size_t *ret_n);
