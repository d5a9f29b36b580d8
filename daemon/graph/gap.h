/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Visibility gaps: parts of the machine that a look could not see. Whatever is missing in them is not known to be
 * absent, so that "no hazards" is no answer. */

#include <stdbool.h>
#include <stddef.h>

typedef enum Gap { /* bits of a set */
        GAP_NO_PRIVILEGE = 1 << 0,     /* processes may not be read, or their namespaces */
        GAP_HIDDEN_PROCESSES = 1 << 1, /* /proc is mounted so that it does not list them */
        GAP_PID_NAMESPACE = 1 << 2,    /* /proc is that of a container */
        GAP_PROC_SUBSET = 1 << 3,      /* /proc has processes only */
        GAP_NO_SYSFS = 1 << 4,
        GAP_NAMESPACE_LIMIT = 1 << 5,  /* ordinary users have made more than is read */
        GAP_NO_NAMESPACES = 1 << 6,    /* mounts and sockets of other namespaces: which process is in which is not known */
        GAP_READ_ERROR = 1 << 7,       /* any other reason for which something that is there could not be read */
        GAP_PENDING = 1 << 8,          /* a device has been asked and has a moment left to answer: not shown to anybody */
} Gap;

/* What is seen in a container is all that there is of it; in any other gap there may be more. */
#define GAPS_INCOMPLETE (~(unsigned) GAP_PID_NAMESPACE)

/* What the (negative) error means for what was to be read: 0 where it is gone. */
unsigned gap_of_error(int r);

typedef struct GapText {
        const char *id;      /* stable, documented */
        const char *message; /* what could not be seen, and what follows from that */
        const char *cure;    /* for the machine itself */
        const char *capture; /* for a capture of one */
} GapText;

/* The texts of one gap after the other: NULL after the last one. */
const GapText *gap_text(unsigned number, Gap *ret);
/* The set of the gaps that are named in 'text', one a line; unknown names are gaps of another version: GAP_READ_ERROR. */
unsigned gaps_from_string(const char *text);
/* The caller's; NULL when out of memory. */
char *gaps_to_string(unsigned gaps);

/* The gaps of a look, for those who show them. */
typedef struct Gaps {
        unsigned set;
        bool captured; /* by somebody else, at another time */
} Gaps;
