/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a device-mapper table itself names, beside sysfs: targets may use devices (metadata, journals) through
 * the table, and both must agree. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "common/text.h"
#include "daemon/source/scan.h"

static int add_dependencies(FactSet *f, const Block *b, const char *answer) {
        _cleanup_free_ char *copy = strdup(answer), *upper = block_id(b->device);
        char *state = NULL, *word;
        int r;

        if (!copy || !upper)
                return -ENOMEM;
        (void) strtok_r(copy, " ", &state); /* the target types */
        while ((word = strtok_r(NULL, " ", &state))) {
                _cleanup_free_ char *lower = NULL;
                dev_t device;

                if (text_to_devno(word, &device) < 0)
                        continue;
                lower = block_id(device);
                if (!lower)
                        return -ENOMEM;
                r = factset_add_edge(f, upper, lower, ROLE_BACKING, CERTAINTY_PROVEN, 0, PATH("DM_TABLE_DEPS of %s", b->name));
                if (r < 0)
                        return r;
        }
        return 0;
}

int source_dm_scan(Scan *s, FactSet *f) {
        for (size_t i = 0; s->probes && i < s->blocks.n; i++) {
                const Block *b = &s->blocks.blocks[i];
                const char *answer;
                int r;

                if (!b->dm_name)
                        continue;
                answer = probe_cache_get(s->probes, PATH("dm %u:%u %llu", major(b->device), minor(b->device),
                                                         (unsigned long long) b->diskseq), NULL);
                if (!answer || *answer == '!')
                        continue;
                r = add_dependencies(f, b, answer);
                if (r < 0)
                        return r;
        }
        return 0;
}
