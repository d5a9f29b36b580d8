/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which process serves which FUSE file system.
 *
 * Newer kernels print the connection's number in the fdinfo of a /dev/fuse descriptor: proof. Others say
 * nothing there. Then a BPF program is asked, and says the same after a moment. Until it has, and where such
 * programs are not to be had, in this order: a holder that systemd started for a .mount unit serves that mount
 * (proven by its cgroup); a holder and a connection that are the only ones left of a user belong together
 * (unique); what is still open is inferred, with a connection's user_id= as a filter, and as alternatives: that
 * a holder is below at least one of its user's connections is known where there are no more holders than connections.
 * Whose a connection is that is mounted nowhere is not told: then it must be the only one, and the holder too. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "common/cgroup-path.h"
#include "common/file.h"
#include "common/text.h"
#include "daemon/source/fuse-servers.h"
#include "daemon/source/scan.h"
#include "daemon/source/visibility.h"

/* An ordinary user may mount a thousand times and have thousands of processes: pairing all of them is not worth it. */
#define USER_EDGES_MAX 4096U

typedef struct Connection {
        const Mount *mount;
        uint64_t number; /* name of its directory in /sys/fs/fuse/connections */
        uid_t user;
        bool assigned;
        bool served; /* at least perhaps */
} Connection;

typedef struct Server {
        const Holder *holder; /* the first descriptor of the process */
        bool assigned;
        uid_t user;
        char *unit;
} Server;

typedef struct Match {
        Connection *connections;
        size_t n_connections, connections_capacity;
        Server *servers;
        size_t n_servers, servers_capacity;
} Match;

static void match_done(Match *m) {
        for (size_t i = 0; i < m->n_servers; i++)
                free(m->servers[i].unit);
        free(m->connections);
        free(m->servers);
}

/* The options come from the kernel, with the number of whoever mounted. */
static uid_t option_user(const char *options) {
        static const char key[] = "user_id=";
        const char *p = strstr(options, key);

        while (p && p != options && p[-1] != ',')
                p = strstr(p + 1, key);
        return p ? (uid_t) strtoul(p + strlen(key), NULL, 10) : 0;
}

static int collect_connections(Scan *s, Match *m) {
        const MountTable *t = &s->mounts;
        int r;

        for (size_t i = 0; i < t->n; i++) {
                const Mount *mount = &t->mounts[t->by_device[i]];
                Connection c = { .mount = mount };

                if (!mount_is_fuse(mount))
                        continue;
                if (i > 0 && t->mounts[t->by_device[i - 1]].device == mount->device)
                        continue;
                /* The kernel's own dev_t, whose minor has 20 bits (fs/fuse/inode.c). */
                c.number = (uint64_t) major(mount->device) << 20 | minor(mount->device);
                c.user = option_user(mount->options);
                r = ARRAY_APPEND(m->connections, m->n_connections, m->connections_capacity, c);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* The source of a FUSE mount is what its server wrote there; an absolute path is often what it serves. */
static int add_source_hint(Scan *s, FactSet *f, const Connection *c, const char *process) {
        const Mount *below = c->mount->source[0] == '/' ? mount_table_resolve(&s->mounts, c->mount->space, c->mount->source) : NULL;
        const Block *device = block_table_find_path(&s->blocks, c->mount->source);
        _cleanup_free_ char *lower = NULL;

        if (!device && (!below || mount_is_pseudo(below) || below->device == c->mount->device))
                return 0;
        lower = device ? block_id(device->device) : filesystem_id(below->device);
        return lower ? factset_add_edge(f, process, lower, ROLE_BACKING, CERTAINTY_INFERRED, 0, "/proc/1/mountinfo: source")
                     : -ENOMEM;
}

static void note_assigned(Match *m, pid_t pid) {
        for (size_t i = 0; i < m->n_servers; i++)
                m->servers[i].assigned |= m->servers[i].holder->pid == pid;
}

static int add_edge(Scan *s, FactSet *f, Connection *c, const Holder *h, Certainty certainty, unsigned alternative, const char *evidence) {
        _cleanup_free_ char *fs = filesystem_id(c->mount->device), *process = process_id(h->pid, h->start);
        int r;

        if (!fs || !process)
                return -ENOMEM;
        r = scan_add_server(s, f, fs, h->pid, h->start, ROLE_BACKING, certainty, alternative, evidence);
        if (r < 0)
                return r;
        c->assigned |= certainty >= CERTAINTY_UNIQUE;
        c->served |= h->pid != 1; /* which may keep a descriptor for a service that is about to start again */
        return add_source_hint(s, f, c, process);
}

/* Descriptors whose connection the kernel tells. Where it tells any, one without is not mounted. */
static int assign_told(Scan *s, FactSet *f, Match *m) {
        int r;

        for (size_t i = 0; i < s->processes.n; i++) {
                const Holder *h = &s->processes.holders[i];

                if (!streq(h->device, "fuse") || h->fuse_connection < 0)
                        continue;
                for (size_t k = 0; k < m->n_connections; k++) {
                        if (m->connections[k].number != (uint64_t) h->fuse_connection)
                                continue;
                        r = add_edge(s, f, &m->connections[k], h, CERTAINTY_PROVEN, 0,
                                     PATH("/proc/%s/fdinfo/%d: fuse_connection", h->place.path, h->fd));
                        if (r < 0)
                                return r;
                }
        }
        return 0;
}

static int collect_servers(Scan *s, Match *m) {
        int r;

        for (size_t i = 0; i < s->processes.n; i++) {
                const Holder *h = &s->processes.holders[i];
                _cleanup_node_fact_ NodeFact fact = {};
                Server server = { .holder = h };

                /* The service manager only keeps descriptors, for services that are started again. */
                if (!streq(h->device, "fuse") || h->pid == 1)
                        continue;
                if (m->n_servers > 0 && m->servers[m->n_servers - 1].holder->pid == h->pid)
                        continue; /* several descriptors of one process: cloned ones */
                r = process_read_fact(s->root, h->pid, h->start, &fact);
                if (r == -ENOMEM)
                        return r;
                s->gaps |= gap_of_error(process_error(s->root, h->pid, r));
                if (r < 0)
                        continue;
                server.user = fact.uid;
                /* Users name the units of their own managers as they like. */
                if (fact.cgroup && cgroup_path_is_system_service(fact.cgroup))
                        server.unit = TAKE_PTR(fact.unit);
                r = ARRAY_APPEND(m->servers, m->n_servers, m->servers_capacity, server);
                if (r < 0) {
                        free(server.unit);
                        return r;
                }
        }
        return 0;
}

/* Keeps in 's' what the BPF program says. Returns 1 if that is about all that the tables show; 0 if some of it
 * is new and an answer still on its way: what it said before holds as far as it goes, so that nothing that is
 * known gets lost at each mount. */
static int ask_servers(Scan *s, const Match *m) {
        _cleanup_free_ uint64_t *connections = calloc(m->n_connections, sizeof(uint64_t));
        _cleanup_free_ char *question = NULL;
        const char *answer;
        bool hung;
        int r;

        if (!connections)
                return -ENOMEM;
        for (size_t k = 0; k < m->n_connections; k++)
                connections[k] = m->connections[k].number;
        question = fuse_servers_question(&s->processes, connections, m->n_connections);
        if (!question)
                return -ENOMEM;
        answer = probe_cache_get(s->probes, question, &hung);
        if (!answer && !hung)
                return 0;
        fuse_servers_done(&s->fuse_servers);
        r = answer ? fuse_servers_parse(answer, &s->fuse_servers) : -EINVAL;
        return r == -ENOMEM ? r : r >= 0;
}

/* Returns 1 if every descriptor was told about: then whoever has no edge serves nothing. */
static int assign_asked(Scan *s, FactSet *f, Match *m) {
        int complete, r;

        complete = s->probes && m->n_servers > 0 ? ask_servers(s, m) : 0;
        if (complete < 0)
                return complete;
        for (size_t i = 0; i < s->processes.n; i++) {
                const Holder *h = &s->processes.holders[i];
                const FuseServer *told = streq(h->device, "fuse") ? fuse_servers_find(&s->fuse_servers, h->pid, h->start, h->fd) : NULL;

                for (size_t k = 0; told && k < m->n_connections; k++) {
                        if (m->connections[k].number != told->connection)
                                continue;
                        r = add_edge(s, f, &m->connections[k], h, CERTAINTY_PROVEN, 0,
                                     PATH("BPF task_file iterator: /proc/%s/fd/%d", h->place.path, h->fd));
                        if (r < 0)
                                return r;
                        note_assigned(m, h->pid);
                }
        }
        return complete;
}

/* "mnt-a\x2db.mount" is the unit of /mnt/a-b (systemd.unit(5), string escaping for inclusion in unit names). */
static bool unit_mounts(const char *unit, const char *target) {
        const char *p = unit, *t = target + 1;
        size_t n = strlen(unit);

        if (!endswith(unit, ".mount") || target[0] != '/')
                return false;
        n -= strlen(".mount");
        while (p < unit + n) {
                char c = *p++;
                unsigned byte;

                if (c == '-')
                        c = '/';
                else if (c == '\\' && p[0] == 'x' && sscanf(p + 1, "%2x", &byte) == 1) {
                        c = (char) byte;
                        p += 3;
                }
                if (c == 0 || *t++ != c)
                        return false;
        }
        return *t == 0;
}

static int assign_by_unit(Scan *s, FactSet *f, Match *m) {
        int r;

        for (size_t i = 0; i < m->n_servers; i++) {
                if (m->servers[i].assigned)
                        continue;
                for (size_t k = 0; m->servers[i].unit && k < m->n_connections; k++) {
                        if (!unit_mounts(m->servers[i].unit, m->connections[k].mount->target))
                                continue;
                        r = add_edge(s, f, &m->connections[k], m->servers[i].holder, CERTAINTY_PROVEN, 0,
                                     PATH("/proc/%d/cgroup: %s", m->servers[i].holder->pid, m->servers[i].unit));
                        if (r < 0)
                                return r;
                        m->servers[i].assigned = true;
                }
        }
        return 0;
}

/* What goes by users is no knowledge as long as it is not known whose a connection is. */
static bool users_tell(const Match *m) {
        size_t n = 0;

        for (size_t i = 0; i < m->n_servers; i++)
                n += !m->servers[i].assigned;
        for (size_t k = 0; k < m->n_connections && n > 1; k++)
                if (!m->connections[k].assigned && m->connections[k].mount->space == SPACE_NONE)
                        return false;
        return true;
}

static size_t count_servers(const Match *m, uid_t user) {
        size_t n = 0;

        for (size_t i = 0; i < m->n_servers; i++)
                n += !m->servers[i].assigned && m->servers[i].user == user;
        return n;
}

static size_t count_connections(const Match *m, uid_t user) {
        size_t n = 0;

        for (size_t k = 0; k < m->n_connections; k++)
                n += !m->connections[k].assigned && m->connections[k].user == user;
        return n;
}

/* The file descriptor of a user's mount was made by the user (fusermount3 opens it with his ids), and may
 * have been handed to a privileged process, not the other way round. */
static void settle_users(Match *m) {
        for (size_t k = 0; k < m->n_connections; k++)
                if (count_servers(m, m->connections[k].user) == 0)
                        m->connections[k].user = 0;
}

/* What one server may serve. Each user's servers and connections are counted by themselves: anybody may open
 * /dev/fuse as often as he likes, and must not make it less certain what others serve. */
static int assign_server(Scan *s, FactSet *f, Match *m, size_t number) {
        const Server *server = &m->servers[number];
        size_t servers = count_servers(m, server->user), connections = count_connections(m, server->user);
        bool known = users_tell(m);
        bool unique = known && servers == 1 && connections == 1 && !scan_is_incomplete(s) && (server->user == 0 || count_servers(m, 0) == 0);
        const Holder *h = server->holder;
        int r;

        if (server->user != 0 && servers * connections > USER_EDGES_MAX)
                return 0;
        for (size_t k = 0; k < m->n_connections; k++) {
                Connection *c = &m->connections[k];
                bool own = c->user == server->user;

                if (c->assigned || (!own && (server->user != 0 || servers * m->n_connections > USER_EDGES_MAX)))
                        continue;
                r = add_edge(s, f, c, h, own && unique ? CERTAINTY_UNIQUE : CERTAINTY_INFERRED,
                             own && known && !unique && servers <= connections ? (unsigned) number + 1 : 0,
                             PATH("/proc/%s/fd/%d -> /dev/fuse%s", h->place.path, h->fd,
                                  own && unique ? ", the only one left" : ", one of several that are open"));
                if (r < 0)
                        return r;
        }
        return 0;
}

static int assign_rest(Scan *s, FactSet *f, Match *m) {
        int r;

        settle_users(m);
        for (size_t i = 0; i < m->n_servers; i++) {
                if (m->servers[i].assigned)
                        continue;
                r = assign_server(s, f, m, i);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* Who is not told of by fdinfo. */
static int assign_untold(Scan *s, FactSet *f, Match *m) {
        int r;

        r = collect_servers(s, m);
        if (r < 0)
                return r;
        r = assign_asked(s, f, m);
        if (r != 0)
                return r;
        r = assign_by_unit(s, f, m);
        return r < 0 ? r : assign_rest(s, f, m);
}

int source_fuse_scan(Scan *s, FactSet *f) {
        _cleanup_(match_done) Match m = {};
        int r;

        r = collect_connections(s, &m);
        if (r < 0 || m.n_connections == 0) {
                fuse_servers_done(&s->fuse_servers);
                return r;
        }
        r = assign_told(s, f, &m);
        if (r >= 0 && !s->processes.tells_connection)
                r = assign_untold(s, f, &m);
        for (size_t k = 0; r >= 0 && k < m.n_connections; k++)
                s->unserved |= !m.connections[k].served;
        return r < 0 ? r : 0;
}
