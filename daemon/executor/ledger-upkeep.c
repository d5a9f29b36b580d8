/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>

#include "common/text.h"
#include "daemon/executor/ledger-upkeep.h"
#include "daemon/source/process-table.h"

/* There is nothing to undo of a process that has ended. */
static void forget_processes(Ledger *l, const Sysroot *root) {
        for (size_t i = l->n; i-- > 0;) {
                const Record *record = &l->records[i];

                if (record->pid != 0 && process_has_ended(root, record->pid, record->start))
                        (void) ledger_remove(l, record->kind, record->target, record->key);
        }
}

static bool is_over(const Sysroot *root, Graph *g, bool complete, const char *id) {
        const char *process = startswith(id, "process:");
        unsigned long long start;
        int pid;

        if (process && sscanf(process, "%d:%llu", &pid, &start) == 2)
                return process_has_ended(root, pid, start);
        return (startswith(id, "fs:") || startswith(id, "block:")) && complete && !graph_find(g, id);
}

/* What was reverted is left alone for as long as it is there: another file system, or image, may get its number. */
static void forget_held(Ledger *l, const Sysroot *root, Graph *g, bool complete) {
        _cleanup_strv_free_ char **over = NULL;
        size_t n = 0;

        for (char **id = l->held; id && *id; id++)
                if (is_over(root, g, complete, *id) && strv_append(&over, &n, *id) < 0)
                        return;
        if (n > 0)
                (void) ledger_hold(l, over, l->all_held);
}

void ledger_forget_ended(Ledger *l, const Sysroot *root, Graph *g, bool complete) {
        forget_processes(l, root);
        forget_held(l, root, g, complete);
}
