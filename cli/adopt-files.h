/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The drop-ins of adopted units below /etc/systemd/system. Each begins with a line by which it is known as ours;
 * files of others are neither replaced nor removed, whatever their names. */

#include <stdbool.h>
#include <stddef.h>

#include "common/cleanup.h"

#define ADOPT_DIRECTORY "/etc/systemd/system"
#define ADOPT_MARKER "# Written by 'stackctl adopt'; 'stackctl release' removes it."

typedef struct AdoptFiles {
        char **paths, **texts; /* removed, with what was in them */
        size_t n_paths, n_texts;
        char **foreign; /* of our name, but somebody else's */
        size_t n_foreign;
} AdoptFiles;

void adopt_files_done(AdoptFiles *f);

/* The drop-in of an adopted service, and the one of a mount or swap area above it. Owned by the caller; NULL when out of
 * memory. */
char *adopt_service_path(const char *unit);
char *adopt_upper_path(const char *upper, const char *unit);

/* Complains, also if somebody else has written such a file. */
int adopt_file_write(const char *path, const char *text);

/* Removes everything of ours: of one unit, or of all if NULL. Complains, and goes on with the others; 'f' gets what was
 * found in any case. */
int adopt_files_remove(const char *unit, AdoptFiles *f);

/* Writes back what was removed. */
int adopt_files_restore(const AdoptFiles *f);
