/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* 'stackctl run' for the units that 'stackctl adopt' has adopted. A server must start even while some library that stackctl
 * needs is being upgraded, or is missing: this program needs the C library only. */

#include <errno.h>

#include "cli/run-command.h"

enum {
        EXIT_TROUBLE = 2,
        EXIT_NO_EXEC = 203, /* as systemd says it */
};

int main(int argc, char **argv) {
        int r = run_command("stackd-run", argc, argv);

        return r >= 0 ? 0 : r == -ENOEXEC ? EXIT_NO_EXEC : EXIT_TROUBLE;
}
