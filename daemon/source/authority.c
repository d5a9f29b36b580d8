/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "common/cgroup-path.h"
#include "common/file.h"
#include "common/text.h"
#include "daemon/source/authority.h"
#include "daemon/source/scan.h"

/* In a capture: the number of a node that was open, "MAJ:MIN", by process and descriptor. */
#define CAPTURED_NODE "stackd/nodes/%d-%d"

Authority authority_of(bool root, const char *cgroup, bool login) {
        if (root)
                return AUTHORITY_ROOT;
        return cgroup && cgroup_path_is_system_service(cgroup) && !login ? AUTHORITY_SERVICE : AUTHORITY_USER;
}

/* ---- devices ---- */

static bool can_serve(unsigned flags) {
        return !(flags & O_PATH) && (flags & O_ACCMODE) != O_RDONLY;
}

static const struct {
        const char *prefix, *class;
} classes[] = { { "ublkc", "ublk-char" }, { "uio", "uio" }, { "vduse/", "vduse" } };

/* Linux assigns their numbers for good (admin-guide/devices.txt). */
static bool has_fixed_number(const char *device) {
        return streq(device, "fuse") || streq(device, "mapper/control");
}

/* And not the name of an array, of which a file of sysfs is open. */
static bool has_node(const char *device) {
        for (size_t i = 0; i < ELEMENTSOF(classes); i++)
                if (startswith(device, classes[i].prefix))
                        return true;
        return has_fixed_number(device);
}

/* The number that a device has: -ENOENT where there is no such device. */
static int device_number(const Sysroot *s, const char *device, dev_t *ret) {
        const char *base = strrchr(device, '/');
        _cleanup_free_ char *text = NULL;

        if (has_fixed_number(device)) {
                *ret = streq(device, "fuse") ? makedev(10, 229) : makedev(10, 236);
                return 0;
        }
        for (size_t i = 0; i < ELEMENTSOF(classes); i++) {
                int r;

                if (!startswith(device, classes[i].prefix))
                        continue;
                r = sysroot_read(s, AREA_SYS, PATH("class/%s/%s/dev", classes[i].class, base ? base + 1 : device), &text);
                return r < 0 ? r : text_to_devno(text, ret);
        }
        return -ENOENT;
}

/* The number of the node that a descriptor is of, where that cannot wait: it is opened as a path only, which asks no file system, and
 * looked at only if it is (still) the file that its flags were read of. */
static int read_node(const Sysroot *s, const FilesPlace *place, const OpenFile *file, dev_t *ret) {
        _cleanup_close_ int own = sysroot_open_at(s, AREA_PROC, PATH("%s/fd/%d", place->path, file->fd), O_PATH);
        _cleanup_free_ char *text = NULL;
        const char *line;
        struct stat st;

        if (own < 0)
                return own;
        if (sysroot_read(s, AREA_PROC, PATH("self/fdinfo/%d", own), &text) < 0 || !(line = strstr(text, "mnt_id:")) ||
            atoi(line + strlen("mnt_id:")) != file->mount_id || fstat(own, &st) < 0 || (file->inode > 0 && st.st_ino != file->inode))
                return -ESTALE;
        *ret = S_ISCHR(st.st_mode) ? st.st_rdev : 0;
        return 0;
}

/* The place of a file within its file system, by the path that the kernel prints. False where that does not begin with the mount's. */
static bool is_inside(const Mount *m, const char *path, const char *inner, bool *ret_known) {
        const char *below = streq(m->target, "/") ? path : startswith(path, m->target);
        const char *root = streq(m->root, "/") ? "" : m->root;
        const char *rest = startswith(inner, root);

        *ret_known = below && (*below == 0 || *below == '/');
        return *ret_known && rest && streq(rest, below);
}

/* What anybody may read is written by mdmon. A user can put another file in its place in a mount namespace of his own. */
static NodeVerdict check_array(const Mount *m, const char *path, const char *device) {
        bool known;

        return is_inside(m, path, PATH("/devices/virtual/block/%s/md/array_state", device), &known) ? NODE_IS_DEVICE : NODE_IS_OTHER;
}

static NodeVerdict check_number(const Sysroot *s, const char *device, dev_t number) {
        dev_t expected;

        return device_number(s, device, &expected) >= 0 && number == expected ? NODE_IS_DEVICE : NODE_IS_OTHER;
}

/* Captures of earlier versions have no numbers. On devtmpfs only root makes files, but anybody may mount one of them in another
 * place. */
static NodeVerdict check_captured(const Sysroot *s, const Mount *m, int pid, int fd, const char *path, const char *device) {
        _cleanup_free_ char *text = NULL;
        dev_t number, expected;
        bool known;

        if (sysroot_read(s, AREA_RUN, PATH(CAPTURED_NODE, pid, fd), &text) >= 0 && text_to_devno(text, &number) >= 0)
                return device_number(s, device, &expected) < 0 || number == expected ? NODE_IS_DEVICE : NODE_IS_OTHER;
        if (!streq(m->type, "devtmpfs"))
                return NODE_IS_UNPROVEN;
        if (is_inside(m, path, PATH("/%s", device), &known))
                return NODE_IS_DEVICE;
        return known ? NODE_IS_OTHER : NODE_IS_UNPROVEN;
}

static bool is_nodev(const Mount *m) {
        for (const char *p = m->flags; p && *p; p += strcspn(p, ","), p += *p == ',')
                if (startswith(p, "nodev") && (p[strlen("nodev")] == ',' || p[strlen("nodev")] == 0))
                        return true;
        return false;
}

static bool is_in_memory(const Mount *m) {
        return streq(m->type, "devtmpfs") || streq(m->type, "tmpfs");
}

NodeVerdict authority_check_node(
                const Sysroot *s, const Mount *m, int pid, const FilesPlace *place, const OpenFile *file, const char *path, const char *device) {

        NodeVerdict verdict;
        dev_t number;

        if (!m || !can_serve(file->flags))
                return NODE_IS_OTHER;
        if (!has_node(device))
                return streq(m->type, "sysfs") ? check_array(m, path, device) : NODE_IS_OTHER;
        if (mount_is_pseudo(m) && !is_in_memory(m))
                return NODE_IS_OTHER;
        if (!sysroot_is_machine(s))
                return check_captured(s, m, pid, file->fd, path, device);
        if (!is_in_memory(m))
                return is_nodev(m) ? NODE_IS_OTHER : NODE_IS_UNPROVEN;
        if (read_node(s, place, file, &number) < 0)
                return NODE_IS_OTHER;
        verdict = check_number(s, device, number);
        if (verdict == NODE_IS_DEVICE)
                sysroot_record_text(s, AREA_RUN, PATH(CAPTURED_NODE, pid, file->fd), PATH("%u:%u\n", major(number), minor(number)));
        return verdict;
}

/* A node on a file system that might have to be waited for is looked at in a child, and only for those who may decide something. */
bool holder_is_authentic(Scan *s, const Holder *h) {
        Authority authority;
        const char *answer;
        const Mount *m;
        dev_t number;

        if (!h->unproven)
                return true;
        m = mount_table_find_id(&s->mounts, h->mount_id);
        /* What a FUSE file system's owner may claim is seen to where such are told apart. */
        if (streq(h->device, "fuse") && m && is_in_memory(m))
                return true;
        if (process_read_authority(s->root, h->pid, h->start, &authority) < 0 || authority < AUTHORITY_SERVICE)
                return false;
        if (m && is_in_memory(m)) /* in a capture */
                return true;
        answer = s->probes ? probe_cache_get(s->probes, PATH("node %d %llu %s/fd/%d", h->mount_id, (unsigned long long) h->start,
                                                             h->place.path, h->fd), NULL) : NULL;
        return answer && text_to_devno(answer, &number) >= 0 && check_number(s->root, h->device, number) == NODE_IS_DEVICE;
}

/* ---- sockets ---- */

bool socket_is_roots(const Socket *socket) {
        return socket->uid == 0 || socket->uid == UID_UNKNOWN;
}

bool socket_is_kernels(const Scan *s, const Socket *socket) {
        return socket_is_roots(socket) && !process_table_owner(&s->processes, socket->inode, NULL);
}

/* Of all processes that have the socket open. */
static Authority owners_authority(Scan *s, const Socket *socket) {
        Authority most = AUTHORITY_USER, authority;
        size_t n;
        const OwnedSocket *owners = process_table_owner(&s->processes, socket->inode, &n);

        for (size_t i = 0; i < n; i++)
                if (process_read_authority(s->root, owners[i].pid, owners[i].start, &authority) >= 0)
                        most = MAX(most, authority);
        return most;
}

int authority_choose(Scan *s, const Socket **ends, size_t *n) {
        _cleanup_free_ bool *entitled = calloc(*n + 1, sizeof(bool));
        size_t kept = 0;
        bool any = false;

        if (!entitled)
                return -ENOMEM;
        for (size_t i = 0; i < *n; i++) {
                entitled[i] = owners_authority(s, ends[i]) >= AUTHORITY_SERVICE;
                any |= entitled[i];
        }
        for (size_t i = 0; i < *n; i++)
                if (!any || entitled[i])
                        ends[kept++] = ends[i];
        *n = kept;
        return 0;
}
