/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* One thing that is to be done, was done, or could not be: what kind of thing, to which object, from which
 * value to which, and who asked for it. Values are text, as the actuator of that kind reads and writes them. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/hashmap.h"

typedef enum ActionKind {
        ACTION_IO_FLUSHER,       /* process:PID:START    "none", "partial", "all" */
        ACTION_OOM_SCORE,        /* process:PID:START    -1000 .. 1000 */
        ACTION_OOMD_PREFERENCE,  /* unit:NAME            "none", "avoid", "omit" */
        ACTION_MEMORY_MIN,       /* unit:NAME            bytes, "max" */
        ACTION_MEMORY_LOW,       /* unit:NAME            bytes, "max" */
        ACTION_SWAP_MAX,         /* unit:NAME            bytes, "max" */
        ACTION_WRITEBACK_LIMIT,  /* bdi:NAME:INODE       key max_ratio: "1%", "1048576 bytes"; strict_limit: "0", "1" */
        ACTION_DIRECT_IO,        /* block:MAJ:MIN:DISKSEQ "yes", "no" */
        ACTION_MOUNT_OPTION,     /* mount:ID:MAJ:MIN:INODE for one mount, fs:MAJ:MIN:INODE for its file system; key is
                                  * the option, values are the words that set it */
        _ACTION_KIND_MAX,
        _ACTION_KIND_INVALID = -22,
} ActionKind;

typedef enum ActionState {
        ACTION_PLANNED,
        ACTION_APPLIED,
        ACTION_FAILED,
        ACTION_REVERTED,
        _ACTION_STATE_MAX,
} ActionState;

typedef struct Action {
        ActionKind kind;
        ActionState state;
        bool undo;     /* takes back what was done before */
        char *target;  /* id of what is changed */
        char *key;     /* which of its settings, where it has several; "" */
        char *subject; /* id of the process or layer for which it is done; "" for what serves several */
        pid_t pid;     /* of a process; else 0 */
        uint64_t start;
        char *name;    /* of the process or object, for messages */
        char *place;   /* where the target is now, for the actuator: path of a cgroup, mount point, device; NULL */
        char *detail;  /* what the actuator must know to undo it; NULL */
        /* What must be found there, or it is not touched; NULL: not known. */
        char *from;
        char *to;
        char *rule;    /* FILE:LINE of the policy that asks for it */
        char *reason;  /* a sentence */
        char **path;   /* ids, from above, that justify it */
        char *error;   /* a sentence: why it failed, or what was left alone */
        bool refused;  /* it failed, and another try would fail for the same reason */
        unsigned cut;  /* ACTION_IO_FLUSHER: system calls of the process that were ended early by it */
        uint64_t when; /* it was done, or tried in vain: microseconds since the epoch; 0 = not told */
} Action;

typedef struct Plan {
        Action *actions;
        size_t n, capacity;
} Plan;

/* How often processes were marked or unmarked, and the system calls of theirs that were ended early by that. */
typedef struct MarkCounts {
        uint64_t marks, cut;
} MarkCounts;

/* What was changed and not yet undone, as the ledger keeps it. All texts are owned and never NULL but where
 * it is said. */
typedef struct Record {
        ActionKind kind;
        char *target, *key, *subject, *name;
        pid_t pid;
        uint64_t start;
        char *from;   /* found before the first change: what an undo restores */
        char *to;     /* last asked for */
        char *set;    /* read back after that; NULL while that is not known */
        char *detail;
        uint64_t when; /* that was: microseconds since the epoch; 0 = not told */
} Record;

/* Which records are about a target. */
typedef struct RecordIndex {
        Hashmap *by_target; /* the first one with each: its number, from 1 on */
        size_t *next;       /* of each record: another one with the same target, likewise */
} RecordIndex;

/* A read-only view of the ledger. */
typedef struct RecordView {
        const Record *records;
        size_t n;
        const RecordIndex *index; /* NULL: there is none */
        /* What an administrator reverted is left alone until it is applied again: the ids in 'held', or
         * everything but them where all_held. */
        char *const *held;
        bool all_held;
} RecordView;

const char *action_kind_to_string(ActionKind kind);
ActionKind action_kind_from_string(const char *s);
const char *action_state_to_string(ActionState state);

int action_copy(const Action *a, Action *ret);
void action_done(Action *a);
/* Whether both are about the same setting of the same object. */
bool action_same_object(const Action *a, const Action *b);

void plan_done(Plan *p);
/* Takes over 'action'; -ENOMEM also when one of its texts that must be there is missing. */
int plan_append(Plan *p, Action *action);
int plan_append_copy(Plan *p, const Action *a);
/* Drops the others. */
void plan_keep(Plan *p, bool (*keeps)(const Action *a, const void *argument), const void *argument);
void plan_sort(Plan *p);

int record_copy(const Record *r, Record *ret);
void record_done(Record *r);
/* Holds for as long as the records stay as they are. 0 or -ENOMEM. */
int record_index_make(const RecordView *v, RecordIndex *ret);
void record_index_done(RecordIndex *i);
const Record *record_find(const RecordView *v, ActionKind kind, const char *target, const char *key);
bool record_view_holds(const RecordView *v, const char *id);
