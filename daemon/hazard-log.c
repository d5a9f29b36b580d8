/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "common/log.h"
#include "common/text.h"
#include "daemon/hazard-log.h"

void hazard_log_done(HazardLog *l) {
        strv_free(l->keys);
        *l = (HazardLog) {};
}

/* OBJECT_PID has the journal add the process's unit by itself, so that "journalctl --unit=" of the server shows it. */
static void tell(const Hazard *h, const Graph *g) {
        const Node *process = h->process ? graph_find(g, h->process) : NULL;
        _cleanup_free_ char *pid = h->pid > 0 ? text_format("%d", h->pid) : NULL;
        const LogField fields[] = {
                { "STACKD_HAZARD", hazard_kind_to_string(h->kind) },
                { "STACKD_SEVERITY", hazard_severity(h->kind) },
                { "STACKD_ID", h->process ?: h->layer },
                { "STACKD_LAYER", h->layer },
                { "STACKD_PID", pid },
                { "OBJECT_PID", pid },
                { "UNIT", process && process->fact ? process->fact->unit : NULL },
                { "STACKD_CURE", h->cure },
                {},
        };

        log_event(LOG_NOTICE, LOG_ID_HAZARD, fields, "Hazard %s (%s): %s", hazard_kind_to_string(h->kind), hazard_severity(h->kind), h->message);
}

/* "KIND PROCESS LAYER" */
static void tell_gone(const char *key) {
        _cleanup_free_ char *copy = strdup(key);
        char *rest = NULL, *kind = copy ? strtok_r(copy, " ", &rest) : NULL, *process = kind ? strtok_r(NULL, " ", &rest) : NULL;
        const LogField fields[] = {
                { "STACKD_HAZARD", kind },
                { "STACKD_ID", process && !streq(process, "-") ? process : rest },
                { "STACKD_LAYER", rest },
                {},
        };

        if (kind && process)
                log_event(LOG_INFO, LOG_ID_HAZARD_GONE, fields, "Hazard %s of %s is gone", kind, streq(process, "-") ? rest : process);
}

void hazard_log_update(HazardLog *l, const HazardList *hazards, const Graph *g) {
        HazardLog now = {};

        for (size_t i = 0; i < hazards->n; i++) {
                _cleanup_free_ char *key = hazard_key(&hazards->hazards[i]);

                if (!key || strv_append(&now.keys, &now.n, key) < 0)
                        continue;
                if (!strv_contains(l->keys, key))
                        tell(&hazards->hazards[i], g);
        }
        for (char **key = l->keys; key && *key; key++)
                if (!strv_contains(now.keys, *key))
                        tell_gone(*key);
        hazard_log_done(l);
        *l = now;
}
