/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <string.h>

#include "common/log.h"
#include "common/text.h"
#include "daemon/executor/action-log.h"

/* Where the fields of an action's message are. */
typedef struct ActionFields {
        char pid[16];
        LogField fields[8];
} ActionFields;

static const LogField *action_fields(const Action *a, ActionFields *f) {
        const char *unit = startswith(a->target, "unit:");

        snprintf(f->pid, sizeof(f->pid), "%d", a->pid);
        memcpy(f->fields, (const LogField[]) {
                { "STACKD_ACTION", action_kind_to_string(a->kind) },
                { "STACKD_TARGET", a->target },
                { "STACKD_ID", a->subject[0] ? a->subject : NULL },
                { "STACKD_PID", a->pid > 0 ? f->pid : NULL },
                { "OBJECT_PID", a->pid > 0 ? f->pid : NULL },
                { "UNIT", unit },
                { "STACKD_RULE", a->rule },
                {},
        }, sizeof(f->fields));
        return f->fields;
}

void action_log_mark(const Action *a) {
        ActionFields f;

        if (a->state == ACTION_FAILED)
                log_event(LOG_WARNING, LOG_ID_ACTION_FAILED, action_fields(a, &f), "Cannot %s %s[%d]: %s",
                          a->undo ? "take the IO_FLUSHER mark off" : "mark as IO_FLUSHER", a->name, a->pid, a->error ?: "out of memory");
        else
                log_event(LOG_INFO, LOG_ID_ACTION, action_fields(a, &f), "%s %s[%d]: %s",
                          a->undo ? "Took the IO_FLUSHER mark off" : "Marked as IO_FLUSHER", a->name, a->pid, a->reason);
        if (a->cut > 0)
                log_warning("Marking of %s[%d] has ended %u of its system calls early", a->name, a->pid, a->cut);
}

void action_log_deed(const Action *a, DeedStatus status) {
        const char *kind = action_kind_to_string(a->kind), *space = a->key[0] ? " " : "";
        ActionFields f;

        if (status == DEED_SAME)
                log_debug("%s%s%s of %s is %s already", kind, space, a->key, a->name, a->to);
        else if (status == DEED_STALE)
                log_info("Did not set %s%s%s of %s to %s: %s", kind, space, a->key, a->name, a->to, a->error ?: "it has changed");
        else if (a->state == ACTION_FAILED)
                log_event(LOG_WARNING, LOG_ID_ACTION_FAILED, action_fields(a, &f), "Cannot set %s%s%s of %s to %s: %s", kind, space, a->key,
                          a->name, a->to, a->error ?: "out of memory");
        else if (a->error)
                log_info("Did not restore %s%s%s of %s: %s", kind, space, a->key, a->name, a->error);
        else
                log_event(LOG_INFO, LOG_ID_ACTION, action_fields(a, &f), "%s %s%s%s of %s from %s to %s: %s", a->undo ? "Restored" : "Set",
                          kind, space, a->key, a->name, a->from ?: "?", a->to, a->reason);
}
