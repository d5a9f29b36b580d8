/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "common/text.h"
#include "daemon/graph/state.h"

static void cgroup_done(CgroupState *c) {
        free(c->path);
        free(c->preference);
        *c = (CgroupState) {};
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
        free(s->cgroups);
        free(s->readings);
        *s = (State) {};
}

int state_add_cgroup(State *s, CgroupState *c) {
        int r = -ENOMEM;

        if (c->path)
                r = ARRAY_APPEND(s->cgroups, s->n_cgroups, s->cgroups_capacity, *c);
        if (r < 0)
                cgroup_done(c);
        return r;
}

int state_add_reading(State *s, Reading *reading) {
        int r = -ENOMEM;

        if (reading->node && reading->target && reading->key && reading->value)
                r = ARRAY_APPEND(s->readings, s->n_readings, s->readings_capacity, *reading);
        if (r < 0)
                reading_done(reading);
        return r;
}

CgroupState *state_find_cgroup(const State *s, const char *path) {
        for (size_t i = 0; i < s->n_cgroups; i++)
                if (streq(s->cgroups[i].path, path))
                        return &s->cgroups[i];
        return NULL;
}
