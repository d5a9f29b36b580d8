/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "common/text.h"
#include "daemon/executor/mark-outcome.h"

static bool result_is_settled(MarkResult result) {
        return result == MARK_DENIED || result == MARK_SECCOMP || result == MARK_USER_WORKER || result == MARK_FOREIGN_STACK ||
                result == MARK_UNSUPPORTED;
}

static bool result_is_from_stop(MarkResult result) {
        return result == MARK_FOREIGN_STACK || result == MARK_UNSUPPORTED || result == MARK_SECCOMP;
}

static void note_obstacle(MarkOutcome *o, const MarkLine *line) {
        o->settled = (o->settled || !o->obstructed) && result_is_settled(line->result);
        o->stopped = o->stopped || result_is_from_stop(line->result);
        o->final = o->settled && o->stopped;
        if (o->obstructed)
                return;
        o->obstacle = line->result;
        o->error = line->error;
        o->tid = line->tid;
        o->obstructed = true;
}

void mark_outcome_parse(const char *output, MarkOutcome *ret) {
        *ret = (MarkOutcome) {};
        for (const char *p = output; p && *p; p = strchr(p, '\n')) {
                MarkLine line;

                p += *p == '\n';
                char *copy = strndup(p, strcspn(p, "\n"));
                int r = copy ? mark_line_parse(copy, &line) : -ENOMEM;

                free(copy);
                if (r < 0)
                        continue;
                if (line.final) {
                        ret->state = line.state;
                        ret->cut = line.cut;
                        ret->reported = true;
                } else if (line.result != MARK_DONE && line.result != MARK_GONE)
                        note_obstacle(ret, &line);
        }
}

int mark_outcome_to_status(const MarkOutcome *o) {
        return !o->reported ? -EIO : o->state == MARK_STATE_ALL ? EXIT_SUCCESS : EXIT_FAILURE;
}

char *mark_outcome_to_error(const MarkOutcome *o, int status, const char *marker) {
        static const char *const obstacles[_MARK_RESULT_MAX] = {
                [MARK_DENIED] = ("the kernel does not permit it: the process lacks CAP_SYS_RESOURCE in the initial user namespace, or a "
                                 "security module (AppArmor, SELinux) keeps it from using it"),
                [MARK_SECCOMP] = "its seccomp filter is in the way",
                [MARK_BUSY] = "it is stopped, frozen, or inside a system call that must not be interrupted",
                [MARK_TRACED] = "a debugger traces it",
                [MARK_USER_WORKER] = ("it is a worker of io_uring or vhost from before the mark; the kernel ends it when it has been idle for five "
                                      "seconds, but keeps the last one of its kind"),
                [MARK_FOREIGN_STACK] = "it runs on a stack that the C library has not made, as threads of Go programs and coroutines do",
                [MARK_UNSUPPORTED] = "this kind of process cannot be changed from outside",
        };

        if (status == -ECONNREFUSED)
                return text_format("nobody listens at %s: is stackd-mark.socket stopped?", marker);
        if (status == -EAGAIN)
                return text_format("too many wait at %s", marker);
        if (status == 127)
                return text_format("%s could not be run", marker);
        if (status == -EIO)
                return text_format("%s gave no answer", marker);
        if (status == -ETIME)
                return strdup("it did not work within the time that is allowed");
        if (o->reported && o->state == MARK_STATE_GONE)
                return strdup("the process has ended");
        if (!o->obstructed)
                return strdup("its threads changed faster than they could be marked");
        if (o->obstacle == MARK_FAILED)
                return text_format("thread %d: %s", o->tid, strerror(o->error));
        return text_format("thread %d: %s", o->tid, obstacles[o->obstacle] ?: "unknown");
}
