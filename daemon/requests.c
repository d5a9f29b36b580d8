/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdlib.h>

#include "common/log.h"
#include "common/text.h"
#include "daemon/requests.h"
#include "daemon/world/sights.h"

/* For a settled view, or for all jobs to end. */
struct Waiter {
        RequestDone done;
        void *userdata;
        bool for_jobs;
        Plan plan; /* what it started */
        uint64_t since;
        Waiter *next;
};

static uint64_t now_usec(const Requests *q) {
        uint64_t usec = 0;

        (void) sd_event_now(q->event, CLOCK_MONOTONIC, &usec);
        return usec;
}

/* ---- who waits ---- */

static Waiter *waiter_free(Waiter *w) {
        plan_done(&w->plan);
        free(w);
        return NULL;
}

/* What came of what was planned; of what could not even be tried, the plan itself tells. */
static void waiter_answer(const Requests *q, Waiter *w) {
        Plan result = {};

        for (size_t i = 0; i < w->plan.n; i++) {
                const Action *a = &w->plan.actions[i], *last = a->state == ACTION_FAILED ? a : executor_last(q->executor, a);

                if (last)
                        (void) plan_append_copy(&result, last);
        }
        w->done(0, &result, w->userdata);
        plan_done(&result);
        waiter_free(w);
}

static uint64_t waiter_time(const Requests *q, const Waiter *w) {
        return w->since + q->configuration->settings.settle_timeout_usec;
}

static bool waiter_is_ready(const Requests *q, const Waiter *w, uint64_t now) {
        if (q->world->looked && !q->pace->pending && !prober_is_busy(q->prober))
                return !w->for_jobs || !executor_is_busy(q->executor);
        return !w->for_jobs && q->world->looked && now >= waiter_time(q, w);
}

void requests_answer(Requests *q) {
        Waiter *list = TAKE_PTR(q->waiters);
        uint64_t now = now_usec(q);

        for (Waiter *w = list, *next; w; w = next) {
                next = w->next;
                if (waiter_is_ready(q, w, now))
                        waiter_answer(q, w);
                else {
                        w->next = q->waiters;
                        q->waiters = w;
                }
        }
        q->pace->awaited = q->waiters;
}

void requests_fail(Requests *q, int error) {
        Waiter *list = TAKE_PTR(q->waiters);

        for (Waiter *w = list, *next; w; w = next) {
                next = w->next;
                w->done(error, NULL, w->userdata);
                waiter_free(w);
        }
        q->pace->awaited = q->waiters;
}

uint64_t requests_next(const Requests *q) {
        uint64_t next = PACE_NEVER;

        for (const Waiter *w = q->waiters; w; w = w->next)
                if (!w->for_jobs && q->world->looked)
                        next = MIN(next, waiter_time(q, w));
        return next;
}

static int waiter_add(Requests *q, bool for_jobs, Plan *plan, RequestDone done, void *userdata) {
        Waiter *w = calloc(1, sizeof(Waiter));

        if (!w)
                return -ENOMEM;
        *w = (Waiter) { .done = done, .userdata = userdata, .for_jobs = for_jobs, .since = now_usec(q), .next = q->waiters };
        if (plan) {
                w->plan = *plan;
                *plan = (Plan) {};
        }
        q->waiters = w;
        pace_await(q->pace, now_usec(q));
        requests_answer(q);
        return 0;
}

int requests_settle(Requests *q, RequestDone done, void *userdata) {
        return waiter_add(q, false, NULL, done, userdata);
}

void requests_done(Requests *q) {
        for (Waiter *w = TAKE_PTR(q->waiters), *next; w; w = next) {
                next = w->next;
                waiter_free(w);
        }
}

/* ---- views ---- */

bool requests_see_all(const Requests *q) {
        return world_is_complete(q->world) && !prober_is_busy(q->prober) && q->configuration->complete;
}

static PlanInput plan_input(const Requests *q, const RecordView *done) {
        return world_plan_input(q->world, q->configuration->policy, done, requests_see_all(q));
}

static void request_rescan(void *requests) {
        Requests *q = requests;

        sights_refresh(&q->world->probes);
        pace_request(q->pace, now_usec(q), TABLE_ALL);
}

static void request_look(void *requests) {
        Requests *q = requests;

        pace_request(q->pace, now_usec(q), TABLE_MOUNTS);
}

static int request_settle(void *requests, RequestDone done, void *userdata) {
        return requests_settle(requests, done, userdata);
}

static int request_finish(void *requests, RequestDone done, void *userdata) {
        return waiter_add(requests, true, NULL, done, userdata);
}

static bool is_for_ids(const Action *a, const void *argument) {
        char *const *ids = argument;

        /* What several need goes along with any of them. */
        return !ids || !a->subject[0] || strv_contains(ids, a->subject);
}

static int request_plan(void *requests, char *const *ids, Plan *ret) {
        Requests *q = requests;
        RecordView done = ledger_view(q->ledger);
        PlanInput in = plan_input(q, &done);
        int r;

        r = plan_make(ret, &in);
        if (r >= 0)
                plan_keep(ret, is_for_ids, ids);
        return r;
}

/* What was tried and failed is still to be done; it is told once, with the reason. */
static int append_planned(Requests *q, Plan *to) {
        _cleanup_(plan_done) Plan planned = {};
        int r;

        r = request_plan(q, NULL, &planned);
        for (size_t i = 0; r >= 0 && i < planned.n; i++) {
                const Action *a = &planned.actions[i];

                r = plan_append_copy(to, executor_failed(q->executor, a) ?: a);
        }
        return r;
}

static int request_actions(void *requests, Plan *ret) {
        _cleanup_(plan_done) Plan actions = {};
        Requests *q = requests;
        RecordView done = ledger_view(q->ledger);
        PlanInput in = plan_input(q, &done);
        int r;

        r = plan_make_in_force(&actions, &in);
        for (size_t i = 0; r >= 0 && i < actions.n; i++) {
                Action *a = &actions.actions[i];
                const Record *record = record_find(&done, a->kind, a->target, a->key);

                a->when = record ? record->when : 0;
        }
        if (r >= 0)
                r = append_planned(q, &actions);
        if (r < 0)
                return r;
        *ret = actions;
        actions = (Plan) {};
        return 0;
}

static const char *request_trouble(void *requests) {
        const Requests *q = requests;

        return q->trouble;
}

static const Policy *request_policy(void *requests) {
        const Requests *q = requests;

        return q->configuration->policy;
}

static bool request_held(void *requests, const char *id) {
        const Requests *q = requests;
        RecordView view = ledger_view(q->ledger);

        return record_view_holds(&view, id);
}

static int request_reload(void *requests, BusReloadDone done, void *userdata) {
        const Requests *q = requests;

        return q->reload ? reload_request(q->reload, done, userdata) : -EOPNOTSUPP;
}

static int request_remarks(void *requests, const Remarks **ret) {
        const Requests *q = requests;

        *ret = &q->configuration->remarks;
        return q->configuration->refused;
}

static int request_configuration(void *requests, bool secrets, char **ret) {
        const Requests *q = requests;

        return configuration_describe(q->configuration, secrets, ret);
}

/* ---- changes ---- */

int requests_become_writer(Requests *q) {
        unsigned skipped = 0;
        int r;

        if (q->captured)
                return -EROFS;
        if (q->ledger->lock_fd >= 0)
                return 0;
        r = ledger_open(q->ledger, q->world->root, true, &skipped);
        if (skipped > 0)
                log_warning("%u damaged lines of /run/stackd/ledger are ignored", skipped);
        return r;
}

/* An administrator wants it in spite of what someone else has set: that is the original from now on. */
static int forget_foreign(Requests *q, char *const *ids) {
        _cleanup_(plan_done) Plan p = {};
        int r;

        r = request_plan(q, ids, &p);
        for (size_t i = 0; r >= 0 && i < p.n; i++) {
                const Action *a = &p.actions[i];

                if (a->state == ACTION_FAILED)
                        r = ledger_remove(q->ledger, a->kind, a->target, a->key);
        }
        return r;
}

static int request_apply(void *requests, char *const *ids, RequestDone done, void *userdata) {
        _cleanup_(plan_done) Plan p = {};
        Requests *q = requests;
        int r;

        if (q->marks_nothing)
                return -EOPNOTSUPP;
        r = requests_become_writer(q);
        if (r >= 0)
                r = ledger_hold(q->ledger, ids, false);
        if (r >= 0)
                r = forget_foreign(q, ids);
        if (r >= 0)
                r = request_plan(q, ids, &p);
        if (r < 0)
                return r;
        executor_run(q->executor, &p, true);
        return waiter_add(q, true, &p, done, userdata);
}

static int request_revert(void *requests, char *const *ids, RequestDone done, void *userdata) {
        _cleanup_(plan_done) Plan p = {};
        Requests *q = requests;
        RecordView view;
        PlanInput in;
        int r;

        r = requests_become_writer(q);
        if (r >= 0)
                r = ledger_hold(q->ledger, ids, true);
        if (r < 0)
                return r;
        view = ledger_view(q->ledger);
        in = plan_input(q, &view);
        r = plan_make_revert(&p, &in, ids);
        if (r < 0)
                return r;
        executor_run(q->executor, &p, true);
        return waiter_add(q, true, &p, done, userdata);
}

const BusRequests requests_interface = {
        .rescan = request_rescan,
        .look = request_look,
        .settle = request_settle,
        .finish = request_finish,
        .plan = request_plan,
        .actions = request_actions,
        .apply = request_apply,
        .revert = request_revert,
        .trouble = request_trouble,
        .reload = request_reload,
        .remarks = request_remarks,
        .configuration = request_configuration,
        .policy = request_policy,
        .held = request_held,
};
