/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* From /proc/PID/cgroup to systemd's unit, by systemd's published naming (CGROUP_DELEGATION, "unit names in
 * the tree"). sd_pid_get_unit() does the same but knows only this machine's /proc. */

#include <stdbool.h>

/* The path in the hierarchy that systemd uses: unified, else name=systemd. -ENOENT without one. */
int cgroup_path_of(const char *proc_pid_cgroup, char **ret);
/* Whether a directory is called as that of a unit is, other than a slice. */
bool cgroup_name_is_unit(const char *name);
/* The unit, a service of a user's manager included. -ENOENT when the path lies in no unit. */
int cgroup_path_to_unit(const char *path, char **ret);
/* Whether it lies in a .service of the system manager, outside of every user's slice. */
bool cgroup_path_is_system_service(const char *path);
