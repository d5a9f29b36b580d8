/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What was recorded as an archive: cpio's "newc" (cpio(5)), which needs no library in a daemon that is locked in
 * memory; stackctl makes a tar of it. */

#include <stdbool.h>

#include "daemon/capture/recorder.h"

/* Answers of devices to questions (source/probe.h), in the capture. */
#define CAPTURE_PROBES_IN_RUN "stackd/probes"
#define CAPTURE_PROBES "run/" CAPTURE_PROBES_IN_RUN
/* The names of what could not be seen when it was made, one a line. */
#define CAPTURE_GAPS_IN_RUN "stackd/gaps"
#define CAPTURE_GAPS "run/" CAPTURE_GAPS_IN_RUN

int capture_write(Recorder *recorder, bool scrubbed, int fd);
