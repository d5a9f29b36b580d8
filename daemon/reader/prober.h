/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Has the questions of a probe cache asked, in children that may hang. */

#include <systemd/sd-event.h>

#include "daemon/source/probe.h"

typedef struct Prober Prober;

/* Called when there are answers, or none are to be expected. 'result' is negative when some could not be taken for want of
 * memory or descriptors: they are wanted again, and it is for the caller to wait before that. */
typedef void (*ProberAnswered)(int result, void *userdata);

/* The cache is borrowed. */
int prober_new(sd_event *event, ProbeCache *cache, ProberAnswered answered, void *userdata, Prober **ret);
Prober *prober_free(Prober *p);

/* Asks what is wanted and not being asked; 'timeout_usec' is for one question that is thought to be quick. Negative when
 * some of it could not be asked now: it stays wanted. */
int prober_start(Prober *p, uint64_t timeout_usec);
bool prober_is_busy(const Prober *p);
