/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which rule holds for whom, and what it says. */
#include "common/text.h"
#include "daemon/analysis/depth.h"
#include "daemon/policy/policy.h"
#include "daemon/policy/setting.h"
#include "tests/unit/tap.h"

#define PROCESS "process:100:7"
#define FUSE "fs:0:50"
#define LOOP "block:7:0"

/* A FUSE file system served by a process of alice's, in a service of the system's; a loop device beside it. */
typedef struct World {
        Graph *graph;
        Analysis analysis;
        Policy *policy;
        Remarks remarks;
} World;

static NodeFact process_fact(void) {
        return (NodeFact) {
                .id = strdup(PROCESS), .kind = NODE_PROCESS, .pid = 100, .start = 7, .comm = strdup("sshfs"), .threads = 1, .uid = 1000,
                .exe = strdup("/usr/bin/sshfs (deleted)"), .unit = strdup("mnt@a.service"), .cgroup = strdup("/system.slice/mnt@a.service"),
                .entitled = true,
        };
}

static void world_begin(World *w, NodeFact process) {
        _cleanup_graph_changes_ GraphChanges changes = {};
        NodeFact fuse = { .id = strdup(FUSE), .kind = NODE_FILESYSTEM, .type = strdup("fuse.sshfs"), .name = strdup("host:/x"),
                          .device = strdup("0:50") };
        NodeFact loop = { .id = strdup(LOOP), .kind = NODE_BLOCK, .type = strdup("loop"), .name = strdup("loop0"), .device = strdup("7:0") };
        FactSet *facts = factset_new();
        size_t n = 0;

        CHECK(strv_append(&fuse.mounts, &n, "/mnt/a") == 0 && strv_append(&fuse.mounts, &n, "/srv/b") == 0);
        *w = (World) { .graph = graph_new(), .policy = policy_new() };
        CHECK(w->graph && w->policy && facts);
        CHECK(factset_add_node(facts, &process) == 0 && factset_add_node(facts, &fuse) == 0 && factset_add_node(facts, &loop) == 0);
        CHECK(factset_add_edge(facts, FUSE, PROCESS, ROLE_BACKING, CERTAINTY_PROVEN, 0, "test") == 0);
        CHECK(graph_replace(w->graph, 0, facts, &changes) == 0 && analysis_update(&w->analysis, &changes) == 0);
        CHECK(policy_add_users(w->policy, "root:x:0:0::/:/bin/sh\nalice:x:1000:1000::/:\nbroken\nbob:x:zwei:\n:x:5:\nmallory:x:1001:\n") == 0);
}

static void world_end(World *w) {
        graph_free(w->graph);
        policy_free(w->policy);
        remarks_done(&w->remarks);
}
#define _cleanup_world_ _cleanup_(world_end)

static void add(World *w, const char *text) {
        PolicyText t = { "f.policy", text };

        CHECK(policy_add_rule(w->policy, &t, 1, &w->remarks) == 0);
}

static const Setting *decide(const World *w, const char *id, SettingKind kind) {
        const Setting *settings[_SETTING_KIND_MAX];

        policy_decide(w->policy, graph_find(w->graph, id), settings);
        return settings[kind];
}

/* Whether a rule with these conditions is the one for the process, and for the layers. */
static bool matches(const char *conditions, const char *id) {
        _cleanup_free_ char *text = text_format("[Match]\n%s\n[Process]\nIOFlusher=yes\n[Block]\nDirectIO=yes\n", conditions);
        SettingKind kind = streq(id, PROCESS) ? SETTING_IO_FLUSHER : SETTING_DIRECT_IO;
        _cleanup_world_ World w;

        world_begin(&w, process_fact());
        add(&w, text);
        return decide(&w, id, kind);
}

static void conditions_on_processes(void) {
        CHECK(matches("Process=sshfs", PROCESS) && matches("Process=ssh*", PROCESS) && !matches("Process=ssh", PROCESS));
        CHECK(matches("Process=/usr/bin/sshfs", PROCESS) && matches("Process=/usr/bin/*", PROCESS) && !matches("Process=/opt/*", PROCESS));
        CHECK(matches("Process=a b sshfs", PROCESS) && matches("Process=a\nProcess=sshfs", PROCESS));
        CHECK(!matches("Process=sshfs\nProcess=\nProcess=x", PROCESS));
        CHECK(!matches("Process=!sshfs", PROCESS) && matches("Process=!x y", PROCESS) && !matches("Process=!x sshfs", PROCESS));
        CHECK(!matches("Process=*\nProcess=!ssh*", PROCESS));
        CHECK(matches("Unit=mnt@a.service", PROCESS) && matches("Unit=mnt@*", PROCESS) && !matches("Unit=x.service", PROCESS));
        CHECK(matches("User=alice", PROCESS) && matches("User=1000", PROCESS) && !matches("User=root", PROCESS) && matches("User=al*", PROCESS));
        CHECK(matches("User=!root", PROCESS) && !matches("User=!alice", PROCESS) && !matches("User=bob", PROCESS));
        CHECK(!matches("User=alice\nProcess=x", PROCESS)); /* all of them */
}

/* The kernel keeps 15 bytes of a name (TASK_COMM_LEN). */
static void names_longer_than_the_kernel_keeps(void) {
        static const char *const texts[] = { "[Match]\nProcess=some-server-with-a-name\n[Process]\nIOFlusher=yes\n",
                                             "[Match]\nProcess=some-server-with-another\n[Process]\nIOFlusher=yes\n" };

        for (size_t i = 0; i < ELEMENTSOF(texts); i++) {
                NodeFact process = process_fact();
                _cleanup_world_ World w;

                free(process.comm);
                free(process.exe);
                process.comm = strdup("some-server-wit");
                process.exe = strdup("/opt/x/some-server-with-a-name");
                world_begin(&w, process);
                add(&w, texts[i]);
                CHECK(!decide(&w, PROCESS, SETTING_IO_FLUSHER) == (i == 1));
        }
}

static void conditions_on_what_is_served(void) {
        CHECK(matches("FilesystemType=fuse.*", PROCESS) && matches("FilesystemType=fuse fuse.*", PROCESS) && !matches("FilesystemType=fuse", PROCESS));
        CHECK(matches("Mount=/srv/*", PROCESS) && !matches("Mount=/srv", PROCESS) && matches("Layer=filesystem", PROCESS));
        CHECK(!matches("Layer=loop", PROCESS) && !matches("Mount=/srv/b\nFilesystemType=ext4", PROCESS));
        CHECK(matches("Device=0:50", PROCESS) && !matches("FilesystemType=!fuse.*", PROCESS));
        CHECK(matches("FilesystemType=fuse.*", FUSE) && matches("Mount=/mnt/a", FUSE) && !matches("FilesystemType=fuse.*", LOOP));
        CHECK(matches("Layer=loop", LOOP) && matches("Device=/dev/loop*", LOOP) && matches("Device=7:0", LOOP) && matches("Layer=block", LOOP));
        CHECK(!matches("Device=!/dev/loop0", LOOP) && matches("Mount=!/x", LOOP));
        CHECK(!matches("Process=*", LOOP) && !matches("User=*", FUSE) && matches("Process=!x", LOOP));
}

static void conditions_on_depth(void) {
        CHECK(matches("Depth=1", PROCESS) && matches("Depth=0-", PROCESS) && matches("Depth=-1", PROCESS) && matches("Depth=1-3", PROCESS));
        CHECK(!matches("Depth=2-", PROCESS) && !matches("Depth=0", PROCESS) && matches("Depth=0 1", PROCESS) && !matches("Depth=!1", PROCESS));
        CHECK(matches("Depth=!2-", PROCESS) && matches("Depth=0", FUSE) && !matches("Depth=1-", FUSE));
        CHECK(matches("Depth=-1", FUSE) && matches("Depth=-0", FUSE) && !matches("Depth=-0", PROCESS));
        CHECK(matches("Depth=5\nDepth=\nDepth=1", PROCESS));
}

/* It would hold for more than is meant. */
static void half_understood_conditions_match_nothing(void) {
        static const char *const wrong[] = { "Depth=x", "Depth=3-1", "Depth=-", "Dephts=1", "Process=\"sshfs", "Process=!", "Depth=1--2",
                                             "Depth=99999999999999999999", "Unit", "=x", "Unit=\xff", "[Match", "[]" };

        for (size_t i = 0; i < ELEMENTSOF(wrong); i++) {
                _cleanup_free_ char *text = text_format("[Match]\nProcess=sshfs\n%s\n[Process]\nIOFlusher=no\n", wrong[i]);
                _cleanup_world_ World w;

                world_begin(&w, process_fact());
                add(&w, text);
                if (decide(&w, PROCESS, SETTING_IO_FLUSHER) || w.remarks.n != 1)
                        printf("# %s\n", wrong[i]);
                CHECK(!decide(&w, PROCESS, SETTING_IO_FLUSHER));
                CHECK(w.remarks.n == 1 && w.remarks.errors == 1 && startswith(w.remarks.lines[0], "f.policy:3: "));
        }
        CHECK(!matches("", PROCESS) && !matches("# Process=*", LOOP));
}

static void first_that_matches_holds_whole(void) {
        const Setting *s;
        _cleanup_world_ World w;

        world_begin(&w, process_fact());
        add(&w, "[Match]\nProcess=other\n[Process]\nIOFlusher=no\n");
        add(&w, "[Match]\nProcess=sshfs\n[Process]\n\nIOFlusher=no\n");
        add(&w, "[Match]\nProcess=*\n[Process]\nIOFlusher=yes\n[Memory]\nMin=auto\n");
        s = decide(&w, PROCESS, SETTING_IO_FLUSHER);
        CHECK(s && s->mode == SETTING_VALUE && s->number == 0 && streq(s->source, "f.policy:5"));
        CHECK(!decide(&w, PROCESS, SETTING_MEMORY_MIN));
}

/* A file about mount options must not take the protection off the process that serves the mount. */
static void a_file_holds_for_what_it_speaks_of(void) {
        _cleanup_world_ World w;

        world_begin(&w, process_fact());
        add(&w, "[Match]\nFilesystemType=fuse.*\n[Mount]\nOptions=noatime\n");
        add(&w, "[Match]\nProcess=*\n[Process]\nIOFlusher=yes\n");
        CHECK(decide(&w, PROCESS, SETTING_IO_FLUSHER));
        CHECK(streq(decide(&w, FUSE, SETTING_MOUNT_OPTIONS)->text, "noatime"));
        world_end(&w);
        /* One without any such section says: leave it alone. */
        world_begin(&w, process_fact());
        add(&w, "[Match]\nFilesystemType=fuse.*\n");
        add(&w, "[Match]\nDepth=0-\n[Process]\nIOFlusher=yes\n[Mount]\nOptions=noatime\n");
        CHECK(!decide(&w, PROCESS, SETTING_IO_FLUSHER) && !decide(&w, FUSE, SETTING_MOUNT_OPTIONS));
}

/* What is told of a setting stands in a file under these words, and says the same there. */
static void check_described(const Setting *s, SettingKind kind, const char *section_wanted) {
        const char *section, *key, *wrong = NULL;
        _cleanup_free_ char *value = NULL;
        Setting again = {};

        CHECK(setting_describe(kind, s, &section, &key, &value) == 0);
        CHECK(streq(section, section_wanted) && setting_find(section, key) == (int) kind);
        CHECK(setting_assign(&again, kind, value, "x:1", &wrong) == 0 && !wrong);
        CHECK(again.mode == s->mode && again.number == s->number && streq_ptr(again.text, s->text));
        setting_done(&again);
}

static void values(void) {
        static const struct {
                const char *section, *assignment;
                SettingKind kind;
                SettingMode mode;
                int64_t number;
                const char *text;
        } all[] = {
                { "Process", "IOFlusher=yes", SETTING_IO_FLUSHER, SETTING_VALUE, 1, NULL },
                { "Process", "IOFlusher=off", SETTING_IO_FLUSHER, SETTING_VALUE, 0, NULL },
                { "Memory", "Min=auto", SETTING_MEMORY_MIN, SETTING_AUTO, 0, NULL },
                { "Memory", "Min=no", SETTING_MEMORY_MIN, SETTING_KEEP, 0, NULL },
                { "Memory", "Min=0", SETTING_MEMORY_MIN, SETTING_VALUE, 0, NULL },
                { "Memory", "Low=64M", SETTING_MEMORY_LOW, SETTING_VALUE, 64 << 20, NULL },
                { "Memory", "SwapMax=infinity", SETTING_SWAP_MAX, SETTING_VALUE, INT64_MAX, NULL },
                { "OOM", "ScoreAdjust=-900", SETTING_OOM_SCORE_ADJUST, SETTING_VALUE, -900, NULL },
                { "OOM", "ScoreAdjust=no", SETTING_OOM_SCORE_ADJUST, SETTING_KEEP, 0, NULL },
                { "OOM", "ScoreAdjust=0", SETTING_OOM_SCORE_ADJUST, SETTING_VALUE, 0, NULL },
                { "OOM", "ManagedPreference=omit", SETTING_OOMD_PREFERENCE, SETTING_VALUE, 0, "omit" },
                { "Mount", "Options=noatime\nOptions=discard,x=1", SETTING_MOUNT_OPTIONS, SETTING_VALUE, 0, "noatime,discard,x=1" },
                { "Mount", "Options=a\nOptions=\nOptions=b", SETTING_MOUNT_OPTIONS, SETTING_VALUE, 0, "b" },
                { "Mount", "Options=a\nOptions=no", SETTING_MOUNT_OPTIONS, SETTING_KEEP, 0, NULL },
                { "Block", "DirectIO=keep", SETTING_DIRECT_IO, SETTING_KEEP, 0, NULL },
                { "Block", "DirectIO=no", SETTING_DIRECT_IO, SETTING_VALUE, 0, NULL },
                { "Writeback", "MaxRatio=10%", SETTING_WRITEBACK_MAX_RATIO, SETTING_VALUE, 10, NULL },
                { "Writeback", "MaxBytes=1G", SETTING_WRITEBACK_MAX_BYTES, SETTING_VALUE, 1 << 30, NULL },
                { "Writeback", "StrictLimit=yes", SETTING_WRITEBACK_STRICT_LIMIT, SETTING_VALUE, 1, NULL },
        };

        for (size_t i = 0; i < ELEMENTSOF(all); i++) {
                bool layer = all[i].kind >= SETTING_MOUNT_OPTIONS && all[i].kind <= SETTING_WRITEBACK_STRICT_LIMIT;
                _cleanup_free_ char *text = text_format("[Match]\nDepth=0-\n[%s]\n%s\n", all[i].section, all[i].assignment);
                const Setting *s;
                _cleanup_world_ World w;

                world_begin(&w, process_fact());
                add(&w, text);
                s = decide(&w, layer ? FUSE : PROCESS, all[i].kind);
                if (!s || s->mode != all[i].mode)
                        printf("# %s\n", all[i].assignment);
                CHECK(s && s->mode == all[i].mode && s->number == all[i].number && streq_ptr(s->text, all[i].text) && w.remarks.n == 0);
                check_described(s, all[i].kind, all[i].section);
        }
}

static void values_that_do_not_parse(void) {
        static const char *const wrong[][2] = {
                { "Process", "IOFlusher=perhaps" }, { "Memory", "Min=1Q" },          { "Memory", "Min=-1" },
                { "Memory", "Min=infinity" },       { "Memory", "SwapMax=9E9" },     { "OOM", "ScoreAdjust=-1001" },
                { "OOM", "ScoreAdjust=--1" },       { "OOM", "ScoreAdjust=1.5" },    { "OOM", "ManagedPreference=kill" },
                { "Mount", "Options=a b" },         { "Mount", "Options=a,,b" },     { "Mount", "Options=a,\x01" },
                { "Block", "DirectIO=2" },          { "Writeback", "MaxRatio=101" }, { "Writeback", "MaxRatio=%" },
                { "Process", "Entitled=if" },
        };

        for (size_t i = 0; i < ELEMENTSOF(wrong); i++) {
                _cleanup_free_ char *text = text_format("[Match]\nDepth=0-\n[Process]\n[%s]\n%s\n[Memory]\nLow=1M\n", wrong[i][0], wrong[i][1]);
                _cleanup_world_ World w;

                world_begin(&w, process_fact());
                add(&w, text);
                if (w.remarks.errors != 1 || w.remarks.n != 1)
                        printf("# %s\n", wrong[i][1]);
                CHECK(w.remarks.errors == 1 && w.remarks.n == 1 && startswith(w.remarks.lines[0], "f.policy:5: "));
                CHECK(decide(&w, PROCESS, SETTING_MEMORY_LOW)); /* the rest holds */
                for (SettingKind k = 0; k < _SETTING_KIND_MAX; k++)
                        CHECK(k == SETTING_MEMORY_LOW || (!decide(&w, PROCESS, k) && !decide(&w, FUSE, k)));
        }
}

static void unknown_words_are_warned_about(void) {
        _cleanup_world_ World w;

        world_begin(&w, process_fact());
        add(&w, "[Match]\nProcess=*\n[Colour]\nx=1\n[X-Other]\ny=2\n[Process]\nIOFLusher=yes\nMin=1M\nIOFlusher=yes\n");
        CHECK(decide(&w, PROCESS, SETTING_IO_FLUSHER) && w.remarks.errors == 0 && w.remarks.n == 3);
        CHECK(startswith(w.remarks.lines[0], "f.policy:3: unknown section [Colour]"));
        CHECK(startswith(w.remarks.lines[1], "f.policy:8: ") && startswith(w.remarks.lines[2], "f.policy:9: "));
}

static void drop_ins_add_and_reset(void) {
        const PolicyText texts[] = {
                { "a", "[Match]\nProcess=x\n[Process]\nIOFlusher=no\n[Memory]\nMin=1M\n" },
                { "b", "[Match]\nProcess=sshfs\n[Process]\nIOFlusher=yes\n[Memory]\nMin=\n" },
        };
        _cleanup_world_ World w;

        world_begin(&w, process_fact());
        CHECK(policy_add_rule(w.policy, texts, 2, &w.remarks) == 0);
        CHECK(decide(&w, PROCESS, SETTING_IO_FLUSHER)->number == 1 && streq(decide(&w, PROCESS, SETTING_IO_FLUSHER)->source, "b:4"));
        CHECK(!decide(&w, PROCESS, SETTING_MEMORY_MIN));
}

static bool granted(World *w) {
        _cleanup_graph_changes_ GraphChanges changes = {};
        Node *n = graph_find(w->graph, PROCESS);
        bool before = n->granted;

        CHECK(policy_grant(w->policy, w->graph, &changes) == 0);
        CHECK(changes.n_touched == (size_t) (before != n->granted) && node_is_entitled(n) == n->granted);
        return n->granted;
}

static void who_is_entitled_by_policy(void) {
        static const struct {
                const char *match;
                bool granted;
        } all[] = {
                { "User=alice", true },      { "User=1000\nProcess=sshfs", true }, { "Process=sshfs", false },   { "Mount=/mnt/a", false },
                { "User=!root", false },     { "User=bob", false },                { "Unit=tcmu*", false },      { "Depth=1-", false },
                { "User=*", true },
        };

        for (size_t i = 0; i < ELEMENTSOF(all); i++) {
                _cleanup_free_ char *text = text_format("[Match]\n%s\n[Process]\nEntitled=yes\n", all[i].match);
                NodeFact f = process_fact();
                _cleanup_world_ World w;

                f.entitled = false;
                free(f.unit);
                free(f.cgroup);
                f.unit = strdup("tcmu-runner.service"); /* as a user may call his own */
                f.cgroup = strdup("/user.slice/user-1000.slice/user@1000.service/app.slice/tcmu-runner.service");
                world_begin(&w, f);
                add(&w, text);
                if (granted(&w) != all[i].granted)
                        printf("# %s\n", all[i].match);
                CHECK(granted(&w) == all[i].granted);
                /* ... and is no more when the policy goes */
                w.policy = policy_free(w.policy);
                w.policy = policy_new();
                CHECK(!granted(&w));
        }
}

static void add_unit(World *w, const char *name, const char *drop_in, const char *path, const char *text) {
        PolicyText t = { path, text };

        CHECK(policy_add_unit(w->policy, name, drop_in, &t, &w->remarks) == 0);
}

static const char *min_source(const World *w) {
        const Setting *s = decide(w, PROCESS, SETTING_MEMORY_MIN);

        return s ? s->source : "";
}

static void services_speak_for_themselves(void) {
        _cleanup_world_ World w;

        world_begin(&w, process_fact());
        add(&w, "[Match]\nProcess=*\n[Process]\nIOFlusher=yes\n[Memory]\nMin=auto\n");
        add_unit(&w, "other.service", NULL, "o", "[X-Stackd]\nMemoryMin=1M\n");
        add_unit(&w, "mnt@.service", NULL, "t", "[Unit]\nnonsense\nMin=\n[X-Stackd]\nMemoryMin=2M\nIOFlusher=no\n[Service]\nExecStart=x\n");
        CHECK(streq(min_source(&w), "t:5") && decide(&w, PROCESS, SETTING_IO_FLUSHER)->number == 0 && w.remarks.n == 0);
        add_unit(&w, "service", "20.conf", "s", "[X-Stackd]\nMemoryMin=3M\n");
        CHECK(streq(min_source(&w), "s:2") && decide(&w, PROCESS, SETTING_IO_FLUSHER)->number == 0);
        add_unit(&w, "mnt@.service", "10.conf", "early", "[X-Stackd]\nMemoryMin=4M\n");
        CHECK(streq(min_source(&w), "s:2")); /* by the names of the files */
        add_unit(&w, "mnt@.service", "20.conf", "close", "[X-Stackd]\nMemoryMin=5M\n");
        CHECK(streq(min_source(&w), "close:2")); /* the same name, closer */
        add_unit(&w, "mnt@a.service", "20.conf", "closest", "[X-Stackd]\nMemoryMin=6M\n");
        CHECK(streq(min_source(&w), "closest:2"));
        add_unit(&w, "mnt@a.service", "20.conf", "below", "[X-Stackd]\nMemoryMin=7M\n");
        CHECK(streq(min_source(&w), "closest:2")); /* the directory of less precedence */
        add_unit(&w, "mnt@a.service", "30.conf", "reset", "[X-Stackd]\nMemoryMin=\n");
        CHECK(streq(min_source(&w), "f.policy:6"));
        add_unit(&w, "mnt@b.service", "99.conf", "b", "[X-Stackd]\nMemoryMin=8M\n");
        add_unit(&w, "mnt@a.servic", "99.conf", "c", "[X-Stackd]\nMemoryMin=8M\n");
        CHECK(streq(min_source(&w), "f.policy:6"));
        add_unit(&w, "mnt@a.service", "zz.conf", "z", "[X-Stackd]\nMemoryMin=1Q\nEntitled=yes\n");
        CHECK(w.remarks.n == 2 && w.remarks.errors == 1 && startswith(w.remarks.lines[0], "z:2: "));
}

static void prefixes_of_units(void) {
        NodeFact f = process_fact();
        _cleanup_world_ World w;

        free(f.unit);
        f.unit = strdup("foo-bar-baz.service");
        world_begin(&w, f);
        add_unit(&w, "foo-.service", "1.conf", "short", "[X-Stackd]\nMemoryMin=1M\n");
        CHECK(streq(min_source(&w), "short:2"));
        add_unit(&w, "foo-bar-.service", "1.conf", "long", "[X-Stackd]\nMemoryMin=2M\n");
        CHECK(streq(min_source(&w), "long:2"));
        add_unit(&w, "foo.service", "2.conf", "other", "[X-Stackd]\nMemoryMin=2M\n");
        add_unit(&w, "fo-.service", "2.conf", "other", "[X-Stackd]\nMemoryMin=2M\n");
        CHECK(streq(min_source(&w), "long:2"));
}

static void users_services_do_not_speak(void) {
        NodeFact f = process_fact();
        _cleanup_world_ World w;

        free(f.cgroup);
        f.cgroup = strdup("/user.slice/user-1000.slice/user@1000.service/mnt@a.service");
        f.entitled = false;
        world_begin(&w, f);
        add_unit(&w, "mnt@a.service", NULL, "t", "[X-Stackd]\nMemoryMin=2M\n");
        CHECK(!decide(&w, PROCESS, SETTING_MEMORY_MIN));
        world_end(&w);
        /* nor does what is called so in a cgroup that somebody else made */
        f = process_fact();
        free(f.cgroup);
        f.cgroup = strdup("/elsewhere/mnt@a.service");
        f.entitled = false;
        world_begin(&w, f);
        add_unit(&w, "mnt@a.service", NULL, "t", "[X-Stackd]\nMemoryMin=2M\n");
        CHECK(!decide(&w, PROCESS, SETTING_MEMORY_MIN));
}

static void without_a_policy_the_default(void) {
        _cleanup_world_ World w;

        world_begin(&w, process_fact());
        w.policy = policy_free(w.policy);
        CHECK(decide(&w, PROCESS, SETTING_IO_FLUSHER)->number == 1 && decide(&w, PROCESS, SETTING_MEMORY_MIN)->mode == SETTING_AUTO);
        CHECK(!decide(&w, FUSE, SETTING_MOUNT_OPTIONS));
}

TEST_MAIN(TEST(conditions_on_processes),
          TEST(names_longer_than_the_kernel_keeps),
          TEST(conditions_on_what_is_served),
          TEST(conditions_on_depth),
          TEST(half_understood_conditions_match_nothing),
          TEST(first_that_matches_holds_whole),
          TEST(a_file_holds_for_what_it_speaks_of),
          TEST(values),
          TEST(values_that_do_not_parse),
          TEST(unknown_words_are_warned_about),
          TEST(drop_ins_add_and_reset),
          TEST(who_is_entitled_by_policy),
          TEST(services_speak_for_themselves),
          TEST(prefixes_of_units),
          TEST(users_services_do_not_speak),
          TEST(without_a_policy_the_default))
