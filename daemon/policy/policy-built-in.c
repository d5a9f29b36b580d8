/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What holds where no configuration says anything. */
#include "daemon/policy/policy.h"

#define SOURCE (char *) "built-in:lower-layer"

void policy_decide(const Policy *p, const Node *n, const Setting *ret[_SETTING_KIND_MAX]) {
        static const Setting yes = { .mode = SETTING_VALUE, .number = 1, .source = SOURCE };
        static const Setting automatic = { .mode = SETTING_AUTO, .source = SOURCE };

        (void) p;
        for (SettingKind kind = 0; kind < _SETTING_KIND_MAX; kind++)
                ret[kind] = NULL;
        if (node_kind(n) != NODE_PROCESS)
                return;
        ret[SETTING_IO_FLUSHER] = &yes;
        ret[SETTING_MEMORY_MIN] = ret[SETTING_SWAP_MAX] = &automatic;
        ret[SETTING_OOM_SCORE_ADJUST] = ret[SETTING_OOMD_PREFERENCE] = &automatic;
}
