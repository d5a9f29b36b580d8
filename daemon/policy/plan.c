/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "common/text.h"
#include "daemon/policy/plan.h"

#define RULE_UNDO "built-in:undo"
#define RULE_REVERT "stackctl revert"

const char *action_kind_to_string(ActionKind kind) {
        static const char *const names[_ACTION_KIND_MAX] = { [ACTION_IO_FLUSHER] = "io-flusher" };

        return names[kind];
}

const char *action_state_to_string(ActionState state) {
        static const char *const names[_ACTION_STATE_MAX] = {
                [ACTION_PLANNED] = "planned",
                [ACTION_APPLIED] = "applied",
                [ACTION_FAILED] = "failed",
                [ACTION_REVERTED] = "reverted",
        };

        return names[state];
}

void action_done(Action *a) {
        free(a->target);
        free(a->name);
        free(a->from);
        free(a->to);
        free(a->rule);
        free(a->reason);
        strv_free(a->path);
        free(a->error);
        *a = (Action) {};
}

void plan_done(Plan *p) {
        for (size_t i = 0; i < p->n; i++)
                action_done(&p->actions[i]);
        free(p->actions);
        *p = (Plan) {};
}

static bool copy_text(const char *from, char **to) {
        *to = from ? strdup(from) : NULL;
        return !from || *to;
}

int action_copy(const Action *a, Action *ret) {
        Action c = { .kind = a->kind, .state = a->state, .undo = a->undo, .pid = a->pid, .start = a->start };
        size_t n = 0;
        bool fine;

        fine = copy_text(a->target, &c.target) && copy_text(a->name, &c.name) && copy_text(a->from, &c.from) &&
                copy_text(a->to, &c.to) && copy_text(a->rule, &c.rule) && copy_text(a->reason, &c.reason) &&
                copy_text(a->error, &c.error);
        for (char **id = a->path; fine && id && *id; id++)
                fine = strv_append(&c.path, &n, *id) >= 0;
        if (!fine) {
                action_done(&c);
                return -ENOMEM;
        }
        *ret = c;
        return 0;
}

static const char *flags_to_string(const NodeFact *f) {
        return f->threads_io_flusher == 0 ? "none" : f->threads_io_flusher == f->threads ? "all" : "partial";
}

/* Takes over 'action' and completes it; its texts may be NULL when memory has run out. */
static int append(Plan *p, Action *action) {
        int r = -ENOMEM;

        if (action->target && action->name && action->from && action->to && action->rule && action->reason)
                r = ARRAY_APPEND(p->actions, p->n, p->capacity, *action);
        if (r < 0)
                action_done(action);
        return r;
}

static int add_mark(Plan *p, Analysis *a, Graph *g, Node *n, const Setting *setting, const char *from, ActionState state) {
        const NodeFact *f = n->fact;
        _cleanup_free_ Node **path = NULL;
        size_t n_path, n_ids = 0;
        Action action = {
                .kind = ACTION_IO_FLUSHER,
                .state = state,
                .target = strdup(n->id),
                .pid = f->pid,
                .start = f->start,
                .name = strdup(f->comm),
                .from = strdup(from),
                .to = strdup("all"),
                .rule = strdup(setting->source),
        };
        int r;

        r = analysis_path(a, g, n, true, &path, &n_path);
        for (size_t i = 0; r >= 0 && i < n_path; i++)
                r = strv_append(&action.path, &n_ids, path[i]->id);
        if (r < 0) {
                action_done(&action);
                return r;
        }
        action.reason = text_format("%s cannot complete I/O without it (depth %u)", path[0]->id, n->analysis.depth_certain);
        return append(p, &action);
}

static int add_undo(Plan *p, const Record *record, const NodeFact *f, const char *rule, const char *reason) {
        Action action = {
                .kind = record->kind,
                .undo = true,
                .target = process_id(record->pid, record->start),
                .pid = record->pid,
                .start = record->start,
                .name = strdup(f ? f->comm : "?"),
                .from = strdup(f ? flags_to_string(f) : "all"),
                .to = strdup(record->from),
                .rule = strdup(rule),
                .reason = strdup(reason),
        };

        return append(p, &action);
}

/* The setting that asks for it, or NULL. */
static const Setting *find_asking(const Policy *policy, const Node *n) {
        const Setting *settings[_SETTING_KIND_MAX], *s;

        if (!node_is_entitled(n))
                return NULL;
        policy_decide(policy, n, settings);
        s = settings[SETTING_IO_FLUSHER];
        return s && s->mode == SETTING_VALUE && s->number ? s : NULL;
}

static const Setting *find_wanted(const Policy *policy, const Node *n) {
        return node_is_backing(n) && n->analysis.depth_certain > 0 && !n->fact->refusal ? find_asking(policy, n) : NULL;
}

/* Below something by a guess is not reason enough to mark, nor to take a mark away. Some threads of a process that
 * marks itself were marked before we came; which they were is not known any more, and it needs them marked. */
static const char *why_unwanted(const Policy *policy, const Node *n, const Record *record) {
        if (!streq(record->from, "none"))
                return NULL;
        if (!(n && n->analysis.depth > 0))
                return "nothing that reclaim writes to is above it any more";
        return find_asking(policy, n) ? NULL : "no policy asks for it any more";
}

static bool is_held(const RecordView *v, const char *id) {
        return v->all_held != strv_contains(v->held, id);
}

static int compare(const void *a, const void *b) {
        const Action *x = a, *y = b;

        if (x->undo != y->undo)
                return (int) x->undo - (int) y->undo;
        return (x->pid > y->pid) - (x->pid < y->pid);
}

static Node *record_node(Graph *g, const Record *record) {
        _cleanup_free_ char *id = process_id(record->pid, record->start);
        Node *n = id ? graph_find(g, id) : NULL;

        return n && node_kind(n) == NODE_PROCESS ? n : NULL;
}

/* Was reverted, but that was not carried out: something else was under way, or stackd ended. */
static bool record_is_held(const RecordView *v, const Record *record) {
        _cleanup_free_ char *id = process_id(record->pid, record->start);

        return id && is_held(v, id);
}

int plan_make(Plan *ret, Analysis *a, Graph *g, const Policy *policy, const RecordView *done, bool complete) {
        _cleanup_(plan_done) Plan p = {};
        size_t position = 0;
        Node *n;
        int r;

        while ((n = graph_next(g, &position))) {
                const Setting *setting;

                if (node_kind(n) != NODE_PROCESS || is_held(done, n->id) || n->fact->threads_io_flusher == n->fact->threads)
                        continue;
                setting = find_wanted(policy, n);
                if (!setting)
                        continue;
                r = add_mark(&p, a, g, n, setting, flags_to_string(n->fact), ACTION_PLANNED);
                if (r < 0)
                        return r;
        }
        for (size_t i = 0; i < done->n; i++) {
                const Record *record = &done->records[i];
                const char *why;

                n = record_node(g, record);
                why = why_unwanted(policy, n, record);
                if (record_is_held(done, record))
                        r = add_undo(&p, record, n ? n->fact : NULL, RULE_REVERT, "an administrator asked for it");
                else if (complete && why)
                        r = add_undo(&p, record, n ? n->fact : NULL, RULE_UNDO, why);
                else
                        continue;
                if (r < 0)
                        return r;
        }
        if (p.n > 1)
                qsort(p.actions, p.n, sizeof(Action), compare);
        *ret = p;
        p = (Plan) {};
        return 0;
}

int plan_make_revert(Plan *ret, Graph *g, const RecordView *done, char *const *ids) {
        _cleanup_(plan_done) Plan p = {};
        int r;

        for (size_t i = 0; i < done->n; i++) {
                const Record *record = &done->records[i];
                _cleanup_free_ char *id = process_id(record->pid, record->start);
                Node *n = record_node(g, record);

                if (!id)
                        return -ENOMEM;
                if (ids && !strv_contains(ids, id))
                        continue;
                r = add_undo(&p, record, n ? n->fact : NULL, RULE_REVERT, "an administrator asked for it");
                if (r < 0)
                        return r;
        }
        if (p.n > 1)
                qsort(p.actions, p.n, sizeof(Action), compare);
        *ret = p;
        p = (Plan) {};
        return 0;
}

int plan_make_in_force(Plan *ret, Analysis *a, Graph *g, const Policy *policy, const RecordView *done) {
        _cleanup_(plan_done) Plan p = {};
        int r;

        for (size_t i = 0; i < done->n; i++) {
                const Record *record = &done->records[i];
                Node *n = record_node(g, record);
                const Setting *setting = n ? find_wanted(policy, n) : NULL;

                if (!setting || is_held(done, n->id) || n->fact->threads_io_flusher < n->fact->threads)
                        continue;
                r = add_mark(&p, a, g, n, setting, record->from, ACTION_APPLIED);
                if (r < 0)
                        return r;
        }
        if (p.n > 1)
                qsort(p.actions, p.n, sizeof(Action), compare);
        *ret = p;
        p = (Plan) {};
        return 0;
}

int plan_append_copy(Plan *p, const Action *a) {
        Action copy;
        int r;

        r = action_copy(a, &copy);
        return r < 0 ? r : append(p, &copy);
}
