/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the BPF program writes for each descriptor of /dev/fuse. Included by the program too, which has no
 * C library. */

struct fuse_record {
        unsigned long long start;    /* of the process, nanoseconds since boot */
        unsigned int pid;            /* as the initial namespace numbers it */
        unsigned int fd;
        unsigned int connection;     /* the kernel's dev_t of the file system; 0: not mounted */
        unsigned int padding;
};
