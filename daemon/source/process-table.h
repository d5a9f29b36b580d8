/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* One pass over /proc: who holds which device that user space serves storage through; and details of single
 * processes. Only files that cannot wait for a task's mmap_lock or for storage are read: stat, status,
 * cgroup, comm, loginuid, oom_score_adj, task/, task/TID/wchan, fd/, exe, cwd, ns/ (readlink), fdinfo/; and syscall of a thread that
 * sleeps in nbd's driver. */

#include "daemon/graph/fact.h"
#include "daemon/source/authority.h"
#include "daemon/source/mount-table.h"
#include "daemon/sysroot/sysroot.h"

/* Where below /proc a process's open files are: "PID", or, when its main thread has exited and others go on,
 * "PID/task/TID". */
typedef struct FilesPlace {
        char path[32];
} FilesPlace;

/* An open descriptor of a serving device. */
typedef struct Holder {
        pid_t pid;
        uint64_t start;
        FilesPlace place;
        int fd;
        char *device; /* name below /dev: "fuse", "uio0", "vduse/NAME", "mapper/control" */
        /* From fdinfo where the kernel prints it (fuse_connection), else -1: then which connection it
         * serves is not known. */
        int64_t fuse_connection;
        int mount_id;
        /* Whether it is the device itself, and not a file of that name, remains to be asked: holder_is_authentic(). */
        bool unproven;
} Holder;

/* A socket that a process has open. */
typedef struct OwnedSocket {
        pid_t pid;
        uint64_t start;
        FilesPlace place;
        int fd;
        uint64_t inode;
} OwnedSocket;

typedef struct ProcessTable {
        Holder *holders; /* sorted by device, process and descriptor */
        size_t n, capacity;
        OwnedSocket *sockets; /* only where they were asked for; sorted by inode */
        size_t n_sockets, sockets_capacity;
        /* This kernel prints a fuse_connection line for each descriptor of a mounted file system. Without a release in the capture, and
         * without such a line, that is not known. */
        bool tells_connection, may_tell_connection;
        unsigned gaps;         /* descriptors of some processes could not be read (enum Gap) */
        bool unknown_mount;    /* some device lies on a mount that is not in the table */
} ProcessTable;

int process_table_read(const Sysroot *s, const MountTable *mounts, bool sockets, ProcessTable *ret);
void process_table_done(ProcessTable *t);

/* Those who hold a device: the first, and how many. */
const Holder *process_table_holders(const ProcessTable *t, const char *device, size_t *ret_n);

/* The first of those who have the socket open, side by side in the table, or NULL. ret_n (how many) may be NULL. */
const OwnedSocket *process_table_owner(const ProcessTable *t, uint64_t inode, size_t *ret_n);
bool process_owns_socket(const ProcessTable *t, pid_t pid, uint64_t inode);

/* The process that a thread belongs to: 0, -ESRCH. */
int process_read_leader(const Sysroot *s, pid_t tid, pid_t *ret);

/* Identity of a process that lives now: 0, -ESRCH. */
int process_read_start(const Sysroot *s, pid_t pid, uint64_t *ret);

/* Whether it is certain that the process is gone, and its number free or another's. */
bool process_has_ended(const Sysroot *s, pid_t pid, uint64_t start);

/* A pidfd of that very process and no other that got its number: -ESRCH when it is gone. */
int process_open(const Sysroot *s, pid_t pid, uint64_t start);

/* Whose process it is. -ESRCH when it is gone or another one by now. */
int process_read_authority(const Sysroot *s, pid_t pid, uint64_t start, Authority *ret);

/* All attributes of a process as a fact. -ESRCH when it is gone or another one by now. */
int process_read_fact(const Sysroot *s, pid_t pid, uint64_t start, NodeFact *ret);

typedef struct OpenFile {
        int fd;
        int mount_id;
        uint64_t inode; /* 0 = not told (before Linux 5.14) */
        unsigned flags; /* as fdinfo prints them: O_ACCMODE, O_DIRECTORY ... */
        char *path;     /* as the kernel prints it; of the process's own mount namespace */
        size_t first;   /* number of the first file with this mount_id */
} OpenFile;

typedef struct OpenFiles {
        FilesPlace place;
        OpenFile *files;
        size_t n, capacity;
} OpenFiles;

/* Whether some thread of it sleeps in a function of the kernel's with that in its name: 1, 0; -ENODATA where that is not told. */
int process_sleeps_in(const Sysroot *s, pid_t pid, const char *function);

/* Open files and directories with a path (no sockets, pipes, anonymous inodes). -EACCES without privilege. */
int process_read_files(const Sysroot *s, pid_t pid, OpenFiles *ret);
void open_files_done(OpenFiles *f);
