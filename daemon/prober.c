/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "common/log.h"
#include "common/text.h"
#include "daemon/child.h"
#include "daemon/prober.h"

#define SLOW_DEADLINE_USEC (30U * 1000 * 1000)
#define STUCK_MAX 4U

/* A child that asks, or asked last. */
typedef struct ProbeRun {
        Child *child;
        char **questions;
        Prober *prober;
} ProbeRun;

struct Prober {
        sd_event *event;
        ProbeCache *cache;
        ProberAnswered answered;
        void *userdata;
        ProbeRun runs[_PROBE_PACE_MAX];
};

static void run_probe(void *userdata, int output_fd) {
        ProbeRun *run = userdata;

        probe_run(run->questions, output_fd);
}

static void on_probe_done(int status, const char *output, void *userdata) {
        _cleanup_free_ char *copy = status == -ENOMEM ? NULL : strdup(output);
        ProbeRun *run = userdata;
        ProbeCache *cache = run->prober->cache;
        char *state = NULL, **question = run->questions;

        run->child = NULL;
        for (char *line = copy ? strtok_r(copy, "\n", &state) : NULL; line && question && *question; line = strtok_r(NULL, "\n", &state)) {
                char *answer = strchr(line, '=');

                if (!answer)
                        break;
                *answer++ = 0;
                if (!streq(line, *question))
                        break;
                (void) probe_cache_answer(cache, line, answer);
                question++;
        }
        if (!copy)
                log_warning("Cannot take what devices answered: %s", strerror(ENOMEM));
        /* A question that had all the time for itself and got no answer hangs. Where others were answered before
         * it, that time may just have run out: it is asked again, like those after it. */
        if (copy && question && *question && question == run->questions)
                (void) probe_cache_answer(cache, *question++, NULL);
        for (; question && *question; question++)
                probe_cache_forget(cache, *question);
        run->prober->answered(run->prober->userdata);
}

static void start(Prober *p, ProbePace pace, uint64_t timeout_usec) {
        ProbeRun *run = &p->runs[pace];
        ChildSpec spec = {
                .kind = CHILD_PROBE,
                .run = run_probe,
                .pass_fd = -1,
                .deadline_usec = pace == PROBE_SLOW ? SLOW_DEADLINE_USEC : timeout_usec,
                .done = on_probe_done,
                .userdata = run,
        };
        int r;

        if (run->child || child_count_stuck(CHILD_PROBE) >= STUCK_MAX)
                return;
        run->prober = p;
        run->questions = strv_free(run->questions);
        r = probe_cache_take_wanted(p->cache, pace, &run->questions);
        if (r >= 0 && run->questions)
                r = child_start(p->event, &spec, &run->child);
        if (r < 0)
                log_warning("Cannot ask devices for details: %s", strerror(-r));
}

void prober_start(Prober *p, uint64_t timeout_usec) {
        for (ProbePace pace = 0; pace < _PROBE_PACE_MAX; pace++)
                start(p, pace, timeout_usec);
}

bool prober_is_busy(const Prober *p) {
        for (ProbePace pace = 0; pace < _PROBE_PACE_MAX; pace++)
                if (p->runs[pace].child)
                        return true;
        return false;
}

int prober_new(sd_event *event, ProbeCache *cache, ProberAnswered answered, void *userdata, Prober **ret) {
        Prober *p = calloc(1, sizeof(Prober));

        if (!p)
                return -ENOMEM;
        *p = (Prober) { .event = event, .cache = cache, .answered = answered, .userdata = userdata };
        *ret = p;
        return 0;
}

Prober *prober_free(Prober *p) {
        if (!p)
                return NULL;
        for (ProbePace pace = 0; pace < _PROBE_PACE_MAX; pace++) {
                child_cancel(p->runs[pace].child);
                strv_free(p->runs[pace].questions);
        }
        free(p);
        return NULL;
}
