/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "common/text.h"
#include "common/value.h"
#include "daemon/policy/setting.h"

/* Fills in mode, number and text: 0, -ENOMEM, or -EINVAL. */
typedef int (*SettingParse)(Setting *s, const char *value);

static int parse_boolean(Setting *s, const char *value) {
        bool b;

        if (value_to_bool(value, &b) < 0)
                return -EINVAL;
        s->mode = SETTING_VALUE;
        s->number = b;
        return 0;
}

/* "0" is a number to all that follow. */
static bool is_no(const char *value) {
        bool b;

        return !streq(value, "0") && value_to_bool(value, &b) >= 0 && !b;
}

static int parse_boolean_or_keep(Setting *s, const char *value) {
        if (!streq(value, "keep"))
                return parse_boolean(s, value);
        s->mode = SETTING_KEEP;
        return 0;
}

static int parse_boolean_keep_or_auto(Setting *s, const char *value) {
        if (!streq(value, "auto"))
                return parse_boolean_or_keep(s, value);
        s->mode = SETTING_AUTO;
        return 0;
}

static int parse_bytes(Setting *s, const char *value) {
        if (is_no(value)) {
                s->mode = SETTING_KEEP;
                return 0;
        }
        s->mode = SETTING_VALUE;
        return value_to_size(value, &s->number);
}

static int parse_bytes_or_auto(Setting *s, const char *value) {
        if (!streq(value, "auto"))
                return parse_bytes(s, value);
        s->mode = SETTING_AUTO;
        return 0;
}

static int parse_bytes_auto_or_infinity(Setting *s, const char *value) {
        if (!streq(value, "infinity"))
                return parse_bytes_or_auto(s, value);
        s->mode = SETTING_VALUE;
        s->number = INT64_MAX;
        return 0;
}

static int parse_score(Setting *s, const char *value) {
        bool negative = *value == '-';
        uint64_t n;

        if (is_no(value)) {
                s->mode = SETTING_KEEP;
                return 0;
        }
        if (text_to_u64(value + (negative || *value == '+'), 10, &n) < 0 || n > 1000)
                return -EINVAL;
        s->mode = SETTING_VALUE;
        s->number = negative ? -(int64_t) n : (int64_t) n;
        return 0;
}

static int parse_preference(Setting *s, const char *value) {
        if (is_no(value)) {
                s->mode = SETTING_KEEP;
                return 0;
        }
        if (!streq(value, "avoid") && !streq(value, "omit"))
                return -EINVAL;
        s->mode = SETTING_VALUE;
        s->text = strdup(value);
        return s->text ? 0 : -ENOMEM;
}

static int parse_ratio(Setting *s, const char *value) {
        _cleanup_free_ char *digits = strdup(value);
        uint64_t n;

        if (!digits)
                return -ENOMEM;
        if (is_no(value)) {
                s->mode = SETTING_KEEP;
                return 0;
        }
        if (endswith(digits, "%"))
                digits[strlen(digits) - 1] = 0;
        if (text_to_u64(digits, 10, &n) < 0 || n == 0 || n > 100)
                return -EINVAL; /* a share of nothing would stop all writers */
        s->mode = SETTING_VALUE;
        s->number = (int64_t) n;
        return 0;
}

static int parse_ratio_or_auto(Setting *s, const char *value) {
        if (!streq(value, "auto"))
                return parse_ratio(s, value);
        s->mode = SETTING_AUTO;
        return 0;
}

/* They go to the kernel as they are: no blanks, nothing that does not print, no empty ones. */
static int parse_options(Setting *s, const char *value) {
        if (is_no(value)) {
                s->mode = SETTING_KEEP;
                return 0;
        }
        if (value[0] == ',' || endswith(value, ",") || strstr(value, ",,"))
                return -EINVAL;
        for (const char *p = value; *p; p++)
                if (*p <= ' ' || *p >= 0x7f || *p == '\\' || *p == '"' || *p == '\'')
                        return -EINVAL;
        s->mode = SETTING_VALUE;
        s->text = strdup(value);
        return s->text ? 0 : -ENOMEM;
}

static const struct {
        const char *section, *key;
        const char *unit_key; /* in [X-Stackd]; NULL: not there */
        SettingParse parse;
        const char *wanted;
        bool list;
} settings[_SETTING_KIND_MAX] = {
        [SETTING_IO_FLUSHER] = { "Process", "IOFlusher", "IOFlusher", parse_boolean, "takes yes or no" },
        [SETTING_ENTITLED] = { "Process", "Entitled", NULL, parse_boolean, "takes yes or no" },
        [SETTING_MEMORY_MIN] = { "Memory", "Min", "MemoryMin", parse_bytes_or_auto, "takes auto, no, or bytes (64M)" },
        [SETTING_MEMORY_LOW] = { "Memory", "Low", "MemoryLow", parse_bytes_or_auto, "takes auto, no, or bytes (64M)" },
        [SETTING_SWAP_MAX] = { "Memory", "SwapMax", "MemorySwapMax", parse_bytes_auto_or_infinity,
                               "takes auto, no, infinity, or bytes (64M)" },
        [SETTING_OOM_SCORE_ADJUST] = { "OOM", "ScoreAdjust", "OOMScoreAdjust", parse_score, "takes no, or a number from -1000 to 1000" },
        [SETTING_OOMD_PREFERENCE] = { "OOM", "ManagedPreference", "ManagedOOMPreference", parse_preference, "takes no, avoid or omit" },
        [SETTING_MOUNT_OPTIONS] = { "Mount", "Options", NULL, parse_options, "takes no, or mount options with commas between them", true },
        [SETTING_DIRECT_IO] = { "Block", "DirectIO", NULL, parse_boolean_or_keep, "takes yes, no or keep" },
        [SETTING_WRITEBACK_MAX_RATIO] = { "Writeback", "MaxRatio", NULL, parse_ratio_or_auto, "takes auto, no, or per cent from 1 to 100" },
        [SETTING_WRITEBACK_MAX_BYTES] = { "Writeback", "MaxBytes", NULL, parse_bytes, "takes no, or bytes (64M)" },
        [SETTING_WRITEBACK_STRICT_LIMIT] = { "Writeback", "StrictLimit", NULL, parse_boolean_keep_or_auto, "takes auto, yes, no or keep" },
};

unsigned setting_section(const char *section) {
        if (streq(section, "Process") || streq(section, "Memory") || streq(section, "OOM"))
                return SPEAKS_OF_PROCESSES;
        if (streq(section, "Mount") || streq(section, "Block") || streq(section, "Writeback"))
                return SPEAKS_OF_LAYERS;
        return 0;
}

int setting_find(const char *section, const char *key) {
        bool unit = streq(section, SECTION_OF_UNITS);

        for (SettingKind k = 0; k < _SETTING_KIND_MAX; k++)
                if (unit ? streq_ptr(settings[k].unit_key, key) : streq(settings[k].section, section) && streq(settings[k].key, key))
                        return (int) k;
        return -ENOENT;
}

static bool is_boolean(SettingKind kind) {
        return kind == SETTING_IO_FLUSHER || kind == SETTING_ENTITLED || kind == SETTING_DIRECT_IO || kind == SETTING_WRITEBACK_STRICT_LIMIT;
}

int setting_describe(SettingKind kind, const Setting *s, const char **ret_section, const char **ret_key, char **ret_value) {
        char *value;

        if (s->mode == SETTING_UNSET || s->mode == SETTING_KEEP)
                value = strdup(is_boolean(kind) ? "keep" : "no");
        else if (s->mode == SETTING_AUTO)
                value = strdup("auto");
        else if (s->text)
                value = strdup(s->text);
        else if (is_boolean(kind))
                value = strdup(s->number ? "yes" : "no");
        else if (s->number == INT64_MAX)
                value = strdup("infinity");
        else
                value = text_format("%lld%s", (long long) s->number, kind == SETTING_WRITEBACK_MAX_RATIO ? "%" : "");
        if (!value)
                return -ENOMEM;
        *ret_section = settings[kind].section;
        *ret_key = settings[kind].key;
        *ret_value = value;
        return 0;
}

void setting_done(Setting *s) {
        free(s->text);
        free(s->source);
        *s = (Setting) {};
}

static int join(Setting *before, Setting *s) {
        char *joined;

        if (before->mode != SETTING_VALUE || s->mode != SETTING_VALUE || !before->text)
                return 0;
        joined = text_format("%s,%s", before->text, s->text);
        if (!joined)
                return -ENOMEM;
        free(s->text);
        s->text = joined;
        return 0;
}

int setting_assign(Setting *s, SettingKind kind, const char *value, const char *source, const char **ret_wrong) {
        _cleanup_(setting_done) Setting fresh = {};
        int r = 0;

        if (*value) {
                r = settings[kind].parse(&fresh, value);
                if (r < 0 && r != -ENOMEM) {
                        *ret_wrong = settings[kind].wanted;
                        return 0;
                }
        }
        if (r >= 0 && settings[kind].list)
                r = join(s, &fresh);
        if (r < 0)
                return r;
        /* A reset is one too: it has a line, and hides what stands in files of less precedence. */
        fresh.source = strdup(source);
        if (!fresh.source)
                return -ENOMEM;
        setting_done(s);
        *s = fresh;
        fresh = (Setting) {};
        return 0;
}
