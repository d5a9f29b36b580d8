/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Who serves what where nothing says so: there are candidates (servers) and things (devices, mounts), and what can be concluded of their
 * numbers alone. Every source that concludes so goes by this. Who is a candidate at all is a matter of authority.h. */

#include "daemon/graph/fact.h"
#include "daemon/source/process-table.h"
#include "daemon/source/socket-table.h"

typedef struct Conclusion {
        Certainty certainty; /* of each candidate serving each thing */
        bool alternative;    /* each candidate serves one of the things at least */
} Conclusion;

/* A candidate may as well serve nothing, or something else. 'complete': there are no others. */
Conclusion elimination_conclude(size_t candidates, size_t things, bool complete);
/* Each candidate is known to serve some of the things, and each thing is served by some of them. */
Conclusion elimination_conclude_shared(size_t candidates, size_t things);

/* The candidates that the given sockets belong to. Sockets of one process are one candidate's, and, where 'listeners' is set, those that were
 * accepted at one address: a server may have a process for each connection. ret_groups[i], from 0 on, is the candidate of ends[i]. */
int elimination_group(
                const ProcessTable *t, const Socket *const *ends, size_t n, bool listeners, size_t **ret_groups, size_t *ret_candidates);

/* Candidates and things by whom they belong to, a number. Those of one owner are counted for themselves. */
typedef struct Owner {
        uint64_t key;
        size_t candidates, things;
} Owner;

typedef struct Owners {
        Owner *owners; /* sorted by key */
        size_t n, capacity;
} Owners;

/* Adds to the owner's numbers. -ENOMEM. */
int owners_add(Owners *o, uint64_t key, size_t candidates, size_t things);
/* All zero for one who has nothing. */
Owner owners_find(const Owners *o, uint64_t key);
void owners_done(Owners *o);
