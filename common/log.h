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

/* Kinds of messages (sd-id128(3)); conf/stackd.catalog says what to do about each. */
#define LOG_ID_HAZARD "b4fefefc78f34723978700221bb36850"
#define LOG_ID_HAZARD_GONE "9cc4a82033ba46b98517357906c7e906"
#define LOG_ID_ACTION "24a273440889447c958775c0f86ced6c"
#define LOG_ID_ACTION_FAILED "3eb17e2945874e5ebc5f09a2a9163107"

/* A field of a message in the journal; left out where the value is NULL. */
typedef struct LogField {
        const char *name, *value;
} LogField;

/* With the kind, and fields up to one without a name. */
void log_event(int level, const char *id, const LogField *fields, const char *format, ...) _printf_(4, 5);

#define log_error(...) log_message(LOG_ERR, __VA_ARGS__)
#define log_warning(...) log_message(LOG_WARNING, __VA_ARGS__)
#define log_info(...) log_message(LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_message(LOG_DEBUG, __VA_ARGS__)
