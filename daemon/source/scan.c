/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "common/text.h"
#include "daemon/source/scan.h"

const Source sources[] = {
        { "filesystem", source_filesystem_scan },
        { "block", source_block_scan },
        { "loop", source_loop_scan },
        { "dm", source_dm_scan },
        { "tcmu", source_tcmu_scan },
        { "fuse", source_fuse_scan },
        { "swap", source_swap_scan },
        { "process", source_process_scan }, /* last: describes whom the others named */
        {},
};

void scan_done(Scan *s) {
        mount_table_done(&s->mounts);
        block_table_done(&s->blocks);
        process_table_done(&s->processes);
        free(s->served);
        fuse_servers_done(&s->fuse_servers);
        *s = (Scan) {};
}

int scan_refresh(Scan *s, unsigned tables) {
        int r;

        if (tables & TABLE_MOUNTS) {
                MountTable mounts;

                r = mount_table_read(s->root, &mounts);
                if (r < 0)
                        return r;
                mount_table_done(&s->mounts);
                s->mounts = mounts;
        }
        if (tables & TABLE_BLOCKS) {
                BlockTable blocks;

                r = block_table_read(s->root, &blocks);
                if (r < 0)
                        return r;
                block_table_done(&s->blocks);
                s->blocks = blocks;
        }
        if (tables & TABLE_PROCESSES) {
                ProcessTable processes;

                r = process_table_read(s->root, &s->mounts, &processes);
                if (r < 0)
                        return r;
                process_table_done(&s->processes);
                s->processes = processes;
        }
        s->n_served = 0;
        s->unserved = false;
        return 0;
}

int scan_add_served(Scan *s, pid_t pid, uint64_t start) {
        for (size_t i = 0; i < s->n_served; i++)
                if (s->served[i].pid == pid && s->served[i].start == start)
                        return 0;
        return ARRAY_APPEND(s->served, s->n_served, s->served_capacity, ((Served) { pid, start }));
}

char *filesystem_id(dev_t device) {
        return text_format("fs:%u:%u", major(device), minor(device));
}

char *block_id(dev_t device) {
        return text_format("block:%u:%u", major(device), minor(device));
}

int scan_add_file(
                FactSet *f,
                const Mount *m,
                uint64_t inode,
                const char *path,
                uint64_t size,
                Certainty certainty,
                const char *evidence,
                char **ret_id) {

        _cleanup_free_ char *id = NULL, *fs = filesystem_id(m->device);
        NodeFact n = { .kind = NODE_FILE, .size = size };
        int r;

        if (!fs)
                return -ENOMEM;
        id = inode > 0 ? text_format("file:%u:%u:%llu", major(m->device), minor(m->device), (unsigned long long) inode)
                       : text_format("file:%u:%u:%s", major(m->device), minor(m->device), path);
        if (!id)
                return -ENOMEM;
        n.id = strdup(id);
        n.path = strdup(path);
        n.type = strdup("file");
        if (!n.path || !n.type) {
                node_fact_done(&n);
                return -ENOMEM;
        }
        r = factset_add_node(f, &n);
        if (r >= 0)
                r = factset_add_edge(f, id, fs, ROLE_BACKING, certainty, 0, evidence);
        if (r < 0)
                return r;
        *ret_id = TAKE_PTR(id);
        return 0;
}
