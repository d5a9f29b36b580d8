/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The processes that serve something, and what they themselves need: the files, directories and devices that
 * they hold open.
 *
 * A file open for writing and a block device are proof that the process does I/O there. A directory, a file
 * open for reading, and a log (opened for appending) are a hint: inferred. What every process has open of the
 * system's own (libraries, /run) is left out. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "common/file.h"
#include "common/text.h"
#include "daemon/source/cgroup-state.h"
#include "daemon/source/scan.h"
#include "daemon/source/visibility.h"

/* More open files of one process are known by their file systems only: they may be as many as the process likes. */
#define FILES_MAX 4096U

static bool is_system_place(const char *path) {
        static const char *const places[] = { "/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc", "/run", "/var/run", "/dev" };

        for (size_t i = 0; i < ELEMENTSOF(places); i++)
                if (path_is_below(path, places[i]))
                        return true;
        return false;
}

/* A device that the process itself serves is open to be set up and watched (qemu-nbd, nbd-client), not for I/O. */
static int add_device(Scan *s, FactSet *f, const Served *served, const char *process, const OpenFile *file, const char *evidence) {
        const Block *b = block_table_find_path(&s->blocks, file->path);
        _cleanup_free_ char *lower = NULL;

        if (!b)
                return 0;
        lower = block_id(b->device);
        if (!lower)
                return -ENOMEM;
        return strv_contains(served->uppers, lower) ? 0 : factset_add_edge(f, process, lower, ROLE_BACKING, CERTAINTY_PROVEN, 0, evidence);
}

/* The file system of an open file whose mount is in no table, by its number; asked once for each such mount of a process. '*ret', which is
 * NULL before, stays so where there is none: a pipe, a socket, a memfd, or a type of which nothing tells. */
static int find_unmounted(
                Scan *s, FactSet *f, const Served *served, const OpenFiles *files, const OpenFile *file, const Mount **ret, Mount *unlisted) {

        const OpenFile *asked = &files->files[file->first];
        const char *answer = NULL;
        char number[32], uuid[40] = "";
        const Block *b;
        dev_t device;

        if (s->probes)
                answer = probe_cache_get(s->probes, PATH("descriptor %d %llu %s/fd/%d", asked->mount_id, (unsigned long long) served->start,
                                                         files->place.path, asked->fd), NULL);
        if (!answer || sscanf(answer, "%31s %39s", number, uuid) < 1 || text_to_devno(number, &device) < 0)
                return 0;
        *ret = uuid[0] ? NULL : mount_table_find_device(&s->mounts, device);
        for (size_t i = 0; uuid[0] && !*ret && i < s->mounts.n; i++) /* btrfs has a number for each subvolume */
                if (streq_ptr(s->mounts.mounts[i].uuid, uuid))
                        *ret = &s->mounts.mounts[i];
        if (*ret)
                return 0;
        b = major(device) != 0 ? block_table_find_device(&s->blocks, device) : NULL;
        if (!b)
                return 0;
        *unlisted = (Mount) { .device = device, .type = (char *) "unknown" };
        *ret = unlisted;
        return scan_add_unlisted(s, f, b, PATH("/proc/%s/fd/%d", files->place.path, asked->fd));
}

static int add_file(Scan *s, FactSet *f, const Served *served, bool entitled, const char *process, const OpenFiles *files, const OpenFile *file) {
        const Mount *listed = mount_table_find_id(&s->mounts, file->mount_id), *m = listed;
        const char *place = files->place.path, *evidence = PATH("/proc/%s/fd/%d", place, file->fd);
        bool writable = (file->flags & O_ACCMODE) != O_RDONLY && !(file->flags & O_PATH);
        bool data = writable && !(file->flags & O_APPEND);
        _cleanup_free_ char *lower = NULL;
        Mount unlisted;
        int r;

        if (!listed) { /* or of a namespace that is newer than the table */
                /* Ordinary users can make as many as they like. */
                r = !entitled || startswith(file->path, "/memfd:") ? 0 : scan_miss_mount(s, file->mount_id);
                if (r >= 0)
                        r = find_unmounted(s, f, served, files, file, &m, &unlisted);
                if (r < 0 || !m)
                        return r;
        }
        if (streq(m->type, "devtmpfs") || streq(m->type, "tmpfs")) {
                r = add_device(s, f, served, process, file, evidence);
                if (r < 0 || is_system_place(file->path))
                        return r;
        }
        if (mount_is_pseudo(m))
                return 0;
        if (!data && (is_system_place(file->path) || streq(file->path, "/") || streq(m->type, "tmpfs")))
                return 0;
        if (file->flags & (O_DIRECTORY | O_PATH) || (size_t) (file - files->files) >= FILES_MAX) {
                lower = mount_filesystem_id(m);
                if (!lower)
                        return -ENOMEM;
        } else {
                r = scan_add_file(f, m, file->inode, file->path, 0, CERTAINTY_PROVEN,
                                  listed ? PATH("/proc/%s/fdinfo/%d: mnt_id", place, file->fd) : PATH("%s: statx", evidence), &lower);
                if (r < 0)
                        return r;
        }
        return factset_add_edge(f, process, lower, ROLE_BACKING, data ? CERTAINTY_PROVEN : CERTAINTY_INFERRED, 0, evidence);
}

/* A server that has nothing open at rest may still be where its files are (Samba goes to the share's directory). */
static int add_directory(Scan *s, FactSet *f, const Served *served, const char *process) {
        _cleanup_free_ char *path = NULL, *own = NULL, *first = NULL, *lower = NULL;
        const Mount *m;

        if (sysroot_readlink(s->root, AREA_PROC, PATH("%d/cwd", served->pid), &path) < 0 || streq(path, "/") || is_system_place(path) ||
            sysroot_readlink(s->root, AREA_PROC, PATH("%d/ns/mnt", served->pid), &own) < 0 ||
            sysroot_readlink(s->root, AREA_PROC, "1/ns/mnt", &first) < 0 || !streq(own, first))
                return 0;
        m = mount_table_resolve(&s->mounts, 0, path);
        if (!m || mount_is_pseudo(m) || streq(m->type, "tmpfs"))
                return 0;
        lower = filesystem_id(m->device);
        if (lower && strv_contains(served->uppers, lower))
                return 0; /* that it stands on its own ground is a matter of hazards */
        return lower ? factset_add_edge(f, process, lower, ROLE_BACKING, CERTAINTY_INFERRED, 0, PATH("/proc/%d/cwd", served->pid)) : -ENOMEM;
}

static int add_process(Scan *s, FactSet *f, const Served *served, CgroupUses *uses) {
        _cleanup_(open_files_done) OpenFiles files = {};
        _cleanup_node_fact_ NodeFact n = {};
        _cleanup_free_ char *id = NULL;
        bool entitled;
        int r, k;

        r = process_read_fact(s->root, served->pid, served->start, &n);
        if (r < 0)
                return r;
        if (n.cgroup && n.cgroup[0] == '/' &&
            cgroup_effective_min(s->root, uses, n.cgroup, s->recursive_protection, &n.memory_min_effective) == -ENOMEM)
                return -ENOMEM;
        k = process_error(s->root, served->pid, process_read_files(s->root, served->pid, &files));
        if (k == -EACCES || k == -EPERM) {
                n.incomplete = strdup("its open files may not be read without privilege");
                if (!n.incomplete)
                        return -ENOMEM;
                s->gaps |= GAP_NO_PRIVILEGE;
        } else if (k < 0)
                return k;
        id = strdup(n.id);
        if (!id)
                return -ENOMEM;
        entitled = n.entitled;
        r = factset_add_node(f, &n);
        for (size_t i = 0; r >= 0 && i < files.n; i++)
                r = add_file(s, f, served, entitled, id, &files, &files.files[i]);
        return r < 0 ? r : add_directory(s, f, served, id);
}

int source_process_scan(Scan *s, FactSet *f) {
        _cleanup_(cgroup_uses_freep) CgroupUses *uses = cgroup_uses_new();

        if (!uses)
                return -ENOMEM;
        for (size_t i = 0; i < s->n_served; i++) {
                int r;

                r = add_process(s, f, &s->served[i], uses);
                if (r == -ENOMEM)
                        return r;
                /* Gone, or half gone: its exit brings us back. One that cannot be read must not hide the others. */
                s->gaps |= gap_of_error(process_error(s->root, s->served[i].pid, r));
        }
        return 0;
}
