/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Walks all descriptors of all processes and writes a record for each one of /dev/fuse.
 *
 * The kernel's structures are declared here as far as they are used; libbpf puts in the places that their
 * members have in the running kernel, as its type information (BTF) and that of the fuse module tell them. */

typedef unsigned char __u8;
typedef signed short __s16;
typedef unsigned short __u16;
typedef signed int __s32;
typedef unsigned int __u32;
typedef signed long long __s64;
typedef unsigned long long __u64;
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u32 __wsum;

#include <bpf/bpf_helpers.h>

#include <bpf/bpf_core_read.h>

#include "daemon/source/fuse-record.h"

#define FUSE_DEVICE (10U << 20 | 229U) /* the kernel's own dev_t of /dev/fuse (devices.txt) */

#define kernel_struct __attribute__((preserve_access_index))

struct inode {
        __u32 i_rdev;
} kernel_struct;

struct file {
        struct inode *f_inode;
        void *private_data;
} kernel_struct;

struct task_struct {
        struct task_struct *group_leader;
        __s32 tgid;
        __u64 start_boottime;
} kernel_struct;

struct fuse_conn {
        __u32 dev;
} kernel_struct;

struct fuse_dev {
        struct fuse_conn *fc;
} kernel_struct;

struct bpf_iter_meta {
        struct seq_file *seq;
} kernel_struct;

struct bpf_iter__task_file {
        struct bpf_iter_meta *meta;
        struct task_struct *task;
        __u32 fd;
        struct file *file;
} kernel_struct;

/* Threads that share the descriptors of their process are left out by the kernel. */
SEC("iter/task_file")
int fuse_descriptors(struct bpf_iter__task_file *ctx) {
        struct task_struct *task = ctx->task;
        struct file *file = ctx->file;
        struct fuse_record record = {};
        struct fuse_dev *device;

        if (!task || !file || BPF_CORE_READ(file, f_inode, i_rdev) != FUSE_DEVICE)
                return 0;
        record.start = BPF_CORE_READ(task, group_leader, start_boottime);
        record.pid = BPF_CORE_READ(task, tgid);
        record.fd = ctx->fd;
        device = BPF_CORE_READ(file, private_data);
        /* Reading through NULL, before the mount, gives 0. */
        record.connection = BPF_CORE_READ(device, fc, dev);
        bpf_seq_write(ctx->meta->seq, &record, sizeof(record));
        return 0;
}

/* The kernel does not know LGPL-2.1-or-later as compatible with the GPL; it is: section 3 lets anyone take
 * this under the GPL. */
char _license[] SEC("license") = "GPL";
