/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What stackd could not see: "gaps" of its document. */

#include "cli/model.h"
#include "cli/output.h"

size_t gap_count(const Model *m);
/* A paragraph for each: what could not be seen, what follows from that, and what to do. */
void output_gaps(Output *o, const Model *m);
/* The same on standard error, a line each: where standard output is a table, a picture or a stream. */
void complain_about_gaps(json_object *document);
/* Adds them to a document; 0 or -ENOMEM. */
int output_json_gaps(json_object *part, const Model *m);
/* The exit status of an answer that would otherwise be 'status'. */
int exit_with_gaps(const Model *m, int status);
