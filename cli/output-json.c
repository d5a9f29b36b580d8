/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>

#include "cli/escape.h"
#include "cli/model.h"
#include "cli/output-json.h"

int output_json(Output *o, json_object *document, JsonMode mode) {
        int flags = JSON_C_TO_STRING_NOSLASHESCAPE |
                    (mode == JSON_PRETTY ? JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED : JSON_C_TO_STRING_PLAIN);
        const char *text = json_object_to_json_string_ext(document, flags);
        _cleanup_free_ char *escaped = text ? escape_json(text) : NULL;

        if (!escaped)
                return -ENOMEM;
        output_raw(o, "%s\n", escaped);
        return 0;
}

int output_json_keep(json_object *part, const char *key, json_object *value) {
        json_object_get(value);
        if (json_object_object_add(part, key, value) >= 0)
                return 0;
        json_object_put(value);
        return -ENOMEM;
}

int output_json_part(json_object **ret) {
        _cleanup_(json_object_putp) json_object *part = json_object_new_object(), *version = json_object_new_int(1);
        int r;

        if (!part || !version)
                return -ENOMEM;
        r = output_json_keep(part, "version", version);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(part);
        return 0;
}
