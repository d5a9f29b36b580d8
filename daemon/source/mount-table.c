/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <libmount.h>
#include <string.h>

#include "common/file.h"
#include "common/text.h"
#include "daemon/source/mount-table.h"
#include "daemon/source/namespaces.h"

static void mount_done(Mount *m) {
        free(m->root);
        free(m->target);
        free(m->type);
        free(m->source);
        free(m->flags);
        free(m->options);
        free(m->raw_options);
}

void mount_table_done(MountTable *t) {
        for (size_t i = 0; i < t->n; i++)
                mount_done(&t->mounts[i]);
        free(t->mounts);
        free(t->by_id);
        free(t->by_device);
        *t = (MountTable) {};
}

/* A line that does not parse must not hide the others; libmount would end there. */
static int ignore_bad_line(struct libmnt_table *tb _unused_, const char *file _unused_, int line _unused_) {
        return 1;
}

static int take_mount(MountTable *t, struct libmnt_fs *fs, unsigned space) {
        Mount m = {
                .id = mnt_fs_get_id(fs),
                .parent = mnt_fs_get_parent_id(fs),
                .device = mnt_fs_get_devno(fs),
                .space = space,
                .root = strdup(mnt_fs_get_root(fs) ?: "/"),
                .target = strdup(mnt_fs_get_target(fs) ?: ""),
                .type = strdup(mnt_fs_get_fstype(fs) ?: ""),
                .source = strdup(mnt_fs_get_source(fs) ?: ""),
                .flags = strdup(mnt_fs_get_vfs_options(fs) ?: ""),
                .options = strdup(mnt_fs_get_fs_options(fs) ?: ""),
        };
        int r = -ENOMEM;

        if (m.root && m.target && m.type && m.source && m.flags && m.options)
                r = ARRAY_APPEND(t->mounts, t->n, t->capacity, m);
        if (r < 0)
                mount_done(&m);
        return r;
}

/* "ID PARENT ... - overlay SOURCE OPTIONS" */
static int take_raw_options(MountTable *t, size_t first, const char *text) {
        for (const char *line = text, *next; *line; line = next) {
                size_t n = strcspn(line, "\n");
                const char *p = memmem(line, n, " - overlay ", strlen(" - overlay "));
                int id = atoi(line);

                next = line + n + (line[n] == '\n');
                if (p)
                        p = memchr(p + strlen(" - overlay "), ' ', line + n - p - strlen(" - overlay "));
                for (size_t i = first; p && i < t->n; i++)
                        if (t->mounts[i].id == id && !t->mounts[i].raw_options) {
                                t->mounts[i].raw_options = strndup(p + 1, line + n - p - 1);
                                if (!t->mounts[i].raw_options)
                                        return -ENOMEM;
                        }
        }
        return 0;
}

static int read_namespace(const Sysroot *s, const char *path, MountTable *t) {
        _cleanup_free_ char *text = NULL;
        _cleanup_fclose_ FILE *f = NULL;
        size_t first = t->n;
        struct libmnt_iter *iter;
        struct libmnt_table *tb;
        struct libmnt_fs *fs;
        int r;

        r = sysroot_read(s, AREA_PROC, path, &text);
        if (r < 0)
                return r;
        if (!text[0])
                return 0; /* fmemopen() refuses an empty buffer; a namespace without mounts exists */
        f = fmemopen(text, strlen(text), "re");
        if (!f)
                return -errno;
        tb = mnt_new_table();
        iter = mnt_new_iter(MNT_ITER_FORWARD);
        if (!tb || !iter)
                r = -ENOMEM;
        else {
                mnt_table_set_parser_errcb(tb, ignore_bad_line);
                r = mnt_table_parse_stream(tb, f, "mountinfo");
        }
        while (r == 0 && mnt_table_next_fs(tb, iter, &fs) == 0)
                r = take_mount(t, fs, t->n_spaces);
        mnt_free_iter(iter);
        mnt_unref_table(tb);
        if (r >= 0)
                r = take_raw_options(t, first, text);
        if (r < 0)
                return r;
        t->n_spaces++;
        return 0;
}

static int compare_id(const void *a, const void *b, void *mounts) {
        const Mount *x = (Mount *) mounts + *(const size_t *) a, *y = (Mount *) mounts + *(const size_t *) b;

        return (x->id > y->id) - (x->id < y->id);
}

static int compare_device(const void *a, const void *b, void *mounts) {
        size_t i = *(const size_t *) a, j = *(const size_t *) b;
        const Mount *x = (Mount *) mounts + i, *y = (Mount *) mounts + j;

        if (x->device != y->device)
                return x->device > y->device ? 1 : -1;
        return (i > j) - (i < j);
}

static int build_indices(MountTable *t) {
        t->by_id = malloc((t->n + 1) * sizeof(size_t));
        t->by_device = malloc((t->n + 1) * sizeof(size_t));
        if (!t->by_id || !t->by_device)
                return -ENOMEM;
        for (size_t i = 0; i < t->n; i++)
                t->by_id[i] = t->by_device[i] = i;
        if (t->n > 1) {
                qsort_r(t->by_id, t->n, sizeof(size_t), compare_id, t->mounts);
                qsort_r(t->by_device, t->n, sizeof(size_t), compare_device, t->mounts);
        }
        return 0;
}

/* Through the table of a process that has changed its root only what lies below that root is seen. */
static bool is_at_root(const Sysroot *s, int pid) {
        _cleanup_free_ char *root = NULL;

        return sysroot_readlink(s, AREA_PROC, PATH("%d/root", pid), &root) < 0 || streq(root, "/");
}

static int visit_namespace(const Sysroot *s, int pid, bool last, void *userdata) {
        MountTable *t = userdata;
        int r;

        if (!last && !is_at_root(s, pid))
                return VISIT_LATER;
        r = read_namespace(s, PATH("%d/mountinfo", pid), t);
        if (r >= 0)
                return VISIT_DONE;
        /* The process is gone, or a zombie (EINVAL); another one of its namespace may follow. */
        t->incomplete |= !error_is_gone(r) && r != -EINVAL;
        return r == -ENOMEM ? r : VISIT_RETRY;
}

int mount_table_read(const Sysroot *s, MountTable *ret) {
        _cleanup_(mount_table_done) MountTable t = {};
        bool incomplete;
        int r;

        /* pid 1's table is the machine's; our own is altered by a sandbox. Captures may hold only the latter. */
        r = read_namespace(s, "1/mountinfo", &t);
        if (r < 0)
                r = read_namespace(s, "self/mountinfo", &t);
        if (r < 0)
                return r;
        /* Each through whichever process is met first that sees all of it, or else through any. */
        r = namespaces_visit(s, "mnt", visit_namespace, &t, &incomplete);
        if (r < 0)
                return r;
        t.incomplete |= incomplete;
        r = build_indices(&t);
        if (r < 0)
                return r;
        *ret = t;
        t = (MountTable) {};
        return 0;
}

const Mount *mount_table_find_id(const MountTable *t, int id) {
        size_t low = 0, high = t->n;

        while (low < high) {
                size_t middle = low + (high - low) / 2;
                const Mount *m = &t->mounts[t->by_id[middle]];

                if (m->id == id)
                        return m;
                if (m->id < id)
                        low = middle + 1;
                else
                        high = middle;
        }
        return NULL;
}

size_t mount_table_device_range(const MountTable *t, dev_t device, size_t *ret_n) {
        size_t low = 0, high = t->n, n = 0;

        while (low < high) {
                size_t middle = low + (high - low) / 2;

                if (t->mounts[t->by_device[middle]].device < device)
                        low = middle + 1;
                else
                        high = middle;
        }
        while (low + n < t->n && t->mounts[t->by_device[low + n]].device == device)
                n++;
        *ret_n = n;
        return low;
}

const Mount *mount_table_find_device(const MountTable *t, dev_t device) {
        size_t n, first = mount_table_device_range(t, device, &n);

        return n > 0 ? &t->mounts[t->by_device[first]] : NULL;
}

/* As a path walk does: from mount to mount, at each the nearest mount point on the way. Longest prefix alone
 * would find mounts that a later mount over one of their parents hides. */
const Mount *mount_table_resolve(const MountTable *t, unsigned space, const char *path) {
        const Mount *current = NULL;

        /* Each step goes to another mount; a table that says otherwise is not a kernel's. */
        for (size_t steps = 0; steps < t->n; steps++) {
                const Mount *next = NULL;

                for (size_t i = 0; i < t->n; i++) {
                        const Mount *m = &t->mounts[i];
                        bool child;

                        if (m->space != space || !path_is_below(path, m->target))
                                continue;
                        /* The root's parent is not in the table, or, in an initrd, itself. */
                        child = current ? m->parent == current->id && m != current
                                        : streq(m->target, "/") && (m->parent == m->id || !mount_table_find_id(t, m->parent));
                        if (child && (!next || strlen(m->target) < strlen(next->target)))
                                next = m;
                }
                if (!next || (current && strlen(next->target) < strlen(current->target)))
                        break;
                current = next;
        }
        return current;
}

bool mount_is_pseudo(const Mount *m) {
        static const char *const types[] = {
                "autofs",   "binfmt_misc", "bpf",     "cgroup",    "cgroup2",    "configfs",   "debugfs",
                "devpts",   "devtmpfs",    "efivarfs", "fusectl",  "mqueue",     "nsfs",       "proc",
                "pstore",   "resctrl",     "rootfs",  "rpc_pipefs", "securityfs", "selinuxfs", "sysfs",
                "tracefs",  "hugetlbfs",   "nfsd",
        };

        for (size_t i = 0; i < ELEMENTSOF(types); i++)
                if (streq(m->type, types[i]))
                        return true;
        return false;
}
