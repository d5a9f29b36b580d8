/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "common/array.h"
#include "common/file.h"
#include "common/text-stream.h"
#include "common/text.h"
#include "daemon/actuator/ledger.h"

/* One record a line:
 *     boot ID
 *     io-flusher PID START FROM [WHEN]                        (without the time as the first version wrote it)
 *     KIND TARGET KEY FROM TO SET DETAIL SUBJECT PID START NAME [WHEN]
 *     held ID          (an administrator reverted it; after "held *": everything but it)
 * Words of the longer form have what ends a word or a line as \xNN; "-" is none, "\-" the empty one. */
#define WORDS 12
#define WORDS_LEAST 11

void ledger_done(Ledger *l) {
        for (size_t i = 0; i < l->n; i++)
                record_done(&l->records[i]);
        free(l->records);
        strv_free(l->held);
        free(l->boot_id);
        fd_close(l->dir_fd);
        fd_close(l->lock_fd);
        *l = LEDGER_NULL;
}

static Record *find(Ledger *l, ActionKind kind, const char *target, const char *key) {
        for (size_t i = 0; i < l->n; i++)
                if (l->records[i].kind == kind && streq(l->records[i].target, target) && streq(l->records[i].key, key))
                        return &l->records[i];
        return NULL;
}

/* ---- words ---- */

static void put_word(FILE *f, const char *s) {
        if (!s || !*s || streq(s, "-")) {
                fputs(!s ? " -" : !*s ? " \\-" : " \\x2d", f);
                return;
        }
        putc(' ', f);
        for (; *s; s++)
                if ((unsigned char) *s <= ' ' || *s == '\\' || *s == 0x7f)
                        fprintf(f, "\\x%02x", (unsigned char) *s);
                else
                        putc(*s, f);
}

static int hex_digit(char c) {
        return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Undoes put_word() in place: -EINVAL for what it never writes. NULL in *ret for none. */
static int take_word(char *word, char **ret) {
        char *to = word;

        if (!word)
                return -EINVAL;
        if (streq(word, "-")) {
                *ret = NULL;
                return 0;
        }
        *ret = word;
        if (streq(word, "\\-"))
                word += 2;
        while (*word)
                if (*word != '\\')
                        *to++ = *word++;
                else if (word[1] != 'x' || hex_digit(word[2]) < 0 || hex_digit(word[3]) < 0)
                        return -EINVAL;
                else {
                        *to++ = (char) (hex_digit(word[2]) << 4 | hex_digit(word[3]));
                        word += 4;
                }
        *to = 0;
        return 0;
}

/* ---- lines ---- */

/* Copies the record. */
static int append(Ledger *l, const Record *record) {
        Record copy;
        int r;

        r = record_copy(record, &copy);
        if (r >= 0)
                r = ARRAY_APPEND(l->records, l->n, l->capacity, copy);
        else
                return r;
        if (r < 0)
                record_done(&copy);
        return r;
}

static int parse_mark(Ledger *l, char *a, char *b, char *c, const char *when) {
        Record record = { .kind = ACTION_IO_FLUSHER, .key = (char *) "", .name = (char *) "?", .to = (char *) "all", .from = c };
        _cleanup_free_ char *target = NULL;

        if (!b || !c || text_to_pid(a, &record.pid) < 0 || text_to_u64(b, 10, &record.start) < 0 ||
            (when && text_to_u64(when, 10, &record.when) < 0))
                return -EINVAL;
        target = text_format("process:%d:%llu", record.pid, (unsigned long long) record.start);
        if (!target)
                return -ENOMEM;
        record.target = record.subject = target;
        return append(l, &record);
}

static int parse_record(Ledger *l, ActionKind kind, char *words[WORDS]) {
        Record record = { .kind = kind };
        char *pid = NULL, *start = NULL;
        char **const texts[WORDS_LEAST] = {
                NULL, &record.target, &record.key, &record.from, &record.to, &record.set, &record.detail, &record.subject, &pid, &start,
                &record.name,
        };
        uint64_t number;

        for (size_t i = 1; i < WORDS_LEAST; i++)
                if (take_word(words[i], texts[i]) < 0)
                        return -EINVAL;
        if (!record.target || !record.key || !record.from || !record.to || !record.subject || !record.name || !pid || !start ||
            text_to_u64(pid, 10, &number) < 0 || number > INT32_MAX || text_to_u64(start, 10, &record.start) < 0 ||
            (words[WORDS_LEAST] && text_to_u64(words[WORDS_LEAST], 10, &record.when) < 0))
                return -EINVAL;
        record.pid = (pid_t) number;
        return append(l, &record);
}

static int parse_line(Ledger *l, char *line) {
        char *words[WORDS] = {}, *state = NULL;
        ActionKind kind;

        for (size_t i = 0; i < WORDS; i++) {
                words[i] = strtok_r(i == 0 ? line : NULL, " ", &state);
                if (!words[i])
                        break;
        }
        if (!words[0] || !words[1])
                return -EINVAL;
        if (streq(words[0], "held")) {
                if (streq(words[1], "*")) {
                        l->all_held = true;
                        return 0;
                }
                return strv_append(&l->held, &l->n_held, words[1]);
        }
        kind = action_kind_from_string(words[0]);
        if (kind < 0)
                return -EINVAL;
        return kind == ACTION_IO_FLUSHER ? parse_mark(l, words[1], words[2], words[3], words[4]) : parse_record(l, kind, words);
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

/* The end of the line. */
static void put_when(FILE *f, uint64_t when) {
        if (when > 0)
                fprintf(f, " %llu", (unsigned long long) when);
        putc('\n', f);
}

static void write_record(FILE *f, const Record *r) {
        const char *const words[] = { r->target, r->key, r->from, r->to, r->set, r->detail, r->subject };

        fprintf(f, "%s", action_kind_to_string(r->kind));
        if (r->kind == ACTION_IO_FLUSHER) {
                fprintf(f, " %d %llu %s", r->pid, (unsigned long long) r->start, r->from);
                put_when(f, r->when);
                return;
        }
        for (size_t i = 0; i < ELEMENTSOF(words); i++)
                put_word(f, words[i]);
        fprintf(f, " %d %llu", r->pid, (unsigned long long) r->start);
        put_word(f, r->name);
        put_when(f, r->when);
}

static int save(const Ledger *l) {
        _cleanup_free_ char *text = NULL;
        size_t size;
        _cleanup_fclose_ FILE *f = NULL;

        if (l->dir_fd < 0)
                return 0;
        f = text_stream_open(&text, &size);
        if (!f)
                return -ENOMEM;
        fprintf(f, "boot %s\n", l->boot_id);
        for (size_t i = 0; i < l->n; i++)
                write_record(f, &l->records[i]);
        if (l->all_held)
                fprintf(f, "held *\n");
        for (char **id = l->held; id && *id; id++)
                fprintf(f, "held %s\n", *id);
        if (fflush(f) != 0 || ferror(f))
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
        if (ret_skipped)
                *ret_skipped = skipped;
        return 0;
}

int ledger_put(Ledger *l, const Record *record) {
        Record *present = find(l, record->kind, record->target, record->key), kept;
        int r;

        if (!present) {
                r = append(l, record);
                if (r < 0)
                        return r;
                r = save(l);
                if (r < 0)
                        record_done(&l->records[--l->n]);
                return r;
        }
        kept = *present;
        if (streq(kept.to, record->to) && streq_ptr(kept.set, record->set))
                return 0;
        Record changed = kept;

        changed.to = record->to;
        changed.set = record->set;
        changed.when = record->when;
        r = record_copy(&changed, present);
        if (r < 0)
                return r;
        r = save(l);
        if (r < 0) {
                record_done(present);
                *present = kept;
        } else
                record_done(&kept);
        return r;
}

int ledger_remove(Ledger *l, ActionKind kind, const char *target, const char *key) {
        Record *record = find(l, kind, target, key), kept;
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
        record_done(&kept);
        return 0;
}

/* What something is done for: processes, file systems and devices. The names of others may hold what ends a line. */
static int hold_one(char ***held, size_t *n, const char *id, bool listed) {
        size_t kept = 0;

        if (!startswith(id, "process:") && !startswith(id, "fs:") && !startswith(id, "block:"))
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
