/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Options of mounts and file systems, with the calls that name the one option that changes (mount_setattr(2),
 * fspick(2)): a remount by mount(2) replaces all of them at once. */
#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "common/file.h"
#include "common/mountinfo.h"
#include "common/text.h"
#include "daemon/actuator/actuator.h"
#include "daemon/policy/mount-option.h"

#ifndef MOUNT_ATTR_NOSYMFOLLOW
#define MOUNT_ATTR_NOSYMFOLLOW 0x00200000
#endif

/* A mount of this process's own namespace. */
typedef struct OwnMount {
        char *line;
        MountLine parts; /* of it */
} OwnMount;

static void own_mount_done(OwnMount *m) {
        free(m->line);
}

/* 0 of what is not there. */
static int directory_inode(const Sysroot *s, const char *path, uint64_t *ret) {
        _cleanup_close_ int fd = sysroot_open_at(s, AREA_SYS, path, O_RDONLY | O_DIRECTORY);
        struct stat st = {};

        if (fd < 0 && !error_is_gone(fd))
                return fd;
        if (fd >= 0 && fstat(fd, &st) < 0)
                return -errno;
        *ret = st.st_ino;
        return 0;
}

/* ext4, XFS and others have a directory by the name of their device; those without a device a bdi of their own. */
int superblock_inode(const Sysroot *s, const char *type, const char *device, uint64_t *ret) {
        _cleanup_free_ char *link = NULL;
        const char *name;
        int r;

        *ret = 0;
        if (!sysroot_is_machine(s))
                return 0;
        r = sysroot_readlink(s, AREA_SYS, PATH("dev/block/%s", device), &link);
        if (r < 0)
                return error_is_gone(r) ? directory_inode(s, PATH("class/bdi/%s", device), ret) : r;
        name = strrchr(link, '/');
        return directory_inode(s, PATH("fs/%s/%s", type, name ? name + 1 : link), ret);
}

/* "mount:ID:MAJ:MIN:INODE", or "fs:MAJ:MIN:INODE" for any mount of it. 1 if it is, 0 if not. */
static int is_target(const Deed *d, const MountLine *m) {
        const char *device = startswith(d->action->target, "fs:") ?: startswith(d->action->target, PATH("mount:%d:", m->id));
        const char *inode = device ? startswith(device, PATH("%s:", m->device)) : NULL;
        uint64_t present;
        int r;

        if (!inode)
                return 0;
        r = superblock_inode(d->root, m->type, m->device, &present);
        return r < 0 ? r : streq(inode, PATH("%llu", (unsigned long long) present));
}

static int find_mount(Deed *d, OwnMount *ret) {
        _cleanup_free_ char *table = NULL;
        char *state = NULL;
        int r;

        r = sysroot_read(d->root, AREA_PROC, "self/mountinfo", &table);
        if (r < 0)
                return r;
        for (char *line = strtok_r(table, "\n", &state); line; line = strtok_r(NULL, "\n", &state)) {
                OwnMount m = { .line = strdup(line) };

                if (!m.line)
                        return -ENOMEM;
                r = mount_line_parse(m.line, &m.parts) ? is_target(d, &m.parts) : 0;
                if (r > 0) {
                        *ret = m;
                        return 0;
                }
                own_mount_done(&m);
                if (r < 0)
                        return r;
        }
        return -ENOENT;
}

static MountOption option_of(const Action *a) {
        return (MountOption) {
                .scope = startswith(a->target, "fs:") ? MOUNT_SCOPE_SUPERBLOCK : MOUNT_SCOPE_MOUNT,
                .key = a->key,
        };
}

static int mount_read(Deed *d, char **ret) {
        _cleanup_(own_mount_done) OwnMount m = {};
        MountOption option = option_of(d->action);
        int r;

        r = find_mount(d, &m);
        if (r < 0)
                return r;
        *ret = mount_option_value(m.parts.type, &option, m.parts.flags, m.parts.options);
        return *ret ? 0 : -ENOMEM;
}

/* Another mount may hide it, or have come there since: what was opened is held against what was meant. */
static int open_mount(Deed *d, const MountLine *m) {
        _cleanup_close_ int fd = (int) syscall(SYS_open_tree, AT_FDCWD, m->target, OPEN_TREE_CLOEXEC | AT_NO_AUTOMOUNT | AT_SYMLINK_NOFOLLOW);
        _cleanup_free_ char *info = NULL;
        const char *id;
        int r;

        if (fd < 0)
                return -errno;
        r = sysroot_read(d->root, AREA_PROC, PATH("self/fdinfo/%d", fd), &info);
        if (r < 0)
                return r;
        id = strstr(info, "mnt_id:");
        if (id && atoi(id + strlen("mnt_id:")) == m->id)
                return TAKE_FD(fd);
        d->trouble = strdup("another mount hides it, so that it cannot be reached");
        return -EOPNOTSUPP;
}

static int attribute_of(const char *word, struct mount_attr *ret) {
        static const struct {
                const char *word;
                uint64_t set, clear;
        } words[] = {
                { "noatime", MOUNT_ATTR_NOATIME, MOUNT_ATTR__ATIME },
                { "relatime", MOUNT_ATTR_RELATIME, MOUNT_ATTR__ATIME },
                { "strictatime", MOUNT_ATTR_STRICTATIME, MOUNT_ATTR__ATIME },
                { "nodiratime", MOUNT_ATTR_NODIRATIME, 0 },
                { "diratime", 0, MOUNT_ATTR_NODIRATIME },
                { "nosuid", MOUNT_ATTR_NOSUID, 0 },
                { "suid", 0, MOUNT_ATTR_NOSUID },
                { "nodev", MOUNT_ATTR_NODEV, 0 },
                { "dev", 0, MOUNT_ATTR_NODEV },
                { "noexec", MOUNT_ATTR_NOEXEC, 0 },
                { "exec", 0, MOUNT_ATTR_NOEXEC },
                { "nosymfollow", MOUNT_ATTR_NOSYMFOLLOW, 0 },
                { "symfollow", 0, MOUNT_ATTR_NOSYMFOLLOW },
        };

        for (size_t i = 0; i < ELEMENTSOF(words); i++)
                if (streq(words[i].word, word)) {
                        *ret = (struct mount_attr) { .attr_set = words[i].set, .attr_clr = words[i].clear };
                        return 0;
                }
        return -EINVAL;
}

static int set_attribute(int mount, const char *word) {
        struct mount_attr attribute;
        int r;

        r = attribute_of(word, &attribute);
        if (r < 0)
                return r;
        return syscall(SYS_mount_setattr, mount, "", AT_EMPTY_PATH, &attribute, sizeof(attribute)) < 0 ? -errno : 0;
}

/* What the file system says of a refusal: "e ext4: ..." */
static void take_message(Deed *d, int context) {
        char message[512];
        ssize_t n = read(context, message, sizeof(message) - 1);

        if (n <= 2 || d->trouble)
                return;
        message[n] = 0;
        d->trouble = text_escape(file_chomp(message) + 2);
}

static int configure(int context, const char *word) {
        const char *equals = strchr(word, '=');
        int r;

        r = !equals ? (int) syscall(SYS_fsconfig, context, FSCONFIG_SET_FLAG, word, NULL, 0)
                    : (int) syscall(SYS_fsconfig, context, FSCONFIG_SET_STRING, PATH("%.*s", (int) (equals - word), word), equals + 1, 0);
        return r < 0 ? -errno : 0;
}

/* A file system whose driver knows only mount(2) takes what is not said of these for "off". */
static int keep_flags(int context, const MountLine *m, const char *key) {
        static const char *const flags[] = { "ro", "sync", "dirsync", "lazytime" };
        _cleanup_strv_free_ char **present = mount_options_split(m->options);
        int r = 0;

        if (!present)
                return -ENOMEM;
        for (size_t i = 0; r >= 0 && i < ELEMENTSOF(flags); i++)
                if (strv_contains(present, flags[i]) && !streq(flags[i], key))
                        r = configure(context, flags[i]);
        return r;
}

static int reconfigure(Deed *d, int mount, const MountLine *m, const char *word) {
        _cleanup_close_ int context = (int) syscall(SYS_fspick, mount, "", FSPICK_CLOEXEC | FSPICK_EMPTY_PATH | FSPICK_NO_AUTOMOUNT);
        int r;

        if (context < 0)
                return -errno;
        r = keep_flags(context, m, d->action->key);
        if (r >= 0)
                r = configure(context, word);
        if (r >= 0 && syscall(SYS_fsconfig, context, FSCONFIG_CMD_RECONFIGURE, NULL, NULL, 0) < 0)
                r = -errno;
        if (r < 0)
                take_message(d, context);
        return r;
}

static int mount_write(Deed *d, const char *value) {
        _cleanup_(own_mount_done) OwnMount m = {};
        _cleanup_close_ int fd = -1;
        int r;

        r = find_mount(d, &m);
        if (r < 0)
                return r;
        fd = open_mount(d, &m.parts);
        if (fd < 0)
                return fd;
        return option_of(d->action).scope == MOUNT_SCOPE_MOUNT ? set_attribute(fd, value) : reconfigure(d, fd, &m.parts, value);
}

const Actuator actuator_mount = { .kind = ACTION_MOUNT_OPTION, .read = mount_read, .write = mount_write };
