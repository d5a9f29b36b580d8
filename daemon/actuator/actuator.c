/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>
#include <time.h>

#include "common/file.h"
#include "common/text.h"
#include "daemon/actuator/actuator.h"

#define SETTLE_STEP_NSEC (10L * 1000 * 1000)
#define SETTLE_STEPS 300 /* three seconds */

static const Actuator *const actuators[_ACTION_KIND_MAX] = {
        [ACTION_OOM_SCORE] = &actuator_oom_score,
        [ACTION_OOMD_PREFERENCE] = &actuator_oomd_preference,
        [ACTION_MEMORY_MIN] = &actuator_memory_min,
        [ACTION_MEMORY_LOW] = &actuator_memory_low,
        [ACTION_SWAP_MAX] = &actuator_swap_max,
        [ACTION_WRITEBACK_LIMIT] = &actuator_writeback,
        [ACTION_DIRECT_IO] = &actuator_direct_io,
        [ACTION_MOUNT_OPTION] = &actuator_mount,
};

static const char *const statuses[_DEED_STATUS_MAX] = {
        [DEED_DONE] = "done",   [DEED_SAME] = "same",       [DEED_GONE] = "gone",     [DEED_LEFT] = "left",
        [DEED_STALE] = "stale", [DEED_REFUSED] = "refused", [DEED_FAILED] = "failed",
};

const Actuator *actuator_find(ActionKind kind) {
        return actuators[kind];
}

int actuator_read(const Sysroot *s, ActionKind kind, const char *target, const char *key, char **ret) {
        Action a = { .kind = kind, .target = (char *) target, .key = (char *) key };
        Deed d = { .root = s, .action = &a };
        int r;

        r = actuators[kind]->read(&d, ret);
        free(d.trouble);
        return r;
}

/* Not by the word of a look that failed: what is forgotten as gone is never undone. */
static bool is_gone(const Deed *d, int r) {
        return error_is_gone(r) && sysroot_trouble(d->root, NULL) == 0;
}

/* What a try at another time would not change. */
static bool is_refusal(int r) {
        return r == -EINVAL || r == -EOPNOTSUPP || r == -EPERM || r == -EACCES || r == -EROFS || r == -ENOTTY || r == -ENOSYS;
}

static bool is_wanted(const Action *a, const char *value) {
        /* A number of bytes becomes a share of what may be dirty: what is read back is what it was rounded to. */
        return streq(value, a->to) || (!a->undo && endswith(a->to, " bytes"));
}

/* There is no event for when the service manager gets to it, nor for a cgroup's attribute. */
static int read_back(Deed *d, const Actuator *x, char **ret) {
        const struct timespec step = { .tv_nsec = SETTLE_STEP_NSEC };

        for (unsigned i = 0;; i++) {
                _cleanup_free_ char *value = NULL;
                int r;

                r = x->read(d, &value);
                if (r < 0)
                        return r;
                if (!x->slow || is_wanted(d->action, value) || i >= SETTLE_STEPS) {
                        *ret = TAKE_PTR(value);
                        return 0;
                }
                (void) nanosleep(&step, NULL);
        }
}

static DeedStatus fail(Deed *d, int r) {
        if (error_is_gone(r))
                r = sysroot_trouble(d->root, NULL) ?: r;
        if (!d->trouble)
                d->trouble = strdup(strerror(-r));
        return is_refusal(r) ? DEED_REFUSED : DEED_FAILED;
}

/* A service manager remembers for a unit that just ended, and gives it to the next one of that name. */
static DeedStatus go_after_change(const Deed *d, const Actuator *x, char **value) {
        free(*value);
        *value = x->slow ? strdup(d->action->to) : NULL;
        return DEED_GONE;
}

static DeedStatus change(Deed *d, const Actuator *x, char **value) {
        const Action *a = d->action;
        int r;

        r = x->write(d, a->to);
        if (is_gone(d, r))
                return go_after_change(d, x, value);
        if (r < 0) {
                /* A service manager that did not answer may get to it later: it is not known what will be there. */
                if (x->slow && !is_refusal(r)) {
                        free(*value);
                        *value = NULL;
                }
                return fail(d, r);
        }
        free(*value);
        *value = NULL;
        r = read_back(d, x, value);
        if (is_gone(d, r))
                return go_after_change(d, x, value);
        if (r < 0)
                return fail(d, r);
        if (is_wanted(a, *value))
                return DEED_DONE;
        d->trouble = text_format("it was accepted without an error, and is %s all the same", *value);
        if (x->slow) { /* the service manager has it all the same, and an undo has to take it back */
                free(*value);
                *value = NULL;
        }
        return DEED_REFUSED;
}

static DeedStatus carry_out(Deed *d, const Actuator *x, char **value) {
        const Action *a = d->action;
        DeedStatus status;
        int r;

        r = x->read(d, value);
        if (is_gone(d, r))
                status = DEED_GONE;
        else if (r < 0)
                return fail(d, r);
        else if (streq(*value, a->to))
                status = DEED_SAME;
        else if (a->from && !streq(*value, a->from)) {
                if (a->undo && x->leave)
                        x->leave(d, *value);
                return a->undo ? DEED_LEFT : DEED_STALE;
        } else
                status = change(d, x, value);
        if (a->undo && x->forget && (status == DEED_DONE || status == DEED_SAME || status == DEED_GONE))
                x->forget(d);
        return status;
}

void deed_run(const Sysroot *s, const Action *a, int output_fd) {
        Deed d = { .root = s, .action = a };
        _cleanup_free_ char *value = NULL, *line = NULL;
        DeedStatus status;

        sysroot_forget_trouble(s);
        status = carry_out(&d, actuators[a->kind], &value);
        line = text_format("%s\n%s\n%s\n", statuses[status], value ?: "", d.trouble ?: "");
        if (line)
                (void) file_write_all(output_fd, line, strlen(line));
        free(d.trouble);
        sd_bus_flush_close_unref(d.bus);
}

/* The text up to the next end of a line, or NULL where it is empty; *p moves on. -EBADMSG without an end. */
static int take_line(const char **p, char **ret) {
        size_t n = strcspn(*p, "\n");

        if ((*p)[n] != '\n')
                return -EBADMSG;
        *ret = n > 0 ? strndup(*p, n) : NULL;
        if (n > 0 && !*ret)
                return -ENOMEM;
        *p += n + 1;
        return 0;
}

int deed_result_parse(const char *output, DeedResult *ret) {
        _cleanup_free_ char *status = NULL;
        DeedResult result = { .status = _DEED_STATUS_MAX };
        int r;

        r = take_line(&output, &status);
        if (r >= 0)
                r = take_line(&output, &result.value);
        if (r >= 0)
                r = take_line(&output, &result.trouble);
        for (DeedStatus i = 0; r >= 0 && status && i < _DEED_STATUS_MAX; i++)
                if (streq(statuses[i], status))
                        result.status = i;
        if (r < 0 || result.status == _DEED_STATUS_MAX) {
                deed_result_done(&result);
                return r < 0 ? r : -EBADMSG;
        }
        *ret = result;
        return 0;
}

void deed_result_done(DeedResult *r) {
        free(r->value);
        free(r->trouble);
        *r = (DeedResult) {};
}
