/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>

#include "common/file.h"
#include "common/mountinfo.h"
#include "common/text.h"
#include "daemon/source/mount-table.h"
#include "daemon/source/namespaces.h"
#include "daemon/source/visibility.h"

void mount_done(Mount *m) {
        if (!m->line) {
                free(m->root);
                free(m->target);
                free(m->type);
                free(m->source);
                free(m->flags);
                free(m->options);
        }
        free(m->line);
        free(m->uuid);
        free(m->raw_options);
}

void mount_table_done(MountTable *t) {
        for (size_t i = 0; i < t->n; i++)
                mount_done(&t->mounts[i]);
        free(t->mounts);
        free(t->by_id);
        free(t->by_device);
        free(t->by_place);
        free(t->roots);
        free(t->space_pids);
        *t = (MountTable) {};
}

/* ---- a line of the table ---- */

/* 1, 0 where it is something else, or -ENOMEM. */
static int parse_line(char *line, Mount *m) {
        MountLine parts;

        if (!mount_line_parse(line, &parts) || text_to_devno(parts.device, &m->device) < 0)
                return 0;
        m->id = parts.id;
        m->parent = parts.parent;
        m->root = parts.root;
        m->target = parts.target;
        m->flags = parts.flags;
        m->type = parts.type;
        m->source = parts.source;
        m->options = parts.options;
        if (streq(m->type, "overlay")) {
                m->raw_options = strdup(m->options);
                if (!m->raw_options)
                        return -ENOMEM;
        }
        text_unescape_octal(m->options);
        return 1;
}

static int take_line(MountTable *t, const char *line, size_t n, bool foreign) {
        Mount m = { .line = strndup(line, n), .space = t->n_spaces, .foreign = foreign };
        int r;

        r = m.line ? parse_line(m.line, &m) : -ENOMEM;
        if (r > 0)
                r = ARRAY_APPEND(t->mounts, t->n, t->capacity, m) < 0 ? -ENOMEM : 1;
        if (r <= 0)
                mount_done(&m);
        return r < 0 ? r : 0;
}

static int take_text(MountTable *t, const char *text, bool foreign) {
        for (const char *line = text; *line;) {
                size_t n = strcspn(line, "\n");
                int r;

                r = take_line(t, line, n, foreign);
                if (r < 0)
                        return r;
                line += n + (line[n] == '\n');
        }
        return 0;
}

/* ---- namespaces ---- */

static int add_space(MountTable *t, pid_t pid) {
        pid_t *pids = reallocarray(t->space_pids, t->n_spaces + 1, sizeof(pid_t));

        if (!pids)
                return -ENOMEM;
        t->space_pids = pids;
        pids[t->n_spaces++] = pid;
        return 0;
}

static int read_namespace(const Sysroot *s, Namespace *space, MountTable *t) {
        const char *path = space->pid > 0 ? PATH("%d/mountinfo", space->pid) : "self/mountinfo";
        _cleanup_free_ char *text = NULL;
        int r;

        r = sysroot_read_limited(s, AREA_PROC, path, space->most, &text);
        space->read += r == -EFBIG ? space->most : r < 0 ? 0 : strlen(text);
        if (r < 0)
                return r;
        if (space->pid == 1 && sysroot_is_recorded(s)) /* lsblk --sysroot looks for it there */
                sysroot_record_text(s, AREA_PROC, "self/mountinfo", text);
        if (!text[0])
                return 0; /* a namespace without mounts exists */
        r = take_text(t, text, space->foreign);
        return r < 0 ? r : add_space(t, space->pid);
}

static int compare_id(const void *a, const void *b, void *mounts) {
        const Mount *x = (Mount *) mounts + *(const size_t *) a, *y = (Mount *) mounts + *(const size_t *) b;

        return (x->id > y->id) - (x->id < y->id);
}

static int compare_device(const void *a, const void *b, void *mounts) {
        size_t i = *(const size_t *) a, j = *(const size_t *) b;
        const Mount *x = (Mount *) mounts + i, *y = (Mount *) mounts + j;

        int r;

        if (x->device != y->device)
                return x->device > y->device ? 1 : -1;
        r = x->device == 0 ? strcmp(x->uuid ?: "", y->uuid ?: "") : 0;
        return r != 0 ? r : (i > j) - (i < j);
}

static int compare_place(const void *a, const void *b, void *mounts) {
        size_t i = *(const size_t *) a, j = *(const size_t *) b;
        const Mount *x = (Mount *) mounts + i, *y = (Mount *) mounts + j;
        int r;

        if (x->space != y->space)
                return x->space > y->space ? 1 : -1;
        if (x->parent != y->parent)
                return x->parent > y->parent ? 1 : -1;
        r = strcmp(x->target, y->target);
        return r != 0 ? r : (i > j) - (i < j);
}

/* The root's parent is not in the table, or, in an initrd, itself. */
static void find_roots(MountTable *t) {
        for (unsigned space = 0; space < t->n_spaces; space++)
                t->roots[space] = SIZE_MAX;
        for (size_t i = 0; i < t->n; i++) {
                const Mount *m = &t->mounts[i];

                if (m->space < t->n_spaces && t->roots[m->space] == SIZE_MAX && streq(m->target, "/") &&
                    (m->parent == m->id || !mount_table_find_id(t, m->parent)))
                        t->roots[m->space] = i;
        }
}

static int build_indices(MountTable *t) {
        size_t **const indices[] = { &t->by_id, &t->by_device, &t->by_place };
        static int (*const compare[])(const void *, const void *, void *) = { compare_id, compare_device, compare_place };

        for (size_t k = 0; k < ELEMENTSOF(indices); k++) {
                free(*indices[k]);
                *indices[k] = malloc((t->n + 1) * sizeof(size_t));
                if (!*indices[k])
                        return -ENOMEM;
                for (size_t i = 0; i < t->n; i++)
                        (*indices[k])[i] = i;
                if (t->n > 1)
                        qsort_r(*indices[k], t->n, sizeof(size_t), compare[k], t->mounts);
        }
        free(t->roots);
        t->roots = malloc((t->n_spaces + 1) * sizeof(size_t));
        if (!t->roots)
                return -ENOMEM;
        find_roots(t);
        return 0;
}

/* Through the table of a process that has changed its root only what lies below that root is seen. */
static bool is_at_root(const Sysroot *s, int pid) {
        _cleanup_free_ char *root = NULL;

        return sysroot_readlink(s, AREA_PROC, PATH("%d/root", pid), &root) < 0 || streq(root, "/");
}

static int visit_namespace(const Sysroot *s, Namespace *n, void *userdata) {
        MountTable *t = userdata;
        int r;

        if (!n->last && !is_at_root(s, n->pid))
                return VISIT_LATER;
        r = read_namespace(s, n, t);
        if (r >= 0)
                return VISIT_DONE;
        if (r == -EFBIG && n->foreign)
                return r;
        /* The process is gone, or a zombie (EINVAL); another one of its namespace may follow. */
        t->gaps |= r == -EINVAL ? 0 : gap_of_error(process_error(s, n->pid, r));
        return r == -ENOMEM ? r : VISIT_RETRY;
}

int mount_table_read(const Sysroot *s, MountTable *ret) {
        _cleanup_(mount_table_done) MountTable t = {};
        NamespacesSeen seen;
        int r;

        /* pid 1's table is the machine's; our own is altered by a sandbox. Captures may hold only the latter. */
        r = read_namespace(s, &(Namespace) { .pid = 1, .most = SIZE_MAX }, &t);
        if (r < 0)
                r = read_namespace(s, &(Namespace) { .most = SIZE_MAX }, &t);
        if (r < 0)
                return r;
        /* Each through whichever process is met first that sees all of it, or else through any. */
        r = namespaces_visit(s, "mnt", visit_namespace, &t, &seen);
        if (r < 0)
                return r;
        t.gaps |= seen.gaps;
        t.n_mounted = t.n;
        r = build_indices(&t);
        if (r < 0)
                return r;
        *ret = t;
        t = (MountTable) {};
        return 0;
}

int mount_table_set_unmounted(MountTable *t, const Mount *mounts, size_t n) {
        bool changed = n > 0 || t->n > t->n_mounted;
        int r = 0;

        while (t->n > t->n_mounted)
                mount_done(&t->mounts[--t->n]);
        for (size_t i = 0; i < n; i++) {
                Mount m = mounts[i];

                if (r >= 0)
                        r = ARRAY_APPEND(t->mounts, t->n, t->capacity, m);
                if (r < 0)
                        mount_done(&m);
        }
        if (r >= 0 && changed)
                r = build_indices(t);
        if (r < 0) /* the indices would name what is gone */
                mount_table_done(t);
        return r;
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

/* How a mount lies to the place below 'parent' that the first n bytes of the path name. */
static int compare_with_place(const Mount *m, const Mount *parent, const char *path, size_t n) {
        int r;

        if (m->space != parent->space)
                return m->space > parent->space ? 1 : -1;
        if (m->parent != parent->id)
                return m->parent > parent->id ? 1 : -1;
        r = strncmp(m->target, path, n);
        return r != 0 ? r : m->target[n] != 0;
}

/* The first mount at that place. */
static const Mount *find_child(const MountTable *t, const Mount *parent, const char *path, size_t n) {
        size_t low = 0, high = t->n;

        while (low < high) {
                size_t middle = low + (high - low) / 2;

                if (compare_with_place(&t->mounts[t->by_place[middle]], parent, path, n) < 0)
                        low = middle + 1;
                else
                        high = middle;
        }
        for (; low < t->n; low++) {
                const Mount *m = &t->mounts[t->by_place[low]];

                if (compare_with_place(m, parent, path, n) != 0)
                        break;
                if (m != parent)
                        return m;
        }
        return NULL;
}

/* The nearest mount point on the way: of "/a/b" these are "", "/", "/a" and "/a/b". */
static const Mount *find_next(const MountTable *t, const Mount *parent, const char *path) {
        for (size_t n = 0;; n++) {
                const Mount *m = path[n] == '/' || !path[n] || (n == 1 && path[0] == '/') ? find_child(t, parent, path, n) : NULL;

                if (m || !path[n])
                        return m;
        }
}

/* As a path walk does: from mount to mount, at each the nearest mount point on the way. Longest prefix alone
 * would find mounts that a later mount over one of their parents hides. Anybody can make a great many mounts, and each
 * of them name a path: so no step looks at all of them. */
const Mount *mount_table_resolve(const MountTable *t, unsigned space, const char *path) {
        const Mount *current = *path == '/' && space < t->n_spaces && t->roots[space] != SIZE_MAX ? &t->mounts[t->roots[space]] : NULL;

        /* Each step goes to another mount; a table that says otherwise is not a kernel's. */
        for (size_t steps = 1; current && steps < t->n; steps++) {
                const Mount *next = find_next(t, current, path);

                if (!next || strlen(next->target) < strlen(current->target))
                        break;
                current = next;
        }
        return current;
}

bool mount_same_filesystem(const Mount *a, const Mount *b) {
        return a->device == b->device && (a->device != 0 || streq_ptr(a->uuid, b->uuid));
}

bool type_is_fuseblk(const char *type) {
        return streq(type, "fuseblk") || startswith(type, "fuseblk.");
}

bool mount_is_fuse(const Mount *m) {
        return streq(m->type, "fuse") || startswith(m->type, "fuse.") || type_is_fuseblk(m->type);
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
