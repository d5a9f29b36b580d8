/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cli/client.h"
#include "cli/fetch.h"

int fetch_model(const Invocation *invocation, const char *what, Model **ret) {
        _cleanup_(json_object_putp) json_object *document = NULL;
        _cleanup_(client_freep) Client *c = NULL;
        int r;

        r = client_new(invocation, &c);
        if (r < 0)
                return r;
        r = client_describe(c, what, &document);
        if (r < 0)
                return r;
        return model_new(document, ret);
}
