/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "common/text-stream.h"
#include "common/text.h"
#include "daemon/source/process-ground.h"
#include "daemon/source/process-table.h"

#define DEVICES_MAX 256U

static bool is_known(const dev_t *devices, size_t n, dev_t device) {
        for (size_t i = 0; i < n; i++)
                if (devices[i] == device)
                        return true;
        return false;
}

/* "START-END PERMISSIONS OFFSET MAJ:MIN INODE   PATH", the numbers of the device in hexadecimal (fs/proc/task_mmu.c).
 * The first of a superblock is enough. */
static int put_mapping(FILE *f, const char *line, dev_t *devices, size_t *n) {
        _cleanup_free_ char *path = NULL;
        unsigned maj, min;
        unsigned long long inode;
        int end = 0;

        if (sscanf(line, "%*s %*s %*s %x:%x %llu %n", &maj, &min, &inode, &end) < 3 || end == 0 || inode == 0 || line[end] != '/' ||
            *n >= DEVICES_MAX || is_known(devices, *n, makedev(maj, min)))
                return 0;
        path = text_escape(line + end);
        if (!path)
                return -ENOMEM;
        devices[(*n)++] = makedev(maj, min);
        fprintf(f, "device %u:%u %s\t", maj, min, path);
        return 0;
}

static int put_mappings(FILE *f, const Sysroot *s, pid_t pid) {
        _cleanup_free_ char *maps = NULL;
        dev_t devices[DEVICES_MAX];
        char *rest = NULL;
        size_t n = 0;
        int r;

        r = sysroot_read(s, AREA_PROC, PATH("%d/maps", pid), &maps);
        for (char *line = r < 0 ? NULL : strtok_r(maps, "\n", &rest); r >= 0 && line; line = strtok_r(NULL, "\n", &rest))
                r = put_mapping(f, line, devices, &n);
        return r;
}

static void put_directory(FILE *f, const Sysroot *s, pid_t pid, const char *link, const char *what) {
        _cleanup_close_ int fd = sysroot_open_at(s, AREA_PROC, PATH("%d/%s", pid, link), O_PATH);
        _cleanup_free_ char *text = NULL;
        const char *id;

        if (fd < 0 || sysroot_read(s, AREA_PROC, PATH("self/fdinfo/%d", fd), &text) < 0)
                return;
        id = strstr(text, "mnt_id:");
        if (id)
                fprintf(f, "mount %d %s\t", atoi(id + strlen("mnt_id:")), what);
}

static int ask_all(const Sysroot *s, pid_t pid, uint64_t start, FILE *f) {
        uint64_t now;
        int r;

        r = put_mappings(f, s, pid);
        if (r < 0)
                return r;
        put_directory(f, s, pid, "cwd", "its working directory");
        put_directory(f, s, pid, "root", "its root directory");
        r = process_read_start(s, pid, &now);
        return r < 0 ? r : now == start ? 0 : -ESRCH;
}

int ground_ask(pid_t pid, uint64_t start, char **ret) {
        _cleanup_(sysroot_freep) Sysroot *s = NULL;
        _cleanup_free_ char *text = NULL;
        FILE *f;
        size_t size;
        int r;

        r = sysroot_open(NULL, &s, NULL);
        if (r < 0)
                return r;
        f = text_stream_open(&text, &size);
        if (!f)
                return -ENOMEM;
        r = sysroot_result(s, ask_all(s, pid, start, f));
        if (fclose(f) != 0)
                r = -ENOMEM;
        if (r >= 0)
                *ret = TAKE_PTR(text);
        return r;
}

static bool parse(char *part, Ground *ret) {
        char *number = strchr(part, ' '), *what = number ? strchr(number + 1, ' ') : NULL;
        pid_t id;

        if (!what)
                return false;
        *number++ = *what++ = 0;
        *ret = (Ground) { .mount_id = -1, .what = what };
        if (streq(part, "device"))
                return text_to_devno(number, &ret->device) >= 0;
        if (!streq(part, "mount") || text_to_pid(number, &id) < 0)
                return false;
        ret->mount_id = id;
        return true;
}

bool ground_next(char **answer, Ground *ret) {
        while (**answer) {
                char *part = *answer;
                size_t n = strcspn(part, "\t");

                *answer += n + (part[n] != 0);
                part[n] = 0;
                if (parse(part, ret))
                        return true;
        }
        return false;
}
