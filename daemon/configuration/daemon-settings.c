/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "common/ini.h"
#include "common/text.h"
#include "common/value.h"
#include "daemon/configuration/daemon-settings.h"

#define TIMEOUT_MIN_USEC UINT64_C(10000)
#define TIMEOUT_MAX_USEC UINT64_C(600000000)

static const DaemonSettings defaults = DAEMON_SETTINGS_DEFAULT;

/* As journald.conf(5) has it: by name or number. */
static const char *assign_level(DaemonSettings *s, const char *value) {
        static const char *const names[] = { "emerg", "alert", "crit", "err", "warning", "notice", "info", "debug" };

        if (!*value) {
                s->log_level = defaults.log_level;
                return NULL;
        }
        for (int i = 0; i < (int) ELEMENTSOF(names); i++)
                if (streq(value, names[i]) || (value[0] == '0' + i && !value[1])) {
                        s->log_level = i;
                        return NULL;
                }
        return "takes emerg, alert, crit, err, warning, notice, info or debug";
}

static const char *assign_apply(DaemonSettings *s, const char *value) {
        if (!*value)
                s->apply = defaults.apply;
        else if (value_to_bool(value, &s->apply) < 0)
                return "takes yes or no";
        return NULL;
}

static const char *assign_timeout(uint64_t *timeout, uint64_t fallback, const char *value) {
        uint64_t usec = fallback;

        if (*value && (value_to_usec(value, &usec) < 0 || usec < TIMEOUT_MIN_USEC || usec > TIMEOUT_MAX_USEC))
                return "takes a time from 10ms to 10min (seconds without a unit)";
        *timeout = usec;
        return NULL;
}

static void assign(DaemonSettings *s, const Ini *i, const char *path, Remarks *remarks) {
        const char *wrong = NULL;

        if (streq(i->key, "LogLevel"))
                wrong = assign_level(s, i->value);
        else if (streq(i->key, "Apply"))
                wrong = assign_apply(s, i->value);
        else if (streq(i->key, "ProbeTimeoutSec"))
                wrong = assign_timeout(&s->probe_timeout_usec, defaults.probe_timeout_usec, i->value);
        else if (streq(i->key, "SettleTimeoutSec"))
                wrong = assign_timeout(&s->settle_timeout_usec, defaults.settle_timeout_usec, i->value);
        else
                remark(remarks, false, path, i->line, "[Stackd] has no setting '%s': ignored", i->key);
        if (wrong)
                remark(remarks, true, path, i->line, "%s=%s: %s; ignored", i->key, i->value, wrong);
}

int daemon_settings_read(DaemonSettings *s, const char *path, const char *text, Remarks *remarks) {
        _cleanup_ini_ Ini i = INI_BEGIN(text);
        int kind;

        remarks_begin_file(remarks);
        while ((kind = ini_next(&i)) != INI_END) {
                if (kind < 0)
                        return kind;
                if (kind == INI_ERROR)
                        remark(remarks, true, path, i.line, "%s", i.error);
                else if (kind == INI_ASSIGNMENT && streq(i.section, "Stackd"))
                        assign(s, &i, path, remarks);
                else if (kind == INI_SECTION && !streq(i.section, "Stackd") && !startswith(i.section, "X-"))
                        remark(remarks, false, path, i.line, "unknown section [%s]: ignored", i.section);
        }
        return 0;
}
