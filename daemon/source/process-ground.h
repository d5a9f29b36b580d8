/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What a process itself runs from: the files that are mapped into its memory (its program, its libraries), its working
 * directory and its root. The question is "ground PID START", and the answer, in which tabs separate the parts,
 *     device MAJ:MIN PATH     a file is mapped, of the superblock with that number; one for each superblock
 *     mount ID WHAT           the mount that holds it */

#include "daemon/graph/fact.h"

#define GROUND_KIND "ground"

/* In a child, for it may wait for the process's mmap_lock, and for the file systems of its directories. */
int ground_ask(pid_t pid, uint64_t start, char **ret);

typedef struct Ground {
        dev_t device; /* of the superblock, or ... */
        int mount_id; /* ... -1 */
        const char *what;
} Ground;

/* Takes the next part off the answer: true, and false at the end. What cannot be understood is passed over. */
bool ground_next(char **answer, Ground *ret);
