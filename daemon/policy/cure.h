/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "daemon/analysis/hazard.h"
#include "daemon/policy/action-record.h"

/* Whether the action, once it is done, has the hazard gone. */
bool action_cures(const Action *a, const Hazard *h, const Graph *g);
