/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Calls to stackd's objects with any arguments, over a socket pair. Every call is answered, once, with an error or a reply; what
 * is in the reply is what D-Bus allows, or sd-bus would end the connection. */
#include <errno.h>
#include <json-c/json.h>
#include <sys/socket.h>
#include <systemd/sd-event.h>

#include "common/array.h"
#include "common/text.h"
#include "daemon/bus/bus.h"
#include "tests/fuzz/fuzz.h"

#define CALLS_MAX 6
#define WAITING_MAX 16

static sd_event *event;
static sd_bus *client;
static BusServer *server;
static Graph *graph;
static Analysis analysis;
static HazardList hazards;

/* ---- a manager that does what the input says ---- */

static struct {
        RequestDone done;
        void *userdata;
} waiting[WAITING_MAX];
static size_t n_waiting;
static uint8_t mood;

static int ask_done(RequestDone done, void *userdata) {
        static const int errors[] = { -EROFS, -EBUSY, -EACCES, -EOPNOTSUPP, -EIO };

        if (mood % 4 == 1)
                return errors[mood / 4 % ELEMENTSOF(errors)];
        if (mood % 4 == 2 && n_waiting < WAITING_MAX) {
                waiting[n_waiting].done = done;
                waiting[n_waiting++].userdata = userdata;
                return 0;
        }
        done(mood % 4 == 3 ? errors[mood / 4 % ELEMENTSOF(errors)] : 0, NULL, userdata);
        return 0;
}

static void nothing(void *manager _unused_) {
}

static int settle(void *manager _unused_, RequestDone done, void *userdata) {
        return ask_done(done, userdata);
}

static int act(void *manager _unused_, char *const *ids _unused_, RequestDone done, void *userdata) {
        return ask_done(done, userdata);
}

static int plan(void *manager _unused_, char *const *ids _unused_, Plan *ret) {
        Action a = { .target = strdup("unit:\xff\x1b.service"), .key = strdup(""), .subject = strdup("process:7:1"), .name = strdup("\x1b[m\xfe"),
                     .from = strdup("0"), .to = strdup("max"), .reason = strdup("\n"), .rule = strdup("x:1") };

        *ret = (Plan) {};
        return plan_append(ret, &a);
}

static int actions(void *manager, Plan *ret) {
        return plan(manager, NULL, ret);
}

static int reload(void *manager _unused_, BusReloadDone done, void *userdata) {
        if (mood % 4 == 1)
                return -EBUSY;
        done(mood % 4 == 3 ? -EIO : 0, userdata);
        return 0;
}

static int remarks(void *manager _unused_, const Remarks **ret) {
        static char *lines[] = { (char *) "x:1: \\x1b", NULL };
        static const Remarks found = { .lines = lines };

        *ret = &found;
        return mood % 2;
}

static int configuration(void *manager _unused_, bool secrets _unused_, char **ret_json) {
        *ret_json = strdup("{}");
        return *ret_json ? 0 : -ENOMEM;
}

static const char *trouble(void *manager _unused_) {
        return mood >= 250 ? "it cannot be read" : NULL;
}

/* ---- the machine: names as nobody wishes them ---- */

static const Policy *no_policy(void *manager _unused_) {
        return NULL;
}

static bool held(void *manager _unused_, const char *id _unused_) {
        return true;
}

static void make_graph(void) {
        _cleanup_graph_changes_ GraphChanges c = {};
        NodeFact fs = { .id = strdup("fs:0:40"), .kind = NODE_FILESYSTEM, .type = strdup("fuse.\x1b"), .name = strdup("\xff\n"), .mounts = calloc(2, sizeof(char *)) };
        NodeFact process = { .id = strdup("process:7:1"), .kind = NODE_PROCESS, .pid = 7, .start = 1, .comm = strdup("\x1b]0;\x07\xc0"), .threads = 2, .entitled = true };
        NodeFact file = { .id = strdup("file:0:40:/a\xff (deleted)"), .kind = NODE_FILE, .path = strdup("/a\xff (deleted)") };
        FactSet *f = factset_new();

        fs.mounts[0] = strdup("/mnt/\xe2\x80\xae\xff\n\xef\xbf\xbf");
        MUST(f && factset_add_node(f, &fs) >= 0 && factset_add_node(f, &process) >= 0 && factset_add_node(f, &file) >= 0);
        MUST(factset_add_edge(f, "fs:0:40", "process:7:1", ROLE_BACKING, CERTAINTY_PROVEN, 0, "/proc/\xff\x1b") >= 0);
        MUST(factset_add_edge(f, "process:7:1", "file:0:40:/a\xff (deleted)", ROLE_BACKING, CERTAINTY_INFERRED, 0, "b") >= 0);
        MUST(factset_add_edge(f, "file:0:40:/a\xff (deleted)", "fs:0:40", ROLE_BACKING, CERTAINTY_PROVEN, 0, "c") >= 0);
        graph = graph_new();
        MUST(graph && graph_replace(graph, 0, f, &c) >= 0 && analysis_update(&analysis, &c) >= 0);
        MUST(hazard_list_find(&hazards, &analysis, graph, &(State) {}) >= 0 && hazards.n > 0);
}

static void end(void) {
        client = sd_bus_close_unref(client);
        server = bus_server_free(server);
        event = sd_event_unref(event);
        hazard_list_done(&hazards);
        graph = graph_free(graph);
}

static void begin(void) {
        static const BusRequests requests = {
                .rescan = nothing, .look = nothing, .settle = settle, .finish = settle, .plan = plan, .actions = actions, .apply = act,
                .revert = act, .reload = reload, .remarks = remarks, .configuration = configuration, .trouble = trouble,
                .policy = no_policy, .held = held,
        };
        static const Gaps gaps = { .set = ~0U };
        BusView view;
        int fds[2];

        make_graph();
        view = (BusView) { .graph = graph, .analysis = &analysis, .hazards = &hazards, .gaps = &gaps };
        MUST(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) == 0);
        MUST(sd_event_new(&event) >= 0 && bus_server_new(event, fds[0], &view, &requests, NULL, &server) >= 0);
        MUST(sd_bus_new(&client) >= 0 && sd_bus_set_fd(client, fds[1], fds[1]) >= 0 && sd_bus_start(client) >= 0);
        MUST(atexit(end) == 0);
}

/* ---- calls ---- */

static unsigned answered;

static int on_answer(sd_bus_message *m, void *userdata _unused_, sd_bus_error *error _unused_) {
        const char *text;

        answered++;
        if (!sd_bus_message_is_method_error(m, NULL) && sd_bus_message_has_signature(m, "s") && sd_bus_message_read(m, "s", &text) > 0 &&
            text[0] == '{') {
                json_object *document = json_tokener_parse(text);

                MUST(json_object_is_type(document, json_type_object));
                json_object_put(document);
        }
        return 0;
}

static void turn(void) {
        for (int busy = 1; busy;) {
                busy = sd_event_run(event, 0) > 0;
                busy |= sd_bus_process(client, NULL) > 0;
        }
        MUST(sd_event_get_state(event) != SD_EVENT_FINISHED && sd_bus_is_open(client) > 0);
}

static int append(sd_bus_message *m, const char *types, FuzzInput *in) {
        int r = 0;

        for (const char *t = types; r >= 0 && *t; t++) {
                _cleanup_free_ char *text = *t == 's' || *t == 'a' ? fuzz_part(in, '|') : NULL;
                char *list[] = { text, text, NULL };

                r = *t == 's' ? sd_bus_message_append_basic(m, 's', text)
                        : *t == 'a' ? sd_bus_message_append_strv(m, list + fuzz_byte(in) % 3)
                        : *t == 'v' ? sd_bus_message_append(m, "v", "u", (uint32_t) fuzz_byte(in))
                                    : sd_bus_message_append(m, "u", (uint32_t) fuzz_byte(in));
        }
        return r;
}

static bool call(FuzzInput *in) {
        static const char *const members[] = {
                "Describe", "LookUp", "Plan", "Explain", "Apply", "Revert", "Refresh", "Reload", "DumpConfiguration", "Subscribe", "Get", "GetAll", "Set",
                "GetManagedObjects", "Introspect", "Ping", "GetMachineId",
        };
        static const char *const interfaces[] = {
                BUS_NAME ".Manager", BUS_NAME ".Layer", BUS_NAME ".Process", "org.freedesktop.DBus.Properties", "org.freedesktop.DBus.ObjectManager",
                "org.freedesktop.DBus.Introspectable", "org.freedesktop.DBus.Peer", NULL,
        };
        static const char *const paths[] = {
                BUS_PATH, BUS_PATH "/layer/fs_3a0_3a40", BUS_PATH "/process/process_3a7_3a1", BUS_PATH "/layer/process_3a7_3a1", BUS_PATH "/layer",
                BUS_PATH "/process/_", "/", NULL,
        };
        static const char *const types[] = { "s", "s", "a", "a", "a", "", "", "", "", "ss", "s", "ssv", "", "", "", "" };
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        uint8_t what = fuzz_byte(in), where = fuzz_byte(in);
        const char *path = paths[where % ELEMENTSOF(paths)], *interface = interfaces[where / 8 % ELEMENTSOF(interfaces)];
        _cleanup_free_ char *text = NULL;

        mood = fuzz_byte(in);
        if (!path)
                path = text = fuzz_part(in, '|');
        if (what < 128 && what % 16 < 9)
                path = BUS_PATH, interface = interfaces[0];
        if (sd_bus_message_new_method_call(client, &m, NULL, path, interface, members[what % ELEMENTSOF(members)]) < 0)
                return false;
        /* A member with what it takes, or with what another one does. */
        if (append(m, types[what % ELEMENTSOF(types) + (what >= 224 ? (ELEMENTSOF(types) - 1 - what % ELEMENTSOF(types)) / 2 : 0)], in) < 0)
                return false;
        return sd_bus_call_async(client, NULL, m, on_answer, NULL, UINT64_MAX) >= 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        FuzzInput in = { data, size };
        unsigned called = 0;

        if (!server)
                begin();
        answered = 0;
        for (unsigned i = 0; in.left > 0 && i < CALLS_MAX; i++) {
                called += call(&in);
                turn();
        }
        mood = 0;
        while (n_waiting > 0) {
                n_waiting--;
                waiting[n_waiting].done(0, NULL, waiting[n_waiting].userdata);
        }
        turn();
        MUST(answered == called);
        return 0;
}
