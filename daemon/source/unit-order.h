/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Whether a mount or swap unit is stopped before a service, by what systemd knows of both. The question is
 * "unit-order SERVICE UNIT", the answer "yes" or "no". */

#define UNIT_ORDER_KIND "unit-order"

/* In a child: it waits for the bus and for systemd. */
int unit_order_ask(const char *service, const char *upper, char **ret);
