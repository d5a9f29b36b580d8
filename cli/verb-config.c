/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* cat-config and reload: what stackd was told to do, by whom. */

#include <errno.h>

#include "cli/client.h"
#include "cli/complain.h"
#include "cli/escape.h"
#include "cli/model.h"
#include "cli/output-json.h"
#include "cli/verb.h"
#include "common/text.h"

/* Tabs as blanks: they are what people indent with. */
static void print_line(Output *o, const char *untrusted) {
        for (const char *rest = untrusted;; rest++) {
                size_t n = strcspn(rest, "\t");
                _cleanup_free_ char *part = strndup(rest, n);

                if (part && *part)
                        output_text(o, part);
                rest += n;
                if (!*rest)
                        break;
                output_raw(o, "        ");
        }
        output_raw(o, "\n");
}

/* As 'systemd-analyze cat-config' does, so that nobody needs to learn another form. */
static int print_file(Output *o, json_object *file, bool first, bool legend) {
        json_object *lines = json_array(file, "lines");
        _cleanup_free_ char *head = NULL;

        head = text_format("# %s%s%s", json_text(file, "path") ?: "?",
                           json_flag(file, "kept") ? "  (as it was before: its present text cannot be used)" : "",
                           json_flag(file, "hidden") ? "  (not everybody may read it: shown to root only)" : "");
        if (!head)
                return -ENOMEM;
        if (!first)
                output_raw(o, "\n");
        if (legend)
                output_styled(o, STYLE_BOLD, head);
        if (legend)
                output_raw(o, "\n");
        for (size_t i = 0; i < json_length(lines); i++) {
                json_object *line = json_object_array_get_idx(lines, i);

                print_line(o, (json_object_is_type(line, json_type_object) ? json_text(line, "text") : NULL) ?: "");
        }
        return 0;
}

static int print_configuration(Output *o, const Invocation *invocation, json_object *document) {
        json_object *files = json_array(document, "files");

        if (invocation->json != JSON_OFF)
                return output_json(o, document, invocation->json);
        if (!files)
                return complain("stackd's answer lacks its files. Do its version and stackctl's differ?");
        for (size_t i = 0; i < json_length(files); i++) {
                json_object *file = json_object_array_get_idx(files, i);
                int r = json_object_is_type(file, json_type_object) ? print_file(o, file, i == 0, invocation->legend) : -EBADMSG;

                if (r < 0)
                        return r;
        }
        return 0;
}

int verb_cat_config(const Invocation *invocation, char **arguments) {
        _cleanup_(json_object_putp) json_object *document = NULL;
        _cleanup_(client_freep) Client *c = NULL;
        _cleanup_(output_freep) Output *o = NULL;
        json_object *warnings;
        int r;

        (void) arguments;
        r = output_new(&o);
        if (r >= 0)
                r = client_new(invocation, &c);
        if (r >= 0)
                r = client_configuration(c, &document);
        if (r >= 0)
                r = print_configuration(o, invocation, document);
        if (r >= 0)
                r = output_flush(o, invocation->pager);
        if (r < 0)
                return r;
        /* A private stackd has said them itself. */
        warnings = client_is_private(c) ? NULL : json_array(document, "warnings");
        for (size_t i = 0; i < json_length(warnings); i++)
                (void) complain("%s", json_text_at(warnings, i));
        return EXIT_FINE;
}

int verb_reload(const Invocation *invocation, char **arguments) {
        _cleanup_strv_free_ char **warnings = NULL;
        _cleanup_(client_freep) Client *c = NULL;
        bool complete;
        int r;

        (void) arguments;
        if (invocation->direct || invocation->root)
                return complain("'reload' is for the running stackd, not for one started by --direct or --root=, which has just read "
                                "everything: see 'cat-config'.");
        r = client_new(invocation, &c);
        if (r < 0)
                return r;
        if (client_is_private(c))
                return complain("stackd is not running, and so has nothing to reload. It reads its configuration when it starts: "
                                "systemctl start stackd.");
        r = client_reload(c, &warnings, &complete);
        if (r < 0)
                return r;
        for (char **w = warnings; w && *w; w++)
                (void) complain("%s", *w);
        return complete ? EXIT_FINE : EXIT_NO;
}
