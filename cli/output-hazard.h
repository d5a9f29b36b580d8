/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "cli/model.h"
#include "cli/output.h"

/* A paragraph: what it is, where, and what would cure it; with the path that proves it if wanted. 0 or -ENOMEM. */
int output_hazard(Output *o, const Model *m, const Hazard *h, unsigned indent, bool with_path);
/* "2 hazards: 1 error, 1 warning." */
void output_hazard_count(Output *o, const Model *m);
