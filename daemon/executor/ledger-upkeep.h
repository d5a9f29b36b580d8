/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Drops from the ledger what concerns nobody any more. */

#include "daemon/actuator/ledger.h"
#include "daemon/graph/graph.h"

/* 'complete': what the graph does not hold does not exist. */
void ledger_forget_ended(Ledger *l, const Sysroot *root, Graph *g, bool complete);
