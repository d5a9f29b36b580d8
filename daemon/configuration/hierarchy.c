/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "common/array.h"
#include "common/file.h"
#include "common/text.h"
#include "daemon/configuration/hierarchy.h"
#include "daemon/policy/setting.h"

#define FILE_MAX (1024U * 1024)
#define TOTAL_MAX (12U * 1024 * 1024) /* a child's output may be 16 MiB */
#define ENTRIES_MAX 4096U

const char *const hierarchy_places[] = { "etc", "run", "usr/local/lib", "usr/lib", NULL };
/* systemd.unit(5), "Unit File Load Path" */
const char *const hierarchy_unit_directories[] = {
        "etc/systemd/system.control",
        "run/systemd/system.control",
        "run/systemd/transient",
        "run/systemd/generator.early",
        "etc/systemd/system",
        "etc/systemd/system.attached",
        "run/systemd/system",
        "run/systemd/system.attached",
        "run/systemd/generator",
        "usr/local/lib/systemd/system",
        "usr/lib/systemd/system",
        "run/systemd/generator.late",
        NULL,
};

typedef struct Reader {
        int root_fd;
        bool machine;
        int output_fd;
        size_t total;
} Reader;

static void emit_found(Reader *r, FoundState state, bool secret, unsigned line, const char *path, const char *text) {
        _cleanup_free_ char *head = text_format("%u %u %u %zu %zu\n/%s", state, secret, line, strlen(path) + 1, strlen(text), path);

        r->total += strlen(path) + strlen(text) + 64;
        /* Without a parent there is nobody to tell. */
        if (!head || file_write_all(r->output_fd, head, strlen(head)) < 0 || file_write_all(r->output_fd, text, strlen(text)) < 0)
                _exit(EXIT_FAILURE);
}

static void emit(Reader *r, FoundState state, unsigned line, const char *path, const char *text) {
        emit_found(r, state, false, line, path, text);
}

static int open_at(const Reader *r, const char *path, int flags) {
        int fd;

        if (!r->machine)
                return file_open_in_root(r->root_fd, path, flags, RESOLVE_NO_MAGICLINKS);
        fd = openat(r->root_fd, path, flags | O_CLOEXEC);
        return fd < 0 ? -errno : fd;
}

/* A link to /dev/null, wherever that is in a captured directory. */
static int is_mask(const Reader *r, const char *path) {
        _cleanup_close_ int fd = open_at(r, path, O_PATH | O_NOFOLLOW);
        _cleanup_free_ char *target = NULL;
        struct stat st;

        if (fd < 0)
                return fd;
        if (fstat(fd, &st) < 0)
                return -errno;
        return S_ISLNK(st.st_mode) && file_readlink(fd, "", &target) >= 0 && streq(target, "/dev/null");
}

/* Only a regular file is opened to be read: a device might do anything, a FIFO wait for ever. */
static int open_regular(const Reader *r, const char *path, const char **ret_wrong) {
        _cleanup_close_ int looked = open_at(r, path, O_PATH), fd = -1;
        struct stat st, now;

        if (looked < 0)
                return looked;
        if (fstat(looked, &st) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode)) {
                *ret_wrong = S_ISDIR(st.st_mode) ? "is a directory, and no file" : "is no regular file";
                return -EINVAL;
        }
        /* What could not be read when a capture was made, not even root reads there (sysroot.c). */
        if (!r->machine && (st.st_mode & 0444) == 0)
                return -EACCES;
        fd = open_at(r, path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
        if (fd < 0)
                return fd;
        if (fstat(fd, &now) < 0)
                return -errno;
        if (now.st_dev != st.st_dev || now.st_ino != st.st_ino) {
                *ret_wrong = "was replaced while it was read";
                return -EINVAL;
        }
        return TAKE_FD(fd);
}

/* Whether every user of this machine could read the file where it really is: by its mode, and by those of all
 * directories above it. */
static bool is_public(const Reader *r, const char *path, int fd) {
        _cleanup_free_ char *whole = text_format("/%s", path), *real = NULL;
        struct stat st;

        if (fstat(fd, &st) < 0 || !(st.st_mode & S_IROTH))
                return false;
        if (!r->machine)
                return true;
        real = whole ? realpath(whole, NULL) : NULL;
        for (char *slash = real ? strrchr(real, '/') : NULL; slash && slash != real; slash = strrchr(real, '/')) {
                *slash = 0;
                if (stat(real, &st) < 0 || !(st.st_mode & S_IXOTH))
                        return false;
        }
        return real;
}

static unsigned line_of(const char *text, const char *at) {
        unsigned line = 1;

        for (; text < at; text++)
                line += *text == '\n';
        return line;
}

/* 'wanted': a file without this text says nothing to us; NULL: every file counts. */
static void read_file(Reader *r, const char *path, const char *wanted) {
        _cleanup_free_ char *text = NULL;
        _cleanup_close_ int fd = -1;
        const char *wrong = NULL, *nul;
        size_t size = 0;
        int k;

        k = is_mask(r, path);
        if (k == -ENOENT)
                return;
        if (k > 0) {
                emit(r, FOUND_MASK, 0, path, "");
                return;
        }
        fd = open_regular(r, path, &wrong);
        if (fd == -ENOENT && k == 0)
                wrong = "is a link to what is not there";
        k = fd < 0 ? fd : file_read_fd(fd, FILE_MAX, &text, &size);
        if (k == -EFBIG)
                wrong = "is larger than 1 MiB";
        if (k >= 0 && r->total + size > TOTAL_MAX)
                wrong = "is too much: all configuration together is larger than 12 MiB";
        if (k < 0 && !wrong)
                wrong = strerror(-k);
        nul = wrong ? NULL : memchr(text, 0, size);
        if (wrong)
                emit(r, FOUND_TROUBLE, 0, path, wrong);
        else if (nul)
                emit(r, FOUND_TROUBLE, line_of(text, nul), path, "a NUL byte: no text file");
        else if (size == 0)
                emit(r, FOUND_MASK, 0, path, "");
        else
                emit_found(r, FOUND_TEXT, !is_public(r, path, fd), 0, path, wanted && !strstr(text, wanted) ? "" : text);
}

static int compare_names(const void *a, const void *b) {
        return strcmp(*(char *const *) a, *(char *const *) b);
}

/* The names in a directory, sorted; none where it is not there. What else is wrong with it is told. */
static char **list(Reader *r, const char *path) {
        _cleanup_strv_free_ char **names = NULL;
        _cleanup_closedir_ DIR *d = NULL;
        struct dirent *de;
        size_t n = 0;
        int fd;

        fd = open_at(r, path, O_RDONLY | O_DIRECTORY | O_NONBLOCK);
        if (fd == -ENOENT)
                return NULL;
        d = fd >= 0 ? fdopendir(fd) : NULL;
        if (!d) {
                emit(r, FOUND_DIRECTORY, 0, path, strerror(fd < 0 ? -fd : errno));
                fd_close(fd);
                return NULL;
        }
        while ((errno = 0, de = readdir(d))) {
                if (de->d_name[0] == '.')
                        continue;
                if (n >= ENTRIES_MAX) {
                        emit(r, FOUND_DIRECTORY, 0, path, "more than 4096 names");
                        break;
                }
                if (strv_append(&names, &n, de->d_name) < 0)
                        _exit(EXIT_FAILURE);
        }
        if (!de && errno != 0)
                emit(r, FOUND_DIRECTORY, 0, path, strerror(errno));
        if (n > 1)
                qsort(names, n, sizeof(char *), compare_names);
        return TAKE_PTR(names);
}

static void read_drop_ins(Reader *r, const char *directory, const char *wanted) {
        _cleanup_strv_free_ char **names = list(r, directory);

        for (char **name = names; name && *name; name++) {
                _cleanup_free_ char *path = text_format("%s/%s", directory, *name);

                if (!path)
                        _exit(EXIT_FAILURE);
                if (endswith(*name, ".conf"))
                        read_file(r, path, wanted);
        }
}

/* Files called *SUFFIX, and what is in the directories *SUFFIX.d beside them. */
static void read_directory(Reader *r, const char *directory, const char *suffix, const char *wanted) {
        _cleanup_free_ char *drop_ins = text_format("%s.d", suffix);
        _cleanup_strv_free_ char **names = list(r, directory);

        for (char **name = names; name && *name; name++) {
                _cleanup_free_ char *path = text_format("%s/%s", directory, *name);

                if (!path || !drop_ins)
                        _exit(EXIT_FAILURE);
                if (endswith(*name, suffix) && strlen(*name) > strlen(suffix))
                        read_file(r, path, wanted);
                else if (endswith(*name, drop_ins) || streq(*name, drop_ins + 1))
                        read_drop_ins(r, path, wanted);
        }
}

static char *below(const char *place, const char *rest) {
        char *path = text_format("%s/%s", place, rest);

        if (!path)
                _exit(EXIT_FAILURE);
        return path;
}

/* Our own files first: should time run out, then with those of systemd, of which there are many. */
void hierarchy_read(const char *root, int output_fd) {
        Reader r = { .machine = !root, .output_fd = output_fd };

        r.root_fd = open(root ?: "/", O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (r.root_fd < 0)
                _exit(EXIT_FAILURE);
        read_file(&r, "etc/passwd", NULL);
        for (const char *const *place = hierarchy_places; *place; place++) {
                _cleanup_free_ char *conf = below(*place, "stackd/stackd.conf"), *conf_d = below(*place, "stackd/stackd.conf.d");
                _cleanup_free_ char *policy = below(*place, "stackd/policy");

                read_file(&r, conf, NULL);
                read_drop_ins(&r, conf_d, NULL);
                read_directory(&r, policy, ".policy", NULL);
        }
        for (const char *const *units = hierarchy_unit_directories; *units; units++)
                read_directory(&r, *units, ".service", "[" SECTION_OF_UNITS "]");
        fd_close(r.root_fd);
}

/* ---- the other end ---- */

static void found_done(Found *f) {
        free(f->path);
        free(f->text);
        *f = (Found) {};
}

void found_list_done(FoundList *l) {
        for (size_t i = 0; i < l->n; i++)
                found_done(&l->found[i]);
        free(l->found);
        *l = (FoundList) {};
}

int found_parse(const char *output, FoundList *ret) {
        _cleanup_(found_list_done) FoundList l = {};
        size_t left = strlen(output);

        while (left > 0) {
                _cleanup_(found_done) Found f = {};
                size_t n_path, n_text, n_head;
                const char *end = memchr(output, '\n', left);
                unsigned state, secret;
                int r;

                if (!end || sscanf(output, "%u %u %u %zu %zu\n", &state, &secret, &f.line, &n_path, &n_text) != 5 ||
                    state >= _FOUND_STATE_MAX)
                        break;
                n_head = (size_t) (end - output) + 1;
                if (n_path > left - n_head || n_text > left - n_head - n_path)
                        break;
                f.state = (FoundState) state;
                f.secret = secret;
                f.path = strndup(end + 1, n_path);
                f.text = strndup(end + 1 + n_path, n_text);
                if (!f.path || !f.text)
                        return -ENOMEM;
                r = ARRAY_APPEND(l.found, l.n, l.capacity, f);
                if (r < 0)
                        return r;
                f = (Found) {};
                output = end + 1 + n_path + n_text;
                left -= n_head + n_path + n_text;
        }
        *ret = l;
        l = (FoundList) {};
        return 0;
}
