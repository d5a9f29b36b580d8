/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Whatever a configuration file may hold, read as every kind of file there is. With libFuzzer:
 *
 *     CC=clang meson setup build-fuzz -Db_sanitize=address,undefined -Db_lundef=false -Dfuzz=true
 *     ninja -C build-fuzz tests/fuzz/fuzz-policy && build-fuzz/tests/fuzz/fuzz-policy tests/fuzz/corpus
 *
 * Without (a build that is not clang's, or has no sanitizer) it is a program that takes files. */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "common/file.h"
#include "common/text.h"
#include "daemon/configuration/configuration.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int r) {
        if (r < 0)
                abort();
}

static void decide(const Policy *p) {
        char *mounts[] = { (char *) "/mnt", NULL };
        NodeFact process = { .kind = NODE_PROCESS, .comm = (char *) "x", .exe = (char *) "/usr/bin/x", .unit = (char *) "a-b@c.service",
                             .cgroup = (char *) "/system.slice/a-b@c.service", .entitled = true };
        NodeFact layer = { .kind = NODE_BLOCK, .type = (char *) "loop", .name = (char *) "loop0", .device = (char *) "7:0", .mounts = mounts,
                           .id = (char *) "block:7:0" };
        const Setting *settings[_SETTING_KIND_MAX];
        Node upper = { .fact = &layer }, n = { .fact = &process };
        Edge edge = { .upper = &upper, .lower = &n };
        Edge *edges[] = { &edge };

        n.upper = edges;
        n.n_upper = 1;
        policy_decide(p, &n, settings);
        policy_decide(p, &upper, settings);
        for (SettingKind k = 0; k < _SETTING_KIND_MAX; k++)
                if (settings[k] && !settings[k]->source)
                        abort();
}

static void read_as_files(const char *text) {
        _cleanup_(policy_freep) Policy *p = policy_new();
        DaemonSettings settings = DAEMON_SETTINGS_DEFAULT;
        const PolicyText texts[] = { { "a", text }, { "b", text } };
        _cleanup_remarks_ Remarks remarks = {};

        must(p ? 0 : -ENOMEM);
        must(policy_add_users(p, text));
        must(policy_add_rule(p, texts, 2, &remarks));
        must(policy_check_text(texts, &remarks));
        must(policy_add_unit(p, "a-b@.service", NULL, texts, &remarks));
        must(policy_add_unit(p, "a-.service", "x.conf", texts, &remarks));
        must(policy_add_unit(p, "service", "x.conf", texts, &remarks));
        must(daemon_settings_read(&settings, "c", text, &remarks));
        decide(p);
        for (char **line = remarks.lines; line && *line; line++)
                for (const char *c = *line; *c; c++)
                        if ((unsigned char) *c < ' ')
                                abort();
}

/* What a child says is ours, but what it was in the midst of when it ended is not. */
static void read_as_output(Configuration *c, const char *text) {
        _cleanup_free_ char *json = NULL;

        must(configuration_update(c, text, true));
        must(configuration_describe(c, false, &json));
        decide(c->policy);
}

static void read_as_policy(Configuration *c, const char *text) {
        _cleanup_free_ char *output = text_format("0 0 0 %zu %zu\n%s%s", strlen("/etc/stackd/policy/90-default.policy"), strlen(text),
                                                  "/etc/stackd/policy/90-default.policy", text);

        must(output ? 0 : -ENOMEM);
        read_as_output(c, output);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_(configuration_done) Configuration c = CONFIGURATION_NULL;
        _cleanup_free_ char *text = strndup((const char *) data, size);

        must(text ? 0 : -ENOMEM);
        read_as_files(text);
        read_as_output(&c, text);
        read_as_policy(&c, "[Match]\nProcess=*\n[Process]\nIOFlusher=yes\n");
        read_as_policy(&c, text);
        return 0;
}

#ifndef WITH_LIBFUZZER
/* Every file as it is, cut off at each place, and with each byte changed. */
static void vary(uint8_t *data, size_t size) {
        LLVMFuzzerTestOneInput(data, size);
        for (size_t i = 0; i < size && i < 600; i++) {
                uint8_t byte = data[i];

                LLVMFuzzerTestOneInput(data, i);
                for (size_t k = 0; k < 4; k++) {
                        data[i] = (uint8_t) "\n\\[="[k];
                        LLVMFuzzerTestOneInput(data, size < 600 ? size : 600);
                }
                data[i] = byte;
        }
}

int main(int argc, char **argv) {
        printf("1..%d\n", argc - 1);
        for (int i = 1; i < argc; i++) {
                _cleanup_fclose_ FILE *f = fopen(argv[i], "re");
                _cleanup_free_ char *text = NULL;
                size_t size;

                if (!f || file_read_fd(fileno(f), 1 << 24, &text, &size) < 0) {
                        printf("Bail out! %s: %s\n", argv[i], strerror(errno));
                        return 1;
                }
                vary((uint8_t *) text, size);
                printf("ok %d - %s\n", i, argv[i]);
        }
        return 0;
}
#endif
