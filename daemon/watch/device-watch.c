/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <linux/sock_diag.h>
#include <stdint.h>
#include <sys/socket.h>

#include "common/cleanup.h"
#include "daemon/watch/device-watch.h"

struct DeviceWatch {
        sd_device_monitor *monitor;
        DeviceEvent handler;
        void *userdata;
        uint32_t lost;
};

static int on_device(sd_device_monitor *monitor _unused_, sd_device *device, void *userdata) {
        DeviceWatch *w = userdata;

        w->handler(device, w->userdata);
        return 0;
}

int device_watch_new(sd_event *event, DeviceEvent handler, void *userdata, DeviceWatch **ret) {
        DeviceWatch *w = calloc(1, sizeof(DeviceWatch));
        int r;

        if (!w)
                return -ENOMEM;
        *w = (DeviceWatch) { .handler = handler, .userdata = userdata };
        r = sd_device_monitor_new(&w->monitor);
        if (r >= 0)
                r = sd_device_monitor_filter_add_match_tag(w->monitor, "stackd");
        if (r >= 0)
                r = sd_device_monitor_attach_event(w->monitor, event);
        if (r >= 0)
                r = sd_device_monitor_start(w->monitor, on_device, w);
        if (r < 0) {
                device_watch_free(w);
                return r;
        }
        *ret = w;
        return 0;
}

DeviceWatch *device_watch_free(DeviceWatch *w) {
        if (!w)
                return NULL;
        sd_device_monitor_unref(w->monitor);
        free(w);
        return NULL;
}

/* recvmsg() says ENOBUFS once, to libsystemd, which goes on; but the kernel also counts (net/netlink/af_netlink.c,
 * netlink_overrun()). */
bool device_watch_has_lost(DeviceWatch *w) {
        sd_event_source *source = sd_device_monitor_get_event_source(w->monitor);
        uint32_t values[SK_MEMINFO_VARS] = {}, before = w->lost;
        socklen_t size = sizeof(values);

        if (!source || getsockopt(sd_event_source_get_io_fd(source), SOL_SOCKET, SO_MEMINFO, values, &size) < 0)
                return false;
        w->lost = values[SK_MEMINFO_DROPS];
        return w->lost != before;
}
