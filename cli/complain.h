/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <errno.h>

#include "common/cleanup.h"

/* An error that the user has been told of. Others reach main(), which tells them with strerror(). */
#define REPORTED (-ECANCELED)

/* "stackctl: ..." on standard error, one line, escaped: the arguments may hold anything. Returns REPORTED. */
int complain(const char *format, ...) _printf_(1, 2);
