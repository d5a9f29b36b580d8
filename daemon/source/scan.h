/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What is read of the machine in one go (tables), and what is derived of it (sources). Tables are refreshed
 * when an event says that they may have changed; sources read the tables, add small files of their own, and
 * say everything they know anew each time: the graph finds out what differs. */

#include "daemon/graph/fact.h"
#include "daemon/source/block-table.h"
#include "daemon/source/fuse-servers.h"
#include "daemon/source/mount-table.h"
#include "daemon/source/probe.h"
#include "daemon/source/process-table.h"
#include "daemon/sysroot.h"

typedef enum Table {
        TABLE_MOUNTS = 1 << 0,
        TABLE_BLOCKS = 1 << 1,
        TABLE_PROCESSES = 1 << 2,
        TABLE_ALL = TABLE_MOUNTS | TABLE_BLOCKS | TABLE_PROCESSES,
} Table;

typedef struct Served {
        pid_t pid;
        uint64_t start;
} Served;

typedef struct Scan {
        const Sysroot *root;
        ProbeCache *probes; /* NULL: nothing may be asked (capture) */
        MountTable mounts;
        BlockTable blocks;
        ProcessTable processes;
        /* Processes that sources of this pass named as serving something; the last source describes them. */
        Served *served;
        size_t n_served, served_capacity;
        FuseServers fuse_servers; /* the last answer, until there is another; kept from pass to pass */
        /* Something that a process must be serving has no holder yet (a descriptor still on its way):
         * the kernel gives no event for that, so the manager looks again after a moment. */
        bool unserved;
} Scan;

typedef struct Source {
        const char *name;
        int (*scan)(Scan *s, FactSet *f);
} Source;

/* In the order in which they run; the index is the origin in the graph. NULL-terminated by name. */
extern const Source sources[];

void scan_done(Scan *s);
/* Reads the given tables anew; on failure an old one stays. */
int scan_refresh(Scan *s, unsigned tables);

/* For sources. */
int scan_add_served(Scan *s, pid_t pid, uint64_t start);
/* A file on the given mount: adds its node and its edge to the file system; ret_id is the caller's.
 * 'inode' 0 when it is not known. */
int scan_add_file(
                FactSet *f,
                const Mount *m,
                uint64_t inode,
                const char *path,
                uint64_t size,
                Certainty certainty,
                const char *evidence,
                char **ret_id);

char *filesystem_id(dev_t device);
char *block_id(dev_t device);

int source_filesystem_scan(Scan *s, FactSet *f);
int source_block_scan(Scan *s, FactSet *f);
int source_loop_scan(Scan *s, FactSet *f);
int source_dm_scan(Scan *s, FactSet *f);
int source_tcmu_scan(Scan *s, FactSet *f);
int source_fuse_scan(Scan *s, FactSet *f);
int source_swap_scan(Scan *s, FactSet *f);
int source_process_scan(Scan *s, FactSet *f);
