/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "cli/client.h"
#include "cli/invocation.h"
#include "cli/model.h"

/* Connects, asks for the document (of the stacks that 'what' is part of, or all), and disconnects. */
int fetch_model(const Invocation *invocation, const char *what, Model **ret);

/* The same of what is nested. */
int fetch_nested(const Invocation *invocation, Model **ret);

/* Connects, looks the operands up and asks for the whole document. The connection stays open for more where
 * ret_client is not NULL. */
int fetch_operands(
                const Invocation *invocation,
                char **operands,
                Client **ret_client,
                char ***ret_ids,
                Model **ret);
