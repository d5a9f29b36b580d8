/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What children answer to questions (probe.h), and captures say that they did. */
#include "common/text.h"
#include "daemon/source/fuse-servers.h"
#include "daemon/source/lio-backstores.h"
#include "daemon/source/probe.h"
#include "tests/fuzz/fuzz.h"

static void read_answer(const char *text) {
        _cleanup_(backstores_done) Backstores stores = {};
        _cleanup_(fuse_servers_done) FuseServers servers = {}, again = {};
        _cleanup_free_ char *back = NULL;

        MUST(lio_parse(text, &stores) >= 0);
        for (size_t i = 0; i < stores.n; i++)
                MUST(stores.items[i].place && !stores.items[i].uio != !stores.items[i].path);
        if (fuse_servers_parse(text, &servers) < 0)
                return;
        back = fuse_servers_format(&servers);
        MUST(back && fuse_servers_parse(back, &again) >= 0 && again.n == servers.n);
        for (size_t i = 0; i < servers.n; i++)
                MUST(fuse_servers_find(&again, servers.servers[i].pid, servers.servers[i].start, servers.servers[i].fd));
}

/* What was saved is what is loaded. */
static void load_and_save(const char *text) {
        _cleanup_(probe_cache_done) ProbeCache a = {}, b = {};
        _cleanup_free_ char *first = NULL, *second = NULL;

        MUST(probe_cache_init(&a) >= 0 && probe_cache_init(&b) >= 0);
        MUST(probe_cache_load(&a, text) >= 0 && probe_cache_save(&a, &first) >= 0);
        MUST(probe_cache_load(&b, first) >= 0 && probe_cache_save(&b, &second) >= 0);
        MUST(streq(first, second));
        probe_cache_begin(&a);
        (void) probe_cache_get(&a, "loop 7:0 1", NULL);
        probe_cache_forget(&a, "dm ");
        probe_cache_expire(&a);
        MUST(hashmap_size(a.probes) == 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_free_ char *text = fuzz_text(data, size);

        read_answer(text);
        load_and_save(text);
        return 0;
}
