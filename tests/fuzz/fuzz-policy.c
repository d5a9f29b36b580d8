/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Whatever a configuration file may hold, read as every kind of file there is. */
#include "common/text.h"
#include "daemon/configuration/configuration.h"
#include "tests/fuzz/fuzz.h"

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
                MUST(!settings[k] || settings[k]->source);
}

static void read_as_files(const char *text) {
        _cleanup_(policy_freep) Policy *p = policy_new();
        DaemonSettings settings = DAEMON_SETTINGS_DEFAULT;
        const PolicyText texts[] = { { "a", text }, { "b", text } };
        _cleanup_remarks_ Remarks remarks = {};

        MUST(p);
        MUST(policy_add_users(p, text) >= 0);
        MUST(policy_add_rule(p, texts, 2, &remarks) >= 0);
        MUST(policy_check_text(texts, &remarks) >= 0);
        MUST(policy_add_unit(p, "a-b@.service", NULL, texts, &remarks) >= 0);
        MUST(policy_add_unit(p, "a-.service", "x.conf", texts, &remarks) >= 0);
        MUST(policy_add_unit(p, "service", "x.conf", texts, &remarks) >= 0);
        MUST(daemon_settings_read(&settings, "c", text, &remarks) >= 0);
        decide(p);
        for (char **line = remarks.lines; line && *line; line++)
                for (const char *c = *line; *c; c++)
                        MUST((unsigned char) *c >= ' ');
}

/* What a child says is ours, but what it was in the midst of when it ended is not. */
static void read_as_output(Configuration *c, const char *text) {
        _cleanup_free_ char *json = NULL;

        MUST(configuration_update(c, text, true) >= 0);
        MUST(configuration_describe(c, false, &json) >= 0);
        decide(c->policy);
}

static void read_as_policy(Configuration *c, const char *text) {
        _cleanup_free_ char *output = text_format("0 0 0 %zu %zu\n%s%s", strlen("/etc/stackd/policy/90-default.policy"), strlen(text),
                                                  "/etc/stackd/policy/90-default.policy", text);

        MUST(output);
        read_as_output(c, output);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_(configuration_done) Configuration c = CONFIGURATION_NULL;
        _cleanup_free_ char *text = fuzz_text(data, size);

        read_as_files(text);
        read_as_output(&c, text);
        read_as_policy(&c, "[Match]\nProcess=*\n[Process]\nIOFlusher=yes\n");
        read_as_policy(&c, text);
        return 0;
}
