/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "common/text.h"
#include "daemon/policy/plan.h"
#include "daemon/policy/reservation.h"
#include "daemon/policy/want.h"

#define RULE_UNDO "built-in:undo"
#define RULE_REVERT "stackctl revert"

/* What both halves of a plan are: what is wanted, and a way to find what was done. */
typedef struct Work {
        PlanInput in;
        RecordView done;
        RecordIndex index;
        WantList wants;
} Work;

static void work_done(Work *w) {
        want_list_done(&w->wants);
        record_index_done(&w->index);
}

static int work_begin(Work *w, const PlanInput *from) {
        WantList *l = &w->wants;
        PlanInput *in = &w->in;
        int r;

        w->done = *from->done;
        r = record_index_make(&w->done, &w->index);
        if (r < 0)
                return r;
        w->done.index = &w->index;
        w->in = *from;
        w->in.done = &w->done;
        r = want_processes(l, in);
        if (r >= 0)
                r = want_units(l, in);
        return r < 0 ? r : want_layers(l, in);
}

static int add_path(Action *a, const PlanInput *in, Node *n) {
        _cleanup_free_ Node **path = NULL;
        size_t n_path, n_ids = 0;
        int r;

        if (!n)
                return 0;
        r = analysis_path(in->analysis, n, true, &path, &n_path);
        for (size_t i = 0; r >= 0 && i < n_path; i++)
                r = strv_append(&a->path, &n_ids, path[i]->id);
        return r;
}

static char *reason_of(const PlanInput *in, const Want *w) {
        _cleanup_free_ char *reason = w->reason ? strdup(w->reason) : standing_reason(in, w->subject);

        return !reason || !w->note ? TAKE_PTR(reason) : text_format("%s; %s", reason, w->note);
}

static char *copy(const char *s) {
        return s ? strdup(s) : NULL;
}

/* 'error' is taken over. */
static int add_want(Plan *p, const PlanInput *in, const Want *w, const char *from, ActionState state, char *error) {
        bool process = w->subject && streq(w->subject->id, w->target);
        Action a = {
                .kind = w->kind,
                .state = state,
                .target = strdup(w->target),
                .key = strdup(w->key),
                .subject = strdup(w->subject ? w->subject->id : ""),
                .pid = process ? w->subject->fact->pid : 0,
                .start = process ? w->subject->fact->start : 0,
                .name = strdup(w->name),
                .place = copy(w->place),
                .from = copy(from),
                .to = strdup(w->to),
                .rule = strdup(w->setting->source),
                .reason = reason_of(in, w),
                .error = error,
        };
        int r;

        r = (w->place && !a.place) || (from && !a.from) ? -ENOMEM : add_path(&a, in, w->subject);
        if (r < 0) {
                action_done(&a);
                return r;
        }
        return plan_append(p, &a);
}

static int add_failed(Plan *p, const PlanInput *in, const Want *w, char *error) {
        return error ? add_want(p, in, w, w->actual, ACTION_FAILED, error) : -ENOMEM;
}

/* Somebody has decided otherwise since: neither we nor an undo of ours take that back. Also who puts it back to what
 * it was. */
static bool is_foreign(const Want *w, const Record *record) {
        if (!record || !record->set || !w->actual || w->never_foreign || streq(w->actual, record->set))
                return false;
        return !w->untold || !streq(w->actual, record->from);
}

static bool is_in_force(const Want *w, const Record *record) {
        if (!record || !w->actual)
                return false;
        if (w->never_foreign)
                return w->satisfied;
        return record->set && streq(w->actual, record->set) && streq(record->to, w->to) && (w->inexact || streq(w->actual, w->to));
}

static int plan_want(Plan *p, const PlanInput *in, const Want *w) {
        const Record *record = record_find(in->done, w->kind, w->target, w->key);

        if (w->only_keep || is_in_force(w, record))
                return 0;
        if (w->refusal)
                return record ? 0 : add_failed(p, in, w, strdup(w->refusal));
        /* stackd ended while it was done: whether it was will be seen when it is tried again. */
        if (record && !record->set && w->actual && !w->never_foreign)
                return add_want(p, in, w, w->actual, ACTION_PLANNED, NULL);
        if (!w->actual || (w->satisfied && !(record && streq_ptr(w->actual, record->set) && !w->never_foreign && !streq(w->actual, w->to))))
                return 0;
        if (is_foreign(w, record))
                return add_failed(p, in, w, text_format("someone else has set it %sto %s meanwhile, which is left so; "
                                                        "'stackctl apply' sets it again", streq(w->actual, record->from) ? "back " : "",
                                                        w->actual));
        return add_want(p, in, w, w->actual, ACTION_PLANNED, NULL);
}

static const char *undo_reason(const Record *record) {
        if (record->pid > 0 || startswith(record->subject, "process:"))
                return "nothing that reclaim writes to is above it any more";
        return "nothing asks for it any more";
}

static int add_undo(Plan *p, const Record *record, bool held) {
        Action a = {
                .kind = record->kind,
                .undo = true,
                .target = strdup(record->target),
                .key = strdup(record->key),
                .subject = strdup(record->subject),
                .pid = record->pid,
                .start = record->start,
                .name = strdup(record->name),
                .detail = copy(record->detail),
                .from = copy(record->set),
                .to = strdup(record->from),
                .rule = strdup(held ? RULE_REVERT : RULE_UNDO),
                .reason = strdup(held ? "an administrator asked for it" : undo_reason(record)),
        };

        return plan_append(p, &a);
}

/* A mark's record is made by those before it had all these texts. */
static int add_mark_undo(Plan *p, const PlanInput *in, const Record *record, bool held) {
        Node *n = graph_find(in->graph, record->target);
        int r;

        r = add_undo(p, record, held);
        if (r < 0 || !n || node_kind(n) != NODE_PROCESS)
                return r;
        Action *a = &p->actions[p->n - 1];
        char *name = strdup(n->fact->comm);
        char *from = strdup(io_flusher_to_string(n->fact));

        if (!name || !from) {
                free(name);
                free(from);
                return -ENOMEM;
        }
        free(a->name);
        free(a->from);
        a->name = name;
        a->from = from;
        return 0;
}

/* Some threads of a process that marks itself were marked before we came; which they were is not known any more,
 * and it needs them marked. */
static bool is_own_mark(const Record *record) {
        return record->kind == ACTION_IO_FLUSHER && !streq(record->from, "none");
}

/* While something could not be seen, it may be that which a slice carries a reservation for. */
static void find_carried(const Work *work, bool carried[_ACTION_KIND_MAX]) {
        for (size_t i = 0; i < work->done.n; i++) {
                const Record *record = &work->done.records[i];

                carried[record->kind] |= record->subject[0] && !want_list_find(&work->wants, record->kind, record->target, record->key) &&
                        !record_view_holds(&work->done, record->subject);
        }
}

static int plan_record(Plan *p, const Work *work, const bool carried[_ACTION_KIND_MAX], const Record *record) {
        const PlanInput *in = &work->in;
        bool held = record_view_holds(in->done, record->subject);
        const Want *w = want_list_find(&work->wants, record->kind, record->target, record->key);

        if (w && !(w->refusal && !w->only_keep))
                return 0;
        if (!held && is_own_mark(record))
                return 0;
        if (!held && !in->complete && (record->subject[0] || carried[record->kind]))
                return 0;
        return record->kind == ACTION_IO_FLUSHER ? add_mark_undo(p, in, record, held) : add_undo(p, record, held);
}

int plan_make(Plan *ret, const PlanInput *in) {
        _cleanup_(work_done) Work work = {};
        _cleanup_(plan_done) Plan p = {};
        bool carried[_ACTION_KIND_MAX] = {};
        int r;

        r = work_begin(&work, in);
        for (size_t i = 0; r >= 0 && i < work.wants.n; i++)
                r = plan_want(&p, &work.in, &work.wants.wants[i]);
        if (r >= 0 && !in->complete)
                find_carried(&work, carried);
        for (size_t i = 0; r >= 0 && i < work.done.n; i++)
                r = plan_record(&p, &work, carried, &work.done.records[i]);
        if (r < 0)
                return r;
        plan_sort(&p);
        *ret = p;
        p = (Plan) {};
        return 0;
}

/* A service that was restarted has another process than the one for which it was done. */
static bool is_unit_of(const PlanInput *in, const Action *a, char *const *ids) {
        const char *unit = startswith(a->target, "unit:"), *why;

        for (; unit && *ids; ids++) {
                Node *n = graph_find(in->graph, *ids);
                _cleanup_free_ char *name = NULL;
                size_t length;

                if (n && node_kind(n) == NODE_PROCESS && n->fact->cgroup && unit_of_cgroup(n->fact->cgroup, &name, &length, &why) >= 0 &&
                    streq(name, unit))
                        return true;
        }
        return false;
}

/* A slice has no process of its own: what it carries is undone, or becomes less, with what is below it. */
static bool is_part_of_revert(const PlanInput *in, const Action *a, char *const *ids) {
        uint64_t from, to;

        if (!a->subject[0])
                return a->undo || (a->state == ACTION_PLANNED && a->from && memory_from_string(a->from, &from) >= 0 &&
                                   memory_from_string(a->to, &to) >= 0 && to < from);
        return a->undo && (!ids || strv_contains(ids, a->subject) || is_unit_of(in, a, ids));
}

int plan_make_revert(Plan *ret, const PlanInput *in, char *const *ids) {
        _cleanup_(plan_done) Plan all = {}, p = {};
        int r;

        r = plan_make(&all, in);
        for (size_t i = 0; r >= 0 && i < all.n; i++)
                if (is_part_of_revert(in, &all.actions[i], ids))
                        r = plan_append_copy(&p, &all.actions[i]);
        if (r < 0)
                return r;
        *ret = p;
        p = (Plan) {};
        return 0;
}

int plan_make_in_force(Plan *ret, const PlanInput *in) {
        _cleanup_(work_done) Work work = {};
        _cleanup_(plan_done) Plan p = {};
        int r;

        r = work_begin(&work, in);
        for (size_t i = 0; r >= 0 && i < work.wants.n; i++) {
                const Want *w = &work.wants.wants[i];
                const Record *record = record_find(&work.done, w->kind, w->target, w->key);

                if (!w->only_keep && !w->refusal && is_in_force(w, record))
                        r = add_want(&p, &work.in, w, record->from, ACTION_APPLIED, NULL);
        }
        if (r < 0)
                return r;
        plan_sort(&p);
        *ret = p;
        p = (Plan) {};
        return 0;
}
