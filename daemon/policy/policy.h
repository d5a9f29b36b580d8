/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What administrators and the shipped defaults want: rules in an order, of which the first that matches a
 * process or a layer holds for it, whole. Reading files is not done here: the parser is given their text. */

#include "daemon/graph/graph.h"

typedef enum SettingKind {
        SETTING_IO_FLUSHER,             /* [Process] IOFlusher=          yes, no */
        SETTING_MEMORY_MIN,             /* [Memory] Min=                 auto, no, bytes */
        SETTING_MEMORY_LOW,             /* [Memory] Low=                 auto, no, bytes */
        SETTING_SWAP_MAX,               /* [Memory] SwapMax=             auto, no, bytes, infinity */
        SETTING_OOM_SCORE_ADJUST,       /* [OOM] ScoreAdjust=            no, -1000 .. 1000 */
        SETTING_OOMD_PREFERENCE,        /* [OOM] ManagedPreference=      no, avoid, omit */
        SETTING_MOUNT_OPTIONS,          /* [Mount] Options=              no, a list with commas */
        SETTING_DIRECT_IO,              /* [Block] DirectIO=             yes, no, keep */
        SETTING_WRITEBACK_MAX_RATIO,    /* [Writeback] MaxRatio=         no, per cent */
        SETTING_WRITEBACK_MAX_BYTES,    /* [Writeback] MaxBytes=         no, bytes */
        SETTING_WRITEBACK_STRICT_LIMIT, /* [Writeback] StrictLimit=      keep, yes, no */
        _SETTING_KIND_MAX,
} SettingKind;

/* What a setting asks for. */
typedef enum SettingMode {
        SETTING_UNSET, /* not said: the same as SETTING_KEEP */
        SETTING_KEEP,  /* stackd has nothing to do with it */
        SETTING_AUTO,  /* as stackd finds right */
        SETTING_VALUE, /* the number, or the text */
} SettingMode;

typedef struct Setting {
        SettingMode mode;
        int64_t number; /* booleans 0 and 1, bytes, per cent, scores; INT64_MAX = infinity */
        char *text;     /* of lists and words; owned by the rule; NULL */
        char *source;   /* "FILE:LINE"; owned by the rule */
} Setting;

typedef struct Policy Policy;

/* What holds for 'n', a process or a layer: its service's own [X-Stackd] settings, and where that says nothing the
 * first rule that matches. Elements are NULL where nothing is said; they belong to the policy. */
void policy_decide(const Policy *p, const Node *n, const Setting *ret[_SETTING_KIND_MAX]);
