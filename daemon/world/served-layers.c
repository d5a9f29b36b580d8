/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>

#include "common/hashmap.h"
#include "common/text.h"
#include "daemon/world/served-layers.h"

void served_layers_done(ServedLayers *l) {
        strv_free(l->ids);
        *l = (ServedLayers) {};
}

/* Of the service manager's descriptors see scan_add_server(). */
static int add_served(ServedLayers *l, Hashmap *known, const Scan *scan) {
        for (size_t i = 0; i < scan->n_served; i++)
                for (char **upper = scan->served[i].uppers; scan->served[i].pid != 1 && upper && *upper; upper++) {
                        int r = hashmap_put(known, *upper, *upper);

                        if (r == -EEXIST)
                                continue;
                        if (r >= 0)
                                r = strv_append(&l->ids, &l->n, *upper);
                        if (r < 0)
                                return r;
                }
        return 0;
}

int served_layers_update(ServedLayers *l, const Scan *scan, const Graph *g) {
        _cleanup_(hashmap_freep) Hashmap *known = hashmap_new();
        _cleanup_(served_layers_done) ServedLayers now = {};
        int r = known ? add_served(&now, known, scan) : -ENOMEM;
        bool lost = false;

        for (size_t i = 0; r >= 0 && i < l->n; i++) {
                if (hashmap_get(known, l->ids[i]) || !graph_find(g, l->ids[i]))
                        continue;
                lost = true;
                r = strv_append(&now.ids, &now.n, l->ids[i]);
        }
        if (r < 0)
                return r;
        served_layers_done(l);
        *l = now;
        now = (ServedLayers) {};
        return lost;
}
