/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What is read of the kernel's settings for planning: of lower-layer processes' control groups, and of layers
 * that policy has something to say about; of nothing else. */

#include "daemon/policy/plan.h"
#include "daemon/source/scan.h"

/* 0 or -ENOMEM: what cannot be read is left out. */
int observe(const Scan *scan, Graph *g, const Policy *policy, State *ret);
