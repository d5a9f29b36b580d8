/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdarg.h>
#include <systemd/sd-journal.h>

#include "common/log.h"
#include "common/text.h"

static int max_level = LOG_INFO, to_journal;

void log_set_max_level(int level) {
        max_level = level;
}

void log_set_target_journal(int journal) {
        to_journal = journal;
}

void log_message(int level, const char *format, ...) {
        _cleanup_free_ char *raw = NULL, *safe = NULL;
        va_list ap;
        int n;

        if (level > max_level)
                return;
        va_start(ap, format);
        n = vasprintf(&raw, format, ap);
        va_end(ap);
        if (n < 0) {
                raw = NULL;
                return;
        }
        safe = text_escape(raw);
        if (!safe)
                return;
        if (to_journal)
                sd_journal_send("MESSAGE=%s", safe, "PRIORITY=%i", level, NULL);
        else
                fprintf(stderr, "stackd: %s\n", safe);
}
