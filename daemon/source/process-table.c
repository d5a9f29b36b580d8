/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/nbd.h>
#include <linux/sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "common/array.h"
#include "common/cgroup-path.h"
#include "common/file.h"
#include "common/text.h"
#include "daemon/source/process-table.h"
#include "daemon/source/visibility.h"

void process_table_done(ProcessTable *t) {
        for (size_t i = 0; i < t->n; i++)
                free(t->holders[i].device);
        free(t->holders);
        free(t->sockets);
        *t = (ProcessTable) {};
}

void open_files_done(OpenFiles *f) {
        for (size_t i = 0; i < f->n; i++)
                free(f->files[i].path);
        free(f->files);
        *f = (OpenFiles) {};
}

/* comm may hold anything, also ") R 1": what follows the last ')' is the kernel's. Returns the fields from
 * the third on, and cuts comm out of the text. */
static char *stat_split(char *text, char **ret_comm) {
        char *open = strchr(text, '('), *close = strrchr(text, ')');

        if (!open || !close || close < open || close[1] != ' ')
                return NULL;
        *close = 0;
        *ret_comm = open + 1;
        return close + 2;
}

/* Field numbers as in proc_pid_stat(5), from 3 on. */
static int stat_field(const char *fields, unsigned number, uint64_t *ret) {
        char buffer[32];
        size_t n;

        for (unsigned i = 3; i < number; i++) {
                fields = strchr(fields, ' ');
                if (!fields)
                        return -EINVAL;
                fields++;
        }
        n = strcspn(fields, " ");
        if (n >= sizeof(buffer))
                return -EINVAL;
        memcpy(buffer, fields, n);
        buffer[n] = 0;
        return text_to_u64(buffer, 10, ret);
}

static int not_there(int r) {
        return r == -ENOENT ? -ESRCH : r;
}

int process_read_start(const Sysroot *s, pid_t pid, uint64_t *ret) {
        _cleanup_free_ char *text = NULL;
        char *fields, *comm;
        int r;

        r = sysroot_read(s, AREA_PROC, PATH("%d/stat", pid), &text);
        if (r < 0)
                return not_there(r);
        fields = stat_split(text, &comm);
        return fields ? stat_field(fields, 22, ret) : -EINVAL;
}

bool process_has_ended(const Sysroot *s, pid_t pid, uint64_t start) {
        uint64_t now = 0;
        int r;

        r = process_read_start(s, pid, &now);
        return r == -ESRCH || (r >= 0 && now != start);
}

int process_open(const Sysroot *s, pid_t pid, uint64_t start) {
        _cleanup_close_ int fd = (int) syscall(SYS_pidfd_open, pid, 0);
        uint64_t now;
        int r;

        if (fd < 0)
                return -errno;
        /* Read after the descriptor was opened: if it is the right process now, it was so then. */
        r = process_read_start(s, pid, &now);
        if (r < 0)
                return r;
        return now == start ? TAKE_FD(fd) : -ESRCH;
}

/* The value of a line "KEY:\tVALUE" of a kernel file, and what follows that line. NULL when there is none. */
static const char *text_line(const char *text, const char *key) {
        size_t n = strlen(key);

        for (const char *line = text; line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL)
                if (strncmp(line, key, n) == 0 && line[n] == ':') {
                        const char *value = line + n + 1;

                        return value + strspn(value, " \t");
                }
        return NULL;
}

static int line_to_u64(const char *text, const char *key, int base, uint64_t *ret) {
        const char *value = text_line(text, key);
        size_t size = value ? strcspn(value, "\n") : 0;
        char number[32];

        if (!value)
                return -ENOENT;
        if (size >= sizeof(number))
                return -EINVAL;
        memcpy(number, value, size);
        number[size] = 0;
        return text_to_u64(number, base, ret);
}

/* Devices through which user space serves storage. The text is only a candidate: a file may have any name. */
static const char *serving_device(const char *path) {
        static const char *const directories[] = { "vduse/", "mapper/" };
        const char *base = strrchr(path, '/');

        if (!base)
                return NULL;
        base++;
        if (streq(base, "fuse"))
                return base;
        if ((startswith(base, "uio") && base[3] >= '0' && base[3] <= '9') ||
            (startswith(base, "ublkc") && base[5] >= '0' && base[5] <= '9'))
                return base;
        /* With the name of its directory: "vduse/NAME", "mapper/control". */
        for (size_t i = 0; i < ELEMENTSOF(directories); i++) {
                size_t n = strlen(directories[i]);

                if ((size_t) (base - path) > n && memcmp(base - n, directories[i], n) == 0 && base[-(ssize_t) n - 1] == '/')
                        return streq(base, "control") == streq(directories[i], "mapper/") ? base - n : NULL;
        }
        return NULL;
}

/* mdmon holds "/sys/devices/virtual/block/NAME/md/array_state": the name of the array, in 'ret'. */
static bool md_array(const char *path, char ret[32]) {
        const char *name = startswith(path, "/sys/devices/virtual/block/");
        size_t n = name ? strcspn(name, "/") : 0;

        if (n == 0 || n >= 32 || !streq(name + n, "/md/array_state"))
                return false;
        memcpy(ret, name, n);
        ret[n] = 0;
        return true;
}

/* The descriptors of a process. A main thread that has exited (pthread_exit() in main()) has none; the others
 * share theirs. */
static int list_files(const Sysroot *s, pid_t pid, FilesPlace *ret_place, int **ret, size_t *ret_n) {
        _cleanup_free_ int *tids = NULL;
        size_t n_tids;
        int r;

        snprintf(ret_place->path, sizeof(ret_place->path), "%d", pid);
        r = sysroot_list_numbers(s, AREA_PROC, PATH("%d/fd", pid), ret, ret_n);
        if (r < 0 || *ret_n > 0 || sysroot_list_numbers(s, AREA_PROC, PATH("%d/task", pid), &tids, &n_tids) < 0)
                return r;
        for (size_t i = 0; i < n_tids; i++) {
                _cleanup_free_ int *fds = NULL;
                size_t n;

                if (tids[i] == pid || sysroot_list_numbers(s, AREA_PROC, PATH("%d/task/%d/fd", pid, tids[i]), &fds, &n) < 0 || n == 0)
                        continue;
                snprintf(ret_place->path, sizeof(ret_place->path), "%d/task/%d", pid, tids[i]);
                free(*ret);
                *ret = TAKE_PTR(fds);
                *ret_n = n;
                break;
        }
        return 0;
}

/* What fdinfo says of a descriptor. -ENOENT when it was closed meanwhile. */
static int read_fdinfo(const Sysroot *s, const FilesPlace *place, int fd, OpenFile *file, int64_t *connection) {
        _cleanup_free_ char *text = NULL;
        uint64_t value;
        int r;

        r = sysroot_read(s, AREA_PROC, PATH("%s/fdinfo/%d", place->path, fd), &text);
        if (r < 0)
                return r;
        file->fd = fd;
        r = line_to_u64(text, "mnt_id", 10, &value);
        if (r < 0)
                return r;
        file->mount_id = (int) value;
        r = line_to_u64(text, "flags", 8, &value);
        if (r < 0)
                return r;
        file->flags = (unsigned) value;
        (void) line_to_u64(text, "ino", 10, &file->inode);
        if (connection)
                *connection = line_to_u64(text, "fuse_connection", 10, &value) < 0 ? -1 : (int64_t) value;
        return 0;
}

/* Linux 6.16 prints for each descriptor of /dev/fuse which connection it is of (514d9210bf45). */
static bool release_tells_connection(const Sysroot *s, bool *ret_known) {
        _cleanup_free_ char *release = NULL;
        unsigned version, patch;

        *ret_known = sysroot_read(s, AREA_PROC, "sys/kernel/osrelease", &release) >= 0 && sscanf(release, "%u.%u", &version, &patch) == 2;
        return *ret_known && (version > 6 || (version == 6 && patch >= 16));
}

/* What serves nothing is left out. A line of the kernel's proves of a descriptor that it is of /dev/fuse, and that it is mounted. */
static NodeVerdict check_holder(
                const Sysroot *s, const Mount *m, const Holder *h, const OpenFile *file, const char *path, ProcessTable *t) {

        bool fuse = streq(h->device, "fuse");

        if (fuse && h->fuse_connection >= 0)
                return NODE_IS_DEVICE;
        return fuse && t->tells_connection ? NODE_IS_OTHER : authority_check_node(s, m, h->pid, &h->place, file, path, h->device);
}

static int take_holder(
                const Sysroot *s,
                const MountTable *mounts,
                pid_t pid,
                const FilesPlace *place,
                int fd,
                const char *path,
                const char *device,
                ProcessTable *t) {

        Holder h = { .pid = pid, .place = *place, .fd = fd, .device = (char *) device };
        NodeVerdict verdict;
        OpenFile file = {};
        const Mount *m;
        int r;

        r = read_fdinfo(s, place, fd, &file, &h.fuse_connection);
        if (r < 0)
                return r == -ENOENT ? 0 : r;
        m = mount_table_find_id(mounts, file.mount_id);
        t->unknown_mount |= !m;
        verdict = check_holder(s, m, &h, &file, path, t);
        if (verdict == NODE_IS_OTHER)
                return 0;
        h.unproven = verdict == NODE_IS_UNPROVEN;
        h.mount_id = file.mount_id;
        r = process_read_start(s, pid, &h.start);
        if (r < 0)
                return r == -ESRCH ? 0 : r;
        t->tells_connection |= h.fuse_connection >= 0;
        h.device = strdup(device);
        if (!h.device)
                return -ENOMEM;
        r = ARRAY_APPEND(t->holders, t->n, t->capacity, h);
        if (r < 0)
                free(h.device);
        return r;
}

static int take_socket(const Sysroot *s, pid_t pid, const FilesPlace *place, int fd, uint64_t inode, ProcessTable *t) {
        OwnedSocket o = { .pid = pid, .place = *place, .fd = fd, .inode = inode };
        int r;

        /* One process's follow one another. */
        if (t->n_sockets > 0 && t->sockets[t->n_sockets - 1].pid == pid)
                o.start = t->sockets[t->n_sockets - 1].start;
        else {
                r = process_read_start(s, pid, &o.start);
                if (r < 0)
                        return r == -ESRCH ? 0 : r;
        }
        return ARRAY_APPEND(t->sockets, t->n_sockets, t->sockets_capacity, o);
}

/* "socket:[INODE]" */
static uint64_t socket_inode(const char *link) {
        char *number = startswith(link, "socket:[");

        return number ? strtoull(number, NULL, 10) : 0;
}

/* Of a process with thousands of descriptors, hence not by the whole path each time. */
static int peek_file(const Sysroot *s, const FilesPlace *place, int directory, int fd, char **ret) {
        char name[16];
        int r;

        snprintf(name, sizeof(name), "%d", fd);
        r = directory < 0 ? -EBADF : file_readlink(directory, name, ret);
        /* That it may not be read is to be recorded. */
        return r < 0 && r != -ENOENT ? sysroot_peek_link(s, AREA_PROC, PATH("%s/fd/%d", place->path, fd), ret) : r;
}

static int scan_process(const Sysroot *s, const MountTable *mounts, bool sockets, pid_t pid, ProcessTable *t) {
        _cleanup_free_ int *fds = NULL;
        _cleanup_close_ int directory = -1;
        FilesPlace place;
        size_t n, taken;
        int r;

        r = list_files(s, pid, &place, &fds, &n);
        if (r < 0)
                return r;
        directory = n > 0 ? sysroot_open_at(s, AREA_PROC, PATH("%s/fd", place.path), O_PATH | O_DIRECTORY) : -1;
        for (size_t i = 0; i < n; i++) {
                _cleanup_free_ char *link = NULL;
                bool socket;
                const char *device;
                char array[32];

                r = peek_file(s, &place, directory, fds[i], &link);
                if (r < 0) {
                        if (r == -ENOENT)
                                continue;
                        return r;
                }
                socket = sockets && socket_inode(link) > 0;
                device = md_array(link, array) ? array : serving_device(link);
                if (!socket && !device)
                        continue;
                taken = t->n + t->n_sockets;
                r = socket ? take_socket(s, pid, &place, fds[i], socket_inode(link), t) : take_holder(s, mounts, pid, &place, fds[i], link, device, t);
                if (r >= 0 && t->n + t->n_sockets > taken)
                        sysroot_record_link(s, AREA_PROC, PATH("%s/fd/%d", place.path, fds[i]), link);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int compare_sockets(const void *a, const void *b) {
        const OwnedSocket *x = a, *y = b;

        if (x->inode != y->inode)
                return x->inode > y->inode ? 1 : -1;
        return x->pid != y->pid ? x->pid - y->pid : x->fd - y->fd;
}

static int compare_holders(const void *a, const void *b) {
        const Holder *x = a, *y = b;
        int r = strcmp(x->device, y->device);

        if (r != 0)
                return r;
        return x->pid != y->pid ? x->pid - y->pid : x->fd - y->fd;
}

int process_table_read(const Sysroot *s, const MountTable *mounts, bool sockets, ProcessTable *ret) {
        _cleanup_(process_table_done) ProcessTable t = {};
        _cleanup_free_ int *pids = NULL;
        bool known;
        size_t n;
        int r;

        t.tells_connection = release_tells_connection(s, &known);
        r = sysroot_list_numbers(s, AREA_PROC, ".", &pids, &n);
        if (r < 0)
                return r;
        for (size_t i = 0; i < n; i++) {
                r = scan_process(s, mounts, sockets, pids[i], &t);
                if (r == -ENOMEM)
                        return r;
                t.gaps |= gap_of_error(process_error(s, pids[i], r));
        }
        if (t.n_sockets > 1)
                qsort(t.sockets, t.n_sockets, sizeof(OwnedSocket), compare_sockets);
        if (t.n > 1)
                qsort(t.holders, t.n, sizeof(Holder), compare_holders);
        t.may_tell_connection = t.tells_connection || !known;
        *ret = t;
        t = (ProcessTable) {};
        return 0;
}

const Holder *process_table_holders(const ProcessTable *t, const char *device, size_t *ret_n) {
        size_t low = 0, high = t->n, n = 0;

        while (low < high) {
                size_t middle = low + (high - low) / 2;

                if (strcmp(t->holders[middle].device, device) < 0)
                        low = middle + 1;
                else
                        high = middle;
        }
        while (low + n < t->n && streq(t->holders[low + n].device, device))
                n++;
        *ret_n = n;
        return n > 0 ? &t->holders[low] : NULL;
}

const OwnedSocket *process_table_owner(const ProcessTable *t, uint64_t inode, size_t *ret_n) {
        size_t low = 0, high = t->n_sockets, n = 0;

        while (low < high) {
                size_t middle = low + (high - low) / 2;

                if (t->sockets[middle].inode < inode)
                        low = middle + 1;
                else
                        high = middle;
        }
        while (inode > 0 && low + n < t->n_sockets && t->sockets[low + n].inode == inode)
                n++;
        if (ret_n)
                *ret_n = n;
        return n > 0 ? &t->sockets[low] : NULL;
}

bool process_owns_socket(const ProcessTable *t, pid_t pid, uint64_t inode) {
        size_t n;
        const OwnedSocket *owners = process_table_owner(t, inode, &n);

        for (size_t i = 0; i < n; i++)
                if (owners[i].pid == pid)
                        return true;
        return false;
}

int process_read_leader(const Sysroot *s, pid_t tid, pid_t *ret) {
        _cleanup_free_ char *text = NULL;
        uint64_t leader;
        int r;

        /* A thread's directory opens although it is not listed. */
        r = sysroot_read(s, AREA_PROC, PATH("%d/status", tid), &text);
        if (r < 0)
                return not_there(r);
        r = line_to_u64(text, "Tgid", 10, &leader);
        if (r < 0 || leader == 0 || leader > INT32_MAX)
                return -EINVAL;
        *ret = (pid_t) leader;
        return 0;
}

static int compare_mounts(const void *a, const void *b) {
        const OpenFile *x = *(OpenFile *const *) a, *y = *(OpenFile *const *) b;

        return x->mount_id != y->mount_id ? (x->mount_id > y->mount_id) - (x->mount_id < y->mount_id) : (x > y) - (x < y);
}

/* They may be as many as the process likes. */
static int note_first(OpenFiles *f) {
        _cleanup_free_ OpenFile **sorted = calloc(f->n + 1, sizeof(OpenFile *));

        if (!sorted)
                return -ENOMEM;
        for (size_t i = 0; i < f->n; i++)
                sorted[i] = f->files + i;
        if (f->n > 1)
                qsort(sorted, f->n, sizeof(OpenFile *), compare_mounts);
        for (size_t i = 0; i < f->n; i++)
                sorted[i]->first = i > 0 && sorted[i - 1]->mount_id == sorted[i]->mount_id ? sorted[i - 1]->first : (size_t) (sorted[i] - f->files);
        return 0;
}

int process_read_files(const Sysroot *s, pid_t pid, OpenFiles *ret) {
        _cleanup_(open_files_done) OpenFiles files = {};
        _cleanup_free_ int *fds = NULL;
        size_t n;
        int r;

        r = list_files(s, pid, &files.place, &fds, &n);
        if (r < 0)
                return not_there(r);
        for (size_t i = 0; i < n; i++) {
                OpenFile file = {};
                char *link = NULL;

                r = sysroot_readlink(s, AREA_PROC, PATH("%s/fd/%d", files.place.path, fds[i]), &link);
                if (r >= 0 && link[0] == '/')
                        r = read_fdinfo(s, &files.place, fds[i], &file, NULL);
                else if (r >= 0)
                        r = -ENOENT;
                if (r >= 0) {
                        file.path = link;
                        r = ARRAY_APPEND(files.files, files.n, files.capacity, file);
                }
                if (r < 0)
                        free(link);
                if (r < 0 && r != -ENOENT)
                        return r;
        }
        r = note_first(&files);
        if (r < 0)
                return r;
        *ret = files;
        files = (OpenFiles) {};
        return 0;
}

/* ioctl(NBD_DO_IT) lasts as long as the device (drivers/block/nbd.c): the thread runs no code of its own,
 * allocates nothing, and cannot be interrupted without tearing the device down. It needs no mark, and cannot
 * get one. */
static bool waits_for_device(const Sysroot *s, pid_t pid, pid_t tid) {
        _cleanup_free_ char *place = NULL, *text = NULL;
        unsigned long long call, fd, request;

        /* Its call is told under a lock (exec_update_lock) that a process which executes another program has while it gives its memory
         * up, and so waits for its direct I/O in flight. What sleeps in the driver of nbd does not do that. */
        if (sysroot_is_machine(s) &&
            (sysroot_read(s, AREA_PROC, PATH("%d/task/%d/wchan", pid, tid), &place) < 0 || !strstr(place, "nbd_")))
                return false;
        return sysroot_read(s, AREA_PROC, PATH("%d/task/%d/syscall", pid, tid), &text) >= 0 &&
                sscanf(text, "%llu %llx %llx", &call, &fd, &request) == 3 && call == SYS_ioctl && request == NBD_DO_IT;
}

int process_sleeps_in(const Sysroot *s, pid_t pid, const char *function) {
        _cleanup_free_ int *tids = NULL;
        bool told = false;
        size_t n;
        int r;

        r = sysroot_list_numbers(s, AREA_PROC, PATH("%d/task", pid), &tids, &n);
        if (r < 0)
                return not_there(r);
        for (size_t i = 0; i < n; i++) {
                _cleanup_free_ char *place = NULL;

                if (sysroot_read(s, AREA_PROC, PATH("%d/task/%d/wchan", pid, tids[i]), &place) < 0)
                        continue;
                if (strstr(place, function))
                        return 1;
                told |= place[0] != 0 && !streq(place, "0");
        }
        return told ? 0 : -ENODATA;
}

static bool is_realtime(const char *fields) {
        uint64_t policy;

        return stat_field(fields, 41, &policy) >= 0 && (policy == SCHED_FIFO || policy == SCHED_RR || policy == SCHED_DEADLINE);
}

static int read_threads(const Sysroot *s, pid_t pid, NodeFact *f) {
        _cleanup_free_ int *tids = NULL;
        size_t n;
        int r;

        r = sysroot_list_numbers(s, AREA_PROC, PATH("%d/task", pid), &tids, &n);
        if (r < 0)
                return not_there(r);
        for (size_t i = 0; i < n; i++) {
                _cleanup_free_ char *text = NULL;
                char *fields, *comm;
                uint64_t flags;

                if (sysroot_read(s, AREA_PROC, PATH("%d/task/%d/stat", pid, tids[i]), &text) < 0)
                        continue;
                fields = stat_split(text, &comm);
                if (!fields || stat_field(fields, 9, &flags) < 0)
                        return -EINVAL;
                if (*fields == 'Z' || *fields == 'X')
                        continue; /* exited: allocates nothing any more */
                if ((flags & TASK_FLAGS_IO_FLUSHER) == TASK_FLAGS_IO_FLUSHER)
                        f->threads_io_flusher++;
                else if (waits_for_device(s, pid, tids[i]))
                        continue;
                f->threads++;
                f->threads_realtime += is_realtime(fields);
        }
        return 0;
}

/* The prctl runs with the target's own credentials and needs CAP_SYS_RESOURCE in the initial user namespace
 * (kernel/sys.c, capable()). */
static int read_refusal(const Sysroot *s, pid_t pid, const char *status, NodeFact *f) {
        _cleanup_free_ char *own = NULL, *initial = NULL;
        const char *why = NULL;
        uint64_t capabilities;

        f->in_user_namespace = sysroot_readlink(s, AREA_PROC, PATH("%d/ns/user", pid), &own) >= 0 &&
                sysroot_readlink(s, AREA_PROC, "1/ns/user", &initial) >= 0 && !streq(own, initial);
        if (f->in_user_namespace)
                why = "the process is in a user namespace of its own";
        else if (line_to_u64(status, "CapEff", 16, &capabilities) >= 0 && !(capabilities & (UINT64_C(1) << CAP_SYS_RESOURCE)))
                why = "the process has no CAP_SYS_RESOURCE";
        if (!why)
                return 0;
        f->refusal = strdup(why);
        return f->refusal ? 0 : -ENOMEM;
}

/* mlockall(2) locks all that is resident, and what will be. Who has locked one buffer only has not so much. */
static bool is_locked(const char *status) {
        const char *locked = text_line(status, "VmLck"), *resident = text_line(status, "VmRSS");
        unsigned long long a, b;

        return locked && resident && sscanf(locked, "%llu kB", &a) == 1 && sscanf(resident, "%llu kB", &b) == 1 && a > 0 && a >= b;
}

static int read_uid(const char *status, uid_t *ret, bool *ret_root) {
        const char *uids = text_line(status, "Uid");
        unsigned real, effective, saved, fs;

        if (!uids || sscanf(uids, "%u %u %u %u", &real, &effective, &saved, &fs) != 4)
                return -EINVAL;
        *ret = real;
        /* A set-uid program that a user started is the user's. */
        *ret_root = real == 0 && effective == 0 && saved == 0 && fs == 0;
        return 0;
}

static int read_status(const Sysroot *s, pid_t pid, NodeFact *f, bool *ret_root) {
        _cleanup_free_ char *status = NULL;
        int r;

        r = sysroot_read(s, AREA_PROC, PATH("%d/status", pid), &status);
        if (r < 0)
                return not_there(r);
        r = read_uid(status, &f->uid, ret_root);
        if (r < 0)
                return r;
        f->locked = is_locked(status);
        return read_refusal(s, pid, status, f);
}

/* What its cgroup has itself; the root has no such files. */
static int read_reservation(const Sysroot *s, NodeFact *f) {
        _cleanup_free_ char *text = NULL;

        if (sysroot_read(s, AREA_SYS, PATH("fs/cgroup%s/memory.swap.max", f->cgroup), &f->swap_max) == -ENOMEM)
                return -ENOMEM;
        if (sysroot_read(s, AREA_SYS, PATH("fs/cgroup%s/memory.min", f->cgroup), &text) < 0)
                return 0;
        if (!streq(text, "max"))
                return text_to_u64(text, 10, &f->memory_min) < 0 ? -EINVAL : 0;
        f->memory_min = UINT64_MAX;
        return 0;
}

static int read_cgroup(const Sysroot *s, pid_t pid, NodeFact *f) {
        _cleanup_free_ char *text = NULL;
        int r;

        r = sysroot_read(s, AREA_PROC, PATH("%d/cgroup", pid), &text);
        if (r < 0)
                return not_there(r);
        r = cgroup_path_of(text, &f->cgroup);
        if (r == -ENOENT)
                return 0;
        if (r < 0)
                return r;
        r = cgroup_path_to_unit(f->cgroup, &f->unit);
        if (r < 0 && r != -ENOENT)
                return r;
        return f->cgroup[0] == '/' ? read_reservation(s, f) : 0;
}

/* A job of cron or at, or a shell of sshd, runs in the service's unit where there is no session manager, and is
 * its user's all the same: pam_loginuid(8) wrote that down, once and for good. -1: nobody logged in. A kernel
 * without the file has no such notion; where it is there and cannot be read, somebody may have. */
static bool is_of_login(const Sysroot *s, pid_t pid) {
        _cleanup_free_ char *text = NULL;
        uint64_t login;
        int r;

        r = sysroot_read(s, AREA_PROC, PATH("%d/loginuid", pid), &text);
        if (r < 0)
                return !error_is_gone(r);
        return text_to_u64(text, 10, &login) < 0 || (login != 0 && login != UINT32_MAX);
}

int process_read_authority(const Sysroot *s, pid_t pid, uint64_t start, Authority *ret) {
        _cleanup_free_ char *status = NULL, *text = NULL, *cgroup = NULL;
        uid_t uid;
        bool root;
        int r;

        r = sysroot_read(s, AREA_PROC, PATH("%d/status", pid), &status);
        if (r >= 0)
                r = read_uid(status, &uid, &root);
        if (r >= 0 && !root)
                r = sysroot_read(s, AREA_PROC, PATH("%d/cgroup", pid), &text);
        if (r >= 0 && !root)
                r = cgroup_path_of(text, &cgroup);
        if (process_has_ended(s, pid, start))
                return -ESRCH;
        /* In a capture of one that turned out to serve nothing. */
        if (r == -ENOENT && !status && !sysroot_is_machine(s)) {
                *ret = AUTHORITY_ROOT;
                return 0;
        }
        if (r < 0 && (r != -ENOENT || !text))
                return not_there(r);
        *ret = authority_of(root, cgroup, !root && is_of_login(s, pid));
        return 0;
}

int process_read_fact(const Sysroot *s, pid_t pid, uint64_t start, NodeFact *ret) {
        _cleanup_node_fact_ NodeFact f = { .kind = NODE_PROCESS, .pid = pid, .start = start };
        _cleanup_free_ char *text = NULL, *score = NULL;
        char *fields, *comm;
        uint64_t now;
        bool root;
        int r;

        r = sysroot_read(s, AREA_PROC, PATH("%d/stat", pid), &text);
        if (r < 0)
                return not_there(r);
        fields = stat_split(text, &comm);
        if (!fields || stat_field(fields, 22, &now) < 0)
                return -EINVAL;
        f.id = process_id(pid, start);
        f.comm = strdup(comm);
        if (!f.id || !f.comm)
                return -ENOMEM;
        r = read_status(s, pid, &f, &root);
        if (r >= 0)
                r = read_cgroup(s, pid, &f);
        if (r >= 0)
                r = read_threads(s, pid, &f);
        if (r < 0)
                return r;
        (void) sysroot_readlink(s, AREA_PROC, PATH("%d/exe", pid), &f.exe);
        if (sysroot_read(s, AREA_PROC, PATH("%d/oom_score_adj", pid), &score) >= 0)
                f.oom_score_adj = atoi(score);
        f.entitled = authority_of(root, f.cgroup, !root && is_of_login(s, pid)) >= AUTHORITY_SERVICE;
        /* Everything above was read of one and the same process only if it is still that one now. */
        r = process_read_start(s, pid, &now);
        if (r < 0)
                return r;
        if (now != start)
                return -ESRCH;
        *ret = f;
        f = (NodeFact) {};
        return 0;
}
