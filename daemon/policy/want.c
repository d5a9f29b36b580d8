/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "common/text.h"
#include "daemon/policy/want.h"

#define OOM_SCORE_AUTO (-900) /* last but for what nothing may kill; -1000 is for who decides that himself */

void want_done(Want *w) {
        free(w->target);
        free(w->key);
        free(w->name);
        free(w->place);
        free(w->actual);
        free(w->to);
        free(w->reason);
        free(w->note);
        free(w->refusal);
        *w = (Want) {};
}

void want_list_done(WantList *l) {
        for (size_t i = 0; i < l->n; i++)
                want_done(&l->wants[i]);
        hashmap_free(l->by_target);
        free(l->wants);
        *l = (WantList) {};
}

Want *want_list_find(const WantList *l, ActionKind kind, const char *target, const char *key) {
        for (size_t i = l->by_target ? (size_t) hashmap_get(l->by_target, target) : 0; i > 0; i = l->wants[i - 1].next)
                if (l->wants[i - 1].kind == kind && streq(l->wants[i - 1].key, key))
                        return &l->wants[i - 1];
        return NULL;
}

int want_list_add(WantList *l, Want *want) {
        size_t first;
        int r = -ENOMEM;

        if (!l->by_target)
                l->by_target = hashmap_new();
        if (l->by_target && want->target && want->key && want->name && want->to && (want->reason || want->subject))
                r = array_reserve((void **) &l->wants, &l->capacity, l->n + 1, sizeof(Want));
        if (r >= 0)
                r = hashmap_put(l->by_target, want->target, (void *) (l->n + 1));
        if (r < 0 && r != -EEXIST) {
                want_done(want);
                return r;
        }
        l->wants[l->n++] = *want;
        if (r >= 0)
                return 0;
        first = (size_t) hashmap_get(l->by_target, want->target) - 1;
        l->wants[l->n - 1].next = l->wants[first].next;
        l->wants[first].next = l->n;
        return 0;
}

/* Below something by a guess is not reason enough to change a process, nor to take a change away. */
Standing process_standing(const PlanInput *in, const Node *n) {
        if (node_kind(n) != NODE_PROCESS || record_view_holds(in->done, n->id))
                return STANDING_NONE;
        if (node_is_backing(n) && n->analysis.depth_certain > 0 && node_is_entitled(n))
                return STANDING_CERTAIN;
        if (!node_is_entitled(n))
                return STANDING_NONE; /* not any more, perhaps */
        return n->analysis.depth > 0 ? STANDING_UNCERTAIN : STANDING_NONE;
}

/* A layer that has nothing of a stack above or below it is an ordinary one. */
Standing layer_standing(const Node *n) {
        if (n->analysis.depth_certain > 0 || n->analysis.height > 0)
                return STANDING_CERTAIN;
        for (size_t i = 0; i < n->n_lower; i++)
                if (node_kind(n->lower[i]->lower) == NODE_PROCESS)
                        return STANDING_CERTAIN;
        return n->analysis.depth > 0 ? STANDING_UNCERTAIN : STANDING_NONE;
}

bool setting_is_set(const Setting *s) {
        return s && (s->mode == SETTING_AUTO || s->mode == SETTING_VALUE);
}

char *standing_reason(const PlanInput *in, Node *n) {
        _cleanup_free_ Node **path = NULL;
        size_t n_path;

        if (analysis_path(in->analysis, n, true, &path, &n_path) < 0)
                return NULL;
        return text_format("%s cannot complete I/O without it (depth %u)", path[0]->id, n->analysis.depth_certain);
}

static Want process_want(const PlanInput *in, Node *n, ActionKind kind, const Setting *setting) {
        return (Want) {
                .kind = kind,
                .target = strdup(n->id),
                .key = strdup(""),
                .subject = n,
                .name = strdup(n->fact->comm),
                .setting = setting,
                .only_keep = process_standing(in, n) != STANDING_CERTAIN,
        };
}

static int want_mark(WantList *l, const PlanInput *in, Node *n, const Setting *setting) {
        Want w;

        if (!setting_is_set(setting) || (setting->mode == SETTING_VALUE && setting->number == 0))
                return 0;
        w = process_want(in, n, ACTION_IO_FLUSHER, setting);
        w.only_keep = w.only_keep || n->fact->refusal; /* a hazard says why it cannot be marked */
        w.actual = strdup(io_flusher_to_string(n->fact));
        w.to = strdup("all");
        w.satisfied = n->fact->threads_io_flusher == n->fact->threads;
        w.never_foreign = true; /* threads come and go */
        return w.actual ? want_list_add(l, &w) : (want_done(&w), -ENOMEM);
}

/* In a group with a limit the kernel kills within the group: where nothing there can be killed, the same is tried
 * again for ever. */
static int want_oom_score(WantList *l, const PlanInput *in, Node *n, const Setting *setting) {
        const CgroupState *limit = state_find_limit(in->state, n->fact->cgroup, in->state->memory_total, LIMIT_MAX);
        int64_t score;
        Want w;

        if (!setting_is_set(setting))
                return 0;
        score = setting->mode == SETTING_AUTO ? OOM_SCORE_AUTO : setting->number;
        w = process_want(in, n, ACTION_OOM_SCORE, setting);
        w.actual = text_format("%d", n->fact->oom_score_adj);
        w.to = text_format("%lld", (long long) score);
        w.satisfied = n->fact->oom_score_adj <= score;
        if (limit && score < 0 && (!w.satisfied || record_find(in->done, ACTION_OOM_SCORE, n->id, ""))) {
                w.refusal = text_format("%s may hold %llu bytes only: when these are used up, the kernel must find something to "
                                        "kill in it; lift the limit", limit->path, (unsigned long long) limit->max);
                if (!w.refusal) {
                        want_done(&w);
                        return -ENOMEM;
                }
        }
        return w.actual ? want_list_add(l, &w) : (want_done(&w), -ENOMEM);
}

int want_processes(WantList *l, const PlanInput *in) {
        size_t position = 0;
        Node *n;

        while ((n = graph_next(in->graph, &position))) {
                const Setting *settings[_SETTING_KIND_MAX] = {};
                int r;

                if (process_standing(in, n) == STANDING_NONE)
                        continue;
                policy_decide(in->policy, n, settings);
                r = want_mark(l, in, n, settings[SETTING_IO_FLUSHER]);
                if (r >= 0)
                        r = want_oom_score(l, in, n, settings[SETTING_OOM_SCORE_ADJUST]);
                if (r < 0)
                        return r;
        }
        return 0;
}
