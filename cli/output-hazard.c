/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>

#include "cli/output-gap.h"
#include "cli/output-hazard.h"
#include "common/text.h"

enum { INDENT = 2 };

static const Style severity_styles[_SEVERITY_MAX] = { STYLE_BAD, STYLE_WARN, STYLE_DIM };

/* "a → b → c", each as a human calls it. */
static int path_text(const Output *o, const Model *m, json_object *path, char **ret) {
        _cleanup_free_ char *text = strdup("");

        if (!text)
                return -ENOMEM;
        for (size_t i = 0; i < json_length(path); i++) {
                const char *id = json_text_at(path, i);
                _cleanup_free_ char *label = model_label(m, id, o->utf8), *longer = NULL;

                if (!label)
                        return -ENOMEM;
                longer = i == 0 ? strdup(label) : text_format("%s %s %s", text, o->glyphs->arrow, label);
                if (!longer)
                        return -ENOMEM;
                free(text);
                text = TAKE_PTR(longer);
        }
        *ret = TAKE_PTR(text);
        return 0;
}

static int output_subject(Output *o, const Hazard *h) {
        const Node *n = h->process ?: h->layer;
        _cleanup_free_ char *label = n ? node_label(n, o->utf8) : NULL;

        if (n && !label)
                return -ENOMEM;
        output_raw(o, "%s%s", label ? ": " : "", label ?: "");
        return 0;
}

static void output_labelled(Output *o, unsigned indent, const char *label, const char *untrusted) {
        output_raw(o, "%*s%s: ", (int) indent, "", label);
        output_wrapped(o, indent + (unsigned) strlen(label) + 2, indent + INDENT, untrusted);
}

int output_hazard(Output *o, const Model *m, const Hazard *h, unsigned indent, bool with_path) {
        _cleanup_free_ char *path = NULL;
        int r;

        output_raw(o, "%*s", (int) indent, "");
        output_styled(o, severity_styles[h->severity], severity_to_string(h->severity));
        output_raw(o, " ");
        output_styled(o, STYLE_BOLD, h->id);
        r = output_subject(o, h);
        if (r < 0)
                return r;
        output_raw(o, "\n");
        indent += INDENT;
        if (h->message) {
                output_raw(o, "%*s", (int) indent, "");
                output_wrapped(o, indent, indent, h->message);
        }
        if (with_path && json_length(json_array(h->json, "path")) > 0) {
                r = path_text(o, m, json_array(h->json, "path"), &path);
                if (r < 0)
                        return r;
                output_labelled(o, indent, "Path", path);
        }
        if (h->cure)
                output_labelled(o, indent, "Cure", h->cure);
        return 0;
}

void output_hazard_count(Output *o, const Model *m) {
        size_t count[_SEVERITY_MAX] = {};
        bool first = true;

        for (size_t i = 0; i < m->n_hazards; i++)
                count[m->hazards[i].severity]++;
        if (m->n_hazards == 0) {
                output_raw(o, gap_count(m) > 0 ? "No hazards in what could be seen." : "No hazards.");
                return;
        }
        output_raw(o, "%zu hazard%s:", m->n_hazards, m->n_hazards == 1 ? "" : "s");
        for (Severity s = 0; s < _SEVERITY_MAX; s++) {
                if (count[s] == 0)
                        continue;
                output_raw(o, "%s %zu %s%s", first ? "" : ",", count[s], severity_to_string(s), count[s] == 1 ? "" : "s");
                first = false;
        }
        output_raw(o, gap_count(m) > 0 ? " in what could be seen." : ".");
}
