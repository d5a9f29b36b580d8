/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Answers for which one may have to wait for hung storage: where a loop device's backing file lies
 * (LOOP_GET_STATUS64 asks the file system that holds it), on which file system a descriptor is whose mount is in no
 * table, whether a path leads to a file, a device-mapper table, what is behind a disk of LIO or of the NVMe target
 * (configfs); and one that takes long in any case: which process serves which FUSE connection, by a BPF program.
 * Sources look answers up here; what is not known yet is noted as wanted and asked in a child process that the manager
 * supervises. The facts are derived again when answers have come. Hazards raise questions as well: what a process runs
 * from, and how systemd orders two units.
 *
 * Questions are texts, "loop MAJ:MIN DISKSEQ", "dm MAJ:MIN DISKSEQ", "lio MAJ:MIN DISKSEQ WWID",
 * "nvmet MAJ:MIN DISKSEQ NQN NSID UUID",
 * "descriptor MOUNT-ID START PLACE" and "node MOUNT-ID START PLACE" (below /proc), "file PATH" (with the escapes of /proc/swaps, also for '='),
 * "fuse-servers DIGEST", "ground PID START", "unit-order SERVICE UNIT", and so are the answers:
 *     loop:         "MAJ:MIN INODE", the live st_dev and st_ino of the backing file
 *     descriptor:   "MAJ:MIN", the st_dev of what is open; on a btrfs "MAJ:MIN UUID"
 *     node:         "MAJ:MIN", the st_rdev of a character device; "none" of anything else
 *     file:         "yes", or "no" where there is no regular file
 *     dm:           "TARGET[,TARGET...] [MAJ:MIN ...]", target types and devices that the table names
 *     lio:          daemon/source/lio-backstores.h
 *     nvmet:        daemon/source/nvmet-namespaces.h
 *     fuse-servers: daemon/source/fuse-servers.h
 *     ground:       daemon/source/process-ground.h
 *     unit-order:   daemon/source/unit-order.h
 * or "!ERRNO" where the question failed. */

#include <stdbool.h>

#include "common/hashmap.h"

typedef enum ProbeState {
        PROBE_WANTED,
        PROBE_ASKED,
        PROBE_ANSWERED, /* also with an error */
        PROBE_HUNG,     /* gave no answer in time */
} ProbeState;

/* Those of one pace are asked one after the other, and never wait for those of another. */
typedef enum ProbePace {
        PROBE_QUICK,   /* answered at once, unless storage hangs */
        PROBE_SLOW,    /* takes what time it takes, and waits for no storage */
        PROBE_PROCESS, /* answered at once, unless that process hangs, or what it runs from */
        PROBE_UNITS,   /* answered by systemd, over the bus */
        _PROBE_PACE_MAX,
} ProbePace;

typedef struct Probe {
        char *question;
        char *answer;
        ProbeState state;
        bool hung; /* the last time that it was asked */
        unsigned round; /* of the last scan that wanted it */
} Probe;

typedef struct ProbeCache {
        Hashmap *probes;
        unsigned round;
} ProbeCache;

int probe_cache_init(ProbeCache *c);
void probe_cache_done(ProbeCache *c);

/* A scan begins: afterwards probe_cache_expire() drops what it did not ask for. */
void probe_cache_begin(ProbeCache *c);
void probe_cache_expire(ProbeCache *c);

/* The answer, or NULL when it is not known, then ret_hung (may be NULL) says whether it will not come. The
 * text stays valid until the next call of this file. */
const char *probe_cache_get(ProbeCache *c, const char *question, bool *ret_hung);
/* What begins with the text ("unit-order ") is to be asked again, and what was said holds until there is an answer. */
void probe_cache_refresh(ProbeCache *c, const char *prefix);
/* What begins with the text ("loop 7:0 ") is to be asked anew. */
void probe_cache_forget(ProbeCache *c, const char *prefix);

/* What gave no answer in time is to be asked again: no event tells that storage has come back. Meanwhile it still
 * counts as hung. Whether there was any. */
bool probe_cache_want_hung(ProbeCache *c);
bool probe_cache_has_hung(const ProbeCache *c);

/* All wanted questions of that pace, now marked as asked; the caller owns the array. *ret may be NULL for
 * none. */
int probe_cache_take_wanted(ProbeCache *c, ProbePace pace, char ***ret);
/* 'answer' NULL: it hung. Questions that are not asked (any more) are ignored. */
int probe_cache_answer(ProbeCache *c, const char *question, const char *answer);
/* It could not be asked after all: it is wanted again, and the answer that it had before holds meanwhile. */
void probe_cache_put_back(ProbeCache *c, const char *question);
bool probe_cache_has_wanted(const ProbeCache *c, ProbePace pace);

/* Answers as text, for a capture: a line "QUESTION=ANSWER" for each, "QUESTION=?" for one that hung. */
int probe_cache_save(const ProbeCache *c, char **ret);
/* Takes them over before the first scan; lines that are none are skipped. */
int probe_cache_load(ProbeCache *c, const char *text);

/* In the child: asks one after the other, and writes "QUESTION=ANSWER\n" for each as soon as it is known. */
void probe_run(char *const *questions, int output_fd);
