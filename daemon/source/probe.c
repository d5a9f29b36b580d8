/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <libdevmapper.h>
#include <linux/loop.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>

#include "common/file.h"
#include "common/text.h"
#include "daemon/source/fuse-iterator.h"
#include "daemon/source/lio-backstores.h"
#include "daemon/source/nvmet-namespaces.h"
#include "daemon/source/probe.h"
#include "daemon/source/process-ground.h"
#include "daemon/source/unit-order.h"

static void probe_free(Probe *p) {
        free(p->question);
        free(p->answer);
        free(p);
}

int probe_cache_init(ProbeCache *c) {
        *c = (ProbeCache) { .probes = hashmap_new() };
        return c->probes ? 0 : -ENOMEM;
}

void probe_cache_done(ProbeCache *c) {
        size_t position = 0;
        Probe *p;

        while (c->probes && (p = hashmap_next(c->probes, &position)))
                probe_free(p);
        hashmap_free(c->probes);
        *c = (ProbeCache) {};
}

void probe_cache_begin(ProbeCache *c) {
        c->round++;
}

static void drop_if(ProbeCache *c, bool (*condition)(const ProbeCache *, const Probe *, const char *), const char *argument) {
        size_t position = 0;
        Probe *p;

        while ((p = hashmap_next(c->probes, &position)))
                if (condition(c, p, argument)) {
                        hashmap_remove(c->probes, p->question);
                        probe_free(p);
                        position--;
                }
}

static bool is_expired(const ProbeCache *c, const Probe *p, const char *argument _unused_) {
        return p->round != c->round;
}

static bool has_prefix(const ProbeCache *c _unused_, const Probe *p, const char *prefix) {
        return startswith(p->question, prefix);
}

void probe_cache_expire(ProbeCache *c) {
        drop_if(c, is_expired, NULL);
}

void probe_cache_forget(ProbeCache *c, const char *prefix) {
        drop_if(c, has_prefix, prefix);
}

void probe_cache_refresh(ProbeCache *c, const char *prefix) {
        size_t position = 0;
        Probe *p;

        while ((p = hashmap_next(c->probes, &position)))
                if (p->state == PROBE_ANSWERED && startswith(p->question, prefix))
                        p->state = PROBE_WANTED;
}

const char *probe_cache_get(ProbeCache *c, const char *question, bool *ret_hung) {
        Probe *p = hashmap_get(c->probes, question);

        if (!p) {
                p = calloc(1, sizeof(Probe));
                if (p)
                        p->question = strdup(question);
                if (!p || !p->question || hashmap_put(c->probes, p->question, p) < 0) {
                        if (p)
                                probe_free(p);
                        p = NULL; /* out of memory: simply not known */
                }
        }
        if (ret_hung)
                *ret_hung = p && p->hung;
        if (!p)
                return NULL;
        p->round = c->round;
        return p->answer;
}

bool probe_cache_has_hung(const ProbeCache *c) {
        size_t position = 0;
        Probe *p;

        while ((p = hashmap_next(c->probes, &position)))
                if (p->hung)
                        return true;
        return false;
}

bool probe_cache_want_hung(ProbeCache *c) {
        size_t position = 0;
        bool any = false;
        Probe *p;

        while ((p = hashmap_next(c->probes, &position)))
                if (p->state == PROBE_HUNG) {
                        p->state = PROBE_WANTED;
                        any = true;
                }
        return any;
}

static ProbePace question_pace(const char *question) {
        return startswith(question, FUSE_SERVERS_KIND " ") ? PROBE_SLOW
                : startswith(question, GROUND_KIND " ")    ? PROBE_PROCESS
                : startswith(question, UNIT_ORDER_KIND " ") ? PROBE_UNITS
                                                            : PROBE_QUICK;
}

int probe_cache_take_wanted(ProbeCache *c, ProbePace pace, char ***ret) {
        _cleanup_strv_free_ char **questions = NULL;
        size_t n = 0, position = 0;
        Probe *p;
        int r;

        while ((p = hashmap_next(c->probes, &position)))
                if (p->state == PROBE_WANTED && question_pace(p->question) == pace) {
                        r = strv_append(&questions, &n, p->question);
                        if (r < 0)
                                return r;
                }
        for (size_t i = 0; i < n; i++) {
                p = hashmap_get(c->probes, questions[i]);
                p->state = PROBE_ASKED;
        }
        *ret = TAKE_PTR(questions);
        return 0;
}

int probe_cache_answer(ProbeCache *c, const char *question, const char *answer) {
        Probe *p = hashmap_get(c->probes, question);
        char *copy = NULL;

        /* Forgotten and wanted anew while the child was asking: what it says may be from before. */
        if (!p || p->state != PROBE_ASKED)
                return 0;
        if (answer) {
                copy = strdup(answer);
                if (!copy)
                        return -ENOMEM;
        }
        free(p->answer);
        p->answer = copy;
        p->state = answer ? PROBE_ANSWERED : PROBE_HUNG;
        p->hung = !answer;
        return 0;
}

void probe_cache_put_back(ProbeCache *c, const char *question) {
        Probe *p = hashmap_get(c->probes, question);

        if (p && p->state == PROBE_ASKED)
                p->state = PROBE_WANTED;
}

bool probe_cache_has_wanted(const ProbeCache *c, ProbePace pace) {
        size_t position = 0;
        Probe *p;

        while ((p = hashmap_next(c->probes, &position)))
                if (p->state == PROBE_WANTED && question_pace(p->question) == pace)
                        return true;
        return false;
}

static int compare_lines(const void *a, const void *b) {
        return strcmp(*(char *const *) a, *(char *const *) b);
}

int probe_cache_save(const ProbeCache *c, char **ret) {
        _cleanup_strv_free_ char **lines = NULL;
        size_t n = 0, position = 0, size = 0;
        char *text;
        Probe *p;

        while ((p = hashmap_next(c->probes, &position))) {
                _cleanup_free_ char *line = NULL;

                if (p->state == PROBE_WANTED && !p->hung)
                        continue; /* nobody to ask */
                line = text_format("%s=%s\n", p->question, p->answer ?: "?");
                if (!line || strv_append(&lines, &n, line) < 0)
                        return -ENOMEM;
                size += strlen(line);
        }
        if (n > 1)
                qsort(lines, n, sizeof(char *), compare_lines);
        text = malloc(size + 1);
        if (!text)
                return -ENOMEM;
        *text = 0;
        for (size_t i = 0, end = 0; i < n; end += strlen(lines[i++]))
                memcpy(text + end, lines[i], strlen(lines[i]) + 1);
        *ret = text;
        return 0;
}

int probe_cache_load(ProbeCache *c, const char *text) {
        _cleanup_free_ char *copy = strdup(text);
        char *state = NULL;

        if (!copy)
                return -ENOMEM;
        for (char *line = strtok_r(copy, "\n", &state); line; line = strtok_r(NULL, "\n", &state)) {
                char *answer = strchr(line, '=');
                Probe *p;
                int r;

                if (!answer)
                        continue;
                *answer++ = 0;
                (void) probe_cache_get(c, line, NULL);
                p = hashmap_get(c->probes, line);
                if (!p)
                        return -ENOMEM;
                p->state = PROBE_ASKED;
                r = probe_cache_answer(c, line, streq(answer, "?") ? NULL : answer);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* The node is found by number and opened by the name that sysfs has for it; devtmpfs cannot hang. O_NONBLOCK
 * and read-only: closing a descriptor opened for writing would make udev look at the device again. */
static int open_loop(dev_t device) {
        _cleanup_free_ char *path = text_format("/dev/loop%u", minor(device)), *link = NULL, *sys = NULL;
        _cleanup_close_ int fd = -1;
        struct stat st;
        int r;

        sys = text_format("/sys/dev/block/%u:%u", major(device), minor(device));
        if (!path || !sys)
                return -ENOMEM;
        r = file_readlink(AT_FDCWD, sys, &link);
        if (r >= 0 && strrchr(link, '/')) {
                free(path);
                path = text_format("/dev/%s", strrchr(link, '/') + 1);
                if (!path)
                        return -ENOMEM;
        }
        fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
        if (fd < 0)
                return -errno;
        if (fstat(fd, &st) < 0)
                return -errno;
        if (!S_ISBLK(st.st_mode) || st.st_rdev != device)
                return -ENODEV;
        return TAKE_FD(fd);
}

static int ask_loop(dev_t device, char **ret) {
        _cleanup_close_ int fd = open_loop(device);
        struct loop_info64 info = {};
        dev_t file;

        if (fd < 0)
                return fd;
        if (ioctl(fd, LOOP_GET_STATUS64, &info) < 0)
                return -errno;
        /* huge_encode_dev() of the kernel equals what glibc's major() and minor() take apart. */
        file = (dev_t) info.lo_device;
        *ret = text_format("%u:%u %llu", major(file), minor(file), (unsigned long long) info.lo_inode);
        return *ret ? 0 : -ENOMEM;
}

/* ---- file systems that are mounted nowhere ---- */

#define BTRFS_HANDLE_FIRST 0x4d /* FILEID_BTRFS_WITHOUT_PARENT (fs/btrfs/export.h); the others follow */
#define BTRFS_HANDLE_LAST 0x4f

/* Which btrfs that lives has this statfs(2) number: its uuid, folded, and the subvolume (fs/btrfs/super.c,
 * btrfs_statfs()). */
static int find_btrfs(uint32_t high, uint32_t low, char **ret) {
        _cleanup_closedir_ DIR *d = opendir("/sys/fs/btrfs");
        struct dirent *de;

        while (d && (de = readdir(d))) {
                unsigned a, b, c, e, f, g;

                if (sscanf(de->d_name, "%8x-%4x-%4x-%4x-%4x%8x", &a, &b, &c, &e, &f, &g) != 6)
                        continue;
                if ((a ^ (e << 16 | f)) != high || ((b << 16 | c) ^ g) != low)
                        continue;
                *ret = strdup(de->d_name);
                return *ret ? 0 : -ENOMEM;
        }
        return -ENOENT;
}

/* A handle is made from what is in memory, also by FUSE and NFS, and its type tells a btrfs, which may be asked for its
 * number: others might have to wait for a server. */
static int identify_btrfs(int fd, char **ret) {
        struct {
                struct file_handle handle;
                uint64_t object, root;
                unsigned char rest[MAX_HANDLE_SZ - 16];
        } h = { .handle.handle_bytes = MAX_HANDLE_SZ };
        struct statfs st;
        int mount;

        if (name_to_handle_at(fd, "", &h.handle, &mount, AT_EMPTY_PATH) < 0 || h.handle.handle_type < BTRFS_HANDLE_FIRST ||
            h.handle.handle_type > BTRFS_HANDLE_LAST)
                return -ENOENT;
        if (fstatfs(fd, &st) < 0)
                return -errno;
        return find_btrfs((uint32_t) st.f_fsid.__val[0] ^ (uint32_t) (h.root >> 32), (uint32_t) st.f_fsid.__val[1] ^ (uint32_t) h.root, ret);
}

/* Opened as a path only, and not brought up to date: no server is asked for anything, unless (NFS, 9p) opening it alone does. Returns the
 * descriptor. */
static int open_descriptor(uint64_t mount, const char *place, struct statx *ret) {
        _cleanup_free_ char *path = text_format("/proc/%s", place);
        _cleanup_close_ int fd = -1;

        if (!path)
                return -ENOMEM;
        fd = open(path, O_PATH | O_CLOEXEC);
        if (fd < 0 || statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE | STATX_MNT_ID, ret) < 0)
                return -errno;
        /* Or it is another one by now. */
        return (ret->stx_mask & STATX_MNT_ID) && ret->stx_mnt_id == mount ? TAKE_FD(fd) : -ESTALE;
}

static int ask_node(uint64_t mount, const char *place, char **ret) {
        struct statx stx;
        _cleanup_close_ int fd = open_descriptor(mount, place, &stx);

        if (fd < 0)
                return fd;
        *ret = S_ISCHR(stx.stx_mode) ? text_format("%u:%u", stx.stx_rdev_major, stx.stx_rdev_minor) : strdup("none");
        return *ret ? 0 : -ENOMEM;
}

static int ask_descriptor(uint64_t mount, const char *place, char **ret) {
        _cleanup_free_ char *uuid = NULL;
        struct statx stx;
        _cleanup_close_ int fd = open_descriptor(mount, place, &stx);
        int r;

        if (fd < 0)
                return fd;
        r = identify_btrfs(fd, &uuid);
        if (r == -ENOMEM)
                return r;
        *ret = text_format("%u:%u%s%s", stx.stx_dev_major, stx.stx_dev_minor, uuid ? " " : "", uuid ?: "");
        return *ret ? 0 : -ENOMEM;
}

/* Where pid 1 sees it: our own view may be another. */
static int ask_file(char *path, char **ret) {
        _cleanup_close_ int root = open("/proc/1/root", O_PATH | O_DIRECTORY | O_CLOEXEC);
        struct statx stx;
        bool file;

        if (root < 0)
                return -errno;
        text_unescape_octal(path);
        path += strspn(path, "/");
        file = statx(root, path, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_STATX_DONT_SYNC, STATX_TYPE, &stx) >= 0;
        if (!file && errno != ENOENT && errno != ENOTDIR)
                return -errno;
        *ret = strdup(file && S_ISREG(stx.stx_mode) ? "yes" : "no");
        return *ret ? 0 : -ENOMEM;
}

/* ---- device-mapper ---- */

static struct dm_task *dm_ask(int command, dev_t device) {
        struct dm_task *task = dm_task_create(command);

        if (task && (!dm_task_set_major(task, (int) major(device)) || !dm_task_set_minor(task, (int) minor(device)) ||
                     !dm_task_run(task))) {
                dm_task_destroy(task);
                return NULL;
        }
        return task;
}

static char *dm_targets(dev_t device) {
        struct dm_task *task = dm_ask(DM_DEVICE_TABLE, device);
        _cleanup_free_ char *types = NULL;
        char *type, *parameters;
        uint64_t start, length;
        void *next = NULL;

        if (!task)
                return NULL;
        do {
                char *longer;

                next = dm_get_next_target(task, next, &start, &length, &type, &parameters);
                if (!type || (types && strstr(types, type)))
                        continue;
                longer = text_format("%s%s%s", types ?: "", types ? "," : "", type);
                free(types);
                types = longer;
        } while (next && types);
        dm_task_destroy(task);
        return TAKE_PTR(types);
}

static int ask_dm(dev_t device, char **ret) {
        _cleanup_free_ char *answer = dm_targets(device);
        struct dm_task *task;
        struct dm_deps *deps;

        if (!answer)
                return -ENXIO;
        task = dm_ask(DM_DEVICE_DEPS, device);
        if (!task)
                return -ENXIO;
        deps = dm_task_get_deps(task);
        for (uint32_t i = 0; deps && i < deps->count && answer; i++) {
                char *longer = text_format("%s %u:%u", answer, major((dev_t) deps->device[i]), minor((dev_t) deps->device[i]));

                free(answer);
                answer = longer;
        }
        dm_task_destroy(task);
        *ret = TAKE_PTR(answer);
        return *ret ? 0 : -ENOMEM;
}

static int ask_fuse_servers(char **ret) {
        _cleanup_(fuse_servers_done) FuseServers servers = {};
        int r;

        r = fuse_iterator_read(&servers);
        if (r < 0)
                return r;
        *ret = fuse_servers_format(&servers);
        return *ret ? 0 : -ENOMEM;
}

static int ask_ground(const char *number, const char *start_text, char **ret) {
        uint64_t start;
        pid_t pid;

        return start_text && text_to_pid(number, &pid) >= 0 && text_to_u64(start_text, 10, &start) >= 0 ? ground_ask(pid, start, ret)
                                                                                                       : -EINVAL;
}

static int ask(const char *question, char **ret) {
        _cleanup_free_ char *copy = strdup(question);
        char *state = NULL, *kind, *number, *second, *rest;
        dev_t device;
        int r;

        if (!copy)
                return -ENOMEM;
        kind = strtok_r(copy, " ", &state);
        number = strtok_r(NULL, " ", &state);
        if (!kind || !number)
                return -EINVAL;
        if (streq(kind, FUSE_SERVERS_KIND))
                return ask_fuse_servers(ret);
        if (streq(kind, "file"))
                return ask_file(number, ret);
        if (streq(kind, "descriptor") || streq(kind, "node")) {
                char *start = strtok_r(NULL, " ", &state), *place = strtok_r(NULL, " ", &state);
                uint64_t mount;

                if (!start || !place || text_to_u64(number, 10, &mount) < 0)
                        return -EINVAL;
                return streq(kind, "node") ? ask_node(mount, place, ret) : ask_descriptor(mount, place, ret);
        }
        second = strtok_r(NULL, " ", &state);
        if (streq(kind, GROUND_KIND))
                return ask_ground(number, second, ret);
        if (streq(kind, UNIT_ORDER_KIND))
                return second ? unit_order_ask(number, second, ret) : -EINVAL;
        /* Of devices the second is the disk sequence number. */
        r = text_to_devno(number, &device);
        if (r < 0)
                return r;
        rest = strtok_r(NULL, "", &state);
        if (streq(kind, LIO_KIND) && rest)
                return lio_ask(rest, ret);
        if (streq(kind, NVMET_KIND) && rest)
                return nvmet_ask(rest, ret);
        return streq(kind, "loop") ? ask_loop(device, ret) : streq(kind, "dm") ? ask_dm(device, ret) : -EINVAL;
}

static void dm_be_quiet(int level _unused_, const char *file _unused_, int line _unused_, int error _unused_,
                        const char *format _unused_, ...) {
}

void probe_run(char *const *questions, int output_fd) {
        dm_log_with_errno_init(dm_be_quiet);
        for (char *const *q = questions; *q; q++) {
                _cleanup_free_ char *answer = NULL, *line = NULL;
                int r;

                r = ask(*q, &answer);
                line = r < 0 ? text_format("%s=!%d\n", *q, -r) : text_format("%s=%s\n", *q, answer);
                if (!line || file_write_all(output_fd, line, strlen(line)) < 0)
                        return;
        }
}
