/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cli/complain.h"
#include "cli/run-command.h"
#include "cli/verb.h"

int verb_run(int argc, char **argv) {
        return run_command("stackctl run", argc, argv) < 0 ? REPORTED : EXIT_FINE;
}
