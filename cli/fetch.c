/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cli/fetch.h"

static int describe(Client *c, const char *what, Model **ret) {
        _cleanup_(json_object_putp) json_object *document = NULL;
        int r;

        r = client_describe(c, what, &document);
        return r < 0 ? r : model_new(document, ret);
}

int fetch_model(const Invocation *invocation, const char *what, Model **ret) {
        _cleanup_(client_freep) Client *c = NULL;
        int r;

        r = client_new(invocation, &c);
        return r < 0 ? r : describe(c, what, ret);
}

int fetch_nested(const Invocation *invocation, Model **ret) {
        _cleanup_(json_object_putp) json_object *document = NULL;
        _cleanup_(client_freep) Client *c = NULL;
        int r;

        r = client_new(invocation, &c);
        if (r >= 0)
                r = client_describe_nested(c, &document);
        return r < 0 ? r : model_new(document, ret);
}

int fetch_operands(
                const Invocation *invocation,
                char **operands,
                Client **ret_client,
                char ***ret_ids,
                Model **ret) {

        _cleanup_strv_free_ char **ids = NULL;
        _cleanup_(client_freep) Client *c = NULL;
        int r;

        r = client_new(invocation, &c);
        if (r < 0)
                return r;
        r = client_look_up(c, operands, &ids);
        if (r < 0)
                return r;
        r = describe(c, NULL, ret);
        if (r < 0)
                return r;
        *ret_ids = TAKE_PTR(ids);
        if (ret_client)
                *ret_client = TAKE_PTR(c);
        return 0;
}
