/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* How a service is to be started, so that it is marked and has otherwise what it had; and whether systemd has understood
 * it that way. */

#include <stdio.h>

#include "cli/exec-line.h"
#include "cli/service-unit.h"

typedef struct AdoptPlan {
        uint64_t ambient, bounding; /* capabilities that are added for the start */
        bool calls[_CALL_MAX];      /* system calls that the filter has to let through */
        bool exec_path;             /* stackd-run has to be among those that may be executed */
        char *start, *helper;       /* the wrappers; helper: NULL if the other commands stay as they are */
} AdoptPlan;

void adopt_plan_done(AdoptPlan *p);

/* Refuses, and complains, where it is known that it cannot be. */
int adopt_plan_make(const ServiceUnit *u, AdoptPlan *ret);

/* What starts the commands of a kind. */
Wrapper adopt_plan_wrapper(const AdoptPlan *p, CommandKind kind);

/* The words of the wrapper of one command, NULL-terminated, owned by the caller; *ret is NULL if it has none. */
int adopt_plan_words(const AdoptPlan *p, CommandKind kind, const Command *c, char ***ret);

/* The lines of the section [Service] that bring it about. Complains of commands that cannot be rewritten. */
int adopt_plan_print(const AdoptPlan *p, const ServiceUnit *u, FILE *f);

/* Whether systemd now has what was meant; complains of the first thing that it has not. */
int adopt_plan_verify(const AdoptPlan *p, const ServiceUnit *before, const ServiceUnit *after, const char *own);
