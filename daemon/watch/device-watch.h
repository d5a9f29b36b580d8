/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Tells of devices that come, change and go, as far as udev has tagged them for us; and whether it could not tell of
 * some: what finds no room in the socket's buffer is lost. */

#include <stdbool.h>
#include <systemd/sd-device.h>
#include <systemd/sd-event.h>

typedef struct DeviceWatch DeviceWatch;

typedef void (*DeviceEvent)(sd_device *device, void *userdata);

int device_watch_new(sd_event *event, DeviceEvent handler, void *userdata, DeviceWatch **ret);
DeviceWatch *device_watch_free(DeviceWatch *w);

/* Whether events were lost since this was last asked. There is always one to come after the loss: the buffer was full. */
bool device_watch_has_lost(DeviceWatch *w);
