/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>

#include "cli/fetch.h"
#include "cli/model.h"
#include "cli/output-gap.h"
#include "cli/output-hazard.h"
#include "cli/output-json.h"
#include "cli/output.h"
#include "cli/verb.h"

static int print_json(Output *o, const Model *m, JsonMode mode) {
        _cleanup_(json_object_putp) json_object *part = NULL, *sorted = json_object_new_array();
        int r;

        if (!sorted)
                return -ENOMEM;
        for (size_t i = 0; i < m->n_hazards; i++) {
                json_object_get(m->hazards[i].json);
                if (json_object_array_add(sorted, m->hazards[i].json) < 0) {
                        json_object_put(m->hazards[i].json);
                        return -ENOMEM;
                }
        }
        r = output_json_part(&part);
        if (r < 0)
                return r;
        r = output_json_keep(part, "hazards", sorted);
        if (r >= 0)
                r = output_json_gaps(part, m);
        return r < 0 ? r : output_json(o, part, mode);
}

static int print_text(Output *o, const Model *m) {
        for (size_t i = 0; i < m->n_hazards; i++) {
                int r = output_hazard(o, m, m->hazards + i, 0, true);

                if (r < 0)
                        return r;
                output_raw(o, "\n");
        }
        output_gaps(o, m);
        if (gap_count(m) > 0)
                output_raw(o, "\n");
        output_hazard_count(o, m);
        output_raw(o, "\n");
        return 0;
}

int verb_check(const Invocation *invocation, char **arguments) {
        _cleanup_(model_freep) Model *m = NULL;
        _cleanup_(output_freep) Output *o = NULL;
        int r;

        (void) arguments;
        r = fetch_model(invocation, NULL, &m);
        if (r < 0)
                return r;
        r = output_new(&o);
        if (r < 0)
                return r;
        r = invocation->json == JSON_OFF ? print_text(o, m) : print_json(o, m, invocation->json);
        if (r < 0)
                return r;
        r = output_flush(o, invocation->pager);
        if (r < 0)
                return r;
        return exit_with_gaps(m, m->n_hazards > 0 ? EXIT_NO : EXIT_FINE);
}
