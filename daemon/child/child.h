/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A supervised, short-lived child: whatever may hang runs in one. It cannot hold us up: when its deadline has
 * passed it is killed and its answer so far is taken for all; should it not even die (a task in
 * uninterruptible sleep), it is reaped whenever it does. */

#include <stdint.h>
#include <systemd/sd-event.h>

typedef struct Child Child;

/* status: as waitid(2) gives si_status for a normal exit, -ETIME when killed for its deadline, -ENOMEM or
 * -EFBIG when not all that it said could be taken, -EIO when it died otherwise. The output is NUL-terminated and
 * belongs to the child. */
typedef void (*ChildDone)(int status, const char *output, void *userdata);

/* What it may wait for: those that are stuck in one kind of thing hold back no other. */
typedef enum ChildKind {
        CHILD_OTHER,
        CHILD_PROBE,
        CHILD_DEED,
        CHILD_MARK,
        _CHILD_KIND_MAX,
} ChildKind;

typedef struct ChildSpec {
        ChildKind kind;
        const char *const *argv;                       /* a program, or ... */
        void (*run)(void *userdata, int output_fd);    /* ... a function, called in the forked child, */
        const int *keep;                               /* ... which has no other descriptors of ours above 2 than these */
        size_t n_keep;
        int pass_fd;                                   /* becomes descriptor 3 of the program; -1 for none */
        uint64_t deadline_usec;
        ChildDone done;
        void *userdata;
} ChildSpec;

/* Starts it; 'done' is called exactly once, from the event loop, unless child_cancel() comes first. */
int child_start(sd_event *event, const ChildSpec *spec, Child **ret);

/* The same for one that somebody else has started for us, of which we have a connection that does not block: what comes
 * there is its output, and its end is the child's, with status 0 (what else there is to know of it, it has to say). To shut our
 * side down asks for it to be killed. The descriptor stays the caller's. */
int child_attach(sd_event *event, const ChildSpec *spec, int connection_fd, Child **ret);

/* Kills it; 'done' is not called any more. Returns NULL. */
Child *child_cancel(Child *c);

/* Children that were killed and have not died yet. */
unsigned child_count_stuck(ChildKind kind);
