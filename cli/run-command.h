/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Starts a command as an IO_FLUSHER. 'stackctl run' and stackd-run share it; it uses the C library only. */

/* argv[0] is not looked at; options and the command follow. 'usage' is how one calls it, for messages.
 * Returns only if the command was not started, and has said why: -ENOEXEC if it could not be executed, else -ECANCELED;
 * or 0 after --self-test. */
int run_command(const char *usage, int argc, char **argv);
