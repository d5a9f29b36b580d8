/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>

#include "common/array.h"
#include "common/file.h"
#include "common/text.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/memory-root.h"

typedef struct Entry {
        const char *path; /* within its area */
        SysrootArea area;
        const char *content;
        bool link;
        int error;
} Entry;

struct Sysroot {
        Entry *entries;
        size_t n, capacity;
};

static int take_head(char *head, Entry *ret) {
        static const char *const areas[_AREA_MAX] = { [AREA_PROC] = "proc/", [AREA_SYS] = "sys/", [AREA_RUN] = "run/", [AREA_DEV] = "dev/" };
        char *link = strstr(head, " -> "), *wrong = strstr(head, " !");
        uint64_t error;

        *ret = (Entry) { .content = "" };
        if (link) {
                *link = 0;
                ret->content = link + 4;
                ret->link = true;
        } else if (wrong) {
                *wrong = 0;
                if (text_to_u64(wrong + 2, 10, &error) >= 0 && error > 0 && error < 134 && error != ENOMEM)
                        ret->error = -(int) error;
        }
        for (SysrootArea area = 0; area < _AREA_MAX; area++) {
                ret->path = startswith(head, areas[area]);
                ret->area = area;
                if (ret->path)
                        return *ret->path ? 0 : -EINVAL;
        }
        return -EINVAL;
}

Sysroot *memory_root_new(char *text) {
        Sysroot *s = calloc(1, sizeof(Sysroot));

        MUST(s);
        for (char *line = *text == '@' ? text : NULL, *next; line; line = next) {
                char *end = line + strcspn(line, "\n");
                Entry e;

                next = strstr(end, "\n@");
                if (next)
                        *next++ = 0;
                if (*end) {
                        *end++ = 0;
                        end[strlen(end)] = 0;
                }
                if (take_head(line + 1, &e) < 0)
                        continue;
                if (!e.link)
                        e.content = end;
                MUST(ARRAY_APPEND(s->entries, s->n, s->capacity, e) >= 0);
        }
        return s;
}

static const char *without_dot(const char *path) {
        return streq(path, ".") ? "" : startswith(path, "./") ?: path;
}

/* The rest of the entry's path below the directory, or NULL. */
static const char *below(const Entry *e, SysrootArea area, const char *directory) {
        const char *rest = e->area == area ? startswith(e->path, directory) : NULL;

        return !rest || !*directory ? rest : *rest == '/' && rest[1] ? rest + 1 : NULL;
}

/* 'ret_directory': something is in it. */
static const Entry *find(const Sysroot *s, SysrootArea area, const char *path, bool *ret_directory) {
        path = without_dot(path);
        *ret_directory = false;
        for (size_t i = 0; i < s->n; i++) {
                if (s->entries[i].area == area && streq(s->entries[i].path, path))
                        return &s->entries[i];
                *ret_directory |= below(&s->entries[i], area, path) != NULL;
        }
        return NULL;
}

Sysroot *sysroot_free(Sysroot *s) {
        if (!s)
                return NULL;
        free(s->entries);
        free(s);
        return NULL;
}

int sysroot_open(const char *directory _unused_, Sysroot **ret _unused_, const char **ret_missing _unused_) {
        return -ENOENT;
}

bool sysroot_is_recorded(const Sysroot *s _unused_) {
        return false;
}

bool sysroot_is_machine(const Sysroot *s _unused_) {
        return false;
}

const int *sysroot_descriptors(const Sysroot *s _unused_, size_t *ret_n) {
        *ret_n = 0;
        return NULL;
}

void sysroot_set_recorder(Sysroot *s _unused_, Recorder *r _unused_) {
}

void sysroot_record_link(const Sysroot *s _unused_, SysrootArea area _unused_, const char *path _unused_, const char *target _unused_) {
}

void sysroot_record_text(const Sysroot *s _unused_, SysrootArea area _unused_, const char *path _unused_, const char *text _unused_) {
}

/* Of a directory: something that can be closed. */
int sysroot_open_at(const Sysroot *s, SysrootArea area, const char *path, int flags) {
        bool directory;
        int fd;

        if (!(flags & O_DIRECTORY) || find(s, area, path, &directory) || !directory)
                return -ENOENT;
        fd = open("/", O_PATH | O_CLOEXEC);
        return fd < 0 ? -errno : fd;
}

int sysroot_read_limited(const Sysroot *s, SysrootArea area, const char *path, size_t most, char **ret) {
        bool directory;
        const Entry *e = find(s, area, path, &directory);

        if (!e || e->link)
                return directory ? -EISDIR : -ENOENT;
        if (e->error < 0)
                return e->error;
        if (strlen(e->content) > most)
                return -EFBIG;
        *ret = strdup(e->content);
        MUST(*ret);
        return 0;
}

int sysroot_read(const Sysroot *s, SysrootArea area, const char *path, char **ret) {
        return sysroot_read_limited(s, area, path, SIZE_MAX, ret);
}

int sysroot_peek_link(const Sysroot *s, SysrootArea area, const char *path, char **ret) {
        bool directory;
        const Entry *e = find(s, area, path, &directory);

        if (!e)
                return directory ? -EINVAL : -ENOENT;
        if (e->error < 0 || !e->link)
                return e->error ?: -EINVAL;
        *ret = strdup(e->content);
        MUST(*ret);
        return 0;
}

int sysroot_readlink(const Sysroot *s, SysrootArea area, const char *path, char **ret) {
        return sysroot_peek_link(s, area, path, ret);
}

int sysroot_readlink_at(const Sysroot *s, SysrootArea area, int dir_fd _unused_, const char *directory, const char *name, char **ret) {
        return sysroot_peek_link(s, area, PATH("%s/%s", directory, name), ret);
}

bool sysroot_exists(const Sysroot *s, SysrootArea area, const char *path) {
        bool directory;

        return find(s, area, path, &directory) || directory;
}

static int compare_names(const void *a, const void *b) {
        return strverscmp(*(char *const *) a, *(char *const *) b);
}

int sysroot_list(const Sysroot *s, SysrootArea area, const char *path, char ***ret) {
        char **names = calloc(1, sizeof(char *));
        size_t n = 0;

        MUST(names);
        for (size_t i = 0; i < s->n; i++) {
                const char *rest = below(&s->entries[i], area, without_dot(path));
                _cleanup_free_ char *name = rest ? strndup(rest, strcspn(rest, "/")) : NULL;

                if (name && *name && *name != '.' && !strv_contains(names, name))
                        MUST(strv_append(&names, &n, name) >= 0);
        }
        if (n > 1)
                qsort(names, n, sizeof(char *), compare_names);
        *ret = names;
        return 0;
}

static int compare_numbers(const void *a, const void *b) {
        int x = *(const int *) a, y = *(const int *) b;

        return (x > y) - (x < y);
}

int sysroot_list_numbers(const Sysroot *s, SysrootArea area, const char *path, int **ret, size_t *ret_n) {
        _cleanup_strv_free_ char **names = NULL;
        size_t n = 0, capacity = 0;
        int *numbers = NULL;

        if (!sysroot_exists(s, area, path) && *without_dot(path))
                return -ENOENT;
        MUST(sysroot_list(s, area, path, &names) >= 0);
        for (char **name = names; *name; name++) {
                uint64_t value;

                if (text_to_u64(*name, 10, &value) >= 0 && value <= INT32_MAX)
                        MUST(ARRAY_APPEND(numbers, n, capacity, (int) value) >= 0);
        }
        if (n > 1)
                qsort(numbers, n, sizeof(int), compare_numbers);
        *ret = numbers;
        *ret_n = n;
        return 0;
}

int sysroot_result(const Sysroot *s _unused_, int r) {
        return r;
}

const char *path_text(char buffer[PATH_TEXT_SIZE], const char *format, ...) {
        va_list ap;

        va_start(ap, format);
        (void) vsnprintf(buffer, PATH_TEXT_SIZE, format, ap);
        va_end(ap);
        return buffer;
}
