/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The namespaces of a kind that processes are in, each visited once, through one of its processes. */

#include <stdbool.h>

#include "daemon/sysroot.h"

typedef enum Visit {
        VISIT_DONE,  /* not again */
        VISIT_RETRY, /* through another of its processes: this one is gone */
        VISIT_LATER, /* through another, and if all of them say so, once more with 'last' set */
} Visit;

/* A negative errno ends it all. */
typedef int (*NamespaceVisitor)(const Sysroot *s, int pid, bool last, void *userdata);

/* The one of pid 1 (or, where that may not be known, of ourselves) is not visited. ret_incomplete: some could
 * not be told apart, or that one is not known and nothing was visited. */
int namespaces_visit(const Sysroot *s, const char *kind, NamespaceVisitor visit, void *userdata, bool *ret_incomplete);
