/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The verbs. Each takes its arguments, NULL-terminated, and returns the exit status, or a negative error,
 * REPORTED if the user knows. Nothing is on standard output then. */

#include "cli/invocation.h"

enum {
        EXIT_FINE = 0,
        EXIT_NO = 1,      /* answered, and the answer is no: hazards, something refused */
        EXIT_TROUBLE = 2, /* not answered */
};

int verb_status(const Invocation *invocation, char **arguments);
int verb_list(const Invocation *invocation, char **arguments);
int verb_show(const Invocation *invocation, char **arguments);
int verb_explain(const Invocation *invocation, char **arguments);
int verb_check(const Invocation *invocation, char **arguments);
int verb_plan(const Invocation *invocation, char **arguments);
int verb_apply(const Invocation *invocation, char **arguments);
int verb_revert(const Invocation *invocation, char **arguments);
int verb_graph(const Invocation *invocation, char **arguments);
int verb_monitor(const Invocation *invocation, char **arguments);
int verb_metrics(const Invocation *invocation, char **arguments);
int verb_capture(const Invocation *invocation, char **arguments);
int verb_cat_config(const Invocation *invocation, char **arguments);
int verb_run(int argc, char **argv); /* takes its arguments as they are; argv[0] is "run" */
int verb_adopt(const Invocation *invocation, char **arguments);
int verb_release(const Invocation *invocation, char **arguments);
int verb_reload(const Invocation *invocation, char **arguments);
