/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Where configuration is, and what a child that reads it tells: the files of all directories, for the parent to
 * choose from. Directories may be on storage that hangs, and so nobody else opens them. */

#include <stdbool.h>
#include <stddef.h>

#include "common/cleanup.h"

typedef enum FoundState {
        FOUND_TEXT,      /* 'text' is what it holds */
        FOUND_MASK,      /* empty, or a link to /dev/null: there is none, here or below */
        FOUND_TROUBLE,   /* 'text' is a sentence about the file */
        FOUND_DIRECTORY, /* the same about a directory */
        _FOUND_STATE_MAX,
} FoundState;

typedef struct Found {
        FoundState state;
        unsigned line; /* which the trouble is about; 0 */
        bool secret;   /* not everybody may read the file */
        char *path;    /* as from the root */
        char *text;
} Found;

typedef struct FoundList {
        Found *found;
        size_t n, capacity;
} FoundList;

/* In order of precedence, relative to the root. NULL-terminated. */
extern const char *const hierarchy_places[];
/* The same for units: all directories of systemd's system manager, with what is generated and made at run time. */
extern const char *const hierarchy_unit_directories[];

/* Reads everything below 'root' (NULL: this machine), and writes it to the descriptor. For a child. */
void hierarchy_read(const char *root, int output_fd);

/* Takes apart what such a child wrote; of what was cut off the part that is whole. 0 or -ENOMEM. */
int found_parse(const char *output, FoundList *ret);
void found_list_done(FoundList *l);
