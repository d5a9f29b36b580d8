/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <langinfo.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>

#include "cli/complain.h"
#include "cli/escape.h"
#include "cli/output.h"
#include "cli/subprocess.h"
#include "common/file.h"
#include "common/text-stream.h"
#include "common/text.h"

static const Glyphs glyphs_utf8 = {
        .branch = "├─", .corner = "└─", .bar = "│ ", .arrow = "→",
        .bad = "✗", .partly = "◐", .good = "●", .idle = "○", .note = "!", .again = "↺",
};

static const Glyphs glyphs_ascii = {
        .branch = "|-", .corner = "`-", .bar = "| ", .arrow = "->",
        .bad = "X", .partly = "%", .good = "*", .idle = "o", .note = "!", .again = "^",
};

static const char *const style_codes[_STYLE_MAX] = {
        [STYLE_GOOD] = "\x1b[32m",
        [STYLE_WARN] = "\x1b[33m",
        [STYLE_BAD] = "\x1b[1;31m",
        [STYLE_DIM] = "\x1b[2m",
        [STYLE_BOLD] = "\x1b[1m",
};

bool output_locale_is_utf8(void) {
        return streq(nl_langinfo(CODESET), "UTF-8");
}

static bool want_colours(bool terminal) {
        const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");

        return terminal && !(no_color && *no_color) && term && *term && !streq(term, "dumb");
}

/* COLUMNS and LINES win over the terminal, as everywhere. */
static unsigned dimension(const char *variable, unsigned from_terminal, unsigned fallback) {
        const char *s = getenv(variable);
        uint64_t n;

        if (s && text_to_u64(s, 10, &n) >= 0 && n > 0 && n < 10000)
                return (unsigned) n;
        return from_terminal > 0 ? from_terminal : fallback;
}

int output_new(Output **ret) {
        _cleanup_(output_freep) Output *o = calloc(1, sizeof(*o));
        struct winsize size = {};

        if (!o)
                return -ENOMEM;
        o->stream = text_stream_open(&o->buffer, &o->size);
        if (!o->stream)
                return -ENOMEM;
        o->terminal = isatty(STDOUT_FILENO);
        if (o->terminal && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) < 0)
                size = (struct winsize) {};
        o->columns = dimension("COLUMNS", size.ws_col, 80);
        o->rows = dimension("LINES", size.ws_row, 24);
        o->colours = want_colours(o->terminal);
        o->utf8 = output_locale_is_utf8();
        o->glyphs = o->utf8 ? &glyphs_utf8 : &glyphs_ascii;
        *ret = TAKE_PTR(o);
        return 0;
}

Output *output_free(Output *o) {
        if (!o)
                return NULL;
        if (o->stream)
                fclose(o->stream);
        free(o->buffer);
        free(o);
        return NULL;
}

void output_raw(Output *o, const char *format, ...) {
        va_list ap;

        va_start(ap, format);
        if (vfprintf(o->stream, format, ap) < 0)
                o->failed = true; /* of its own want of memory the stream knows nothing */
        va_end(ap);
}

void output_text(Output *o, const char *untrusted) {
        _cleanup_free_ char *escaped = escape_text(untrusted, o->utf8);

        if (escaped)
                fputs(escaped, o->stream);
        else
                o->failed = true;
}

void output_style_begin(Output *o, Style style) {
        if (o->colours)
                fputs(style_codes[style], o->stream);
}

void output_style_end(Output *o) {
        if (o->colours)
                fputs("\x1b[0m", o->stream);
}

void output_heading(Output *o, const char *text) {
        output_style_begin(o, STYLE_BOLD);
        output_raw(o, "%s", text);
        output_style_end(o);
        output_raw(o, "\n");
}

void output_styled(Output *o, Style style, const char *untrusted) {
        output_style_begin(o, style);
        output_text(o, untrusted);
        output_style_end(o);
}

void output_wrapped(Output *o, unsigned column, unsigned indent, const char *untrusted) {
        _cleanup_free_ char *escaped = escape_text(untrusted, o->utf8);
        char *rest = NULL;
        bool fresh = true;

        if (!escaped) {
                o->failed = true;
                return;
        }
        for (char *word = strtok_r(escaped, " ", &rest); word; word = strtok_r(NULL, " ", &rest)) {
                size_t width = escape_width(word);

                if (!fresh && column + 1 + width > o->columns) {
                        output_raw(o, "\n%*s", (int) indent, "");
                        column = indent;
                } else if (!fresh) {
                        output_raw(o, " ");
                        column++;
                }
                output_raw(o, "%s", word);
                column += width;
                fresh = false;
        }
        output_raw(o, "\n");
}

static int write_out(const Output *o) {
        int r = file_write_all(STDOUT_FILENO, o->buffer, o->size);

        /* Some file systems report a full disk only now. */
        if (r >= 0 && !o->terminal && close(STDOUT_FILENO) < 0)
                r = -errno;
        if (r == -EPIPE)
                return REPORTED; /* a reader that has gone knows why */
        if (r < 0)
                return complain("Cannot write to standard output: %s. The output is not complete.", strerror(-r));
        return 0;
}

int output_complete(Output *o) {
        return fflush(o->stream) != 0 || ferror(o->stream) || o->failed ? -ENOMEM : 0;
}

int output_now(Output *o) {
        int r = output_complete(o);

        if (r < 0)
                return r;
        r = file_write_all(STDOUT_FILENO, o->buffer, o->size);
        rewind(o->stream);
        if (r < 0 && r != -EPIPE)
                return complain("Cannot write to standard output: %s. The output is not complete.", strerror(-r));
        return r;
}

static const char *pager_command(void) {
        static const char *const variables[] = { "STACKCTL_PAGER", "SYSTEMD_PAGER", "PAGER" };

        for (size_t i = 0; i < ELEMENTSOF(variables); i++) {
                const char *s = getenv(variables[i]);

                if (s)
                        return *s && !streq(s, "cat") ? s : NULL;
        }
        return "less";
}

/* As systemd's tools have it, whose users expect the same keys here: for whatever the pager calls less. */
static bool pager_prepare(const Output *o) {
        const char *options = getenv("SYSTEMD_LESS"), *charset = getenv("SYSTEMD_LESSCHARSET");

        if (!charset && o->utf8)
                charset = "utf-8";
        if (setenv("LESS", options ?: "FRSXMK", 1) < 0 || (charset && setenv("LESSCHARSET", charset, 1) < 0))
                return false;
        /* What a viewer of other people's names should not offer by default: a shell. */
        return setenv("LESSSECURE", "1", 0) >= 0;
}

static size_t count_lines(const Output *o) {
        size_t n = 0;

        for (size_t i = 0; i < o->size; i++)
                n += o->buffer[i] == '\n';
        return n;
}

static int pager_start(const char *command, pid_t *ret_pid, int *ret_fd) {
        _cleanup_close_ int read_end = -1, write_end = -1;
        int fds[2], r;

        if (pipe2(fds, O_CLOEXEC) < 0)
                return -errno;
        read_end = fds[0];
        write_end = fds[1];
        r = subprocess_start((char *[]) { (char *) "/bin/sh", (char *) "-c", (char *) command, NULL }, read_end,
                          STDIN_FILENO, false, ret_pid);
        if (r < 0)
                return r;
        *ret_fd = TAKE_FD(write_end);
        return 0;
}

/* Whether a pager took the output; otherwise it is still to be written. */
static bool page_out(const Output *o) {
        const char *command = pager_command();
        _cleanup_close_ int fd = -1;
        int status = 0;
        pid_t pid;

        if (!command || !o->terminal || count_lines(o) < o->rows)
                return false;
        if (!pager_prepare(o))
                return false;
        if (pager_start(command, &pid, &fd) < 0)
                return false;
        (void) file_write_all(fd, o->buffer, o->size); /* left early by the reader: fine */
        fd = fd_close(fd);
        /* Ctrl-C is the pager's to handle while it runs. */
        signal(SIGINT, SIG_IGN);
        (void) subprocess_wait(pid, -1, &status);
        signal(SIGINT, SIG_DFL);
        /* 126 and 127: the shell found no pager, nothing was shown. */
        return !(WIFEXITED(status) && (WEXITSTATUS(status) == 126 || WEXITSTATUS(status) == 127));
}

int output_flush(Output *o, bool pager) {
        int r = output_complete(o);

        if (r < 0)
                return r;
        if (o->size == 0 || (pager && page_out(o)))
                return 0;
        return write_out(o);
}
