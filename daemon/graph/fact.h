/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What sources say of the machine: nodes and edges, each under the origin that said it.
 *
 * A fact's key is a stable identity, never a bare name or pid:
 *
 *     fs:MAJ:MIN           one superblock (device number of the superblock, proc_pid_mountinfo(5) field 3)
 *     block:MAJ:MIN        block device
 *     swap:MAJ:MIN         swap area on a block device
 *     swap:PATH            swap file (the kernel forbids renaming and deleting one while it is in use)
 *     file:MAJ:MIN:INODE   backing file, by superblock and inode
 *     file:MAJ:MIN:PATH    the same where the inode could not be read without blocking
 *     process:PID:START    process and its start time in clock ticks (proc_pid_stat(5) field 22)
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/array.h"
#include "common/cleanup.h"

typedef enum NodeKind {
        NODE_UNKNOWN, /* only referred to, defined by no source */
        NODE_FILESYSTEM,
        NODE_BLOCK,
        NODE_SWAP,
        NODE_FILE,
        NODE_ENDPOINT,
        NODE_PROCESS,
        _NODE_KIND_MAX,
} NodeKind;

/* Ordered: a higher value is better knowledge. */
typedef enum Certainty {
        CERTAINTY_INFERRED, /* a heuristic said so */
        CERTAINTY_UNIQUE,   /* by elimination only one candidate is left */
        CERTAINTY_PROVEN,   /* the kernel says so */
        _CERTAINTY_MAX,
} Certainty;

typedef enum EdgeRole {
        ROLE_BACKING,    /* the upper cannot complete I/O without the lower */
        ROLE_ERROR_PATH, /* the lower, a process, is needed only to recover the upper */
        _ROLE_MAX,
} EdgeRole;

const char *node_kind_to_string(NodeKind kind);
const char *certainty_to_string(Certainty certainty);
const char *edge_role_to_string(EdgeRole role);

/* Task flags that PR_SET_IO_FLUSHER sets: PF_MEMALLOC_NOIO and PF_LOCAL_THROTTLE (include/linux/sched.h,
 * the same bits from Linux 5.6 to 7.3; not ABI, hence verified at start-up). */
#define TASK_FLAGS_IO_FLUSHER UINT64_C(0x180000)

typedef struct NodeFact {
        char *id;
        NodeKind kind;
        char *incomplete; /* a sentence saying what could not be read, or NULL */

        /* layers */
        char *type;    /* "ext4", "loop", "dm-zoned", "partition" ... */
        char *name;    /* kernel name of a device, source of a file system */
        char *label;   /* a second name: the device-mapper name */
        char *device;  /* "MAJ:MIN" */
        char *path;    /* of a file */
        char **mounts; /* sorted mount points */
        uint64_t size; /* bytes; 0 = unknown */

        /* processes */
        pid_t pid;
        uint64_t start; /* clock ticks since boot */
        char *comm;
        char *exe;
        char *unit;   /* systemd unit, or NULL */
        char *cgroup; /* path in the hierarchy that systemd uses */
        uid_t uid;    /* real */
        bool entitled;
        char *refusal; /* why the kernel will not let it be marked (no CAP_SYS_RESOURCE ...), or NULL */
        bool in_user_namespace; /* of its own, which is the reason */
        unsigned threads, threads_io_flusher;
        unsigned threads_realtime; /* of 'threads': scheduled in real time (sched(7)) */
        int oom_score_adj;
        uint64_t memory_min;           /* bytes, of its cgroup */
        uint64_t memory_min_effective; /* bytes, what the ancestors carry of it */
        char *swap_max;                /* memory.swap.max as the kernel prints it; NULL = not told */
        bool locked;                   /* it has locked its memory (mlockall(2)): it is not swapped out */
} NodeFact;

typedef struct EdgeFact {
        char *upper, *lower; /* keys; the upper's I/O needs the lower */
        EdgeRole role;
        Certainty certainty;
        /* Non-zero: one of several inferred edges to 'lower' with this number of which at least one holds. */
        unsigned alternative;
        char *evidence; /* the file that said so */
} EdgeFact;

typedef struct FactSet {
        NodeFact *nodes;
        size_t n_nodes, nodes_capacity;
        EdgeFact *edges;
        size_t n_edges, edges_capacity;
} FactSet;

/* The key of a process, owned by the caller; NULL when out of memory. */
char *process_id(pid_t pid, uint64_t start);

FactSet *factset_new(void);
FactSet *factset_free(FactSet *f);
DEFINE_TRIVIAL_CLEANUP_FUNC(FactSet *, factset_free);

/* Takes over what 'fact' points to, also on failure. */
int factset_add_node(FactSet *f, NodeFact *fact);

/* How many of a process's threads carry the mark: "none", "partial" or "all". */
const char *io_flusher_to_string(const NodeFact *f);

void edge_fact_done(EdgeFact *e);

/* Copies the strings. */
int factset_add_edge(
                FactSet *f,
                const char *upper,
                const char *lower,
                EdgeRole role,
                Certainty certainty,
                unsigned alternative,
                const char *evidence);

bool node_fact_equal(const NodeFact *a, const NodeFact *b);
void node_fact_done(NodeFact *fact);
#define _cleanup_node_fact_ _cleanup_(node_fact_done)

static inline bool node_kind_is_reclaim(NodeKind kind) {
        return kind == NODE_FILESYSTEM || kind == NODE_SWAP;
}
