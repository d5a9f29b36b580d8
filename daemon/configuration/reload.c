/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <systemd/sd-daemon.h>
#include <time.h>

#include "common/log.h"
#include "daemon/child/child.h"
#include "daemon/configuration/reload.h"

/* Some hundred small files, on a slow disk that has not seen them before. */
#define READ_DEADLINE_USEC (10U * 1000 * 1000)
#define STUCK_MAX 4U
#define RETRY_FIRST_USEC (1000U * 1000)
#define RETRY_DOUBLINGS 6U /* about once a minute */

typedef struct Request {
        ReloadDone done;
        void *userdata;
        struct Request *next;
} Request;

struct Reload {
        sd_event *event;
        const char *root;
        Configuration *configuration;
        ReloadChanged changed;
        void *userdata;
        Child *child;
        Request *answered; /* by the child that is reading */
        Request *waiting;  /* they came after it had begun: for the next one */
        bool told;         /* the service manager knows that we are reloading */
        sd_event_source *retry_timer;
        unsigned tries;
};

static int start(Reload *r);
static void arm_retry(Reload *r);

int reload_new(sd_event *event, const char *root, Configuration *c, ReloadChanged changed, void *userdata, Reload **ret) {
        Reload *r = calloc(1, sizeof(Reload));

        if (!r)
                return -ENOMEM;
        *r = (Reload) { .event = event, .root = root, .configuration = c, .changed = changed, .userdata = userdata };
        *ret = r;
        return 0;
}

static void requests_free(Request *list) {
        for (Request *next; list; list = next) {
                next = list->next;
                free(list);
        }
}

Reload *reload_free(Reload *r) {
        if (!r)
                return NULL;
        child_cancel(r->child);
        sd_event_source_disable_unref(r->retry_timer);
        requests_free(r->answered);
        requests_free(r->waiting);
        free(r);
        return NULL;
}

/* For Type=notify-reload, and harmless without. */
static void tell_reloading(Reload *r) {
        struct timespec ts;

        if (r->told || clock_gettime(CLOCK_MONOTONIC, &ts) < 0)
                return;
        (void) sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%llu",
                          (unsigned long long) ts.tv_sec * 1000000 + (unsigned long long) ts.tv_nsec / 1000);
        r->told = true;
}

static void tell_ready(Reload *r) {
        if (r->told)
                (void) sd_notify(0, "READY=1");
        r->told = false;
}

static void answer(Request *list, int result) {
        for (Request *q = list; q; q = q->next)
                if (q->done)
                        q->done(result, q->userdata);
        requests_free(list);
}

static void run_reader(void *userdata, int output_fd) {
        Reload *r = userdata;

        hierarchy_read(r->root, output_fd);
}

static int on_retry(sd_event_source *source _unused_, uint64_t usec _unused_, void *userdata) {
        Reload *r = userdata;

        if (r->child || start(r) >= 0)
                return 0;
        arm_retry(r);
        return 0;
}

/* What could not be read at the start (a directory on storage that hangs) is read when that can be done: until then it
 * holds in part, and nothing that was done is undone. */
static void arm_retry(Reload *r) {
        uint64_t at;
        int k;

        k = sd_event_now(r->event, CLOCK_MONOTONIC, &at);
        at += (uint64_t) RETRY_FIRST_USEC << MIN(r->tries++, RETRY_DOUBLINGS);
        if (k >= 0 && !r->retry_timer)
                k = sd_event_add_time(r->event, &r->retry_timer, CLOCK_MONOTONIC, at, 0, on_retry, r);
        else if (k >= 0) {
                k = sd_event_source_set_time(r->retry_timer, at);
                if (k >= 0)
                        k = sd_event_source_set_enabled(r->retry_timer, SD_EVENT_ONESHOT);
        }
        if (k < 0)
                log_error("Cannot read the configuration again: %s", strerror(-k));
}

static void on_read(int status, const char *output, void *userdata) {
        Reload *r = userdata;
        Request *answered = r->answered;
        size_t told = r->configuration->remarks.n;
        const Remarks *remarks;
        int result;

        r->child = NULL;
        r->answered = NULL;
        result = configuration_update(r->configuration, output, status == 0);
        if (result < 0)
                log_error("Cannot take the configuration: %s; what was before stays in force", strerror(-result));
        remarks = &r->configuration->remarks;
        for (size_t i = r->configuration->unread ? told : 0; result >= 0 && i < remarks->n; i++)
                log_warning("%s", remarks->lines[i]);
        if (!r->configuration->complete)
                arm_retry(r);
        r->changed(r->userdata);
        if (!r->waiting || start(r) < 0)
                tell_ready(r);
        answer(answered, result);
}

static int start(Reload *r) {
        ChildSpec spec = {
                .run = run_reader,
                .pass_fd = -1,
                .deadline_usec = READ_DEADLINE_USEC,
                .done = on_read,
                .userdata = r,
        };
        Request *waiting = r->waiting;
        int k;

        r->waiting = NULL;
        k = child_count_stuck(CHILD_OTHER) >= STUCK_MAX ? -EBUSY : child_start(r->event, &spec, &r->child);
        if (k < 0) {
                log_error("Cannot read the configuration: %s", strerror(-k));
                answer(waiting, k);
                return k;
        }
        r->answered = waiting;
        return 0;
}

int reload_request(Reload *r, ReloadDone done, void *userdata) {
        Request *q = malloc(sizeof(Request));

        if (!q)
                return -ENOMEM;
        *q = (Request) { .done = done, .userdata = userdata, .next = r->waiting };
        r->waiting = q;
        if (r->configuration->policy)
                tell_reloading(r);
        if (!r->child && start(r) < 0) /* who waits is answered either way */
                tell_ready(r);
        return 0;
}

static void on_first(int result, void *userdata) {
        *(int *) userdata = result;
}

int reload_run(Reload *r) {
        int result = 1, k;

        k = reload_request(r, on_first, &result);
        while (k >= 0 && result > 0)
                k = sd_event_run(r->event, UINT64_MAX);
        return k < 0 ? k : result;
}
