/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "common/log.h"
#include "common/text.h"
#include "daemon/world/hazard-log.h"

#define FOREIGN_MAX 100U
#define FOREIGN_TIME_USEC (3600ULL * 1000 * 1000)

void hazard_log_done(HazardLog *l) {
        hashmap_free(l->told);
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

/* Ordinary users make as many of these as they like, and journald takes so many lines of a service and no more. */
static bool may_tell(HazardLog *l, const Hazard *h, uint64_t now_usec) {
        if (h->kind != HAZARD_FOREIGN_USER)
                return true;
        if (now_usec - l->foreign_since >= FOREIGN_TIME_USEC) {
                l->foreign_since = now_usec;
                l->n_foreign = 0;
        }
        if (l->n_foreign == FOREIGN_MAX)
                return false;
        if (++l->n_foreign == FOREIGN_MAX)
                log_info("More hazards of ordinary users' processes are not told within this hour: see 'stackctl check'");
        return true;
}

/* Whatever cannot be remembered for want of memory is told once more. */
void hazard_log_update(HazardLog *l, const HazardList *hazards, const Graph *g, uint64_t now_usec) {
        HazardLog now = { .told = hashmap_new(), .foreign_since = l->foreign_since, .n_foreign = l->n_foreign };

        if (!now.told)
                return;
        for (size_t i = 0; i < hazards->n; i++) {
                _cleanup_free_ char *key = hazard_key(&hazards->hazards[i]);
                bool told = key && l->told && hashmap_get(l->told, key);

                if (!key || (!told && !may_tell(&now, &hazards->hazards[i], now_usec)))
                        continue;
                if (!told)
                        tell(&hazards->hazards[i], g);
                if (strv_append(&now.keys, &now.n, key) >= 0)
                        (void) hashmap_put(now.told, now.keys[now.n - 1], now.keys[now.n - 1]);
        }
        for (char **key = l->keys; key && *key; key++)
                if (!hashmap_get(now.told, *key))
                        tell_gone(*key);
        hazard_log_done(l);
        *l = now;
}
