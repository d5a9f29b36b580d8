/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "common/array.h"
#include "common/file.h"
#include "common/text.h"
#include "daemon/actuator/ledger.h"

/* One record a line:
 *     boot ID
 *     io-flusher PID START FROM
 *     held ID          (an administrator reverted it; after "held *": everything but it) */

void ledger_done(Ledger *l) {
        for (size_t i = 0; i < l->n; i++)
                free(l->records[i].from);
        free(l->records);
        strv_free(l->held);
        free(l->boot_id);
        fd_close(l->dir_fd);
        fd_close(l->lock_fd);
        *l = LEDGER_NULL;
}

static int append(Ledger *l, ActionKind kind, pid_t pid, uint64_t start, const char *from) {
        Record record = { .kind = kind, .pid = pid, .start = start, .from = strdup(from) };
        int r = -ENOMEM;

        if (record.from)
                r = ARRAY_APPEND(l->records, l->n, l->capacity, record);
        if (r < 0)
                free(record.from);
        return r;
}

static int parse_line(Ledger *l, char *line) {
        char *state = NULL, *kind = strtok_r(line, " ", &state), *a = strtok_r(NULL, " ", &state);
        char *b = strtok_r(NULL, " ", &state), *c = strtok_r(NULL, " ", &state);
        uint64_t start;
        pid_t pid;

        if (!kind || !a)
                return -EINVAL;
        if (streq(kind, "held")) {
                if (streq(a, "*")) {
                        l->all_held = true;
                        return 0;
                }
                return strv_append(&l->held, &l->n_held, a);
        }
        if (!streq(kind, action_kind_to_string(ACTION_IO_FLUSHER)) || !b || !c)
                return -EINVAL;
        if (text_to_pid(a, &pid) < 0 || text_to_u64(b, 10, &start) < 0)
                return -EINVAL;
        return append(l, ACTION_IO_FLUSHER, pid, start, c);
}

static int parse(Ledger *l, char *text, unsigned *skipped) {
        char *state = NULL;
        const char *boot;

        char *line = strtok_r(text, "\n", &state);
        boot = line ? startswith(line, "boot ") : NULL;
        if (!boot || !streq(boot, l->boot_id))
                return 0; /* of another boot, or nothing */
        while ((line = strtok_r(NULL, "\n", &state))) {
                int r = parse_line(l, line);

                if (r == -ENOMEM)
                        return r;
                *skipped += r < 0;
        }
        return 0;
}

static int save(const Ledger *l) {
        _cleanup_free_ char *text = NULL;
        _cleanup_fclose_ FILE *f = NULL;
        size_t size;

        if (l->dir_fd < 0)
                return 0;
        f = open_memstream(&text, &size);
        if (!f)
                return -ENOMEM;
        fprintf(f, "boot %s\n", l->boot_id);
        for (size_t i = 0; i < l->n; i++)
                fprintf(f, "%s %d %llu %s\n", action_kind_to_string(l->records[i].kind), l->records[i].pid,
                        (unsigned long long) l->records[i].start, l->records[i].from);
        if (l->all_held)
                fprintf(f, "held *\n");
        for (char **id = l->held; id && *id; id++)
                fprintf(f, "held %s\n", *id);
        if (fflush(f) != 0)
                return -ENOMEM;
        return file_write_atomic(l->dir_fd, "ledger", text);
}

static int take_lock(Ledger *l) {
        _cleanup_close_ int fd = openat(l->dir_fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

        if (fd < 0)
                return -errno;
        if (flock(fd, LOCK_EX | LOCK_NB) < 0)
                return errno == EWOULDBLOCK ? -EBUSY : -errno;
        l->lock_fd = TAKE_FD(fd);
        return 0;
}

static int open_directory(Ledger *l, const Sysroot *s, bool own) {
        _cleanup_close_ int run = sysroot_open_at(s, AREA_RUN, ".", O_RDONLY | O_DIRECTORY);

        if (run < 0)
                return run;
        if (own && mkdirat(run, "stackd", 0755) < 0 && errno != EEXIST)
                return -errno;
        l->dir_fd = openat(run, "stackd", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        if (l->dir_fd < 0)
                return errno == ENOENT && !own ? 0 : -errno;
        return own ? take_lock(l) : 0;
}

int ledger_open(Ledger *l, const Sysroot *s, bool own, unsigned *ret_skipped) {
        _cleanup_(ledger_done) Ledger new = LEDGER_NULL;
        _cleanup_free_ char *text = NULL;
        unsigned skipped = 0;
        int r;

        r = sysroot_read(s, AREA_PROC, "sys/kernel/random/boot_id", &new.boot_id);
        if (r < 0)
                return r;
        r = open_directory(&new, s, own);
        if (r < 0)
                return r;
        r = sysroot_read(s, AREA_RUN, "stackd/ledger", &text);
        if (r >= 0)
                r = parse(&new, text, &skipped);
        if (r < 0 && r != -ENOENT && r != -EACCES)
                return r;
        if (!own)
                new.dir_fd = fd_close(new.dir_fd);
        ledger_done(l);
        *l = new;
        new = LEDGER_NULL;
        *ret_skipped = skipped;
        return 0;
}

static Record *find(Ledger *l, ActionKind kind, pid_t pid, uint64_t start) {
        for (size_t i = 0; i < l->n; i++)
                if (l->records[i].kind == kind && l->records[i].pid == pid && l->records[i].start == start)
                        return &l->records[i];
        return NULL;
}

int ledger_add(Ledger *l, ActionKind kind, pid_t pid, uint64_t start, const char *from) {
        int r;

        if (find(l, kind, pid, start))
                return 0; /* the first value found is the original */
        r = append(l, kind, pid, start, from);
        if (r < 0)
                return r;
        r = save(l);
        if (r < 0)
                free(l->records[--l->n].from);
        return r;
}

int ledger_remove(Ledger *l, ActionKind kind, pid_t pid, uint64_t start) {
        Record *record = find(l, kind, pid, start), kept;
        int r;

        if (!record)
                return 0;
        kept = *record;
        *record = l->records[--l->n];
        r = save(l);
        if (r < 0) {
                *record = kept;
                l->n++;
                return r;
        }
        free(kept.from);
        return 0;
}

/* Only processes are held: the names of others may hold what ends a line. */
static int hold_one(char ***held, size_t *n, const char *id, bool listed) {
        size_t kept = 0;

        if (!startswith(id, "process:"))
                return 0;
        if (listed)
                return strv_contains(*held, id) ? 0 : strv_append(held, n, id);
        for (size_t i = 0; i < *n; i++)
                if (streq((*held)[i], id))
                        free((*held)[i]);
                else
                        (*held)[kept++] = (*held)[i];
        if (kept < *n)
                (*held)[kept] = NULL;
        *n = kept;
        return 0;
}

int ledger_hold(Ledger *l, char *const *ids, bool hold) {
        _cleanup_strv_free_ char **held = NULL;
        Ledger new = *l;
        size_t n = 0;
        int r = 0;

        if (!ids)
                new.all_held = hold;
        else
                for (char **id = l->held; r >= 0 && id && *id; id++)
                        r = strv_append(&held, &n, *id);
        for (char *const *id = ids; r >= 0 && id && *id; id++)
                r = hold_one(&held, &n, *id, hold != new.all_held);
        if (r < 0)
                return r;
        new.held = held;
        new.n_held = n;
        r = save(&new);
        if (r < 0)
                return r;
        held = l->held;
        *l = new;
        return 0;
}

RecordView ledger_view(const Ledger *l) {
        return (RecordView) { .records = l->records, .n = l->n, .held = l->held, .all_held = l->all_held };
}
