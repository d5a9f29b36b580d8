/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "common/text.h"
#include "daemon/graph/state.h"

static void cgroup_done(CgroupState *c) {
        free(c->path);
        free(c->preference);
        for (UnitSetting i = 0; i < _UNIT_SETTING_MAX; i++)
                free(c->told[i]);
        *c = (CgroupState) {};
}

static void sight_done(Sight *s) {
        free(s->node);
        free(s->other);
        free(s->what);
        *s = (Sight) {};
}

static void reading_done(Reading *r) {
        free(r->node);
        free(r->target);
        free(r->key);
        free(r->value);
        free(r->place);
        *r = (Reading) {};
}

void state_done(State *s) {
        for (size_t i = 0; i < s->n_cgroups; i++)
                cgroup_done(&s->cgroups[i]);
        for (size_t i = 0; i < s->n_readings; i++)
                reading_done(&s->readings[i]);
        hashmap_free(s->by_path);
        hashmap_free(s->first_reading);
        hashmap_free(s->first_sight);
        for (size_t i = 0; i < s->n_sights; i++)
                sight_done(&s->sights[i]);
        free(s->cgroups);
        free(s->readings);
        free(s->sights);
        *s = (State) {};
}

int state_add_cgroup(State *s, CgroupState *c) {
        int r = -ENOMEM;

        if (!s->by_path)
                s->by_path = hashmap_new();
        if (c->path && s->by_path)
                r = array_reserve((void **) &s->cgroups, &s->cgroups_capacity, s->n_cgroups + 1, sizeof(CgroupState));
        if (r >= 0)
                r = hashmap_put(s->by_path, c->path, (void *) (s->n_cgroups + 1));
        if (r < 0) {
                cgroup_done(c);
                return r;
        }
        s->cgroups[s->n_cgroups++] = *c;
        return 0;
}

int state_add_reading(State *s, Reading *reading) {
        int r = -ENOMEM;

        if (reading->node && reading->target && reading->key && reading->value)
                r = ARRAY_APPEND(s->readings, s->n_readings, s->readings_capacity, *reading);
        if (r < 0)
                reading_done(reading);
        return r;
}

static int compare_readings(const void *a, const void *b) {
        const Reading *x = a, *y = b;
        int r = strcmp(x->node, y->node);

        r = r != 0 ? r : strcmp(x->target, y->target);
        return r != 0 ? r : strcmp(x->key, y->key);
}

int state_sort_readings(State *s) {
        int r = 0;

        hashmap_free(s->first_reading);
        s->first_reading = hashmap_new();
        if (!s->first_reading)
                return -ENOMEM;
        if (s->n_readings > 1)
                qsort(s->readings, s->n_readings, sizeof(Reading), compare_readings);
        for (size_t i = 0; r >= 0 && i < s->n_readings; i++)
                if (i == 0 || !streq(s->readings[i].node, s->readings[i - 1].node))
                        r = hashmap_put(s->first_reading, s->readings[i].node, (void *) (i + 1));
        return r;
}

/* The number of the first sight of the node, which is 'number' if there was none. 0: out of memory. */
static size_t first_sight(State *s, const char *node, size_t number) {
        size_t first;

        if (!s->first_sight)
                s->first_sight = hashmap_new();
        if (!s->first_sight)
                return 0;
        first = (size_t) hashmap_get(s->first_sight, node);
        if (first > 0)
                return first;
        return hashmap_put(s->first_sight, node, (void *) number) >= 0 ? number : 0;
}

int state_add_sight(State *s, SightKind kind, const char *node, const char *other, const char *what) {
        Sight sight = { .kind = kind, .node = strdup(node), .other = strdup(other), .what = strdup(what) };
        const size_t number = s->n_sights + 1;
        size_t first = 0;
        int r = -ENOMEM;

        if (sight.node && sight.other && sight.what)
                r = array_reserve((void **) &s->sights, &s->sights_capacity, number, sizeof(Sight));
        if (r >= 0)
                first = first_sight(s, sight.node, number);
        if (first == 0) {
                sight_done(&sight);
                return -ENOMEM;
        }
        s->sights[s->n_sights++] = sight;
        if (first != number)
                s->sights[s->sights[first - 1].last - 1].next = number;
        s->sights[first - 1].last = number;
        return 0;
}

const Reading *state_next_reading(const State *s, const char *node, const Reading *previous) {
        size_t i = previous ? (size_t) (previous - s->readings) + 1 : s->first_reading ? (size_t) hashmap_get(s->first_reading, node) : 0;

        if (!previous)
                return i > 0 ? &s->readings[i - 1] : NULL;
        return i < s->n_readings && streq(s->readings[i].node, node) ? &s->readings[i] : NULL;
}

const Sight *state_next_sight(const State *s, const char *node, const Sight *previous) {
        size_t number = previous ? previous->next : s->first_sight ? (size_t) hashmap_get(s->first_sight, node) : 0;

        return number > 0 ? &s->sights[number - 1] : NULL;
}

CgroupState *state_find_cgroup(const State *s, const char *path) {
        size_t number = s->by_path ? (size_t) hashmap_get(s->by_path, path) : 0;

        return number > 0 ? &s->cgroups[number - 1] : NULL;
}

Unreservable state_unreservable(const State *s, const char *path) {
        const CgroupState *c = path ? state_find_cgroup(s, path) : NULL;

        if (c && c->described)
                return RESERVABLE;
        if (!s->memory_controller)
                return NO_CONTROLLER;
        if (path && streq(path, "/"))
                return ROOT_CGROUP;
        return c && c->uncontrolled ? NOT_ENABLED : RESERVABLE;
}

const CgroupState *state_find_limit(const State *s, const char *path, uint64_t bytes, Limit limit) {
        _cleanup_free_ char *p = path ? strdup(path) : NULL;

        for (char *slash; p && (slash = strrchr(p, '/')); *slash = 0) {
                const CgroupState *c = state_find_cgroup(s, p);

                if (c && c->described && (limit == LIMIT_MAX ? c->max : MIN(c->max, c->high)) < bytes)
                        return c;
        }
        return NULL;
}
