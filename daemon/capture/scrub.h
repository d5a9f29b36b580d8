/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Makes a capture fit to be handed to others: serial numbers, worldwide names and UUIDs are replaced by random
 * ones of the same form, the same one by the same one wherever it stands, so that what matched still does. The
 * replacements are drawn anew for each capture and kept nowhere.
 *
 * Paths, mount points, names of commands, units and devices stay, but for such numbers within them: they are
 * what a report needs. */

#include "daemon/capture/recorder.h"

typedef struct Scrubber Scrubber;

Scrubber *scrubber_new(void); /* NULL when out of memory */
Scrubber *scrubber_free(Scrubber *s);
DEFINE_TRIVIAL_CLEANUP_FUNC(Scrubber *, scrubber_free);

/* Path and content in place; the array is sorted again. 0, -ENOMEM, or why there is no randomness. */
int scrub_all(Scrubber *s, Captured **all, size_t n);

/* For tests: one text of any form, in place. */
int scrub_identifier(Scrubber *s, char *text);
