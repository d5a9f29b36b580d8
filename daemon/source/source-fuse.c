/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which process serves which FUSE file system.
 *
 * Newer kernels print the connection's number in the fdinfo of a /dev/fuse descriptor: proof. Others say
 * nothing there. Then a BPF program is asked, and says the same after a moment. Until it has, and where such
 * programs are not to be had, in this order: a holder that systemd started for a .mount unit serves that mount
 * (proven by its cgroup); a holder and a connection that are the only ones left of a user belong together
 * (unique); what is still open is inferred, by the connection's user, and as alternatives: that
 * a holder is below at least one of its user's connections is known where there are no more holders than connections.
 * Where it is not known whose a connection is, it must be the only one, and the holder too. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "common/cgroup-path.h"
#include "common/file.h"
#include "common/text.h"
#include "daemon/source/elimination.h"
#include "daemon/source/fuse-servers.h"
#include "daemon/source/scan.h"
#include "daemon/source/visibility.h"

/* An ordinary user may mount a thousand times and have thousands of processes: pairing all of them is not worth it. */
#define USER_EDGES_MAX 4096U

/* In a capture: whose a connection is, by its number. */
#define CAPTURED_OWNER "stackd/fuse-owners/%llu"

typedef struct Connection {
        const Mount *mount;
        uint64_t number; /* name of its directory in /sys/fs/fuse/connections */
        bool foreign;    /* mounted in mount namespaces of other user namespaces only */
        uid_t user;      /* UID_UNKNOWN: not told */
        bool abandoned;  /* its user has no server for it; root's may have been handed it */
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
        Connection *connections; /* sorted by number */
        size_t n_connections, connections_capacity;
        Connection **by_user;
        Server *servers; /* sorted by process */
        size_t n_servers, servers_capacity;
        Owners owners;  /* what is not assigned, by user */
        bool known;     /* whose all of it is */
        bool hidden;    /* some server or mount may be there that is not in here */
} Match;

static void match_done(Match *m) {
        for (size_t i = 0; i < m->n_servers; i++)
                free(m->servers[i].unit);
        free(m->connections);
        free(m->by_user);
        free(m->servers);
        owners_done(&m->owners);
}

/* The options come from the kernel, with the number of whoever mounted. */
static uid_t option_user(const char *options) {
        static const char key[] = "user_id=";
        const char *p = strstr(options, key);

        while (p && p != options && p[-1] != ',')
                p = strstr(p + 1, key);
        return p ? (uid_t) strtoul(p + strlen(key), NULL, 10) : 0;
}

/* The directory of a connection is its user's, also of one that is mounted nowhere, or in a user namespace, where user_id= is a number of
 * that namespace. */
static uid_t connection_user(const Scan *s, const Connection *c) {
        _cleanup_close_ int fd = -1;
        _cleanup_free_ char *text = NULL;
        uint64_t number;
        struct stat st;

        if (!sysroot_is_machine(s->root)) {
                if (sysroot_read(s->root, AREA_RUN, PATH(CAPTURED_OWNER, (unsigned long long) c->number), &text) >= 0 &&
                    text_to_u64(text, 10, &number) >= 0)
                        return (uid_t) number;
        } else {
                fd = sysroot_open_at(s->root, AREA_SYS, PATH("fs/fuse/connections/%llu", (unsigned long long) c->number), O_PATH);
                if (fd >= 0 && fstat(fd, &st) >= 0) {
                        sysroot_record_text(s->root, AREA_RUN, PATH(CAPTURED_OWNER, (unsigned long long) c->number), PATH("%u\n", st.st_uid));
                        return st.st_uid;
                }
        }
        return c->foreign || c->mount->space == SPACE_NONE ? UID_UNKNOWN : option_user(c->mount->options);
}

static int compare_connections(const void *a, const void *b) {
        const Connection *x = a, *y = b;

        return (x->number > y->number) - (x->number < y->number);
}

static Connection *find_connection(const Match *m, uint64_t number) {
        const Connection key = { .number = number };

        return m->n_connections > 0 ? bsearch(&key, m->connections, m->n_connections, sizeof(Connection), compare_connections) : NULL;
}

static int collect_connections(Scan *s, Match *m) {
        const MountTable *t = &s->mounts;
        size_t n;
        int r;

        for (size_t i = 0; i < t->n; i += n) {
                const Mount *mount = &t->mounts[t->by_device[i]];
                Connection c = { .mount = mount, .foreign = mount->foreign };

                for (n = 1; i + n < t->n && t->mounts[t->by_device[i + n]].device == mount->device; n++)
                        c.foreign = c.foreign && t->mounts[t->by_device[i + n]].foreign;
                if (!mount_is_fuse(mount))
                        continue;
                /* The kernel's own dev_t, whose minor has 20 bits (fs/fuse/inode.c). */
                c.number = (uint64_t) major(mount->device) << 20 | minor(mount->device);
                r = ARRAY_APPEND(m->connections, m->n_connections, m->connections_capacity, c);
                if (r < 0)
                        return r;
        }
        if (m->n_connections > 1)
                qsort(m->connections, m->n_connections, sizeof(Connection), compare_connections);
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

static int compare_servers(const void *a, const void *b) {
        const Server *x = a, *y = b;

        return x->holder->pid - y->holder->pid;
}

static void note_assigned(Match *m, const Holder *h) {
        const Server key = { .holder = h };
        Server *found = m->n_servers > 0 ? bsearch(&key, m->servers, m->n_servers, sizeof(Server), compare_servers) : NULL;

        if (found)
                found->assigned = true;
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

/* A descriptor whose connection the kernel tells. */
typedef struct Told {
        const Holder *holder;
        Connection *connection;
} Told;

static int compare_told(const void *a, const void *b) {
        const Told *x = a, *y = b;

        if (x->connection != y->connection)
                return x->connection > y->connection ? 1 : -1;
        return x->holder > y->holder ? 1 : -1;
}

static int collect_told(Scan *s, Match *m, Told **ret, size_t *ret_n) {
        _cleanup_free_ Told *told = NULL;
        size_t n = 0, capacity = 0, n_holders;
        const Holder *holders = process_table_holders(&s->processes, "fuse", &n_holders);

        for (size_t i = 0; i < n_holders; i++) {
                Told t = { .holder = &holders[i] };
                int r;

                t.connection = t.holder->fuse_connection >= 0 ? find_connection(m, (uint64_t) t.holder->fuse_connection) : NULL;
                r = t.connection ? ARRAY_APPEND(told, n, capacity, t) : 0;
                if (r < 0)
                        return r;
        }
        if (n > 1)
                qsort(told, n, sizeof(Told), compare_told);
        *ret = TAKE_PTR(told);
        *ret_n = n;
        return 0;
}

/* A child that has inherited the descriptor serves nothing by that. Where a process is seen to wait for requests, another one that is
 * not is a server perhaps: it may be at work. */
static int add_told(Scan *s, FactSet *f, const Told *told, size_t n) {
        bool several = told[0].holder->pid != told[n - 1].holder->pid, waits = false;

        for (size_t i = 0; several && !waits && i < n; i++)
                waits = process_sleeps_in(s->root, told[i].holder->pid, "fuse_dev_") > 0;
        for (size_t i = 0; i < n; i++) {
                const Holder *h = told[i].holder;
                bool perhaps = waits && process_sleeps_in(s->root, h->pid, "fuse_dev_") <= 0;
                int r;

                r = add_edge(s, f, told[i].connection, h, perhaps ? CERTAINTY_INFERRED : CERTAINTY_PROVEN, 0,
                             PATH("/proc/%s/fdinfo/%d: fuse_connection%s", h->place.path, h->fd, perhaps ? ", which another process reads" : ""));
                if (r < 0)
                        return r;
        }
        return 0;
}

static int assign_told(Scan *s, FactSet *f, Match *m) {
        _cleanup_free_ Told *told = NULL;
        size_t n, count;
        int r;

        r = collect_told(s, m, &told, &n);
        for (size_t i = 0; r >= 0 && i < n; i += count) {
                for (count = 1; i + count < n && told[i + count].connection == told[i].connection; count++)
                        ;
                r = add_told(s, f, told + i, count);
        }
        return r;
}

/* That there is more in users' namespaces than is read is no reason to know less of others. */
static int collect_servers(Scan *s, Match *m) {
        size_t n;
        const Holder *holders = process_table_holders(&s->processes, "fuse", &n);
        int r;

        m->hidden = scan_hides_processes(s) || (s->mounts.gaps & GAPS_INCOMPLETE & ~(unsigned) GAP_NAMESPACE_LIMIT);
        for (size_t i = 0; i < n; i++) {
                const Holder *h = &holders[i];
                _cleanup_node_fact_ NodeFact fact = {};
                Server server = { .holder = h };
                unsigned gap;

                /* The service manager only keeps descriptors, for services that are started again. */
                if (h->pid == 1 || !holder_is_authentic(s, h))
                        continue;
                if (m->n_servers > 0 && m->servers[m->n_servers - 1].holder->pid == h->pid)
                        continue; /* several descriptors of one process: cloned ones */
                r = process_read_fact(s->root, h->pid, h->start, &fact);
                if (r == -ENOMEM)
                        return r;
                gap = gap_of_error(process_error(s->root, h->pid, r));
                s->gaps |= gap;
                m->hidden = m->hidden || (gap & GAPS_INCOMPLETE);
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
        size_t n;
        const Holder *holders = process_table_holders(&s->processes, "fuse", &n);
        int complete, r;

        complete = s->probes && m->n_servers > 0 ? ask_servers(s, m) : 0;
        if (complete < 0)
                return complete;
        for (size_t i = 0; i < n; i++) {
                const Holder *h = &holders[i];
                const FuseServer *told = fuse_servers_find(&s->fuse_servers, h->pid, h->start, h->fd);
                Connection *c = told ? find_connection(m, told->connection) : NULL;

                if (!c)
                        continue;
                r = add_edge(s, f, c, h, CERTAINTY_PROVEN, 0, PATH("BPF task_file iterator: /proc/%s/fd/%d", h->place.path, h->fd));
                if (r < 0)
                        return r;
                note_assigned(m, h);
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

/* Each user's servers and connections are counted by themselves: anybody may open /dev/fuse and mount as often as he likes, and must
 * not make it less certain what others serve. */
static int count_owners(Match *m) {
        size_t servers = 0, unknown = 0;
        int r = 0;

        for (size_t i = 0; r >= 0 && i < m->n_servers; i++)
                if (!m->servers[i].assigned) {
                        servers++;
                        r = owners_add(&m->owners, m->servers[i].user, 1, 0);
                }
        for (size_t k = 0; r >= 0 && k < m->n_connections; k++)
                if (!m->connections[k].assigned) {
                        unknown += m->connections[k].user == UID_UNKNOWN;
                        r = owners_add(&m->owners, m->connections[k].user, 0, 1);
                }
        /* What goes by users is no knowledge as long as it is not known whose a connection is. */
        m->known = unknown == 0 || (servers == 1 && m->n_connections == 1);
        return r;
}

/* The file descriptor of a user's mount was made by the user (fusermount3 opens it with his ids), and may
 * have been handed to a privileged process, not the other way round. Of root's own connections the abandoned ones of others take
 * nothing away. */
static size_t settle_users(Match *m) {
        size_t abandoned = 0;

        for (size_t k = 0; k < m->n_connections; k++) {
                Connection *c = &m->connections[k];

                c->abandoned = !c->assigned && c->user != 0 && owners_find(&m->owners, c->user).candidates == 0;
                abandoned += c->abandoned;
        }
        return abandoned;
}

/* How a server of root's goes together with a connection: its own ones, those that are abandoned, and at last any other. */
static Conclusion conclude_for_root(const Match *m, const Connection *c, size_t abandoned, bool complete) {
        Owner root = owners_find(&m->owners, 0);
        Conclusion own = elimination_conclude(root.candidates, root.things, complete),
                   all = elimination_conclude(root.candidates, root.things + abandoned, complete);

        if (c->user == 0)
                return own.certainty == CERTAINTY_UNIQUE ? own : all;
        if (!c->abandoned)
                return (Conclusion) { .certainty = CERTAINTY_INFERRED };
        /* One that has its own for certain may have another's as well. */
        return own.certainty == CERTAINTY_UNIQUE ? (Conclusion) { .certainty = CERTAINTY_INFERRED } : all;
}

static Conclusion conclude(const Match *m, const Server *server, const Connection *c, size_t abandoned) {
        Owner own = owners_find(&m->owners, server->user);
        bool complete = m->known && !m->hidden;
        Conclusion conclusion;

        if (server->user == 0)
                conclusion = conclude_for_root(m, c, abandoned, complete);
        else
                conclusion = elimination_conclude(own.candidates, own.things, complete && owners_find(&m->owners, 0).candidates == 0);
        conclusion.alternative = conclusion.alternative && m->known;
        return conclusion;
}

static int compare_users(const void *a, const void *b) {
        const Connection *x = *(Connection *const *) a, *y = *(Connection *const *) b;

        return x->user != y->user ? (x->user > y->user) - (x->user < y->user) : (x > y) - (x < y);
}

static int index_users(Match *m) {
        m->by_user = calloc(m->n_connections + 1, sizeof(Connection *));
        if (!m->by_user)
                return -ENOMEM;
        for (size_t k = 0; k < m->n_connections; k++)
                m->by_user[k] = &m->connections[k];
        if (m->n_connections > 1)
                qsort(m->by_user, m->n_connections, sizeof(Connection *), compare_users);
        return 0;
}

/* Those of the server's user, in by_user: the first of them. */
static size_t find_own(const Match *m, const Server *server, size_t *ret_n) {
        size_t low = 0, high = m->n_connections, n = 0;

        while (low < high) {
                size_t middle = low + (high - low) / 2;

                if (m->by_user[middle]->user < server->user)
                        low = middle + 1;
                else
                        high = middle;
        }
        while (low + n < m->n_connections && m->by_user[low + n]->user == server->user)
                n++;
        *ret_n = n;
        return low;
}

/* What one server may serve: what is its user's; and root's, if they are not too many, everything. */
static int assign_server(Scan *s, FactSet *f, Match *m, size_t number, size_t abandoned) {
        const Server *server = &m->servers[number];
        const Holder *h = server->holder;
        Owner own = owners_find(&m->owners, server->user);
        bool everything = server->user == 0 && own.candidates * m->n_connections <= USER_EDGES_MAX;
        size_t n, first = find_own(m, server, &n);

        if (server->user != 0 && own.candidates * own.things > USER_EDGES_MAX) {
                for (size_t k = 0; k < n && !m->by_user[first + k]->served; k++)
                        m->by_user[first + k]->served = true; /* perhaps */
                return 0;
        }
        if (everything)
                n = m->n_connections;
        for (size_t k = 0; k < n; k++) {
                Connection *c = everything ? &m->connections[k] : m->by_user[first + k];
                Conclusion conclusion;
                int r;

                if (c->assigned)
                        continue;
                conclusion = conclude(m, server, c, abandoned);
                r = add_edge(s, f, c, h, conclusion.certainty, conclusion.alternative ? (unsigned) number + 1 : 0,
                             PATH("/proc/%s/fd/%d -> /dev/fuse%s", h->place.path, h->fd,
                                  conclusion.certainty == CERTAINTY_UNIQUE ? ", the only one left" : ", one of several that are open"));
                if (r < 0)
                        return r;
        }
        return 0;
}

static int assign_rest(Scan *s, FactSet *f, Match *m) {
        size_t abandoned;
        int r;

        r = count_owners(m);
        if (r >= 0)
                r = index_users(m);
        if (r < 0)
                return r;
        abandoned = settle_users(m);
        /* In a capture that does not say what its kernel does, nothing is concluded. */
        m->known = m->known && !s->processes.may_tell_connection;
        for (size_t i = 0; i < m->n_servers; i++) {
                if (m->servers[i].assigned)
                        continue;
                r = assign_server(s, f, m, i, abandoned);
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
        for (size_t k = 0; k < m->n_connections; k++)
                m->connections[k].user = connection_user(s, &m->connections[k]);
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
                if (!m.connections[k].served) {
                        s->unserved = true;
                        r = scan_note_deserted(s, m.connections[k].mount->device);
                }
        return r < 0 ? r : 0;
}
