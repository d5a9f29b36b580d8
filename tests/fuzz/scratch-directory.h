/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A directory in memory for a fuzzer, made once and removed with it. */

/* Its path; constant. */
const char *scratch_directory(void);
/* Writes a file below it, with the directories on the way. */
void scratch_file(const char *path, const void *content, size_t size);
void scratch_parents(const char *path);
/* Removes what is below a path. */
void scratch_clear(const char *path);
