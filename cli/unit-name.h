/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Names of units (systemd.unit(5)). */

#define UNIT_NAME_CHARACTERS "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ:_.-\\@"

/* The mount unit of a mount point, as 'systemd-escape --path --suffix=mount' says; owned by the caller, NULL when out of
 * memory. */
char *mount_unit_name(const char *mount_point);
