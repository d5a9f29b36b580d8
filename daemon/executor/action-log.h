/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the journal is told of actions that have ended. */

#include "daemon/actuator/actuator.h"

void action_log_mark(const Action *a);
/* What is stale will be planned anew, and is no failure of anybody. */
void action_log_deed(const Action *a, DeedStatus status);
