/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Directories of configuration as they may be found, and what holds of them. */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/sysmacros.h>

#include "common/file.h"
#include "daemon/configuration/configuration.h"
#include "tests/unit/fake-root.h"

#define P "stackd/policy/"
#define YES "[Match]\nProcess=*\n[Process]\nIOFlusher=yes\n"
#define NO "[Match]\nProcess=*\n[Process]\nIOFlusher=no\n"

typedef struct World {
        FakeRoot root;
        Configuration c;
} World;

static World world_begin(void) {
        return (World) { .root = fake_root_make(), .c = CONFIGURATION_NULL };
}

static void world_end(World *w) {
        configuration_done(&w->c);
        fake_root_done(&w->root);
}
#define _cleanup_world_ _cleanup_(world_end)

static void put(World *w, const char *path, const char *content) {
        _cleanup_free_ char *full = text_format("%s/%s", w->root.path, path);

        (void) unlink(full);
        fake_file(&w->root, path, content);
}

static void link_to(World *w, const char *path, const char *target) {
        _cleanup_free_ char *full = text_format("%s/%s", w->root.path, path);

        (void) unlink(full);
        fake_link(&w->root, path, target);
}

static void take_away(World *w, const char *path) {
        _cleanup_free_ char *full = text_format("%s/%s", w->root.path, path);

        CHECK(remove(full) == 0);
}

/* As a child would, to its end. */
static char *read_output(World *w) {
        int fd = memfd_create("output", MFD_CLOEXEC);
        char *output;

        CHECK(fd >= 0);
        hierarchy_read(w->root.path, fd);
        CHECK(lseek(fd, 0, SEEK_SET) == 0 && file_read_fd(fd, 64 << 20, &output, NULL) == 0);
        close(fd);
        return output;
}

static void load(World *w) {
        _cleanup_free_ char *output = read_output(w);

        CHECK(configuration_update(&w->c, output, true) == 0);
}

static void note_remarks(const World *w) {
        for (char **line = w->c.remarks.lines; line && *line; line++)
                printf("# %s\n", *line);
}

/* Whether there is exactly this remark, and no other. */
static bool only_remark(const World *w, const char *beginning) {
        bool fine = w->c.remarks.n == 1 && startswith(w->c.remarks.lines[0], beginning);

        if (!fine)
                note_remarks(w);
        return fine;
}

static bool silent(const World *w) {
        note_remarks(w);
        return w->c.remarks.n == 0 && !w->c.refused;
}

/* What is decided for a process in a.service. */
static const Setting *decide(const World *w, SettingKind kind) {
        NodeFact f = { .kind = NODE_PROCESS, .comm = (char *) "x", .unit = (char *) "a.service", .entitled = true, .uid = 1000 };
        const Setting *settings[_SETTING_KIND_MAX];
        Node n = { .fact = &f };

        policy_decide(w->c.policy, &n, settings);
        return settings[kind];
}

static const char *source(const World *w) {
        const Setting *s = decide(w, SETTING_IO_FLUSHER);

        return s ? s->source : "";
}

static void nothing_at_all_gives_the_default(void) {
        _cleanup_world_ World w = world_begin();

        load(&w);
        CHECK(silent(&w) && streq(source(&w), "built-in/90-default.policy:16"));
        CHECK(decide(&w, SETTING_MEMORY_MIN)->mode == SETTING_AUTO && decide(&w, SETTING_OOM_SCORE_ADJUST)->number == -900);
        CHECK(w.c.settings.apply && w.c.settings.log_level == 6);
}

static void directories_in_their_order(void) {
        static const char *const places[] = { "usr/lib", "usr/local/lib", "run", "etc" };
        _cleanup_world_ World w = world_begin();

        for (size_t i = 0; i < ELEMENTSOF(places); i++) {
                _cleanup_free_ char *path = text_format("%s/" P "90-default.policy", places[i]), *wanted = text_format("/%s:4", path);

                put(&w, path, YES);
                load(&w);
                CHECK(silent(&w) && streq(source(&w), wanted));
        }
}

static void names_in_their_order_over_all_directories(void) {
        _cleanup_world_ World w = world_begin();

        put(&w, "etc/" P "50-b.policy", YES);
        put(&w, "usr/lib/" P "10-a.policy", YES);
        load(&w);
        CHECK(streq(source(&w), "/usr/lib/" P "10-a.policy:4"));
        put(&w, "run/" P "09.policy", YES);
        put(&w, "etc/" P "08.conf", YES);   /* no policy */
        put(&w, "etc/" P ".07.policy", YES); /* hidden */
        put(&w, "etc/" P "06.policy~", YES);
        load(&w);
        CHECK(silent(&w) && streq(source(&w), "/run/" P "09.policy:4"));
}

static void drop_ins(void) {
        _cleanup_world_ World w = world_begin();

        put(&w, "usr/lib/" P "10-a.policy", YES);
        put(&w, "usr/lib/" P "10-a.policy.d/20.conf", "[Process]\nIOFlusher=no\n");
        put(&w, "etc/" P "10-a.policy.d/10.conf", "[Process]\nIOFlusher=yes\n");
        load(&w);
        CHECK(streq(source(&w), "/usr/lib/" P "10-a.policy.d/20.conf:2"));
        put(&w, "run/" P "10-a.policy.d/20.conf", "[Process]\n\nIOFlusher=yes\n");
        load(&w);
        CHECK(streq(source(&w), "/run/" P "10-a.policy.d/20.conf:3"));
        link_to(&w, "etc/" P "10-a.policy.d/20.conf", "/dev/null");
        load(&w);
        CHECK(silent(&w) && streq(source(&w), "/etc/" P "10-a.policy.d/10.conf:2"));
        /* without the file that they are for */
        link_to(&w, "etc/" P "10-a.policy", "/dev/null");
        load(&w);
        CHECK(silent(&w) && streq(source(&w), "built-in/90-default.policy:16"));
}

static void masks(void) {
        _cleanup_world_ World w = world_begin();

        put(&w, "usr/lib/" P "90-default.policy", YES);
        link_to(&w, "etc/" P "90-default.policy", "/dev/null");
        load(&w);
        CHECK(silent(&w) && streq(source(&w), ""));
        put(&w, "etc/" P "90-default.policy", "");
        load(&w);
        CHECK(silent(&w) && streq(source(&w), ""));
        take_away(&w, "etc/" P "90-default.policy");
        load(&w);
        CHECK(streq(source(&w), "/usr/lib/" P "90-default.policy:4"));
}

/* What is no file for us is said, and not used: what it would have hidden holds. */
static void what_is_unusable(void) {
        _cleanup_free_ char *huge = malloc(10 << 20);
        _cleanup_world_ World w = world_begin();
        const char *path = "etc/" P "90-default.policy";
        _cleanup_free_ char *full = text_format("%s/%s", w.root.path, path);

        put(&w, "usr/lib/" P "90-default.policy", YES);
        put(&w, path, "");
        memset(huge, 'x', (10 << 20) - 1);
        huge[(10 << 20) - 1] = 0;
        for (int i = 0; i < 7; i++) {
                static const char *const says[] = {
                        "larger than 1 MiB", "Too many levels of symbolic links", "is no regular file", "a link to what is not there",
                        "is a directory", "Permission denied", "is no regular file",
                };

                CHECK(remove(full) == 0);
                if (i == 0)
                        put(&w, path, huge);
                else if (i == 1)
                        link_to(&w, path, "90-default.policy");
                else if (i == 2)
                        CHECK(mkfifo(full, 0666) == 0);
                else if (i == 3)
                        link_to(&w, path, "nowhere");
                else if (i == 4)
                        CHECK(mkdir(full, 0755) == 0);
                else if (i == 5) {
                        put(&w, path, NO);
                        CHECK(chmod(full, 0) == 0);
                } else if (mknod(full, S_IFCHR | 0666, makedev(1, 5)) < 0)
                        CHECK(mkfifo(full, 0666) == 0);
                load(&w);
                CHECK(only_remark(&w, "/etc/" P "90-default.policy: ") && strstr(w.c.remarks.lines[0], says[i]));
                CHECK(streq(source(&w), "/usr/lib/" P "90-default.policy:4"));
        }
}

static void put_bytes(World *w, const char *path, const char *bytes, size_t n) {
        _cleanup_free_ char *full = text_format("%s/%s", w->root.path, path);
        int fd;

        put(w, path, "");
        fd = open(full, O_WRONLY | O_CLOEXEC);
        CHECK(fd >= 0 && file_write_all(fd, bytes, n) == 0);
        close(fd);
}

static void a_binary_file(void) {
        static const char bytes[] = "[Match]\nProcess=*\n\0[Process]\nIOFlusher=no\n";
        _cleanup_world_ World w = world_begin();

        put_bytes(&w, "etc/" P "10.policy", bytes, sizeof(bytes) - 1);
        load(&w);
        CHECK(only_remark(&w, "/etc/" P "10.policy:3: a NUL byte") && streq(source(&w), "built-in/90-default.policy:16"));
}

static void links_do_not_lead_out(void) {
        _cleanup_world_ World w = world_begin();
        _cleanup_free_ char *outside = text_format("%s-outside", w.root.path), *up = text_format("../../../../../..%s-outside", w.root.path);
        FILE *f = fopen(outside, "we");

        CHECK(f && fputs(NO, f) >= 0 && fclose(f) == 0);
        link_to(&w, "etc/" P "10.policy", outside);
        load(&w);
        CHECK(only_remark(&w, "/etc/" P "10.policy: ") && streq(source(&w), "built-in/90-default.policy:16"));
        link_to(&w, "etc/" P "10.policy", up);
        load(&w);
        CHECK(only_remark(&w, "/etc/" P "10.policy: "));
        CHECK(unlink(outside) == 0);
        /* but one to a file beside it is fine */
        put(&w, "etc/elsewhere", NO);
        link_to(&w, "etc/" P "10.policy", "/etc/elsewhere");
        load(&w);
        CHECK(silent(&w) && streq(source(&w), "/etc/" P "10.policy:4"));
}

static void a_file_where_a_directory_should_be(void) {
        _cleanup_world_ World w = world_begin();

        put(&w, "etc/stackd/policy", "x");
        load(&w);
        CHECK(only_remark(&w, "/etc/stackd/policy: Not a directory") && streq(source(&w), "built-in/90-default.policy:16"));
}

/* Reading again: what has become unusable stays what it was. */
static void an_unusable_file_keeps_what_it_said(void) {
        static const char bytes[] = "[Match]\n\0", *const path = "etc/" P "10.policy";
        _cleanup_world_ World w = world_begin();

        put(&w, path, NO);
        load(&w);
        CHECK(silent(&w) && streq(source(&w), "/etc/" P "10.policy:4"));
        for (int i = 0; i < 4; i++) {
                if (i == 0)
                        put_bytes(&w, path, bytes, sizeof(bytes) - 1);
                else if (i == 1)
                        put(&w, path, "[Match]\nProcess=*\n[Process]\nIOFl");
                else if (i == 2)
                        put(&w, path, "[Match]\nProcess=*\n[Process]\nIOFlusher=perhaps\n");
                else
                        link_to(&w, path, "10.policy");
                load(&w);
                note_remarks(&w);
                CHECK(w.c.refused && w.c.remarks.n == 2 && strstr(w.c.remarks.lines[1], "stays in force"));
                CHECK(streq(source(&w), "/etc/" P "10.policy:4") && decide(&w, SETTING_IO_FLUSHER)->number == 0);
        }
        /* A word that is not known is no such thing. */
        put(&w, path, "[Match]\nProcess=*\n[Process]\nIOFlusherr=no\nIOFlusher=yes\n");
        load(&w);
        CHECK(!w.c.refused && only_remark(&w, "/etc/" P "10.policy:4: ") && streq(source(&w), "/etc/" P "10.policy:5"));
        take_away(&w, path);
        load(&w);
        CHECK(silent(&w) && streq(source(&w), "built-in/90-default.policy:16"));
}

/* ... but when it has always been so, then what can be understood of it holds. */
static void a_faulty_file_at_the_start(void) {
        _cleanup_world_ World w = world_begin();

        put(&w, "etc/" P "10.policy", "[Match]\nProcess=*\n[Process]\nIOFlusher=no\n[Memory]\nMin=1Q\n");
        load(&w);
        CHECK(only_remark(&w, "/etc/" P "10.policy:6: ") && !w.c.refused && streq(source(&w), "/etc/" P "10.policy:4"));
        put(&w, "etc/" P "10.policy", "[Match]\nProcess=*\n[Memory]\nMin=1Q\n[Process]\nIOFlusher=no\n");
        load(&w);
        CHECK(!w.c.refused && streq(source(&w), "/etc/" P "10.policy:6"));
}

static void a_directory_that_cannot_be_listed_keeps_its_files(void) {
        _cleanup_world_ World w = world_begin();
        _cleanup_free_ char *directory = text_format("%s/etc/stackd/policy", w.root.path), *moved = text_format("%s-moved", directory);

        put(&w, "etc/" P "10.policy", NO);
        load(&w);
        CHECK(rename(directory, moved) == 0);
        link_to(&w, "etc/stackd/policy", "policy");
        load(&w);
        CHECK(w.c.refused && streq(source(&w), "/etc/" P "10.policy:4"));
        take_away(&w, "etc/stackd/policy");
        load(&w);
        CHECK(silent(&w) && streq(source(&w), "built-in/90-default.policy:16"));
}

static void a_child_that_does_not_end(void) {
        _cleanup_free_ char *output = NULL;
        _cleanup_world_ World w = world_begin();

        put(&w, "etc/" P "10.policy", NO);
        output = read_output(&w);
        CHECK(configuration_update(&w.c, output, false) == 0); /* the first time: what there is */
        CHECK(w.c.remarks.n == 1 && streq(source(&w), "/etc/" P "10.policy:4") && !w.c.complete);
        CHECK(configuration_update(&w.c, "", false) == 0);
        CHECK(w.c.refused && streq(source(&w), "/etc/" P "10.policy:4") && !w.c.complete);
        CHECK(configuration_update(&w.c, output, true) == 0);
        CHECK(silent(&w) && w.c.complete);
        CHECK(configuration_update(&w.c, "", false) == 0);
        CHECK(w.c.refused && w.c.complete); /* all of it is known, if not the latest */
        CHECK(configuration_update(&w.c, "", false) == 0 && w.c.remarks.n == 1); /* said once */
        /* cut off anywhere */
        for (size_t n = strlen(output); n > 0; n--) {
                output[n - 1] = 0;
                configuration_done(&w.c);
                CHECK(configuration_update(&w.c, output, false) == 0 && decide(&w, SETTING_IO_FLUSHER));
        }
}

static void units(void) {
        _cleanup_world_ World w = world_begin();

        put(&w, "usr/lib/systemd/system/a.service", "[Service]\nExecStart=/x\n[X-Stackd]\nIOFlusher=no\nMemoryMin=1M\n");
        put(&w, "usr/lib/systemd/system/b.service", "[X-Stackd]\nIOFlusher=perhaps\n");
        put(&w, "usr/lib/systemd/system/c.service", "no unit at all\n");
        put(&w, "usr/lib/systemd/system/a.timer", "[X-Stackd]\nMemoryMin=3M\n");
        load(&w);
        CHECK(only_remark(&w, "/usr/lib/systemd/system/b.service:2: "));
        CHECK(streq(source(&w), "/usr/lib/systemd/system/a.service:4") && decide(&w, SETTING_MEMORY_MIN)->number == 1 << 20);
        put(&w, "etc/systemd/system/a.service.d/x.conf", "[X-Stackd]\nIOFlusher=yes\n");
        load(&w);
        CHECK(streq(source(&w), "/etc/systemd/system/a.service.d/x.conf:2") && decide(&w, SETTING_MEMORY_MIN)->number == 1 << 20);
        put(&w, "etc/systemd/system/service.d/y.conf", "[X-Stackd]\nIOFlusher=no\n");
        load(&w);
        CHECK(streq(source(&w), "/etc/systemd/system/service.d/y.conf:2"));
        /* A unit in /etc hides the one in /usr/lib, although it says nothing to us. */
        put(&w, "etc/systemd/system/a.service", "[Service]\nExecStart=/x\n");
        load(&w);
        CHECK(decide(&w, SETTING_MEMORY_MIN)->mode == SETTING_AUTO);
}

/* From the least to the most: each hides the one before, and what it has in common with a drop-in is its directory. */
static void units_of_all_directories(void) {
        static const char *const directories[] = {
                "run/systemd/generator.late", "usr/lib/systemd/system", "usr/local/lib/systemd/system", "run/systemd/generator",
                "run/systemd/system.attached", "run/systemd/system", "etc/systemd/system.attached", "etc/systemd/system",
                "run/systemd/generator.early", "run/systemd/transient", "run/systemd/system.control", "etc/systemd/system.control",
        };

        for (int drop_in = 0; drop_in <= 1; drop_in++) {
                _cleanup_world_ World w = world_begin();

                put(&w, "usr/lib/systemd/system/b.service", "[X-Stackd]\nIOFlusher=no\n"); /* of another one */
                for (size_t i = 0; i < ELEMENTSOF(directories); i++) {
                        _cleanup_free_ char *path = text_format("%s/a.service%s", directories[i], drop_in ? ".d/x.conf" : "");
                        _cleanup_free_ char *wanted = text_format("/%s:2", path);

                        put(&w, path, "[X-Stackd]\nIOFlusher=no\n");
                        load(&w);
                        CHECK(silent(&w) && streq(source(&w), wanted));
                }
        }
}

static void the_daemon_itself(void) {
        _cleanup_world_ World w = world_begin();

        put(&w, "usr/lib/stackd/stackd.conf", "[Stackd]\nLogLevel=debug\nApply=no\nProbeTimeoutSec=3\n");
        put(&w, "usr/lib/stackd/stackd.conf.d/10.conf", "[Stackd]\nApply=yes\n");
        load(&w);
        CHECK(silent(&w) && w.c.settings.log_level == 7 && w.c.settings.apply && w.c.settings.probe_timeout_usec == 3000000);
        put(&w, "etc/stackd/stackd.conf", "[Stackd]\nSettleTimeoutSec=500ms\n[Else]\n");
        put(&w, "etc/stackd/stackd.conf.d/20.conf", "[Stackd]\nProbeTimeoutSec=0\nApply=perhaps\nColour=red\nLogLevel=9\n");
        load(&w);
        note_remarks(&w);
        CHECK(w.c.remarks.n == 5 && w.c.remarks.errors == 3 && w.c.settings.log_level == 6 && w.c.settings.apply);
        CHECK(w.c.settings.probe_timeout_usec == 1000000 && w.c.settings.settle_timeout_usec == 500000);
}

static void what_is_shown(void) {
        _cleanup_free_ char *json = NULL;
        _cleanup_world_ World w = world_begin();

        put(&w, "etc/" P "10\xff.policy", YES "#\xff\n");
        put(&w, "etc/" P "none.policy.d/x.conf", "[Process]\n");
        put(&w, "etc/systemd/system/a.service", "[Service]\nSecret=1\n[X-Stackd]\nIOFlusher=no\n[Install]\nx=y\n");
        put(&w, "etc/passwd", "secret:x:1:1::/:\n");
        load(&w);
        CHECK(configuration_describe(&w.c, false, &json) == 0);
        CHECK(strstr(json, "\"/etc/" P "10\\\\xff.policy\"") && strstr(json, "{\"line\":5,\"text\":\"#\\\\xff\"}"));
        CHECK(strstr(json, "{\"line\":4,\"text\":\"IOFlusher=no\"}") && !strstr(json, "ecret") && !strstr(json, "x=y") && !strstr(json, "none.policy"));
        CHECK(strstr(json, "built-in/90-default.policy"));
}

/* What only some may read is shown to root only, with what is said about it; that it is there is no secret. */
static void what_is_hidden(void) {
        _cleanup_free_ char *shown = NULL, *all = NULL, *kept = NULL, *path = NULL;
        _cleanup_world_ World w = world_begin();

        put(&w, "etc/" P "10.policy", "[Match]\nProcess=secret\n[Process]\nIOFlusher=yes\nSecret=x\n");
        put(&w, "etc/" P "20.policy", "[Match]\nProcess=*\n[Process]\nIOFlusher=yes\nPublic=x\n");
        path = text_format("%s/etc/" P "10.policy", w.root.path);
        CHECK(chmod(path, 0640) == 0);
        load(&w);
        CHECK(configuration_describe(&w.c, true, &all) == 0 && configuration_describe(&w.c, false, &shown) == 0);
        CHECK(strstr(all, "Process=secret") && strstr(all, "10.policy:5") && strstr(all, "20.policy:5") && !strstr(all, "\"hidden\":true"));
        CHECK(!strstr(shown, "ecret") && strstr(shown, "/etc/" P "10.policy\"") && strstr(shown, "\"hidden\":true"));
        CHECK(strstr(shown, "20.policy:5") && strstr(shown, "\"hidden\":false"));
        /* nor what it said before, however it is readable now */
        put(&w, "etc/" P "10.policy", "[Match\n");
        load(&w);
        CHECK(w.c.refused && configuration_describe(&w.c, false, &kept) == 0 && !strstr(kept, "ecret"));
}

TEST_MAIN(TEST(nothing_at_all_gives_the_default),
          TEST(directories_in_their_order),
          TEST(names_in_their_order_over_all_directories),
          TEST(drop_ins),
          TEST(masks),
          TEST(what_is_unusable),
          TEST(a_binary_file),
          TEST(links_do_not_lead_out),
          TEST(a_file_where_a_directory_should_be),
          TEST(an_unusable_file_keeps_what_it_said),
          TEST(a_faulty_file_at_the_start),
          TEST(a_directory_that_cannot_be_listed_keeps_its_files),
          TEST(a_child_that_does_not_end),
          TEST(units),
          TEST(units_of_all_directories),
          TEST(the_daemon_itself),
          TEST(what_is_shown),
          TEST(what_is_hidden))
