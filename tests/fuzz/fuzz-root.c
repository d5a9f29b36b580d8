/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A directory that is said to be a captured machine, as somebody sends one: read for --root= by the real daemon/sysroot/sysroot.c, with all
 * sources, and for its configuration. Nothing outside is read, and nothing that hangs is touched. The input is text:
 *
 *     @proc/1/mountinfo         a file; its content is the lines up to the next '@'
 *     @proc/7/fd/3 -> TARGET    a link; "@OUT" in the target is the directory that must not be reached
 *     @etc/passwd !fifo         also !socket, !device, !denied, !directory, !huge (more than the 1 MiB that configuration may have) */
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>

#include "common/file.h"
#include "common/text.h"
#include "daemon/analysis/hazard.h"
#include "daemon/bus/describe.h"
#include "daemon/capture/archive.h"
#include "daemon/configuration/configuration.h"
#include "daemon/source/scan.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/scratch-directory.h"

#define HUGE_SIZE ((off_t) 1100 << 10)

/* In each file and each name outside: it may come up nowhere. */
static char secret[32];

static void prepare(void) {
        static const char *const files[] = {
                "out/file", "out/mountinfo", "out/passwd", "out/dev", "out/stackd.conf", "out/proc/1/mountinfo", "out/class/block/sda/dev",
                "out/stackd/probes", "out/stackd/ledger",
        };
        _cleanup_free_ char *content = NULL, *name = NULL;
        uint64_t number = 0;

        MUST(getrandom(&number, sizeof(number), 0) == sizeof(number));
        snprintf(secret, sizeof(secret), "S%016llxZ", (unsigned long long) number);
        content = text_format("1 1 8:1 / / rw - ext4 /%s rw\n%s:x:0\n[%s]\n%s=%s\n", secret, secret, secret, secret, secret);
        name = text_format("out/class/block/%s/dev", secret);
        MUST(content && name);
        for (size_t i = 0; i < ELEMENTSOF(files); i++)
                scratch_file(files[i], content, strlen(content));
        scratch_file(name, content, strlen(content));
}

static bool is_safe(const char *path) {
        size_t n = 0, depth = 0;

        for (const char *p = path; *p; p += n + (p[n] == '/')) {
                n = strcspn(p, "/");
                if (n == 0 || n > 255 || ++depth > 16 || (n == 1 && *p == '.') || (n == 2 && p[0] == '.' && p[1] == '.'))
                        return false;
        }
        return depth > 0 && n > 0 && strlen(path) < 1024;
}

static void make_link(const char *path, const char *target) {
        _cleanup_free_ char *full = NULL;
        const char *out = strstr(target, "@OUT");

        full = out ? text_format("%.*s%s/out%s", (int) (out - target), target, scratch_directory(), out + 4) : strdup(target);
        MUST(full);
        MUST(symlink(full, path) == 0 || errno == EEXIST || errno == ENOTDIR || errno == ENOENT || errno == ENAMETOOLONG);
}

/* Where a name is taken already, by a file in the place of a directory say, it stays so. */
static void make_special(const char *path, const char *kind, bool *huge) {
        _cleanup_close_ int fd = -1;

        if (streq(kind, "fifo"))
                (void) mkfifo(path, 0600);
        else if (streq(kind, "directory"))
                (void) mkdir(path, 0700);
        else if (streq(kind, "device"))
                (void) mknod(path, S_IFCHR | 0600, makedev(1, 5)); /* zeros without end */
        else if (streq(kind, "socket")) {
                struct sockaddr_un a = { .sun_family = AF_UNIX };

                fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
                if (strlen(path) < sizeof(a.sun_path) && fd >= 0) {
                        strcpy(a.sun_path, path);
                        (void) bind(fd, (struct sockaddr *) &a, sizeof(a));
                }
        } else if (streq(kind, "denied") || (streq(kind, "huge") && !*huge)) {
                fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, streq(kind, "denied") ? 0 : 0600);
                if (fd >= 0 && streq(kind, "huge")) {
                        *huge = true;
                        MUST(ftruncate(fd, HUGE_SIZE) == 0);
                }
        }
}

static void make_entry(char *entry, bool *huge) {
        char *content = strchrnul(entry, '\n'), *link, *special;
        _cleanup_free_ char *path = NULL, *full = NULL;
        _cleanup_close_ int fd = -1;

        if (*content)
                *content++ = 0;
        link = strstr(entry, " -> ");
        special = strstr(entry, " !");
        if (link)
                *link = 0;
        else if (special)
                *special = 0;
        if (!is_safe(entry))
                return;
        path = text_format("root/%s", entry);
        full = text_format("%s/%s", scratch_directory(), path);
        MUST(path && full);
        scratch_parents(path);
        if (link)
                make_link(full, link + 4);
        else if (special)
                make_special(full, special + 2, huge);
        else {
                fd = open(full, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
                if (fd >= 0)
                        MUST(file_write_all(fd, content, strlen(content)) >= 0);
        }
}

static void check_secret(const char *text, size_t size) {
        MUST(!memmem(text, size, secret, strlen(secret)));
}

static void read_configuration(const char *path) {
        _cleanup_(configuration_done) Configuration c = CONFIGURATION_NULL;
        _cleanup_close_ int fd = memfd_create("configuration", MFD_CLOEXEC);
        _cleanup_free_ char *output = NULL, *json = NULL;
        size_t size;

        MUST(fd >= 0);
        hierarchy_read(path, fd);
        MUST(lseek(fd, 0, SEEK_SET) == 0 && file_read_fd(fd, 16 << 20, &output, &size) >= 0);
        check_secret(output, size);
        MUST(configuration_update(&c, output, true) >= 0 && configuration_describe(&c, true, &json) >= 0);
}

static void read_machine(Sysroot *s) {
        _cleanup_(probe_cache_done) ProbeCache cache = {};
        _cleanup_(scan_done) Scan scan = { .root = s, .probes = &cache };
        _cleanup_(hazard_list_done) HazardList hazards = {};
        _cleanup_(graph_freep) Graph *g = graph_new();
        _cleanup_graph_changes_ GraphChanges changes = {};
        Analysis a = {};
        const BusView view = { .graph = g, .analysis = &a, .hazards = &hazards, .gaps = &(const Gaps) { .set = ~0U } };
        _cleanup_free_ char *probes = NULL, *json = NULL;

        MUST(g && probe_cache_init(&cache) >= 0);
        if (sysroot_read(s, AREA_RUN, CAPTURE_PROBES_IN_RUN, &probes) >= 0)
                MUST(probe_cache_load(&cache, probes) >= 0);
        if (scan_refresh(&scan, TABLE_ALL) < 0)
                return;
        for (unsigned i = 0; sources[i].name; i++) {
                FactSet *f = factset_new();

                MUST(f);
                if (sources[i].scan(&scan, f) < 0)
                        f = factset_free(f);
                MUST(graph_replace(g, i, f, &changes) >= 0);
        }
        MUST(analysis_update(&a, &changes) >= 0 && hazard_list_find(&hazards, &a, g, &(State) {}) >= 0);
        MUST(describe_view(&view, NULL, NULL, &json) >= 0);
        check_secret(json, strlen(json));
}

/* What is captured of a capture has nothing of outside in it, and nothing that is not beneath it: but a link may say so. */
static void check_capture(Recorder *r) {
        Captured **all;
        size_t n;

        MUST(recorder_finish(r, &all, &n) >= 0);
        for (size_t i = 0; i < n; i++) {
                MUST(is_safe(all[i]->path));
                MUST(startswith(all[i]->path, "proc") || startswith(all[i]->path, "sys") || startswith(all[i]->path, "run"));
                check_secret(all[i]->path, strlen(all[i]->path));
                check_secret(all[i]->content, all[i]->size);
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_free_ char *path = NULL;
        _cleanup_(sysroot_freep) Sysroot *s = NULL;
        _cleanup_(recorder_freep) Recorder *r = recorder_new();
        const char *missing = NULL;
        FuzzInput in = { data, size };
        bool huge = false;

        if (!secret[0])
                prepare();
        /* libFuzzer sees what is compared with what, and guesses well. */
        if (memmem(data, size, secret, strlen(secret)))
                return 0;
        path = text_format("%s/root", scratch_directory());
        MUST(path && r);
        scratch_parents("root/");
        scratch_clear("root");
        while (in.left > 0) {
                _cleanup_free_ char *entry = NULL;
                const uint8_t *end = in.left > 1 ? memmem(in.data + 1, in.left - 1, "\n@", 2) : NULL;
                size_t n = end ? (size_t) (end - in.data) + 1 : in.left;

                entry = fuzz_text(in.data, n);
                in.data += n;
                in.left -= n;
                if (*entry == '@')
                        make_entry(entry + 1, &huge);
        }
        read_configuration(path);
        if (sysroot_open(path, &s, &missing) < 0) {
                MUST(missing);
                return 0;
        }
        sysroot_set_recorder(s, r);
        read_machine(s);
        check_capture(r);
        return 0;
}
