/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Names of units (systemd.unit(5)). */

#define UNIT_NAME_CHARACTERS "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ:_.-\\@"

/* The unit of a mount point (type "mount") or swap area ("swap"), as 'systemd-escape --path --suffix=TYPE' says; owned by
 * the caller, NULL when out of memory. */
char *path_unit_name(const char *path, const char *type);
