/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What was changed and from what, in /run/stackd/ledger: written before the change is made, so that a change
 * can always be undone, whenever stackd dies. The file is replaced whole; it stands under the boot's id and means
 * nothing after the next boot. */

#include "daemon/policy/action-record.h"
#include "daemon/sysroot/sysroot.h"

typedef struct Ledger {
        int dir_fd;  /* of /run/stackd; -1: kept in memory only */
        int lock_fd; /* held while this is the one that writes */
        char *boot_id;
        Record *records;
        size_t n, capacity;
        char **held;
        size_t n_held;
        bool all_held;
} Ledger;

#define LEDGER_NULL (Ledger) { .dir_fd = -1, .lock_fd = -1 }

/* Reads what a predecessor left; a file that is not there is an empty one, a damaged line is skipped and
 * counted in ret_skipped (may be NULL: the one that writes says it). With 'own' this process becomes the one that writes: -EBUSY if another one is. */
int ledger_open(Ledger *l, const Sysroot *s, bool own, unsigned *ret_skipped);
void ledger_done(Ledger *l);

/* Each writes the file before it returns; on failure memory is as before. */
/* Copies the record. Where there is one of that kind, target and key, the value found first stays what is
 * restored: only what was set is new. */
int ledger_put(Ledger *l, const Record *record);
int ledger_remove(Ledger *l, ActionKind kind, const char *target, const char *key);
/* ids NULL: everything. */
int ledger_hold(Ledger *l, char *const *ids, bool hold);

RecordView ledger_view(const Ledger *l);
