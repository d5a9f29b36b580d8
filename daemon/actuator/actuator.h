/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The ways to change a setting: one actuator a kind of action, which reads a value, writes one, and takes away
 * what traces writing has left. They may block, and so run in a supervised child (daemon/child/child.h), which says
 * on a pipe what came of it. IO_FLUSHER marks are none of these: stackd-mark is a program of its own. */

#include <systemd/sd-bus.h>

#include "daemon/policy/action-record.h"
#include "daemon/sysroot/sysroot.h"

/* One action under way, in the child. */
typedef struct Deed {
        const Sysroot *root;
        const Action *action;
        sd_bus *bus;   /* opened at first use */
        char *trouble; /* a sentence of whoever refused it */
} Deed;

typedef struct Actuator {
        ActionKind kind;
        /* Whether the value takes effect some time after write() has returned. */
        bool slow;
        /* Does not block where 'action' is not one of a unit. -ESRCH, -ENOENT, -ENODEV, -ENXIO: the object is gone,
         * or is another one by now. */
        int (*read)(Deed *d, char **ret);
        int (*write)(Deed *d, const char *value);
        /* After an undo: no trace stays. May be NULL. */
        void (*forget)(Deed *d);
        /* Instead of an undo, since someone else has set 'value' meanwhile. May be NULL. */
        void (*leave)(Deed *d, const char *value);
        /* In the daemon, before the record is made: what the undo must know goes to action->detail. Does not
         * block. May be NULL. */
        int (*prepare)(const Sysroot *s, Action *a);
} Actuator;

/* NULL for a kind that has none. */
const Actuator *actuator_find(ActionKind kind);

typedef enum DeedStatus {
        DEED_DONE,    /* the value was read back as wanted */
        DEED_SAME,    /* it was so already: who planned it did not know */
        DEED_GONE,    /* the object is not there any more */
        DEED_LEFT,    /* not undone: someone else has changed it meanwhile */
        DEED_STALE,   /* not done: it is not as it was when that was planned */
        DEED_REFUSED, /* the kernel or the service manager says no, and would say it again */
        DEED_FAILED,  /* any other error, which may pass */
        _DEED_STATUS_MAX,
} DeedStatus;

typedef struct DeedResult {
        DeedStatus status;
        char *value;   /* read back; of what is gone, what its service manager was told; NULL: not known */
        char *trouble; /* a sentence, or NULL */
} DeedResult;

/* Carries the action out; in a child, for it may block. */
void deed_run(const Sysroot *s, const Action *a, int output_fd);
/* What it said, parsed: 0, or -EBADMSG if it did not get that far. */
int deed_result_parse(const char *output, DeedResult *ret);
void deed_result_done(DeedResult *r);

/* The present value of a setting of a process or layer, at once: for planning. */
int actuator_read(const Sysroot *s, ActionKind kind, const char *target, const char *key, char **ret);

/* What systemd was told of this setting of a unit at run time, by whomever; NULL where that was nothing. It keeps a drop-in
 * of that for as long as it knows the unit. Does not block. 0 or -ENOMEM. */
int unit_read_told(const Sysroot *s, ActionKind kind, const char *unit, char **ret);

/* A number that a file system has for as long as it is mounted, and the next one with its device number has not: the
 * inode that the kernel made for it in sysfs. *ret is 0 where there is none. */
int superblock_inode(const Sysroot *s, const char *type, const char *device, uint64_t *ret);

/* What systemd-oomd is told of a cgroup: "none", "avoid", "omit". */
int cgroup_read_preference(const Sysroot *s, const char *cgroup, char **ret);

extern const Actuator actuator_oom_score, actuator_memory_min, actuator_memory_low, actuator_swap_max, actuator_oomd_preference,
        actuator_writeback, actuator_direct_io, actuator_mount;
