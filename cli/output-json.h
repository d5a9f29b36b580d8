/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <json-c/json_object.h>

#include "cli/invocation.h"
#include "cli/output.h"

/* The document as the invocation wants it, safe for a terminal too. 0 or -ENOMEM. */
int output_json(Output *o, json_object *document, JsonMode mode);

/* A new document that holds only the version and what is added to it with output_json_keep(). */
int output_json_part(json_object **ret);
/* Adds a member that is also used elsewhere. */
int output_json_keep(json_object *part, const char *key, json_object *value);
