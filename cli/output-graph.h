/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "cli/model.h"

/* The stacks as a drawing for Graphviz's dot, UTF-8 whatever the locale; 'all': also what is not nested. 'title'
 * (untrusted) says what machine it is and when. The text is owned by the caller. 0 or -ENOMEM. */
int output_graph(const Model *m, bool all, const char *title, char **ret, size_t *ret_size);
