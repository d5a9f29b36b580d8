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
#include "daemon/source/socket-table.h"
#include "daemon/source/unmounted.h"
#include "daemon/sysroot/sysroot.h"

typedef enum Table {
        TABLE_MOUNTS = 1 << 0,
        TABLE_BLOCKS = 1 << 1,
        TABLE_PROCESSES = 1 << 2,
        TABLE_ALL = TABLE_MOUNTS | TABLE_BLOCKS | TABLE_PROCESSES,
} Table;

typedef struct Served {
        pid_t pid;
        uint64_t start;
        char **uppers; /* ids of the layers that it serves */
        size_t n_uppers;
} Served;

/* The mount of such a file as Scan.mounts_outdated is about. */
typedef struct StrangeMount {
        int id;
        bool seen;    /* since the table was read */
        bool certain; /* a table that was read after it was first seen does not have it: no reason to read it again */
} StrangeMount;

/* A file system that processes may serve. */
typedef struct ServedMount {
        int id;
        dev_t device;
} ServedMount;

typedef struct Scan {
        const Sysroot *root;
        ProbeCache *probes; /* NULL: nothing may be asked (capture) */
        MountTable mounts;
        BlockTable blocks;
        ProcessTable processes;
        SocketTable sockets; /* read with the processes, where some device or mount ends in a socket */
        /* The same, read before the processes: a connection of that time whose end no process has is nobody's. Only
         * where there is an nbd. */
        SocketTable earlier_sockets;
        /* Processes that sources of this pass named as serving something; the last source describes them. */
        Served *served;
        size_t n_served, served_capacity;
        ServedMount *served_mounts; /* when the processes were read, in the order of the table */
        size_t n_served_mounts;
        dev_t *deserted; /* file systems that nobody serves who can be seen, sorted; of this pass */
        size_t n_deserted, deserted_capacity;
        FuseServers fuse_servers; /* the last answer, until there is another; kept from pass to pass */
        bool recursive_protection; /* cgroup2 hands reservations down (memory_recursiveprot) */
        /* Something that a process must be serving has no holder yet (a descriptor still on its way):
         * the kernel gives no event for that, so the manager looks again after a moment. */
        bool unserved;
        /* A file system that is mounted nowhere is there, of whose end no event will tell. */
        bool unwatched;
        /* A file lies on a mount that the table, read before this pass, does not have: one of a mount namespace that is
         * newer. The kernel gives no event for these either. */
        bool mounts_outdated;
        bool mounts_fresh, processes_fresh; /* the table was read in this pass */
        StrangeMount *strange_mounts;
        size_t n_strange_mounts, strange_mounts_capacity;
        /* Something could not be read although it is there (enum Gap): what this pass did not find may exist all the same. */
        unsigned gaps;
} Scan;

typedef struct Source {
        const char *name;
        int (*scan)(Scan *s, FactSet *f);
} Source;

/* In the order in which they run (file systems after FUSE, which says who serves some of them); the index is the origin in the graph. NULL-terminated by name. */
extern const Source sources[];

void scan_done(Scan *s);
/* Reads the given tables anew, and the processes also where the file systems that some of them serve are others than before;
 * on failure an old one stays. */
int scan_refresh(Scan *s, unsigned tables);

/* What is not found is not known to be absent. */
bool scan_is_incomplete(const Scan *s);
/* There may be processes whose descriptors were not looked at. Nothing that ordinary users do makes it so. */
bool scan_hides_processes(const Scan *s);
/* What it means that a device has no answer: it will have one, but in a capture. */
unsigned scan_gap_of_silence(const Scan *s);

/* For sources. */
/* An open file of a process that matters lies on a mount that the table does not have. 0 or -ENOMEM. */
int scan_miss_mount(Scan *s, int mount_id);
/* The process serves the layer 'upper': adds the edge, and has the process described. */
int scan_add_server(
                Scan *s,
                FactSet *f,
                const char *upper,
                pid_t pid,
                uint64_t start,
                EdgeRole role,
                Certainty certainty,
                unsigned alternative,
                const char *evidence);
/* All processes that have the socket open serve the layer. */
int scan_add_socket_owners(
                Scan *s,
                FactSet *f,
                const char *upper,
                const Socket *socket,
                EdgeRole role,
                Certainty certainty,
                unsigned alternative,
                const char *evidence);
/* How certain it is that the two are ends of one connection (socket_table_peer()). */
Certainty peer_certainty(const Socket *socket, const Socket *peer);
/* Nobody who can be seen serves the file system. 0 or -ENOMEM. */
int scan_note_deserted(Scan *s, dev_t device);
bool scan_is_deserted(const Scan *s, dev_t device);
/* NFS, CIFS and 9p: what is behind it may be on this machine. */
bool mount_is_network(const Mount *m);
/* A socket of the system's own plumbing: the journal's, the bus's and udev's, to which every service is connected, and those to which
 * the kernel is. */
bool is_system_socket(const Socket *socket);

/* Edges from an overlay to its layers; ret_unknown: some could not be followed. */
int overlay_add_layers(Scan *s, FactSet *f, const char *id, const Mount *m, bool *ret_unknown);
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

/* A file or device that the kernel itself uses by that path, below 'upper'. */
int scan_add_kernel_path(Scan *s, FactSet *f, const char *upper, const char *path, Certainty certainty, const char *evidence);

/* A device-mapper device, or a part of one, that a daemon watches to recover it or to make it grow. */
bool dm_is_watched(const Block *b);

#define VDUSE_DIRECTORY "devices/virtual/vduse/"

/* A file that is on none of the file systems that are mounted where it might be; 'key' makes its id. It may be on any that is
 * mounted nowhere and of which 'holds' is true: these edges are inferred. */
int scan_add_lost_file(
                Scan *s,
                FactSet *f,
                const char *key,
                const char *path,
                bool (*holds)(const Mount *m),
                const char *evidence,
                char **ret_id);
/* A file system on a block device that nothing but the caller tells of: adds its node. */
int scan_add_unlisted(Scan *s, FactSet *f, const Block *b, const char *evidence);

#define UNMOUNTED "it is mounted nowhere that can be seen, and still in use"

char *filesystem_id(dev_t device);
char *mount_filesystem_id(const Mount *m);
char *block_id(dev_t device);

int source_filesystem_scan(Scan *s, FactSet *f);
int source_block_scan(Scan *s, FactSet *f);
int source_loop_scan(Scan *s, FactSet *f);
int source_dm_scan(Scan *s, FactSet *f);
int source_lio_scan(Scan *s, FactSet *f);
int source_nvmet_scan(Scan *s, FactSet *f);
int source_iscsi_scan(Scan *s, FactSet *f);
int source_network_scan(Scan *s, FactSet *f);
int source_fuse_scan(Scan *s, FactSet *f);
int source_swap_scan(Scan *s, FactSet *f);
int source_nbd_scan(Scan *s, FactSet *f);
int source_ublk_scan(Scan *s, FactSet *f);
int source_md_scan(Scan *s, FactSet *f);
int source_vduse_scan(Scan *s, FactSet *f);
int source_journal_scan(Scan *s, FactSet *f);
int source_process_scan(Scan *s, FactSet *f);
