/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cli/complain.h"
#include "cli/output-gap.h"
#include "cli/output-json.h"
#include "cli/verb.h"

/* The next one from *position on that is an object, or NULL. */
static json_object *next_gap(json_object *gaps, size_t *position) {
        while (*position < json_length(gaps)) {
                json_object *gap = json_object_array_get_idx(gaps, (*position)++);

                if (json_object_is_type(gap, json_type_object))
                        return gap;
        }
        return NULL;
}

size_t gap_count(const Model *m) {
        return json_length(json_array(m->document, "gaps"));
}

void output_gaps(Output *o, const Model *m) {
        json_object *gaps = json_array(m->document, "gaps"), *gap;
        size_t position = 0;

        while ((gap = next_gap(gaps, &position))) {
                output_styled(o, STYLE_WARN, "incomplete");
                output_raw(o, " ");
                output_styled(o, STYLE_BOLD, json_text(gap, "id") ?: "?");
                output_raw(o, "\n  ");
                output_wrapped(o, 2, 2, json_text(gap, "message") ?: "Not everything could be seen.");
                if (!json_text(gap, "cure"))
                        continue;
                output_raw(o, "  Cure: ");
                output_wrapped(o, 8, 4, json_text(gap, "cure"));
        }
}

void complain_about_gaps(json_object *document) {
        json_object *gaps = json_array(document, "gaps"), *gap;
        size_t position = 0;

        while ((gap = next_gap(gaps, &position)))
                complain("Incomplete (%s): %s %s", json_text(gap, "id") ?: "?", json_text(gap, "message") ?: "Not everything could be seen.",
                         json_text(gap, "cure") ?: "");
}

int output_json_gaps(json_object *part, const Model *m) {
        json_object *gaps = json_array(m->document, "gaps");

        return gaps ? output_json_keep(part, "gaps", gaps) : 0; /* an earlier stackd does not say */
}

int exit_with_gaps(const Model *m, int status) {
        return status == EXIT_FINE && gap_count(m) > 0 ? EXIT_NO : status;
}
