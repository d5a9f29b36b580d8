/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The files of one process: parts of the input, one after the other, with '@' between them. */
#include "common/cgroup-path.h"
#include "common/text.h"
#include "daemon/source/cgroup-state.h"
#include "daemon/source/process-table.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/memory-root.h"

/* Beside these there is a device node to be held open, and a mount on which it is. */
static const char *const files[] = {
        "proc/7/stat", "proc/7/status", "proc/7/cgroup", "proc/7/fdinfo/3", "proc/7/task/7/stat", "proc/7/task/7/syscall",
        "proc/7/loginuid", "proc/7/oom_score_adj", "proc/7/fdinfo/4", "sys/fs/cgroup/a.slice/b.service/memory.min",
        "sys/fs/cgroup/a.slice/b.service/memory.stat", "proc/1/mountinfo",
};
static const char rest[] =
        "@proc/7/fd/3 -> /dev/fuse\n@proc/7/fd/4 -> /sys/devices/virtual/block/md0/md/array_state\n@proc/7/fd/5 -> socket:[12]\n"
        "@proc/7/exe -> /usr/bin/x\n@sys/fs/cgroup/a.slice/memory.min\nmax\n@sys/fs/cgroup/a.slice/c.service/memory.min\n1\n"
        "@sys/fs/cgroup/a.slice/b.service/memory.low\n0\n@sys/fs/cgroup/a.slice/b.service/memory.max\nmax\n"
        "@sys/fs/cgroup/a.slice/b.service/memory.high\nmax\n@sys/fs/cgroup/a.slice/b.service/memory.current\n4096\n"
        "@sys/fs/cgroup/a.slice/b.service/cgroup.procs\n7\n";

static void check_fact(const Sysroot *s, uint64_t start) {
        _cleanup_node_fact_ NodeFact f = {};
        _cleanup_(state_done) State state = {};

        if (process_read_fact(s, 7, start, &f) < 0)
                return;
        MUST(f.id && f.comm && f.threads_io_flusher <= f.threads);
        /* Where it is in a slice of users it is nobody's service. */
        if (f.cgroup && path_is_below(f.cgroup, "/user.slice"))
                MUST(!cgroup_path_is_system_service(f.cgroup));
        MUST(!f.unit || (*f.unit && !strchr(f.unit, '/')));
        if (f.cgroup) {
                _cleanup_(cgroup_uses_freep) CgroupUses *uses = cgroup_uses_new();
                uint64_t min;

                MUST(uses && cgroup_state_read(s, f.cgroup, &state) >= 0);
                (void) cgroup_effective_min(s, uses, f.cgroup, start % 2, &min);
        }
}

static void check_files(const Sysroot *s) {
        _cleanup_(process_table_done) ProcessTable t = {};
        _cleanup_(mount_table_done) MountTable mounts = {};
        _cleanup_(open_files_done) OpenFiles open_files = {};

        if (mount_table_read(s, &mounts) >= 0 && process_table_read(s, &mounts, true, &t) >= 0)
                for (size_t i = 0; i < t.n_sockets; i++)
                        MUST(process_table_owner(&t, t.sockets[i].inode, NULL));
        (void) process_read_files(s, 7, &open_files);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_free_ char *text = NULL;
        _cleanup_(sysroot_freep) Sysroot *s = NULL;
        FuzzInput in = { data, size };
        uint64_t start = 0;
        size_t n = 0;
        FILE *f = open_memstream(&text, &n);
        pid_t leader;

        MUST(f);
        for (size_t i = 0; i < ELEMENTSOF(files) && in.left > 0; i++) {
                _cleanup_free_ char *content = fuzz_part(&in, '@');

                fprintf(f, "@%s\n%s\n", files[i], content);
        }
        fputs(rest, f);
        MUST(fclose(f) == 0);
        s = memory_root_new(text);
        (void) process_read_start(s, 7, &start);
        (void) process_has_ended(s, 7, start);
        (void) process_read_leader(s, 7, &leader);
        check_fact(s, start);
        check_files(s);
        return 0;
}
