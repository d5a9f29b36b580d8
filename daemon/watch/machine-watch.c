/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>
#include <systemd/sd-device.h>

#include "common/log.h"
#include "common/text.h"
#include "daemon/watch/device-watch.h"
#include "daemon/watch/file-watch.h"
#include "daemon/watch/machine-watch.h"
#include "daemon/watch/mount-watch.h"
#include "daemon/watch/process-watch.h"
#include "daemon/watch/unit-watch.h"

struct MachineWatch {
        sd_event *event;
        const Sysroot *root;
        MachineChanged changed;
        void *userdata;
        DeviceWatch *devices;
        MountWatch *namespaces; /* NULL where the kernel cannot tell */
        FileWatch *mounts, *swaps, *arrays;
        ProcessWatch *processes;
        UnitWatch *units; /* NULL until the start */
};

static void on_mounts(void *userdata) {
        const MachineWatch *w = userdata;

        w->changed(MACHINE_MOUNTS, 0, w->userdata);
}

static void on_swaps(void *userdata) {
        const MachineWatch *w = userdata;

        w->changed(MACHINE_SWAPS, 0, w->userdata);
}

static void on_arrays(void *userdata) {
        const MachineWatch *w = userdata;

        w->changed(MACHINE_ARRAYS, 0, w->userdata);
}

static void on_process_exit(void *userdata) {
        const MachineWatch *w = userdata;

        w->changed(MACHINE_PROCESS, 0, w->userdata);
}

static void on_unit(void *userdata) {
        const MachineWatch *w = userdata;

        w->changed(MACHINE_UNIT, 0, w->userdata);
}

/* Members of an md array come and go without an event of the device. The file is there when the driver is. */
static void watch_arrays(MachineWatch *w) {
        int r;

        if (!file_watch_is_over(w->arrays))
                return;
        w->arrays = file_watch_free(w->arrays);
        r = file_watch_new(w->event, w->root, "mdstat", true, on_arrays, w, &w->arrays);
        if (r < 0 && r != -ENOENT)
                log_warning("Cannot watch md arrays: %s", strerror(-r));
}

static void on_device(sd_device *device, void *userdata) {
        const char *subsystem = NULL, *name = NULL;
        MachineWatch *w = userdata;
        dev_t devno = 0;

        (void) sd_device_get_subsystem(device, &subsystem);
        (void) sd_device_get_sysname(device, &name);
        log_debug("Event of %s %s", subsystem ?: "?", name ?: "?");
        if (subsystem && streq(subsystem, "bdi"))
                w->changed(MACHINE_BDI, 0, w->userdata);
        else if (subsystem && streq(subsystem, "block") && sd_device_get_devnum(device, &devno) >= 0)
                w->changed(MACHINE_BLOCK, devno, w->userdata);
        else
                w->changed(MACHINE_DEVICE, 0, w->userdata);
}

int machine_watch_start(MachineWatch *w) {
        int r;

        r = file_watch_new(w->event, w->root, "1/mountinfo", false, on_mounts, w, &w->mounts);
        if (r < 0)
                r = file_watch_new(w->event, w->root, "self/mountinfo", false, on_mounts, w, &w->mounts);
        if (r < 0)
                return r;
        r = file_watch_new(w->event, w->root, "swaps", false, on_swaps, w, &w->swaps);
        if (r < 0 && r != -ENOENT)
                return r;
        r = device_watch_new(w->event, on_device, w, &w->devices);
        if (r < 0) /* no netlink in a container: mounts still tell most */
                log_warning("Cannot watch devices: %s", strerror(-r));
        r = mount_watch_new(w->event, w->root, on_mounts, w, &w->namespaces);
        if (r < 0)
                log_debug("Cannot watch other mount namespaces: %s", strerror(-r));
        return unit_watch_new(w->event, on_unit, w, &w->units);
}

int machine_watch_new(sd_event *event, const Sysroot *root, MachineChanged changed, void *userdata, MachineWatch **ret) {
        MachineWatch *w = calloc(1, sizeof(MachineWatch));
        int r;

        if (!w)
                return -ENOMEM;
        *w = (MachineWatch) { .event = event, .root = root, .changed = changed, .userdata = userdata };
        r = process_watch_new(event, root, on_process_exit, w, &w->processes);
        if (r < 0) {
                machine_watch_free(w);
                return r;
        }
        *ret = w;
        return 0;
}

MachineWatch *machine_watch_free(MachineWatch *w) {
        if (!w)
                return NULL;
        process_watch_free(w->processes);
        unit_watch_free(w->units);
        device_watch_free(w->devices);
        mount_watch_free(w->namespaces);
        file_watch_free(w->mounts);
        file_watch_free(w->swaps);
        file_watch_free(w->arrays);
        free(w);
        return NULL;
}

bool machine_watch_has_devices(const MachineWatch *w) {
        return w->devices;
}

bool machine_watch_begin(MachineWatch *w) {
        if (w->mounts)
                watch_arrays(w);
        return !w->devices || !device_watch_has_lost(w->devices);
}

/* True if it is gone. */
static bool watch_process(MachineWatch *w, pid_t pid, uint64_t start) {
        int r = process_watch_add(w->processes, pid, start);

        if (r < 0 && r != -ESRCH)
                log_warning("Cannot watch process %d: %s", pid, strerror(-r));
        return r == -ESRCH;
}

/* With the last process of a mount namespace it ends, and what is mounted only there. Any of them will do: when it has
 * ended, another one is met first. */
static void watch_namespaces(MachineWatch *w, const MountTable *t) {
        for (unsigned space = 1; space < t->n_spaces; space++) {
                uint64_t start;

                if (process_read_start(w->root, t->space_pids[space], &start) >= 0)
                        (void) watch_process(w, t->space_pids[space], start);
        }
        if (w->namespaces)
                mount_watch_update(w->namespaces, t);
}

int machine_watch_update(MachineWatch *w, const Scan *scan, const RecordView *done, bool lost) {
        bool gone = false;

        process_watch_begin(w->processes);
        for (size_t i = 0; i < scan->processes.n; i++)
                gone |= watch_process(w, scan->processes.holders[i].pid, scan->processes.holders[i].start);
        for (size_t i = 0; i < scan->n_served; i++)
                gone |= watch_process(w, scan->served[i].pid, scan->served[i].start);
        for (size_t i = 0; i < done->n; i++)
                if (done->records[i].pid > 0)
                        (void) watch_process(w, done->records[i].pid, done->records[i].start);
        watch_namespaces(w, &scan->mounts);
        process_watch_end(w->processes);
        if (w->units)
                unit_watch_set(w->units, lost);
        return gone;
}
