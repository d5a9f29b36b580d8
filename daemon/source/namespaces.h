/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The namespaces of a kind that processes are in, each visited once, through one of its processes.
 *
 * Whoever may make a user namespace (any user, user_namespaces(7)) may make as many others in it as he likes, each as full as he
 * likes. Of those there is a limit to what is read, each and together, whoever's they are: containers of root that have a user
 * namespace share it. Those in pid 1's user namespace, which only root makes, have none. */

#include <stdbool.h>

#include "daemon/graph/gap.h"
#include "daemon/sysroot/sysroot.h"

typedef enum Visit {
        VISIT_DONE,  /* not again */
        VISIT_RETRY, /* through another of its processes: this one is gone */
        VISIT_LATER, /* through another, and if all of them say so, once more with 'last' set */
} Visit;

typedef struct Namespace {
        int pid; /* through whom it is visited */
        bool last;
        bool foreign; /* in a user namespace that is not pid 1's */
        size_t most;  /* bytes that may be read of it. Beyond: -EFBIG */
        size_t read;  /* ... and have been: the visitor adds to it, also where it fails */
} Namespace;

/* A negative errno ends it all. */
typedef int (*NamespaceVisitor)(const Sysroot *s, Namespace *n, void *userdata);

typedef struct NamespacesSeen {
        unsigned gaps; /* some could not be told apart, or were not visited, for too much had been read of foreign ones */
} NamespacesSeen;

/* The one of pid 1 (or, where that may not be known, of ourselves) is not visited. */
int namespaces_visit(const Sysroot *s, const char *kind, NamespaceVisitor visit, void *userdata, NamespacesSeen *ret);
