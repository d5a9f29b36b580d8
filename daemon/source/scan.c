/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "common/text.h"
#include "daemon/source/scan.h"

const Source sources[] = {
        { "filesystem", source_filesystem_scan },
        { "journal", source_journal_scan },
        { "block", source_block_scan },
        { "loop", source_loop_scan },
        { "dm", source_dm_scan },
        { "lio", source_lio_scan },
        { "nvmet", source_nvmet_scan },
        { "iscsi", source_iscsi_scan },
        { "network", source_network_scan },
        { "fuse", source_fuse_scan },
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
        clear_served(s);
        free(s->served);
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
                matter |= startswith(s->mounts.mounts[i].type, "fuse") != NULL;
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

static int refresh_processes(Scan *s) {
        _cleanup_(process_table_done) ProcessTable processes = {};
        _cleanup_(socket_table_done) SocketTable sockets = {};
        bool with_sockets;
        int r = 0;

        if (processes_matter(s, &with_sockets))
                r = process_table_read(s->root, &s->mounts, with_sockets, &processes);
        /* Afterwards, so that whoever has a socket has it in the table. */
        if (r >= 0 && with_sockets)
                r = socket_table_read(s->root, &sockets);
        if (r < 0)
                return r;
        process_table_done(&s->processes);
        socket_table_done(&s->sockets);
        s->processes = processes;
        s->sockets = sockets;
        processes = (ProcessTable) {};
        sockets = (SocketTable) {};
        return 0;
}

static bool protection_is_recursive(const MountTable *t) {
        for (size_t i = 0; i < t->n; i++)
                if (t->mounts[i].space == 0 && streq(t->mounts[i].type, "cgroup2") && t->mounts[i].options &&
                    strstr(t->mounts[i].options, "memory_recursiveprot"))
                        return true;
        return false;
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
                s->recursive_protection = protection_is_recursive(&s->mounts);
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
                r = refresh_processes(s);
                if (r < 0)
                        return r;
        }
        clear_served(s);
        s->unserved = false;
        s->mounts_fresh = tables & TABLE_MOUNTS;
        s->mounts_outdated = !s->mounts_fresh && s->processes.unknown_mount;
        s->incomplete = s->mounts.incomplete || s->blocks.incomplete || s->processes.incomplete || s->sockets.incomplete;
        return 0;
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
        return socket->name && (startswith(socket->name, "/run/systemd/") || startswith(socket->name, "/run/dbus/") ||
                                startswith(socket->name, "/run/udev/"));
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
