/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "common/array.h"
#include "common/text.h"
#include "daemon/source/scan.h"
#include "daemon/source/visibility.h"

/* Of more than that none is a reason to read mounts again. */
#define STRANGE_MOUNTS_MAX 1024U

const Source sources[] = {
        { "journal", source_journal_scan },
        { "block", source_block_scan },
        { "loop", source_loop_scan },
        { "dm", source_dm_scan },
        { "lio", source_lio_scan },
        { "nvmet", source_nvmet_scan },
        { "iscsi", source_iscsi_scan },
        { "network", source_network_scan },
        { "fuse", source_fuse_scan },
        { "filesystem", source_filesystem_scan },
        { "nbd", source_nbd_scan },
        { "ublk", source_ublk_scan },
        { "vduse", source_vduse_scan },
        { "md", source_md_scan },
        { "swap", source_swap_scan },
        { "process", source_process_scan }, /* last: describes whom the others named */
        {},
};

static Served *find_served(Scan *s, pid_t pid, uint64_t start) {
        for (size_t i = 0; i < s->n_served; i++)
                if (s->served[i].pid == pid && s->served[i].start == start)
                        return &s->served[i];
        return NULL;
}

static int add_served(Scan *s, pid_t pid, uint64_t start, const char *upper) {
        Served *served = find_served(s, pid, start);
        int r;

        if (!served) {
                r = ARRAY_APPEND(s->served, s->n_served, s->served_capacity, ((Served) { .pid = pid, .start = start }));
                if (r < 0)
                        return r;
                served = &s->served[s->n_served - 1];
        }
        return strv_append(&served->uppers, &served->n_uppers, upper);
}

static void clear_served(Scan *s) {
        for (size_t i = 0; i < s->n_served; i++)
                strv_free(s->served[i].uppers);
        s->n_served = 0;
}

void scan_done(Scan *s) {
        mount_table_done(&s->mounts);
        block_table_done(&s->blocks);
        process_table_done(&s->processes);
        socket_table_done(&s->sockets);
        socket_table_done(&s->earlier_sockets);
        clear_served(s);
        free(s->served);
        free(s->served_mounts);
        free(s->deserted);
        free(s->strange_mounts);
        fuse_servers_done(&s->fuse_servers);
        *s = (Scan) {};
}

/* Where nothing is served by a process, nobody's descriptors need to be looked at. */
static bool processes_matter(const Scan *s, bool *ret_sockets) {
        _cleanup_strv_free_ char **uio = NULL, **iscsi = NULL;
        bool matter = false;

        *ret_sockets = false;
        if (sysroot_list(s->root, AREA_SYS, "class/iscsi_connection", &iscsi) >= 0)
                *ret_sockets = iscsi[0];
        for (size_t i = 0; i < s->mounts.n; i++) {
                matter |= mount_is_fuse(&s->mounts.mounts[i]);
                *ret_sockets |= mount_is_network(&s->mounts.mounts[i]);
        }
        for (size_t i = 0; i < s->blocks.n; i++) {
                const Block *b = &s->blocks.blocks[i];

                *ret_sockets |= b->nbd_pid > 0;
                matter |= startswith(b->name, "ublkb") || startswith(b->name, "md") || startswith(b->directory, VDUSE_DIRECTORY) ||
                        dm_is_watched(b);
        }
        matter |= *ret_sockets;
        if (!matter)
                matter = sysroot_list(s->root, AREA_SYS, "class/uio", &uio) < 0 || uio[0];
        return matter;
}

static bool has_nbd(const BlockTable *t) {
        for (size_t i = 0; i < t->n; i++)
                if (t->blocks[i].nbd_pid > 0)
                        return true;
        return false;
}

static int refresh_processes(Scan *s) {
        _cleanup_(process_table_done) ProcessTable processes = {};
        _cleanup_(socket_table_done) SocketTable sockets = {}, earlier = {};
        bool with_sockets, matter = processes_matter(s, &with_sockets);
        int r = 0;

        if (has_nbd(&s->blocks))
                r = socket_table_read(s->root, &earlier);
        if (r >= 0 && matter)
                r = process_table_read(s->root, &s->mounts, with_sockets, &processes);
        /* Afterwards, so that whoever has a socket has it in the table. */
        if (r >= 0 && with_sockets)
                r = socket_table_read(s->root, &sockets);
        if (r < 0)
                return r;
        process_table_done(&s->processes);
        socket_table_done(&s->sockets);
        socket_table_done(&s->earlier_sockets);
        s->processes = processes;
        s->sockets = sockets;
        s->earlier_sockets = earlier;
        processes = (ProcessTable) {};
        sockets = earlier = (SocketTable) {};
        return 0;
}

/* Mount ids and numbers of devices are used again, but not without the events of the bdi, after which all is read (where udevd hands
 * them out). */
static int find_served_mounts(const MountTable *t, ServedMount **ret, size_t *ret_n) {
        _cleanup_free_ ServedMount *found = NULL;
        size_t n = 0, capacity = 0;

        for (size_t i = 0; i < t->n; i++) {
                const Mount *m = &t->mounts[i];
                ServedMount served = { .id = m->id, .device = m->device };
                int r;

                if (!mount_is_fuse(m) && !mount_is_network(m))
                        continue;
                r = ARRAY_APPEND(found, n, capacity, served);
                if (r < 0)
                        return r;
        }
        *ret = TAKE_PTR(found);
        *ret_n = n;
        return 0;
}

static bool serves_the_same(const Scan *s, const ServedMount *mounts, size_t n) {
        if (n != s->n_served_mounts)
                return false;
        for (size_t i = 0; i < n; i++)
                if (mounts[i].id != s->served_mounts[i].id || mounts[i].device != s->served_mounts[i].device)
                        return false;
        return true;
}

/* Most mounts are of no process. A device node on a mount that was not known may be on one that is known now. */
static int refresh_processes_for(Scan *s, unsigned tables) {
        _cleanup_free_ ServedMount *mounts = NULL;
        size_t n;
        int r;

        r = find_served_mounts(&s->mounts, &mounts, &n);
        if (r < 0)
                return r;
        if (!(tables & TABLE_PROCESSES) && !(s->mounts_fresh && s->processes.unknown_mount) && serves_the_same(s, mounts, n))
                return 0;
        r = refresh_processes(s);
        if (r < 0)
                return r;
        free(s->served_mounts);
        s->served_mounts = TAKE_PTR(mounts);
        s->n_served_mounts = n;
        return 1;
}

static bool protection_is_recursive(const MountTable *t) {
        for (size_t i = 0; i < t->n; i++)
                if (t->mounts[i].space == 0 && streq(t->mounts[i].type, "cgroup2") && t->mounts[i].options &&
                    strstr(t->mounts[i].options, "memory_recursiveprot"))
                        return true;
        return false;
}

/* With a new table: those that it does not have either, and that were met since the last one was read. */
static void keep_strange_mounts(Scan *s) {
        size_t n = 0;

        for (size_t i = 0; i < s->n_strange_mounts; i++)
                if (s->strange_mounts[i].seen && !mount_table_find_id(&s->mounts, s->strange_mounts[i].id)) {
                        s->strange_mounts[n] = s->strange_mounts[i];
                        s->strange_mounts[n++].seen = false;
                }
        s->n_strange_mounts = n;
}

static int refresh_mounts(Scan *s) {
        MountTable mounts;
        int r;

        r = mount_table_read(s->root, &mounts);
        if (r < 0)
                return r;
        mount_table_done(&s->mounts);
        s->mounts = mounts;
        s->mounts_fresh = true;
        keep_strange_mounts(s);
        s->recursive_protection = protection_is_recursive(&s->mounts);
        return 0;
}

/* In each pass: for some of them there is no event. What seems to be mounted nowhere may be mounted in a namespace that does not
 * tell of its changes: then the tables are old. */
static int refresh_unmounted(Scan *s, bool mounts_are_new) {
        int r;

        r = unmounted_find(s->root, &s->blocks, &s->mounts);
        if (r < 0 || mounts_are_new || s->mounts.n == s->mounts.n_mounted)
                return r;
        r = refresh_mounts(s);
        return r < 0 ? r : unmounted_find(s->root, &s->blocks, &s->mounts);
}

int scan_refresh(Scan *s, unsigned tables) {
        int r;

        s->mounts_fresh = false;
        if (tables & TABLE_MOUNTS) {
                r = refresh_mounts(s);
                if (r < 0)
                        return r;
        }
        if (tables & TABLE_BLOCKS) {
                BlockTable blocks;

                r = block_table_read(s->root, &blocks);
                if (r < 0)
                        return r;
                block_table_done(&s->blocks);
                s->blocks = blocks;
        }
        r = refresh_unmounted(s, tables & TABLE_MOUNTS);
        if (r < 0)
                return r;
        r = refresh_processes_for(s, tables);
        if (r < 0)
                return r;
        clear_served(s);
        s->n_deserted = 0;
        s->unserved = s->unwatched = false;
        s->processes_fresh = r > 0;
        s->mounts_outdated = s->processes_fresh && !s->mounts_fresh && s->processes.unknown_mount;
        s->gaps = visibility_gaps(s->root) | s->mounts.gaps | s->blocks.gaps | s->processes.gaps | s->sockets.gaps;
        return 0;
}

bool scan_is_incomplete(const Scan *s) {
        return s->gaps & GAPS_INCOMPLETE;
}

bool scan_hides_processes(const Scan *s) {
        return (s->processes.gaps & GAPS_INCOMPLETE) || (s->gaps & (GAP_NO_PRIVILEGE | GAP_HIDDEN_PROCESSES | GAP_PROC_SUBSET));
}

unsigned scan_gap_of_silence(const Scan *s) {
        return sysroot_is_machine(s->root) ? GAP_PENDING : GAP_READ_ERROR;
}

/* It may be newer than the table, also than one that was read a moment ago: what the next one has not either, none will have. */
int scan_miss_mount(Scan *s, int mount_id) {
        StrangeMount strange = { .id = mount_id, .seen = true };

        for (size_t i = 0; i < s->n_strange_mounts; i++) {
                StrangeMount *known = &s->strange_mounts[i];

                if (known->id != mount_id)
                        continue;
                known->certain = known->certain || (s->mounts_fresh && !known->seen);
                s->mounts_outdated = s->mounts_outdated || !known->certain;
                known->seen = true;
                return 0;
        }
        if (s->n_strange_mounts == STRANGE_MOUNTS_MAX)
                return 0;
        s->mounts_outdated = true;
        return ARRAY_APPEND(s->strange_mounts, s->n_strange_mounts, s->strange_mounts_capacity, strange);
}

int scan_add_server(
                Scan *s,
                FactSet *f,
                const char *upper,
                pid_t pid,
                uint64_t start,
                EdgeRole role,
                Certainty certainty,
                unsigned alternative,
                const char *evidence) {

        _cleanup_free_ char *process = process_id(pid, start);
        int r;

        if (!process)
                return -ENOMEM;
        /* The service manager keeps descriptors of its services (FileDescriptorStoreMax=, sockets that activate). */
        if (pid == 1)
                certainty = CERTAINTY_INFERRED;
        r = factset_add_edge(f, upper, process, role, certainty, alternative, evidence);
        return r < 0 ? r : add_served(s, pid, start, upper);
}

static int compare_devices(const void *a, const void *b) {
        const dev_t *x = a, *y = b;

        return (*x > *y) - (*x < *y);
}

int scan_note_deserted(Scan *s, dev_t device) {
        size_t i = s->n_deserted;
        int r;

        r = array_reserve((void **) &s->deserted, &s->deserted_capacity, s->n_deserted + 1, sizeof(dev_t));
        if (r < 0)
                return r;
        /* They come nearly in order. */
        for (; i > 0 && s->deserted[i - 1] > device; i--)
                s->deserted[i] = s->deserted[i - 1];
        s->deserted[i] = device;
        s->n_deserted++;
        return 0;
}

bool scan_is_deserted(const Scan *s, dev_t device) {
        return s->n_deserted > 0 && bsearch(&device, s->deserted, s->n_deserted, sizeof(dev_t), compare_devices);
}

int scan_add_socket_owners(
                Scan *s,
                FactSet *f,
                const char *upper,
                const Socket *socket,
                EdgeRole role,
                Certainty certainty,
                unsigned alternative,
                const char *evidence) {

        size_t n;
        const OwnedSocket *owners = process_table_owner(&s->processes, socket->inode, &n);

        for (size_t i = 0; i < n; i++) {
                const OwnedSocket *o = &owners[i];
                int r;

                r = scan_add_server(s, f, upper, o->pid, o->start, role, certainty, alternative,
                                    PATH("%s, /proc/%s/fd/%d", evidence, o->place.path, o->fd));
                if (r < 0)
                        return r;
        }
        return 0;
}

Certainty peer_certainty(const Socket *socket, const Socket *peer) {
        return socket->family == SOCKET_UNIX || socket->space == peer->space ? CERTAINTY_PROVEN : CERTAINTY_UNIQUE;
}

bool is_system_socket(const Socket *socket) {
        static const char *const places[] = {
                "/run/systemd/", "/run/dbus/", "/run/udev/",
                /* The kernel's own connections: of lockd and nfsd (net/sunrpc). */
                "/run/rpcbind.sock", "/var/run/rpcbind.sock", "@/run/rpcbind.sock", "/run/gssproxy.sock", "/var/run/gssproxy.sock",
                "/var/lib/gssproxy/",
        };

        for (size_t i = 0; socket->name && i < ELEMENTSOF(places); i++)
                if (startswith(socket->name, places[i]))
                        return true;
        return false;
}

char *filesystem_id(dev_t device) {
        return text_of_devno("fs:", device);
}

/* A btrfs that is mounted nowhere has a number, too, but nobody tells it. */
char *mount_filesystem_id(const Mount *m) {
        return m->device == 0 ? text_format("fs:btrfs:%s", m->uuid) : filesystem_id(m->device);
}

char *block_id(dev_t device) {
        return text_of_devno("block:", device);
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

        _cleanup_free_ char *id = NULL, *fs = mount_filesystem_id(m);
        NodeFact n = { .kind = NODE_FILE, .size = size };
        int r;

        if (!fs)
                return -ENOMEM;
        id = inode > 0 ? text_format("file:%s:%llu", fs + strlen("fs:"), (unsigned long long) inode)
                       : text_format("file:%s:%s", fs + strlen("fs:"), path);
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

int scan_add_lost_file(
                Scan *s,
                FactSet *f,
                const char *key,
                const char *path,
                bool (*holds)(const Mount *m),
                const char *evidence,
                char **ret_id) {

        _cleanup_free_ char *id = text_format("file:%s:%s", key, path);
        NodeFact n = { .kind = NODE_FILE, .path = strdup(path), .type = strdup("file") };
        int r;

        n.id = id ? strdup(id) : NULL;
        n.incomplete = strdup("the file system that holds this file is not mounted anywhere that can be seen");
        if (!n.id || !n.path || !n.type || !n.incomplete) {
                node_fact_done(&n);
                return -ENOMEM;
        }
        r = factset_add_node(f, &n);
        for (size_t i = s->mounts.n_mounted; r >= 0 && i < s->mounts.n; i++) {
                _cleanup_free_ char *fs = NULL;

                if (!holds(&s->mounts.mounts[i]))
                        continue;
                fs = mount_filesystem_id(&s->mounts.mounts[i]);
                r = fs ? factset_add_edge(f, id, fs, ROLE_BACKING, CERTAINTY_INFERRED, 0, evidence) : -ENOMEM;
        }
        if (r < 0)
                return r;
        *ret_id = TAKE_PTR(id);
        return 0;
}

int scan_add_unlisted(Scan *s, FactSet *f, const Block *b, const char *evidence) {
        _cleanup_node_fact_ NodeFact n = { .kind = NODE_FILESYSTEM, .id = filesystem_id(b->device) };
        _cleanup_free_ char *id = filesystem_id(b->device), *lower = block_id(b->device);
        int r;

        n.type = strdup("unknown");
        n.name = strdup(b->name);
        n.device = text_of_devno("", b->device);
        n.incomplete = strdup(UNMOUNTED);
        if (!id || !lower || !n.id || !n.type || !n.name || !n.device || !n.incomplete)
                return -ENOMEM;
        s->unwatched = true;
        r = factset_add_node(f, &n);
        return r < 0 ? r : factset_add_edge(f, id, lower, ROLE_BACKING, CERTAINTY_PROVEN, 0, evidence);
}

int scan_add_kernel_path(Scan *s, FactSet *f, const char *upper, const char *path, Certainty certainty, const char *evidence) {
        const Block *device = block_table_resolve(s->root, &s->blocks, path);
        const Mount *m = device ? NULL : mount_table_resolve(&s->mounts, 0, path);
        _cleanup_free_ char *lower = device ? block_id(device->device) : NULL;
        int r;

        if (!device && !m)
                return 0;
        if (m) {
                r = scan_add_file(f, m, 0, path, 0, CERTAINTY_UNIQUE, evidence, &lower);
                if (r < 0)
                        return r;
        }
        return lower ? factset_add_edge(f, upper, lower, ROLE_BACKING, certainty, 0, evidence) : -ENOMEM;
}
