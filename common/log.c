/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdarg.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "common/log.h"
#include "common/text.h"

static int max_level = LOG_INFO, to_journal;

void log_set_max_level(int level) {
        max_level = level;
}

void log_set_target_journal(int journal) {
        to_journal = journal;
}

/* sd_journal_send() waits while the journal's socket is full, and the journal may be what waits for the storage
 * that we are here for. A message that cannot be sent at once is dropped. The text holds no newline. */
static void journal_send(int level, const char *text) {
        static const struct sockaddr_un journal = { .sun_family = AF_UNIX, .sun_path = "/run/systemd/journal/socket" };
        _cleanup_close_ int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        _cleanup_free_ char *message = text_format("MESSAGE=%s\nPRIORITY=%d\nSYSLOG_IDENTIFIER=stackd\n", text, level);

        if (fd >= 0 && message)
                (void) sendto(fd, message, strlen(message), MSG_NOSIGNAL, (const struct sockaddr *) &journal, sizeof(journal));
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
                journal_send(level, safe);
        else
                fprintf(stderr, "stackd: %s\n", safe);
}
