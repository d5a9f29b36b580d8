/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is wanted of units: memory that reclaim leaves to them, no swap that they serve themselves, and to be
 * spared by systemd-oomd.
 *
 * A reservation that an ancestor does not carry is none, and one that fills an ancestor's limit has others killed:
 * see policy/protection.h. So each slice above a unit with a reservation gets what those below it need. */
#include <errno.h>
#include <string.h>

#include "common/text.h"
#include "daemon/policy/protection.h"
#include "daemon/policy/reservation.h"
#include "daemon/policy/want.h"

/* One of memory.min and memory.low: the same in two strengths. */
typedef struct Strength {
        ActionKind kind;
        SettingKind setting;
        UnitSetting told;
        size_t offset; /* of the value in CgroupState */
} Strength;

static const Strength strengths[] = {
        { ACTION_MEMORY_MIN, SETTING_MEMORY_MIN, UNIT_MEMORY_MIN, offsetof(CgroupState, min) },
        { ACTION_MEMORY_LOW, SETTING_MEMORY_LOW, UNIT_MEMORY_LOW, offsetof(CgroupState, low) },
};

static uint64_t value_of(const Strength *s, const CgroupState *c) {
        return *(const uint64_t *) ((const char *) c + s->offset);
}

/* A unit with what policy wants of its processes: what the deepest of them gets. */
typedef struct Unit {
        char *name, *path;
        Node *node;
        bool certain;
        unsigned processes;
        bool below_swap, perhaps_below_swap;
        const char *why; /* it may not be changed; 'name' is NULL */
        const Setting *settings[_SETTING_KIND_MAX];
} Unit;

typedef struct UnitList {
        Unit *units;
        size_t n, capacity;
        Hashmap *by_name; /* the number of each, from 1 on */
} UnitList;

static void unit_list_done(UnitList *l) {
        for (size_t i = 0; i < l->n; i++) {
                free(l->units[i].name);
                free(l->units[i].path);
        }
        hashmap_free(l->by_name);
        free(l->units);
}

static int is_below_swap(Analysis *a, Node *n, bool certain) {
        _cleanup_free_ Node **above = NULL;
        size_t n_above;
        int r;

        r = analysis_above(a, n, certain, &above, &n_above);
        for (size_t i = 0; r == 0 && i < n_above; i++)
                r = node_kind(above[i]) == NODE_SWAP;
        return r;
}

static Unit *find_unit(UnitList *l, const char *name) {
        size_t number = name ? (size_t) hashmap_get(l->by_name, name) : 0;

        return number > 0 ? &l->units[number - 1] : NULL;
}

static int add_unit(UnitList *l, char *name, size_t length, const char *why, Node *n, Unit **ret) {
        Unit u = { .name = name, .path = strndup(n->fact->cgroup, length), .why = why };
        int r = -ENOMEM;

        if (u.path)
                r = array_reserve((void **) &l->units, &l->capacity, l->n + 1, sizeof(Unit));
        if (r >= 0 && name)
                r = hashmap_put(l->by_name, name, (void *) (l->n + 1));
        if (r < 0) {
                free(u.name);
                free(u.path);
                return r;
        }
        l->units[l->n++] = u;
        *ret = &l->units[l->n - 1];
        return 0;
}

/* The more certain, then the deeper process speaks for the unit; then the older, so that it is not of chance. */
static bool speaks_before(const Node *a, bool a_certain, const Unit *u) {
        if (!u->node)
                return true;
        if (a_certain != u->certain)
                return a_certain;
        if (a->analysis.depth_certain != u->node->analysis.depth_certain)
                return a->analysis.depth_certain > u->node->analysis.depth_certain;
        return a->fact->start < u->node->fact->start || (a->fact->start == u->node->fact->start && a->fact->pid < u->node->fact->pid);
}

static int add_process(UnitList *l, const PlanInput *in, Node *n) {
        bool certain = process_standing(in, n) == STANDING_CERTAIN;
        const char *why = NULL;
        size_t length = strlen(n->fact->cgroup);
        char *name = NULL;
        Unit *u;
        int r;

        r = unit_of_cgroup(n->fact->cgroup, &name, &length, &why);
        if (r < 0 && r != -ENOENT)
                return r;
        if (name && n->fact->cgroup[length] != 0 && !in->state->recursive_protection) {
                free(name);
                name = NULL;
                why = "it is in a control group below that of its unit, and this machine's cgroup2 hands no reservation "
                      "down (mounted without memory_recursiveprot)";
        }
        u = find_unit(l, name);
        if (u)
                free(name);
        else {
                r = add_unit(l, name, length, why, n, &u);
                if (r < 0)
                        return r;
        }
        r = is_below_swap(in->analysis, n, false);
        u->perhaps_below_swap = u->perhaps_below_swap || r > 0;
        if (r > 0 && certain)
                r = is_below_swap(in->analysis, n, true);
        if (r < 0)
                return r;
        u->below_swap = u->below_swap || (certain && r > 0);
        u->processes++;
        if (speaks_before(n, certain, u)) {
                u->node = n;
                u->certain = certain;
                policy_decide(in->policy, n, u->settings);
        }
        return 0;
}

static int collect_units(UnitList *l, const PlanInput *in) {
        size_t position = 0;
        Node *n;

        l->by_name = hashmap_new();
        if (!l->by_name)
                return -ENOMEM;
        while ((n = graph_next(in->graph, &position))) {
                int r;

                if (process_standing(in, n) == STANDING_NONE || !n->fact->cgroup || n->fact->cgroup[0] != '/')
                        continue;
                r = add_process(l, in, n);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* A unit that was made at run time, and anew since, has nothing any more of what was set for the earlier one. And a drop-in
 * of an administrator whose name comes after that of systemd's own ("override.conf") holds again from a daemon-reload on. */
static bool is_untold(const CgroupState *c, UnitSetting told, const Record *record) {
        return !c->told[told] || (record && streq_ptr(c->told[told], record->set));
}

/* Takes over nothing; the want's target may be NULL when memory has run out. */
static Want unit_want(const Unit *u, const PlanInput *in, const CgroupState *c, ActionKind kind, UnitSetting told, const Setting *setting) {
        char *target = text_format("unit:%s", u->name);

        return (Want) {
                .kind = kind,
                .target = target,
                .key = strdup(""),
                .subject = u->node,
                .name = strdup(u->name),
                .place = strdup(u->path),
                .setting = setting,
                .only_keep = !u->certain,
                .untold = is_untold(c, told, target ? record_find(in->done, kind, target, "") : NULL),
        };
}

static char *reservation_note(const Unit *u, const CgroupState *c) {
        unsigned others = c->processes > u->processes ? c->processes - u->processes : 0;

        return others == 0 ? text_format("%s uses %llu KiB", u->name, (unsigned long long) c->used / 1024)
                           : text_format("%s uses %llu KiB, with %u other process%s in it, which share%s the reservation", u->name,
                                         (unsigned long long) c->used / 1024, others, others == 1 ? "" : "es", others == 1 ? "s" : "");
}

/* The kernel keeps whole pages, and what is read back must be what was asked for: pages are of 64 KiB at most. */
static uint64_t setting_to_bytes(const Setting *s) {
        return s->number == INT64_MAX ? MEMORY_UNLIMITED : (uint64_t) s->number / RESERVATION_GRANULARITY * RESERVATION_GRANULARITY;
}

static uint64_t cap_of(const State *s, const CgroupState *c) {
        uint64_t cap = MIN(c->max, c->high);

        /* However much it uses: the others must be able to run, too. */
        return s->memory_total > 0 ? MIN(cap, s->memory_total / 4) : cap;
}

static int want_reservation(WantList *l, const PlanInput *in, const Unit *u, const CgroupState *c, const Strength *s) {
        const Setting *setting = u->settings[s->setting];
        uint64_t present = value_of(s, c), wanted, cap = cap_of(in->state, c);
        unsigned depth = u->node->analysis.depth_certain;
        Want w;

        if (!setting_is_set(setting) || (setting->mode == SETTING_VALUE && setting->number <= 0))
                return 0;
        w = unit_want(u, in, c, s->kind, s->told, setting);
        if (w.target && w.only_keep && !record_find(in->done, s->kind, w.target, "")) {
                want_done(&w); /* there is nothing to keep: no slice shall carry it */
                return 0;
        }
        if (setting->mode == SETTING_VALUE) {
                wanted = setting_to_bytes(setting);
                w.satisfied = present >= wanted;
        } else {
                wanted = reservation_size(c->used, depth, cap);
                w.satisfied = present >= wanted;
                if (reservation_fits(present, c->used, depth, cap)) {
                        w.satisfied = true;
                        wanted = present;
                }
        }
        w.to = memory_to_string(wanted);
        w.actual = memory_to_string(present);
        w.note = reservation_note(u, c);
        return w.actual && w.note ? want_list_add(l, &w) : (want_done(&w), -ENOMEM);
}

static int want_no_swap(WantList *l, const PlanInput *in, const Unit *u, const CgroupState *c) {
        const Setting *setting = u->settings[SETTING_SWAP_MAX];
        uint64_t wanted = 0;
        Want w;

        if (!setting_is_set(setting) || !c->has_swap_max || (setting->mode == SETTING_AUTO && !u->perhaps_below_swap))
                return 0;
        if (setting->mode == SETTING_VALUE)
                wanted = setting_to_bytes(setting);
        w = unit_want(u, in, c, ACTION_SWAP_MAX, UNIT_SWAP_MAX, setting);
        w.to = memory_to_string(wanted);
        w.actual = memory_to_string(c->swap_max);
        w.satisfied = c->swap_max <= wanted;
        w.only_keep = w.only_keep || (setting->mode == SETTING_AUTO && !u->below_swap);
        if (setting->mode == SETTING_AUTO)
                w.note = strdup("it could be swapped out to what it serves itself");
        return want_list_add(l, &w);
}

static int want_preference(WantList *l, const PlanInput *in, const Unit *u, const CgroupState *c) {
        const Setting *setting = u->settings[SETTING_OOMD_PREFERENCE];
        const char *wanted;
        Want w;

        if (!setting_is_set(setting) || !c->preference || (setting->mode == SETTING_AUTO && !in->state->oomd))
                return 0;
        wanted = setting->mode == SETTING_VALUE && setting->text ? setting->text : "avoid";
        w = unit_want(u, in, c, ACTION_OOMD_PREFERENCE, UNIT_OOMD_PREFERENCE, setting);
        w.to = strdup(wanted);
        w.actual = strdup(c->preference);
        w.satisfied = streq(c->preference, wanted) || streq(c->preference, "omit");
        return want_list_add(l, &w);
}

static const char *why_unreservable(const State *s, const char *path) {
        switch (state_unreservable(s, path)) {
        case NO_CONTROLLER:
                return "cgroup2's memory controller is not available on this machine";
        case NOT_ENABLED:
                return "cgroup2's memory controller is not enabled for its control group (MemoryAccounting=)";
        case ROOT_CGROUP:
                return "it runs in the root control group";
        default:
                return NULL; /* it is gone */
        }
}

/* A process that gets no reservation although policy wants one. */
static int want_refused(WantList *l, const Unit *u, const char *why) {
        const Setting *setting = u->settings[SETTING_MEMORY_MIN];
        Want w;

        if (!u->certain || !setting_is_set(setting) || (setting->mode == SETTING_VALUE && setting->number <= 0))
                return 0;
        w = (Want) {
                .kind = ACTION_MEMORY_MIN,
                .target = strdup(u->node->id),
                .key = strdup(""),
                .subject = u->node,
                .name = strdup(u->node->fact->comm),
                .setting = setting,
                .actual = memory_to_string(u->node->fact->memory_min),
                .to = strdup(setting->mode == SETTING_AUTO ? "auto" : "more"),
                .refusal = strdup(why),
        };
        return want_list_add(l, &w);
}

/* ---- who carries it ---- */

#define NO_WANT SIZE_MAX

/* All control groups that are known, as policy/protection.h takes them: in the order of the state. */
typedef struct Tree {
        const PlanInput *in;
        WantList *wants;
        const Strength *strength;
        ProtectedGroup *groups;
        size_t *want;  /* of each group: its own, in the list; NO_WANT */
        size_t *below; /* and the first of the groups below it */
        size_t *bound; /* the group whose limit made its wish smaller; PROTECTION_TOP */
} Tree;

static const Record *cgroup_record(const Tree *t, const char *path) {
        const char *name = strrchr(path, '/');
        _cleanup_free_ char *target = name ? text_format("unit:%s", name[1] == '_' ? name + 2 : name + 1) : NULL;

        return target ? record_find(t->in->done, t->strength->kind, target, "") : NULL;
}

/* What it has without us. What is going to be undone counts so already. */
static uint64_t own_value(const Tree *t, const CgroupState *c, const Record *record) {
        uint64_t present = value_of(t->strength, c), from;

        if (!record || memory_from_string(record->from, &from) < 0)
                return present;
        return from;
}

/* The number of a cgroup, SIZE_MAX where it is not known. */
static size_t number_of(const State *s, const char *path) {
        const CgroupState *c = state_find_cgroup(s, path);

        return c ? (size_t) (c - s->cgroups) : SIZE_MAX;
}

static int make_group(const Tree *t, size_t number) {
        const State *s = t->in->state;
        const CgroupState *c = &s->cgroups[number];
        const char *slash = strrchr(c->path, '/');
        _cleanup_free_ char *above = slash ? strndup(c->path, (size_t) (slash - c->path)) : NULL;
        const Record *record = cgroup_record(t, c->path);
        ProtectedGroup *g = &t->groups[number];
        size_t parent;

        if (slash && !above)
                return -ENOMEM;
        parent = above ? number_of(s, above) : SIZE_MAX;
        *g = (ProtectedGroup) {
                .parent = parent == SIZE_MAX ? PROTECTION_TOP : parent,
                .own = own_value(t, c, record),
                .limit = c->described ? MIN(c->max, c->high) : UINT64_MAX,
                .used = c->described ? c->used : 0,
                .carries = c->described && slice_of_cgroup(c->path),
        };
        /* Nobody asks for it any more, and it cannot be undone as long as not everything is seen. */
        if (record && !t->in->complete && !record_view_holds(t->in->done, record->subject) && !slice_of_cgroup(c->path)) {
                g->wished = g->fixed = true;
                g->wish = value_of(t->strength, c);
        }
        t->want[number] = t->below[number] = NO_WANT;
        return 0;
}

/* A wish is what policy wants; what is good enough, or only kept, stays as it is. */
static int take_wish(const Tree *t, size_t want) {
        const Want *w = &t->wants->wants[want];
        size_t number = w->kind == t->strength->kind && w->place && !w->refusal ? number_of(t->in->state, w->place) : SIZE_MAX;
        ProtectedGroup *g;
        int r;

        if (number == SIZE_MAX)
                return 0;
        g = &t->groups[number];
        t->want[number] = want;
        g->wished = true;
        g->fixed = w->only_keep || w->setting->mode == SETTING_VALUE;
        r = memory_from_string(w->only_keep ? w->actual : w->to, &g->wish);
        if (w->satisfied && !w->only_keep && !cgroup_record(t, w->place))
                g->own = g->wish = MAX(g->wish, g->own); /* somebody else's */
        return r;
}

static int make_groups(const Tree *t) {
        int r = 0;

        for (size_t i = 0; r >= 0 && i < t->in->state->n_cgroups; i++)
                r = make_group(t, i);
        for (size_t i = 0; r >= 0 && i < t->wants->n; i++)
                r = take_wish(t, i);
        for (size_t i = 0; r >= 0 && i < t->in->state->n_cgroups; i++)
                for (size_t p = t->want[i] != NO_WANT ? t->groups[i].parent : PROTECTION_TOP; p != PROTECTION_TOP; p = t->groups[p].parent)
                        t->below[p] = MIN(t->below[p], t->want[i]);
        return r;
}

/* A reservation that a limit has made smaller is not made anew for each change of what others use: of the limit an eighth is free.
 * Whether it is kept. */
static bool keep_close(const Tree *t, size_t number) {
        ProtectedGroup *g = &t->groups[number];
        uint64_t present = value_of(t->strength, &t->in->state->cgroups[number]);

        t->bound[number] = g->fixed ? PROTECTION_TOP : g->bound;
        if (t->bound[number] == PROTECTION_TOP || present < g->value - g->value / 8 || present > g->value + g->value / 8)
                return false;
        g->wish = present;
        g->fixed = true;
        return true;
}

/* Less than was wished: a group above may not hold so much. */
static int bound_wish(const Tree *t, size_t number) {
        const ProtectedGroup *g = &t->groups[number], *bound;
        Want *w = &t->wants->wants[t->want[number]];
        char *note, *to;

        if (t->bound[number] == PROTECTION_TOP)
                return 0;
        bound = &t->groups[t->bound[number]];
        w->satisfied = value_of(t->strength, &t->in->state->cgroups[number]) == g->value;
        to = memory_to_string(g->value);
        note = text_format("%s; not more, for %s may hold no more than %llu KiB", w->note, t->in->state->cgroups[t->bound[number]].path,
                           (unsigned long long) bound->limit / 1024);
        if (!to || !note) {
                free(to);
                free(note);
                return -ENOMEM;
        }
        free(w->to);
        free(w->note);
        w->to = to;
        w->note = note;
        return 0;
}

static int want_slice(const Tree *t, size_t number) {
        const ProtectedGroup *g = &t->groups[number];
        const CgroupState *c = &t->in->state->cgroups[number];
        const char *name = slice_of_cgroup(c->path);
        const Record *record = cgroup_record(t, c->path);
        uint64_t present = value_of(t->strength, c);
        Want w = {
                .kind = t->strength->kind,
                .target = text_format("unit:%s", name[0] == '_' ? name + 1 : name),
                .key = strdup(""),
                .name = strdup(name),
                .place = strdup(c->path),
                .setting = t->wants->wants[t->below[number]].setting,
                .actual = memory_to_string(present),
                .to = memory_to_string(g->value),
                .satisfied = present >= g->value && !record,
                .untold = is_untold(c, t->strength->told, record),
                .reason = text_format("so much is reserved below it, and a reservation that it does not carry is none"),
        };

        return want_list_add(t->wants, &w);
}

static int judge_group(const Tree *t, size_t number) {
        const ProtectedGroup *g = &t->groups[number];

        if (t->want[number] != NO_WANT)
                return bound_wish(t, number);
        return g->carries && t->below[number] != NO_WANT && g->value > g->own ? want_slice(t, number) : 0;
}

/* Whole pages, however large these are. */
static uint64_t most_of(const State *s) {
        return s->memory_total > 0 ? s->memory_total / 2 / RESERVATION_GRANULARITY * RESERVATION_GRANULARITY : MEMORY_UNLIMITED;
}

static int share_out(WantList *l, const PlanInput *in, const Strength *s) {
        const size_t n = in->state->n_cgroups;
        _cleanup_free_ ProtectedGroup *groups = calloc(n + 1, sizeof(ProtectedGroup));
        _cleanup_free_ size_t *want = calloc(n + 1, sizeof(size_t)), *below = calloc(n + 1, sizeof(size_t)), *bound = calloc(n + 1, sizeof(size_t));
        const Tree t = { .in = in, .wants = l, .strength = s, .groups = groups, .want = want, .below = below, .bound = bound };
        bool kept = false;
        int r;

        if (!groups || !want || !below || !bound)
                return -ENOMEM;
        r = make_groups(&t);
        if (r >= 0)
                r = protection_allot(groups, n, in->state->recursive_protection, most_of(in->state), RESERVATION_GRANULARITY);
        for (size_t i = 0; r >= 0 && i < n; i++)
                kept |= keep_close(&t, i);
        if (r >= 0 && kept) /* with what stays as it is */
                r = protection_allot(groups, n, in->state->recursive_protection, most_of(in->state), RESERVATION_GRANULARITY);
        for (size_t i = 0; r >= 0 && i < n; i++)
                r = judge_group(&t, i);
        return r;
}

static int want_unit(WantList *l, const PlanInput *in, const Unit *u) {
        const CgroupState *c = state_find_cgroup(in->state, u->path);
        const char *why = c && c->described ? u->why : why_unreservable(in->state, u->node->fact->cgroup);
        int r = 0;

        if (!c || !c->described || !u->name)
                return why ? want_refused(l, u, why) : 0;
        for (size_t i = 0; r >= 0 && i < ELEMENTSOF(strengths); i++)
                r = want_reservation(l, in, u, c, &strengths[i]);
        if (r >= 0)
                r = want_no_swap(l, in, u, c);
        if (r >= 0)
                r = want_preference(l, in, u, c);
        return r;
}

int want_units(WantList *l, const PlanInput *in) {
        _cleanup_(unit_list_done) UnitList units = {};
        int r;

        r = collect_units(&units, in);
        for (size_t i = 0; r >= 0 && i < units.n; i++)
                r = want_unit(l, in, &units.units[i]);
        for (size_t i = 0; r >= 0 && i < ELEMENTSOF(strengths); i++)
                r = share_out(l, in, &strengths[i]);
        return r;
}
