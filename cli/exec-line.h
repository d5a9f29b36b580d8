/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* ExecStart= of systemd.service(5), rewritten so that another command starts the first. Quotes, escapes, variables and
 * specifiers stay as they are written: systemd reads them, not we. */

#include <stddef.h>

/* What starts a command that has all privileges (the prefix '+'), and any other; NULL: it stays as it is. */
typedef struct Wrapper {
        const char *ordinary, *privileged;
} Wrapper;

/* Appends to the list a line for each command in 'value': its prefixes, the wrapper, and the command. 0, -ENOMEM, or
 * -EINVAL where that cannot be done without changing what it means; *ret_wrong then says why. */
int exec_line_wrap(const char *value, const Wrapper *wrapper, char ***lines, size_t *n, const char **ret_wrong);
