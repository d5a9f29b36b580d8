/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdarg.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "common/log.h"
#include "common/text-stream.h"
#include "common/text.h"

static int max_level = LOG_INFO, to_journal;

void log_set_max_level(int level) {
        max_level = level;
}

void log_set_target_journal(int journal) {
        to_journal = journal;
}

/* A value holds no newline, which would begin another field. */
static void put_field(FILE *f, const char *name, const char *value) {
        _cleanup_free_ char *safe = value ? text_escape(value) : NULL;

        if (safe)
                fprintf(f, "%s=%s\n", name, safe);
}

static char *journal_entry(int level, const char *id, const LogField *fields, const char *text) {
        _cleanup_free_ char *entry = NULL;
        size_t size;
        FILE *f = text_stream_open(&entry, &size);

        if (!f)
                return NULL;
        fprintf(f, "PRIORITY=%d\nSYSLOG_IDENTIFIER=stackd\n", level);
        put_field(f, "MESSAGE", text);
        put_field(f, "MESSAGE_ID", id);
        for (; fields && fields->name; fields++)
                put_field(f, fields->name, fields->value);
        return fclose(f) == 0 ? TAKE_PTR(entry) : NULL;
}

/* sd_journal_send() waits while the journal's socket is full, and the journal may be what waits for the storage
 * that we are here for. A message that cannot be sent at once is dropped. */
static void journal_send(const char *entry) {
        static const struct sockaddr_un journal = { .sun_family = AF_UNIX, .sun_path = "/run/systemd/journal/socket" };
        _cleanup_close_ int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

        if (fd >= 0)
                (void) sendto(fd, entry, strlen(entry), MSG_NOSIGNAL, (const struct sockaddr *) &journal, sizeof(journal));
}

static void send_message(int level, const char *id, const LogField *fields, const char *format, va_list ap) _printf_(4, 0);
static void send_message(int level, const char *id, const LogField *fields, const char *format, va_list ap) {
        _cleanup_free_ char *text = NULL, *out = NULL;

        if (level > max_level)
                return;
        if (vasprintf(&text, format, ap) < 0) {
                text = NULL;
                return;
        }
        out = to_journal ? journal_entry(level, id, fields, text) : text_escape(text);
        if (out && to_journal)
                journal_send(out);
        else if (out)
                fprintf(stderr, "stackd: %s\n", out);
}

void log_message(int level, const char *format, ...) {
        va_list ap;

        va_start(ap, format);
        send_message(level, NULL, NULL, format, ap);
        va_end(ap);
}

void log_event(int level, const char *id, const LogField *fields, const char *format, ...) {
        va_list ap;

        va_start(ap, format);
        send_message(level, id, fields, format, ap);
        va_end(ap);
}
