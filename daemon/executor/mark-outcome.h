/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What stackd-mark has said: the state of the process, and the first thread that could not be changed. */

#include "daemon/actuator/mark/mark-protocol.h"

typedef struct MarkOutcome {
        MarkState state;
        MarkResult obstacle;
        int error;
        pid_t tid;
        unsigned cut; /* system calls that the stops have ended early */
        bool reported, obstructed;
        bool settled; /* obstructed only by what the threads are */
        bool stopped; /* some thread had to be stopped to learn that */
        bool final;   /* settled, and another try would stop such threads again, in vain */
} MarkOutcome;

void mark_outcome_parse(const char *output, MarkOutcome *ret);
/* With what exit status the marker says the same; -EIO where it has not come to an end. */
int mark_outcome_to_status(const MarkOutcome *o);
/* A sentence that says why it did not work; 'status' is that of the child, 'marker' the path of the program or of its socket.
 * The caller frees it. */
char *mark_outcome_to_error(const MarkOutcome *o, int status, const char *marker);
