/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Messages go to the journal, or to standard error as text where there is no journal (private
 * mode). Only main, manager, bus and the executor log above debug. */

#include <syslog.h>

#include "common/cleanup.h"

/* level: syslog priority; messages above the limit are dropped. */
void log_set_max_level(int level);
void log_set_target_journal(int journal);
void log_message(int level, const char *format, ...) _printf_(2, 3);

#define log_error(...) log_message(LOG_ERR, __VA_ARGS__)
#define log_warning(...) log_message(LOG_WARNING, __VA_ARGS__)
#define log_info(...) log_message(LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_message(LOG_DEBUG, __VA_ARGS__)
