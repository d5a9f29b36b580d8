/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What policy wants of one setting of one object, beside what it is now: half of a plan. */

#include "common/hashmap.h"
#include "daemon/policy/plan.h"

typedef struct Want {
        ActionKind kind;
        char *target, *key;
        Node *subject; /* NULL: it serves several */
        char *name, *place;
        char *actual;  /* NULL: not known */
        char *to;
        const Setting *setting; /* that asks for it */
        char *reason;    /* NULL: that its subject stands in a stack (standing_reason()) */
        char *note;      /* more about that, or NULL */
        char *refusal;   /* why it must not be done, or NULL */
        bool satisfied;  /* as it is, it is good enough, whoever made it so */
        bool inexact;    /* reads back as something else than what was asked for */
        bool only_keep;  /* not certain enough to begin with it, but to go on */
        bool untold;     /* nobody has told the service manager anything else than we have: that it is as it was before is
                          * no decision */
        bool never_foreign; /* also changes by itself: any other value than the wanted one is mended */
        size_t next; /* another one with the same target: its number, from 1 on */
} Want;

typedef struct WantList {
        Want *wants;
        size_t n, capacity;
        Hashmap *by_target; /* the first one with each: its number, from 1 on */
} WantList;

void want_done(Want *w);
void want_list_done(WantList *l);
/* Takes 'want' over, also on failure. Texts that must be there
 * and are not mean that memory has run out. */
int want_list_add(WantList *l, Want *want);
Want *want_list_find(const WantList *l, ActionKind kind, const char *target, const char *key);

/* How much a process, or a layer, has to do with a stack. */
typedef enum Standing {
        STANDING_NONE,
        STANDING_UNCERTAIN, /* by a guess: no reason to begin with something, nor to end it */
        STANDING_CERTAIN,
} Standing;

Standing process_standing(const PlanInput *in, const Node *n);
Standing layer_standing(const Node *n);
bool setting_is_set(const Setting *s);

int want_processes(WantList *l, const PlanInput *in);
int want_units(WantList *l, const PlanInput *in);
int want_layers(WantList *l, const PlanInput *in);

/* The sentence that says why something is done for a process or layer. */
char *standing_reason(const PlanInput *in, Node *n);
