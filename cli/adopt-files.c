/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/adopt-files.h"
#include "cli/complain.h"
#include "common/file.h"
#include "common/text.h"

/* Drop-ins are read in the order of their names, of all directories together: ours is read after those of
 * 'systemctl edit' (override.conf). */
#define OWN_NAME "zz-stackd.conf"
/* Until version 0.1. */
#define OLD_NAME "50-stackd.conf"
#define UPPER_PREFIX "50-stackd-"

typedef enum Owner {
        OWNER_NONE,
        OWNER_US,
        OWNER_OTHER,
} Owner;

void adopt_files_done(AdoptFiles *f) {
        strv_free(f->paths);
        strv_free(f->texts);
        strv_free(f->foreign);
        *f = (AdoptFiles) {};
}

char *adopt_service_path(const char *unit) {
        return text_format(ADOPT_DIRECTORY "/%s.d/" OWN_NAME, unit);
}

char *adopt_upper_path(const char *upper, const char *unit) {
        return text_format(ADOPT_DIRECTORY "/%s.d/" UPPER_PREFIX "%s.conf", upper, unit);
}

/* An Owner. One of ours may have been cut off by a power failure, by versions that did not wait for the disk. */
static int find_owner(const char *path, char **ret_text) {
        _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | O_NOFOLLOW);
        _cleanup_free_ char *text = NULL;
        struct stat st;
        int r;

        if (fd < 0 && errno == ENOENT)
                return OWNER_NONE;
        if (fd < 0 && errno == ELOOP)
                return OWNER_OTHER;
        r = fd < 0 || fstat(fd, &st) < 0 ? -errno : 0;
        if (r >= 0 && !S_ISREG(st.st_mode))
                return OWNER_OTHER;
        if (r >= 0)
                r = file_read_fd(fd, 1024 * 1024, &text, NULL);
        if (r == -EFBIG)
                return OWNER_OTHER;
        if (r < 0)
                return complain("Cannot read %s: %s.", path, strerror(-r));
        if (!startswith(text, ADOPT_MARKER) && !startswith(ADOPT_MARKER "\n", text))
                return OWNER_OTHER;
        *ret_text = TAKE_PTR(text);
        return OWNER_US;
}

static int write_durable(const char *path, const char *text) {
        _cleanup_free_ char *directory = strndup(path, (size_t) (strrchr(path, '/') - path));
        int r;

        if (!directory)
                return -ENOMEM;
        r = mkdir(directory, 0755) < 0 ? -errno : file_sync_parent(directory);
        if (r >= 0 || r == -EEXIST)
                r = file_write_durable(path, text, 0644);
        return r < 0 ? complain("Cannot write %s: %s.", path, strerror(-r)) : 0;
}

int adopt_file_write(const char *path, const char *text) {
        _cleanup_free_ char *before = NULL;
        int r;

        r = find_owner(path, &before);
        if (r == OWNER_OTHER)
                return complain("%s was not written by stackctl. Rename or remove it first.", path);
        return r < 0 ? r : write_durable(path, text);
}

static int remove_file(const char *path, AdoptFiles *f) {
        _cleanup_free_ char *text = NULL, *temporary = text_format("%s.new", path);
        int r;

        if (!temporary)
                return -ENOMEM;
        r = find_owner(path, &text);
        if (r == OWNER_OTHER)
                return strv_append(&f->foreign, &f->n_foreign, path);
        if (r != OWNER_US)
                return r;
        r = strv_append(&f->paths, &f->n_paths, path);
        if (r >= 0)
                r = strv_append(&f->texts, &f->n_texts, text);
        if (r < 0)
                return r;
        (void) unlink(temporary); /* of a write that was interrupted */
        r = unlink(path) < 0 ? -errno : file_sync_parent(path);
        return r < 0 ? complain("Cannot remove %s: %s.", path, strerror(-r)) : 0;
}

/* Whether a file of this name in 'directory' is one that is written for the unit, or for any. */
static bool is_candidate(const char *directory, const char *file, const char *unit) {
        const char *of;

        if (streq(file, OWN_NAME) || streq(file, OLD_NAME))
                return !unit || (startswith(directory, unit) && streq(directory + strlen(unit), ".d"));
        if (!endswith(directory, ".mount.d") && !endswith(directory, ".swap.d"))
                return false;
        of = startswith(file, UPPER_PREFIX);
        if (!of || !endswith(of, ".conf"))
                return false;
        return !unit || (startswith(of, unit) && streq(of + strlen(unit), ".conf"));
}

static int remove_in(const char *directory, const char *unit, AdoptFiles *f) {
        _cleanup_free_ char *path = text_format(ADOPT_DIRECTORY "/%s", directory);
        _cleanup_closedir_ DIR *d = path ? opendir(path) : NULL;
        size_t before = f->n_paths;
        struct dirent *de;
        int r = 0;

        if (!path)
                return -ENOMEM;
        while (d && (de = readdir(d))) {
                _cleanup_free_ char *file = NULL;
                int k;

                if (!is_candidate(directory, de->d_name, unit))
                        continue;
                file = text_format("%s/%s", path, de->d_name);
                k = file ? remove_file(file, f) : -ENOMEM;
                r = k < 0 ? k : r;
        }
        if (f->n_paths > before)
                (void) rmdir(path); /* unless somebody else uses it */
        return r;
}

int adopt_files_remove(const char *unit, AdoptFiles *f) {
        _cleanup_closedir_ DIR *d = opendir(ADOPT_DIRECTORY);
        struct dirent *de;
        int r = 0;

        while (d && (de = readdir(d)))
                if (endswith(de->d_name, ".d")) {
                        int k = remove_in(de->d_name, unit, f);

                        r = k < 0 ? k : r;
                }
        return r;
}

int adopt_files_restore(const AdoptFiles *f) {
        int r = 0;

        for (size_t i = 0; i < f->n_texts && r >= 0; i++)
                r = write_durable(f->paths[i], f->texts[i]);
        return r;
}
