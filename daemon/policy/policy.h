/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What administrators and the shipped defaults want: rules in an order, of which the first that matches a
 * process or a layer holds for it, whole. Reading files is not done here: the parser is given their text. */

#include "common/remarks.h"
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
        SETTING_WRITEBACK_MAX_RATIO,    /* [Writeback] MaxRatio=         auto, no, per cent */
        SETTING_WRITEBACK_MAX_BYTES,    /* [Writeback] MaxBytes=         no, bytes */
        SETTING_WRITEBACK_STRICT_LIMIT, /* [Writeback] StrictLimit=      auto, keep, yes, no */
        SETTING_ENTITLED,               /* [Process] Entitled=           yes, no */
        _SETTING_KIND_MAX,
} SettingKind;

/* What a setting asks for. "no" is SETTING_KEEP, but for IOFlusher=, Entitled=, DirectIO= and StrictLimit=, for which
 * it is the number 0. */
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
 * first rule that matches. Elements are NULL where nothing is said; they belong to the policy. Without a policy
 * (NULL) it is what the shipped 90-default.policy says. */
void policy_decide(const Policy *p, const Node *n, const Setting *ret[_SETTING_KIND_MAX]);

/* Entitles the processes that a policy names (Node.granted), and no others any more. Those for which that is new
 * are added to 'changes'. 0 or -ENOMEM. */
int policy_grant(const Policy *p, Graph *g, GraphChanges *changes);

/* ---- making one ---- */

/* One file, or drop-in. Borrowed. */
typedef struct PolicyText {
        const char *path, *text;
} PolicyText;

Policy *policy_new(void);
Policy *policy_free(Policy *p);
DEFINE_TRIVIAL_CLEANUP_FUNC(Policy *, policy_free);

/* The lines of a passwd(5), for User=: to be added before the rules. 0 or -ENOMEM. */
int policy_add_users(Policy *p, const char *passwd);

/* A .policy file and its drop-ins, in their order, after those added before. What cannot be understood is
 * remarked on and left out. 0 or -ENOMEM. */
int policy_add_rule(Policy *p, const PolicyText *texts, size_t n, Remarks *remarks);

/* Only remarks on one text of these. 0 or -ENOMEM. */
int policy_check_text(const PolicyText *text, Remarks *remarks);

/* The [X-Stackd] sections of one file that speaks for services: the unit 'name' ("x.service", "x@.service"), or, with the
 * file name of the drop-in, those in the directory NAME.d ("x.service", "x-.service", "service"). Of two with the same
 * names the first one added holds. 0 or -ENOMEM. */
int policy_add_unit(Policy *p, const char *name, const char *drop_in, const PolicyText *text, Remarks *remarks);
