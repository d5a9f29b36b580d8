/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "cli/invocation.h"
#include "cli/output.h"
#include "cli/watch-state.h"

/* One line, or one JSON object. 'w' may be NULL where the event is about nothing that is known. */
int output_event(Output *o, const WatchState *w, const WatchEvent *event, JsonMode mode);
