/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "common/array.h"
#include "common/cleanup.h"
#include "common/text.h"
#include "daemon/policy/action-record.h"

static const char *const kinds[_ACTION_KIND_MAX] = {
        [ACTION_IO_FLUSHER] = "io-flusher",
        [ACTION_OOM_SCORE] = "oom-score",
        [ACTION_OOMD_PREFERENCE] = "oomd-preference",
        [ACTION_MEMORY_MIN] = "memory-min",
        [ACTION_MEMORY_LOW] = "memory-low",
        [ACTION_SWAP_MAX] = "swap-max",
        [ACTION_WRITEBACK_LIMIT] = "writeback-limit",
        [ACTION_DIRECT_IO] = "direct-io",
        [ACTION_MOUNT_OPTION] = "mount-option",
};

const char *action_kind_to_string(ActionKind kind) {
        return kinds[kind];
}

ActionKind action_kind_from_string(const char *s) {
        for (ActionKind kind = 0; kind < _ACTION_KIND_MAX; kind++)
                if (streq(kinds[kind], s))
                        return kind;
        return _ACTION_KIND_INVALID;
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
        free(a->key);
        free(a->subject);
        free(a->name);
        free(a->place);
        free(a->detail);
        free(a->from);
        free(a->to);
        free(a->rule);
        free(a->reason);
        strv_free(a->path);
        free(a->error);
        *a = (Action) {};
}

static bool copy_text(const char *from, char **to) {
        *to = from ? strdup(from) : NULL;
        return !from || *to;
}

int action_copy(const Action *a, Action *ret) {
        Action c = { .kind = a->kind, .state = a->state, .undo = a->undo, .pid = a->pid, .start = a->start, .when = a->when };
        size_t n = 0;
        bool fine;

        fine = copy_text(a->target, &c.target) && copy_text(a->key, &c.key) && copy_text(a->subject, &c.subject) &&
                copy_text(a->name, &c.name) && copy_text(a->place, &c.place) && copy_text(a->detail, &c.detail) &&
                copy_text(a->from, &c.from) && copy_text(a->to, &c.to) && copy_text(a->rule, &c.rule) &&
                copy_text(a->reason, &c.reason) && copy_text(a->error, &c.error);
        for (char **id = a->path; fine && id && *id; id++)
                fine = strv_append(&c.path, &n, *id) >= 0;
        if (!fine) {
                action_done(&c);
                return -ENOMEM;
        }
        *ret = c;
        return 0;
}

bool action_same_object(const Action *a, const Action *b) {
        return a->kind == b->kind && streq(a->target, b->target) && streq(a->key, b->key);
}

void plan_done(Plan *p) {
        for (size_t i = 0; i < p->n; i++)
                action_done(&p->actions[i]);
        free(p->actions);
        *p = (Plan) {};
}

int plan_append(Plan *p, Action *a) {
        int r = -ENOMEM;

        if (a->target && a->key && a->subject && a->name && a->to && a->rule && a->reason)
                r = ARRAY_APPEND(p->actions, p->n, p->capacity, *a);
        if (r < 0)
                action_done(a);
        return r;
}

int plan_append_copy(Plan *p, const Action *a) {
        Action copy;
        int r;

        r = action_copy(a, &copy);
        return r < 0 ? r : plan_append(p, &copy);
}

void plan_keep(Plan *p, bool (*keeps)(const Action *a, const void *argument), const void *argument) {
        size_t kept = 0;

        for (size_t i = 0; i < p->n; i++)
                if (keeps(&p->actions[i], argument))
                        p->actions[kept++] = p->actions[i];
                else
                        action_done(&p->actions[i]);
        p->n = kept;
}

/* First what protects, then what is to be undone. */
static int compare(const void *a, const void *b) {
        const Action *x = a, *y = b;
        int c;

        if (x->undo != y->undo)
                return (int) x->undo - (int) y->undo;
        if (x->kind != y->kind)
                return (int) x->kind - (int) y->kind;
        if (x->pid != y->pid)
                return x->pid > y->pid ? 1 : -1;
        c = strcmp(x->target, y->target);
        return c != 0 ? c : strcmp(x->key, y->key);
}

void plan_sort(Plan *p) {
        if (p->n > 1)
                qsort(p->actions, p->n, sizeof(Action), compare);
}

void record_done(Record *r) {
        free(r->target);
        free(r->key);
        free(r->subject);
        free(r->name);
        free(r->from);
        free(r->to);
        free(r->set);
        free(r->detail);
        *r = (Record) {};
}

int record_copy(const Record *r, Record *ret) {
        Record c = { .kind = r->kind, .pid = r->pid, .start = r->start, .when = r->when };

        if (!copy_text(r->target, &c.target) || !copy_text(r->key, &c.key) || !copy_text(r->subject, &c.subject) ||
            !copy_text(r->name, &c.name) || !copy_text(r->from, &c.from) || !copy_text(r->to, &c.to) ||
            !copy_text(r->set, &c.set) || !copy_text(r->detail, &c.detail)) {
                record_done(&c);
                return -ENOMEM;
        }
        *ret = c;
        return 0;
}

void record_index_done(RecordIndex *i) {
        hashmap_free(i->by_target);
        free(i->next);
        *i = (RecordIndex) {};
}

int record_index_make(const RecordView *v, RecordIndex *ret) {
        _cleanup_(record_index_done) RecordIndex index = { .by_target = hashmap_new(), .next = calloc(v->n + 1, sizeof(size_t)) };

        if (!index.by_target || !index.next)
                return -ENOMEM;
        for (size_t i = 0; i < v->n; i++) {
                int r = hashmap_put(index.by_target, v->records[i].target, (void *) (i + 1));
                size_t first;

                if (r == -ENOMEM)
                        return r;
                if (r >= 0)
                        continue;
                first = (size_t) hashmap_get(index.by_target, v->records[i].target) - 1;
                index.next[i] = index.next[first];
                index.next[first] = i + 1;
        }
        *ret = index;
        index = (RecordIndex) {};
        return 0;
}

const Record *record_find(const RecordView *v, ActionKind kind, const char *target, const char *key) {
        size_t i = v->index ? (size_t) hashmap_get(v->index->by_target, target) : 1;

        for (; i > 0 && i <= v->n; i = v->index ? v->index->next[i - 1] : i + 1) {
                const Record *r = &v->records[i - 1];

                if (r->kind == kind && streq(r->target, target) && streq(r->key, key))
                        return r;
        }
        return NULL;
}

bool record_view_holds(const RecordView *v, const char *id) {
        return v->all_held != strv_contains(v->held, id);
}
