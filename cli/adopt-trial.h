/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "cli/adopt-plan.h"

/* Has systemd start stackd-run once, in a unit that lasts as long, with the settings of the service that decide whether it
 * can start, and those that the plan adds. The service itself is not touched. Complains with the reason if it fails. */
int adopt_trial(sd_bus *bus, const ServiceUnit *u, const AdoptPlan *p);
