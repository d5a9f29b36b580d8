/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <json-c/json.h>
#include <stdint.h>

#include "cli/bus-object.h"
#include "cli/model.h"
#include "common/text.h"

static const struct {
        const char *property, *key;
} names[] = {
        { "Kind", "kind" },
        { "Type", "type" },
        { "Name", "name" },
        { "Label", "label" },
        { "Device", "device" },
        { "Mounts", "mounts" },
        { "Path", "path" },
        { "Size", "size" },
        { "Depth", "depth" },
        { "DepthCertain", "depth_certain" },
        { "Height", "height" },
        { "Incomplete", "incomplete" },
        { "PID", "pid" },
        { "StartTicks", "start" },
        { "Command", "comm" },
        { "Executable", "exe" },
        { "UID", "uid" },
        { "Unit", "unit" },
        { "ControlGroup", "cgroup" },
        { "Threads", "threads" },
        { "ThreadsIOFlusher", "threads_io_flusher" },
        { "Entitled", "entitled" },
        { "Refusal", "refusal" },
};

int bus_object_id(const char *path, char **ret) {
        static const char *const prefixes[] = { "/org/stackd1/layer", "/org/stackd1/process" };

        for (size_t i = 0; i < ELEMENTSOF(prefixes); i++) {
                int r = sd_bus_path_decode(path, prefixes[i], ret);

                if (r != 0)
                        return r;
        }
        return 0;
}

static const char *key_of(const char *property) {
        for (size_t i = 0; i < ELEMENTSOF(names); i++)
                if (streq(names[i].property, property))
                        return names[i].key;
        return NULL;
}

static int read_texts(sd_bus_message *m, json_object **ret) {
        _cleanup_(json_object_putp) json_object *array = json_object_new_array();
        _cleanup_strv_free_ char **texts = NULL;
        int r;

        r = array ? sd_bus_message_read_strv(m, &texts) : -ENOMEM;
        for (char **s = texts; r >= 0 && s && *s; s++)
                if (json_object_array_add(array, json_object_new_string(*s)) < 0)
                        r = -ENOMEM;
        if (r >= 0)
                *ret = TAKE_PTR(array);
        return r;
}

/* 1, or 0 where it is of a type that the document does not have (skipped). */
static int read_value(sd_bus_message *m, const char *type, json_object **ret) {
        const char *text;
        uint32_t u;
        uint64_t t;
        int b, r;

        if (streq(type, "s")) {
                r = sd_bus_message_read(m, "s", &text);
                if (r >= 0)
                        *ret = *text ? json_object_new_string(text) : NULL;
        } else if (streq(type, "u")) {
                r = sd_bus_message_read(m, "u", &u);
                if (r >= 0)
                        *ret = json_object_new_int64(u);
        } else if (streq(type, "t")) {
                r = sd_bus_message_read(m, "t", &t);
                if (r >= 0)
                        *ret = json_object_new_uint64(t);
        } else if (streq(type, "b")) {
                r = sd_bus_message_read(m, "b", &b);
                if (r >= 0)
                        *ret = json_object_new_boolean(b);
        } else if (streq(type, "as"))
                r = read_texts(m, ret);
        else {
                r = sd_bus_message_skip(m, type);
                return r < 0 ? r : 0;
        }
        return r < 0 ? r : 1;
}

static int read_property(sd_bus_message *m, json_object *o) {
        const char *property, *type, *key;
        json_object *value = NULL;
        int r, known = 0;

        r = sd_bus_message_read(m, "s", &property);
        if (r < 0)
                return r;
        key = key_of(property);
        r = sd_bus_message_peek_type(m, NULL, &type);
        if (r >= 0)
                r = sd_bus_message_enter_container(m, 'v', type);
        if (r >= 0)
                r = known = read_value(m, type, &value);
        if (r >= 0)
                r = sd_bus_message_exit_container(m);
        if (r < 0 || !known || !key) {
                json_object_put(value);
                return r;
        }
        return json_object_object_add(o, key, value) < 0 ? -ENOMEM : 0;
}

int bus_object_read(sd_bus_message *m, json_object **ret) {
        _cleanup_(json_object_putp) json_object *o = json_object_new_object();
        int r;

        if (!o)
                return -ENOMEM;
        r = sd_bus_message_enter_container(m, 'a', "{sv}");
        while (r >= 0) {
                r = sd_bus_message_enter_container(m, 'e', "sv");
                if (r <= 0)
                        break;
                r = read_property(m, o);
                if (r >= 0)
                        r = sd_bus_message_exit_container(m);
        }
        if (r >= 0)
                r = sd_bus_message_exit_container(m);
        if (r >= 0)
                *ret = TAKE_PTR(o);
        return r;
}
