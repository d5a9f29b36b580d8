/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is wanted of units: memory that reclaim leaves to them, no swap that they serve themselves, and to be
 * spared by systemd-oomd.
 *
 * A reservation that an ancestor does not carry is none: a slice gives its children what it has itself, in
 * proportion where that is less than their sum (mm/page_counter.c, effective_protection()). So each slice above
 * a unit with a reservation gets the sum of what its children have, with those that are none of our business,
 * and never less than it had by itself. */
#include <errno.h>
#include <string.h>

#include "common/text.h"
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

/* ---- slices ---- */

#define NO_WANT SIZE_MAX

/* A cgroup with what those below it come to. */
typedef struct Branch {
        const CgroupState *c;
        size_t level, parent; /* SIZE_MAX: it has no parent that is known */
        size_t want, below;   /* in the list: its own, and the first below it; NO_WANT */
        uint64_t sum;         /* of what its children will have */
} Branch;

typedef struct Tree {
        const PlanInput *in;
        WantList *wants;
        const Strength *strength;
        Branch *branches; /* in the order of the cgroups */
} Tree;

static uint64_t add_saturated(uint64_t a, uint64_t b) {
        return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

static const Record *cgroup_record(const Tree *t, const char *path) {
        const char *name = strrchr(path, '/');
        _cleanup_free_ char *target = name ? text_format("unit:%s", name[1] == '_' ? name + 2 : name + 1) : NULL;

        return target ? record_find(t->in->done, t->strength->kind, target, "") : NULL;
}

/* What the cgroup will have when the plan is carried out. */
static uint64_t future_value(const Tree *t, const Branch *b) {
        const Want *w = b->want != NO_WANT ? &t->wants->wants[b->want] : NULL;
        const Record *record = cgroup_record(t, b->c->path);
        uint64_t value = value_of(t->strength, b->c), other;

        if (w && !w->only_keep && !w->satisfied && memory_from_string(w->to, &other) >= 0)
                return other;
        if (w && !w->only_keep && record && memory_from_string(w->to, &other) >= 0)
                return other;
        /* It is going to be undone: then its parent need not carry it. */
        if (!w && record && (t->in->complete || record_view_holds(t->in->done, record->subject)) &&
            memory_from_string(record->from, &other) >= 0)
                return MIN(value, other);
        return value;
}

static int want_slice(const Tree *t, Branch *b) {
        const char *name = slice_of_cgroup(b->c->path);
        const Record *record = cgroup_record(t, b->c->path);
        uint64_t present = value_of(t->strength, b->c), own = present, sum = b->sum;
        Want w;
        int r;

        if (record && memory_from_string(record->from, &own) < 0)
                return 0;
        /* Reservations of more than the machine can give are shared out by the kernel in proportion; with all of it
         * reserved, nothing could be reclaimed. */
        if (t->in->state->memory_total > 0)
                sum = MIN(sum, t->in->state->memory_total / 2 / RESERVATION_GRANULARITY * RESERVATION_GRANULARITY);
        if ((sum <= own && record) || sum == 0)
                return 0;
        w = (Want) {
                .kind = t->strength->kind,
                .target = text_format("unit:%s", name[0] == '_' ? name + 1 : name),
                .key = strdup(""),
                .name = strdup(name),
                .place = strdup(b->c->path),
                .setting = t->wants->wants[b->below].setting,
                .actual = memory_to_string(present),
                .to = memory_to_string(MAX(sum, own)),
                .satisfied = present >= sum && !record,
                .untold = is_untold(b->c, t->strength->told, record),
                .reason = text_format("so much is reserved below it, and a reservation that it does not carry is none"),
        };
        r = want_list_add(t->wants, &w);
        if (r >= 0)
                b->want = t->wants->n - 1;
        return r;
}

static size_t path_level(const char *path) {
        size_t n = 0;

        for (; *path; path++)
                n += *path == '/';
        return n;
}

/* The number of a cgroup, SIZE_MAX where it is not known. */
static size_t number_of(const State *s, const char *path) {
        const CgroupState *c = state_find_cgroup(s, path);

        return c ? (size_t) (c - s->cgroups) : SIZE_MAX;
}

static int make_branches(const Tree *t) {
        const State *s = t->in->state;

        for (size_t i = 0; i < s->n_cgroups; i++) {
                const char *path = s->cgroups[i].path, *slash = strrchr(path, '/');
                _cleanup_free_ char *above = slash ? strndup(path, (size_t) (slash - path)) : NULL;

                if (slash && !above)
                        return -ENOMEM;
                t->branches[i] = (Branch) {
                        .c = &s->cgroups[i], .level = path_level(path), .parent = above ? number_of(s, above) : SIZE_MAX,
                        .want = NO_WANT, .below = NO_WANT,
                };
        }
        for (size_t i = t->wants->n; i-- > 0;) {
                const Want *w = &t->wants->wants[i];
                size_t number = w->kind == t->strength->kind && w->place ? number_of(s, w->place) : SIZE_MAX;

                if (number != SIZE_MAX)
                        t->branches[number].want = i;
        }
        return 0;
}

static int compare_branches(const void *a, const void *b) {
        const Branch *x = *(Branch *const *) a, *y = *(Branch *const *) b;

        return x->level != y->level ? (x->level < y->level ? 1 : -1) : x < y ? -1 : x > y;
}

/* It is final when all below it are; then it becomes part of the one above. */
static int finish_branch(const Tree *t, Branch *b) {
        Branch *above = b->parent != SIZE_MAX ? &t->branches[b->parent] : NULL;
        int r = 0;

        if (b->c->described && slice_of_cgroup(b->c->path) && b->below != NO_WANT)
                r = want_slice(t, b);
        if (r < 0 || !above)
                return r;
        above->sum = add_saturated(above->sum, future_value(t, b));
        above->below = MIN(above->below, MIN(b->want, b->below));
        return 0;
}

/* From the leaves up: a slice is a child of the one above it. */
static int want_slices(WantList *l, const PlanInput *in, const Strength *s) {
        size_t n = in->state->n_cgroups;
        _cleanup_free_ Branch *branches = calloc(n + 1, sizeof(Branch)), **order = calloc(n + 1, sizeof(Branch *));
        Tree t = { .in = in, .wants = l, .strength = s, .branches = branches };
        int r;

        if (!branches || !order)
                return -ENOMEM;
        r = make_branches(&t);
        if (r < 0)
                return r;
        for (size_t i = 0; i < n; i++)
                order[i] = &branches[i];
        qsort(order, n, sizeof(Branch *), compare_branches);
        for (size_t i = 0; r >= 0 && i < n; i++)
                r = finish_branch(&t, order[i]);
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
                r = want_slices(l, in, &strengths[i]);
        return r;
}
