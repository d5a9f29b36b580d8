/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "cli/invocation.h"
#include "cli/model.h"

/* Connects, asks for the document (of the stacks that 'what' is part of, or all), and disconnects. */
int fetch_model(const Invocation *invocation, const char *what, Model **ret);
