/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stddef.h>
#include <stdio.h>

/* A stream into memory, as open_memstream(3) has it, but for one thing: there a text that could not grow for want of memory
 * lacks a part, and neither fflush() nor ferror() nor fclose() tells of it. Here all three do, and it stays so.
 *
 * The text and its size are up to date after fflush() and fclose(), NUL-terminated, and the caller's to free, also where this
 * fails. Both are written to until the stream is closed: declare them before it where it is closed by _cleanup_fclose_.
 * rewind() empties it. NULL and errno when out of memory. */
FILE *text_stream_open(char **text, size_t *size);
