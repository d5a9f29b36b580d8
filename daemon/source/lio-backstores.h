/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Which backstores of LIO a SCSI disk stands for, by the disk's identity: its wwid is "naa.6001405" followed by the
 * first 25 hexadecimal digits of the backstore's unit serial (drivers/target/target_core_spc.c). A handler in user
 * space may leave that out (tcmu-runner's for optical discs does): then by the address "H:C:T:L" that tcm_loop gave it.
 *
 * The serials are in configfs, of which a directory stays locked while the kernel waits for the handler of a
 * backstore that is being made or removed: they are read in a child only. An answer holds as long as the
 * disk: the kernel lets neither serial nor backstore change while it is exported. */

#include <stddef.h>

#define LIO_KIND "lio"
#define LIO_WWID_PREFIX "naa.6001405"

typedef struct Backstore {
        char *place; /* "core/HBA_N/NAME" */
        char *uio;   /* "uio0", or ... */
        char *path;  /* ... of a file or device */
} Backstore;

typedef struct Backstores {
        Backstore *items;
        size_t n, capacity;
} Backstores;

/* In the child: those of a disk with that wwid or address, as the text that lio_parse() takes. */
int lio_ask(const char *identity, char **ret);
/* Parts that are none are skipped: the text may come from a capture. */
int lio_parse(const char *answer, Backstores *ret);
void backstores_done(Backstores *l);
