/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the kernel's settings are now, for planning: control groups of lower-layer processes with all that
 * share their ancestors, and the settings of layers that policy has something to say about. */

#include "common/hashmap.h"
#include "daemon/graph/fact.h"

#define MEMORY_UNLIMITED UINT64_MAX

/* Settings of units, of which systemd keeps what it was told of them at run time. */
typedef enum UnitSetting {
        UNIT_MEMORY_MIN,
        UNIT_MEMORY_LOW,
        UNIT_SWAP_MAX,
        UNIT_OOMD_PREFERENCE,
        _UNIT_SETTING_MAX,
} UnitSetting;

typedef struct CgroupState {
        char *path;     /* "/system.slice/foo.service" */
        bool described; /* all of what follows is known; else only min and low: a neighbour */
        bool uncontrolled; /* it is there, but the memory controller is not enabled for it: nothing else is known */
        uint64_t min, low; /* bytes */
        uint64_t max, high;
        uint64_t used; /* what reclaim must not take (see reservation.h) */
        uint64_t swap_max;
        bool has_swap_max;
        char *preference;   /* of systemd-oomd: "none", "avoid", "omit" */
        unsigned processes; /* in it itself, none below */
        char *told[_UNIT_SETTING_MAX]; /* what systemd was told last at run time, by whomever; NULL: nothing */
        bool frozen;        /* also by an ancestor */
} CgroupState;

/* A setting of a layer. */
typedef struct Reading {
        char *node;   /* id of the layer */
        char *target; /* id of what has the setting, as in actions */
        char *key;
        char *value;
        char *place; /* for the actuator */
} Reading;

/* What neither graph nor settings tell, and only hazards need to know. */
typedef enum SightKind {
        SIGHT_GROUND,    /* the process in 'node' runs from, or stands in, 'what' on the file system in 'other' */
        SIGHT_WRITER,    /* the process called 'what' has files of the file system in 'other' open for writing, and shares
                          * a limit with the process in 'node', which serves it */
        SIGHT_UNORDERED, /* the unit of the process in 'node' may be stopped before the file system or swap area in
                          * 'other', whose unit is 'what' */
        SIGHT_CACHED,    /* the loop device in 'node' has its file, on the file system in 'other', cached once more */
} SightKind;

typedef struct Sight {
        SightKind kind;
        char *node, *other; /* ids */
        char *what;
        size_t next, last; /* others of the node, counted from 1 on; the last one is known by the first */
} Sight;

typedef struct State {
        CgroupState *cgroups;
        size_t n_cgroups, cgroups_capacity;
        Hashmap *by_path; /* of the cgroups: their number in the array, from 1 on */
        Reading *readings;
        size_t n_readings, readings_capacity;
        Hashmap *first_reading; /* by node: its number, from 1 on; of state_sort_readings() */
        Sight *sights;
        size_t n_sights, sights_capacity;
        Hashmap *first_sight; /* likewise */
        bool memory_controller;    /* cgroup2 has one, as far as can be seen */
        bool recursive_protection; /* cgroup2 is mounted with memory_recursiveprot */
        bool oomd;                 /* systemd-oomd runs */
        bool suspends;             /* the machine has been suspended since it was booted, or should have been */
        uint64_t memory_total;     /* bytes; 0 = not told */
        uint64_t dirty_limit;      /* bytes that may be dirty before writers must wait; 0 = not told */
} State;

void state_done(State *s);

/* Take over what is pointed to, also on failure. A cgroup is added once. */
int state_add_cgroup(State *s, CgroupState *c);
int state_add_reading(State *s, Reading *r);
/* Copies the texts. */
int state_add_sight(State *s, SightKind kind, const char *node, const char *other, const char *what);

/* The graph has no order, and what is planned must not depend on chance: by node, target and key. After all have been added. 0 or
 * -ENOMEM. */
int state_sort_readings(State *s);
/* Those of a node, readings as they are sorted, and sights as they were added: the first one, or the one after 'previous'; NULL after
 * the last. */
const Reading *state_next_reading(const State *s, const char *node, const Reading *previous);
const Sight *state_next_sight(const State *s, const char *node, const Sight *previous);

/* NULL when it is not known. */
CgroupState *state_find_cgroup(const State *s, const char *path);
/* Why no memory can be reserved for who runs there. */
typedef enum Unreservable {
        RESERVABLE,    /* or not known */
        NO_CONTROLLER, /* of cgroup2: for nobody */
        NOT_ENABLED,   /* for this control group */
        ROOT_CGROUP,   /* which has no settings */
} Unreservable;
/* 'path' may be NULL: in none of cgroup2's. */
Unreservable state_unreservable(const State *s, const char *path);

typedef enum Limit {
        LIMIT_ANY,
        LIMIT_MAX, /* beyond which the kernel kills: memory.max, not memory.high */
} Limit;
/* Of the cgroup at 'path' and those above it the first that may hold less than 'bytes', or NULL. */
const CgroupState *state_find_limit(const State *s, const char *path, uint64_t bytes, Limit limit);
