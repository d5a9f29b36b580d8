/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/file.h"
#include "common/log.h"
#include "common/text.h"
#include "daemon/child/child.h"
#include "daemon/reader/prober.h"

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

static void put_back(ProbeRun *run, char **questions) {
        for (; questions && *questions; questions++)
                probe_cache_put_back(run->prober->cache, *questions);
}

/* "!ERRNO": 0 where it is an answer. */
static int answer_shortage(const char *answer) {
        int r = answer[0] == '!' ? -atoi(answer + 1) : 0;

        return error_is_shortage(r) ? r : 0;
}

/* Takes the answers in the order of the questions; *question is the first that has none. */
static int take_answers(ProbeRun *run, const char *output, char ***question) {
        _cleanup_free_ char *copy = strdup(output);
        char *state = NULL, *end;
        int r = 0;

        if (!copy)
                return -ENOMEM;
        /* What the child did not come to say is no answer. */
        end = strrchr(copy, '\n');
        copy[end ? end - copy : 0] = 0;
        for (char *line = strtok_r(copy, "\n", &state); line && *question && **question; line = strtok_r(NULL, "\n", &state)) {
                char *answer = strchr(line, '=');
                int q;

                if (!answer)
                        break;
                *answer++ = 0;
                if (!streq(line, **question))
                        break;
                q = answer_shortage(answer);
                if (q >= 0)
                        q = probe_cache_answer(run->prober->cache, line, answer);
                if (q < 0) {
                        probe_cache_put_back(run->prober->cache, line);
                        r = q;
                }
                (*question)++;
        }
        return r;
}

static void on_probe_done(int status, const char *output, void *userdata) {
        ProbeRun *run = userdata;
        char **question = run->questions;
        int r;

        run->child = NULL;
        r = status == -ENOMEM ? status : take_answers(run, output, &question);
        /* Who asked has ended too early: it could not go on, or was killed. */
        if (r >= 0 && status != -ETIME && question && *question)
                r = -EAGAIN;
        if (r < 0)
                log_warning("Cannot take what devices answered: %s", strerror(-r));
        /* A question that had all the time for itself and got no answer hangs. Where others were answered before
         * it, that time may just have run out: it is asked again, like those after it. */
        else if (question && *question && question == run->questions)
                (void) probe_cache_answer(run->prober->cache, *question++, NULL);
        put_back(run, question);
        run->prober->answered(r, run->prober->userdata);
}

static int start(Prober *p, ProbePace pace, uint64_t timeout_usec) {
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

        if (run->child)
                return 0;
        if (child_count_stuck(CHILD_PROBE) >= STUCK_MAX)
                return probe_cache_has_wanted(p->cache, pace) ? -EBUSY : 0;
        run->prober = p;
        run->questions = strv_free(run->questions);
        r = probe_cache_take_wanted(p->cache, pace, &run->questions);
        if (r >= 0 && run->questions)
                r = child_start(p->event, &spec, &run->child);
        if (r < 0) {
                log_warning("Cannot ask devices for details: %s", strerror(-r));
                put_back(run, run->questions);
        }
        return r;
}

int prober_start(Prober *p, uint64_t timeout_usec) {
        int r = 0;

        for (ProbePace pace = 0; pace < _PROBE_PACE_MAX; pace++) {
                int q = start(p, pace, timeout_usec);

                r = r < 0 ? r : q;
        }
        return r;
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
