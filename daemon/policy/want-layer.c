/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is wanted of layers: options of mounts and file systems, limits of writeback, direct I/O of loop
 * devices. Only where policy says something, and only in stacks. */
#include <errno.h>
#include <string.h>

#include "common/hashmap.h"
#include "common/text.h"
#include "daemon/policy/mount-option.h"
#include "daemon/policy/want.h"

/* What "auto" means above a server that cannot be marked. Its writers are then throttled by what is dirty in
 * their own file system, before they fill the machine's limit and have the server throttled, which alone can
 * clean their pages. Without a share of less than 100 % strict_limit does nothing (mm/page-writeback.c). */
#define EXPOSED_MAX_RATIO "10%"

static bool is_foreign(const Node *n) {
        return node_kind(n) == NODE_PROCESS && node_is_backing(n) && !node_is_entitled(n);
}

/* All that stands on such a server, however far above, each with the server. */
static int find_above(const PlanInput *in, bool (*condition)(const Node *), Certainty least, Hashmap *above) {
        _cleanup_free_ Node **pending = NULL;
        size_t n = 0, capacity = 0, position = 0;
        Node *server;
        int r = 0;

        while (r >= 0 && (server = graph_next(in->graph, &position))) {
                if (condition(server))
                        r = ARRAY_APPEND(pending, n, capacity, server);
                while (r >= 0 && n > 0) {
                        Node *lower = pending[--n];

                        for (size_t i = 0; r >= 0 && i < lower->n_upper; i++) {
                                const Edge *e = lower->upper[i];

                                if (edge_claim(e)->role != ROLE_BACKING || edge_claim(e)->certainty < least ||
                                    hashmap_get(above, e->upper->id))
                                        continue;
                                r = hashmap_put(above, e->upper->id, server);
                                if (r >= 0)
                                        r = ARRAY_APPEND(pending, n, capacity, e->upper);
                        }
                }
        }
        return r;
}

static char *layer_reason(const Node *n) {
        return n->analysis.depth_certain > 0 ? text_format("%u layer%s that reclaim writes to above it", n->analysis.depth_certain,
                                                           n->analysis.depth_certain == 1 ? "" : "s")
                                             : strdup("it stands on a stack");
}

static Want layer_want(Node *n, ActionKind kind, const char *target, const char *key, const Setting *setting) {
        return (Want) {
                .kind = kind,
                .target = strdup(target),
                .key = strdup(key),
                .subject = n,
                .name = strdup(node_label(n)),
                .setting = setting,
                .reason = layer_reason(n),
                .only_keep = layer_standing(n) != STANDING_CERTAIN,
        };
}

/* Takes over 'to', which may be NULL when memory has run out. */
static int want_value(WantList *l, Node *n, ActionKind kind, const Reading *reading, const Setting *setting, char *to) {
        Want w = layer_want(n, kind, reading->target, reading->key, setting);

        w.to = to;
        w.actual = strdup(reading->value);
        w.place = reading->place ? strdup(reading->place) : NULL;
        w.satisfied = to && streq(to, reading->value);
        w.inexact = to && endswith(to, " bytes");
        /* Two file systems on one disk have one setting between them: the first holds. */
        if (w.to && want_list_find(l, kind, reading->target, reading->key)) {
                want_done(&w);
                return 0;
        }
        return w.actual && w.reason && (w.place || !reading->place) ? want_list_add(l, &w) : (want_done(&w), -ENOMEM);
}

/* A server that cannot be marked is a reason to limit what may be dirty above it. */
static int want_exposed(WantList *l, Node *n, const Reading *reading, const Setting *setting, const Node *server) {
        bool strict = streq(reading->key, "strict_limit");
        Want *w;
        int r;

        if (!server || (!strict && atoi(reading->value) < atoi(EXPOSED_MAX_RATIO)))
                return 0;
        r = want_value(l, n, ACTION_WRITEBACK_LIMIT, reading, setting, strdup(strict ? "1" : EXPOSED_MAX_RATIO));
        if (r < 0)
                return r;
        w = want_list_find(l, ACTION_WRITEBACK_LIMIT, reading->target, reading->key);
        if (w->subject != n)
                return 0; /* another's, which came first */
        free(w->reason);
        w->reason = text_format("%s[%d] below it cannot be marked (%s), and must not be throttled by what is dirty here", server->fact->comm,
                                server->fact->pid, server->fact->refusal ?: "an ordinary user's");
        return w->reason ? 0 : -ENOMEM;
}

/* The setting that a reading of a bdi is about. */
static const Setting *writeback_setting(const Reading *reading, const Setting **settings) {
        if (streq(reading->key, "strict_limit"))
                return settings[SETTING_WRITEBACK_STRICT_LIMIT];
        return setting_is_set(settings[SETTING_WRITEBACK_MAX_BYTES]) ? settings[SETTING_WRITEBACK_MAX_BYTES] : settings[SETTING_WRITEBACK_MAX_RATIO];
}

static int want_writeback(WantList *l, Node *n, const Reading *reading, const Setting **settings, const Node *server) {
        const Setting *setting = writeback_setting(reading, settings);
        long long number;

        if (setting->mode == SETTING_AUTO)
                return want_exposed(l, n, reading, setting, server);
        number = setting->number;
        return want_value(l, n, ACTION_WRITEBACK_LIMIT, reading, setting,
                          setting == settings[SETTING_WRITEBACK_STRICT_LIMIT] ? strdup(number ? "1" : "0")
                          : setting == settings[SETTING_WRITEBACK_MAX_BYTES]  ? text_format("%lld bytes", number)
                                                                               : text_format("%lld%%", number));
}

/* Of several words for one setting the last one counts, as with mount(8). */
static int want_mount_reading(WantList *l, Node *n, const Reading *reading, const Setting *setting) {
        _cleanup_strv_free_ char **words = mount_options_split(setting->text);
        bool superblock = startswith(reading->target, "fs:");
        const char *last = NULL;
        MountOption found;

        if (!words)
                return -ENOMEM;
        for (char **word = words; *word; word++) {
                MountOption option;

                if (mount_option_find(n->fact->type, *word, &option) < 0 || !streq(option.key, reading->key) ||
                    (option.scope == MOUNT_SCOPE_SUPERBLOCK) != superblock)
                        continue;
                last = *word;
                found = option;
        }
        if (!last)
                return 0;
        return want_value(l, n, ACTION_MOUNT_OPTION, reading, setting, mount_option_wanted(n->fact->type, &found, last));
}

/* Options that are asked for and cannot be had. */
static int want_refused_options(WantList *l, Node *n, const Setting *setting) {
        _cleanup_strv_free_ char **words = NULL;
        int r = 0;

        if (node_kind(n) != NODE_FILESYSTEM || !setting_is_set(setting) || !setting->text || !n->fact->type)
                return 0;
        words = mount_options_split(setting->text);
        if (!words)
                return -ENOMEM;
        for (char **word = words; r >= 0 && *word; word++) {
                MountOption option;
                Want w;

                if (mount_option_find(n->fact->type, *word, &option) >= 0)
                        continue;
                w = layer_want(n, ACTION_MOUNT_OPTION, n->id, *word, setting);
                w.to = strdup(*word);
                w.refusal = text_format("of %s it is not known how this option is changed on a mounted file system and changed back",
                                        n->fact->type);
                r = w.refusal ? want_list_add(l, &w) : (want_done(&w), -ENOMEM);
        }
        return r;
}

/* A rule for a type of file system is not meant for those that any user mounts, and chooses type and place of: there
 * the kernel's own defences stay as they are. */
static void drop_grants(const Setting **settings) {
        settings[SETTING_MOUNT_OPTIONS] = settings[SETTING_DIRECT_IO] = settings[SETTING_WRITEBACK_MAX_BYTES] = NULL;
        for (SettingKind k = SETTING_WRITEBACK_MAX_RATIO; k <= SETTING_WRITEBACK_STRICT_LIMIT; k++)
                if (settings[k] && settings[k]->mode != SETTING_AUTO)
                        settings[k] = NULL;
}

/* File systems before devices, and what somebody has said before what is found right: two nodes may share a bdi, and
 * the first one holds. */
typedef struct Turn {
        NodeKind kind;
        bool automatic;
} Turn;

static const Turn turns[] = {
        { NODE_FILESYSTEM, false }, { NODE_BLOCK, false }, { NODE_FILESYSTEM, true }, { NODE_BLOCK, true },
};

static int want_reading(
                WantList *l,
                const PlanInput *in,
                const Reading *reading,
                const Turn *turn,
                const Hashmap *exposed,
                const Hashmap *foreign) {

        Node *n = graph_find(in->graph, reading->node);
        const Setting *settings[_SETTING_KIND_MAX] = {};
        const Setting *options, *direct;

        if (!n || node_kind(n) != turn->kind || layer_standing(n) == STANDING_NONE || record_view_holds(in->done, n->id))
                return 0;
        policy_decide(in->policy, n, settings);
        if (hashmap_get(foreign, n->id))
                drop_grants(settings);
        options = settings[SETTING_MOUNT_OPTIONS];
        direct = settings[SETTING_DIRECT_IO];
        if (startswith(reading->target, "bdi:")) {
                const Setting *setting = writeback_setting(reading, settings);

                return setting_is_set(setting) && (setting->mode == SETTING_AUTO) == turn->automatic
                               ? want_writeback(l, n, reading, settings, hashmap_get(exposed, n->id))
                               : 0;
        }
        if (turn->automatic)
                return 0;
        if (streq(reading->key, "dio"))
                return !setting_is_set(direct) ? 0 : want_value(l, n, ACTION_DIRECT_IO, reading, direct, strdup(direct->number ? "yes" : "no"));
        return setting_is_set(options) && options->text && n->fact->type ? want_mount_reading(l, n, reading, options) : 0;
}

int want_layers(WantList *l, const PlanInput *in) {
        _cleanup_(hashmap_freep) Hashmap *exposed = hashmap_new(), *foreign = hashmap_new();
        size_t position = 0;
        Node *n;
        int r;

        if (!exposed || !foreign)
                return -ENOMEM;
        r = find_above(in, node_is_exposing, CERTAINTY_UNIQUE, exposed);
        if (r >= 0)
                r = find_above(in, is_foreign, CERTAINTY_INFERRED, foreign);
        for (size_t t = 0; t < ELEMENTSOF(turns); t++)
                for (size_t i = 0; r >= 0 && i < in->state->n_readings; i++)
                        r = want_reading(l, in, &in->state->readings[i], &turns[t], exposed, foreign);
        while (r >= 0 && (n = graph_next(in->graph, &position))) {
                const Setting *settings[_SETTING_KIND_MAX] = {};

                if (node_kind(n) != NODE_FILESYSTEM || layer_standing(n) == STANDING_NONE || record_view_holds(in->done, n->id))
                        continue;
                policy_decide(in->policy, n, settings);
                r = want_refused_options(l, n, settings[SETTING_MOUNT_OPTIONS]);
        }
        return r;
}
