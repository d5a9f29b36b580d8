/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* All that tells of changes of the machine: tables of /proc, devices, mounts of other namespaces, the end of processes. Which of them
 * there are depends on kernel, privilege and container. */

#include <systemd/sd-event.h>

#include "daemon/policy/action-record.h"
#include "daemon/source/scan.h"

typedef enum MachineChange {
        MACHINE_MOUNTS,
        MACHINE_SWAPS,
        MACHINE_ARRAYS,
        MACHINE_DEVICE, /* any but these two */
        MACHINE_BLOCK,
        MACHINE_BDI, /* comes and goes with a mount, also with one in a namespace whose table tells us nothing */
        MACHINE_PROCESS, /* has ended */
        MACHINE_UNIT, /* a job of the service manager has ended */
} MachineChange;

typedef struct MachineWatch MachineWatch;

/* 'device' is that of MACHINE_BLOCK, else 0. */
typedef void (*MachineChanged)(MachineChange change, dev_t device, void *userdata);

/* Tells of processes only until machine_watch_start(). The root is borrowed. */
int machine_watch_new(sd_event *event, const Sysroot *root, MachineChanged changed, void *userdata, MachineWatch **ret);
/* Returns NULL. */
MachineWatch *machine_watch_free(MachineWatch *w);
/* Negative where not even the mount table can be followed. */
int machine_watch_start(MachineWatch *w);

/* Events of devices come. */
bool machine_watch_has_devices(const MachineWatch *w);
/* Before a look: what it reads is followed from now on. False where events of devices were lost since the last look. */
bool machine_watch_begin(MachineWatch *w);

/* From now on those processes and namespaces are watched that this look found, or that something was done to; and units, if some layer
 * has 'lost' its server. 1: a process has ended meanwhile; 0. */
int machine_watch_update(MachineWatch *w, const Scan *scan, const RecordView *done, bool lost);
