/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The arithmetic of memory.min and memory.low: what each control group must be given so that some of them are protected, as the
 * kernel shares protection out (mm/page_counter.c, effective_protection(); Documentation/admin-guide/cgroup-v2.rst).
 *
 * A group gives its children no more than it has itself, in proportion where they ask for more. With memory_recursiveprot it hands what
 * they do not ask for to all of them, so that a reservation for one takes from the others unless the group gets as much on top. And
 * where a group with a limit is full, reclaim must find something in it that is not protected, or its processes are killed.
 *
 * All amounts are bytes. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PROTECTION_TOP SIZE_MAX

typedef struct ProtectedGroup {
        size_t parent;  /* in the array; PROTECTION_TOP: none that is known */
        uint64_t own;   /* what it has without us */
        uint64_t limit; /* the least of memory.max and memory.high; UINT64_MAX: none, or not known */
        uint64_t used;  /* by it and all below it, of what reclaim cannot take */
        bool carries;   /* we may give it what those below it need */
        bool wished;    /* and it shall have 'wish' for itself */
        bool fixed;     /* exactly that: somebody has asked for this number, or it stays as it is */
        uint64_t wish;
        /* What comes of it. */
        uint64_t value; /* what it is to have: not less than 'own', but where it is fixed */
        size_t bound;   /* the group above it, or itself, whose limit made its wish smaller; PROTECTION_TOP: none did */
} ProtectedGroup;

/* Fills in 'value' and 'bound' of all. A wish gets smaller where a group above may hold less than is wished below it with what its
 * other processes need; all that are wished there by the same share, except those that are fixed, which leave them half of it at least. 'granularity': values are multiples
 * of it. 'most': of the machine, for all of them. 0 or -ENOMEM. */
int protection_allot(ProtectedGroup *groups, size_t n, bool recursive, uint64_t most, uint64_t granularity);
