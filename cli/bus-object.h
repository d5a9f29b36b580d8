/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Objects on the bus in the words of the JSON document. */

#include <json-c/json_object.h>
#include <systemd/sd-bus.h>

/* The id of the layer or process at an object path; owned by the caller. 0: some other object. */
int bus_object_id(const char *path, char **ret);

/* Properties (a{sv}, the next thing in the message) as members; those that the document has otherwise are left out. */
int bus_object_read(sd_bus_message *m, json_object **ret);
