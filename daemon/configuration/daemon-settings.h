/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* stackd.conf: the daemon itself. */

#include <stdbool.h>
#include <stdint.h>

#include "common/remarks.h"

typedef struct DaemonSettings {
        int log_level;                /* LogLevel=, as syslog(3) */
        bool apply;                   /* Apply= */
        uint64_t probe_timeout_usec;  /* ProbeTimeoutSec= */
        uint64_t settle_timeout_usec; /* SettleTimeoutSec= */
} DaemonSettings;

#define DAEMON_SETTINGS_DEFAULT { .log_level = 6, .apply = true, .probe_timeout_usec = 1000000, .settle_timeout_usec = 2000000 }

/* Reads one file over the values given. 0 or -ENOMEM. */
int daemon_settings_read(DaemonSettings *s, const char *path, const char *text, Remarks *remarks);
