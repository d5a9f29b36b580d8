/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <json-c/json.h>
#include <string.h>

#include "common/text.h"
#include "daemon/configuration/configuration.h"

static void object_put(json_object **o) {
        json_object_put(*o);
}
#define _cleanup_json_ _cleanup_(object_put)

/* json_object_object_add() and json_object_array_add() take over what they are given. */
static int add_text(json_object *to, const char *key, const char *text) {
        _cleanup_free_ char *utf8 = text ? text_to_utf8(text) : NULL;
        json_object *value;

        if (text && !utf8)
                return -ENOMEM;
        value = utf8 ? json_object_new_string(utf8) : NULL;
        if (utf8 && !value)
                return -ENOMEM;
        return (key ? json_object_object_add(to, key, value) : json_object_array_add(to, value)) < 0 ? -ENOMEM : 0;
}

static int add_line(json_object *lines, unsigned number, const char *text, size_t n) {
        _cleanup_free_ char *copy = strndup(text, n > 0 && text[n - 1] == '\r' ? n - 1 : n);
        _cleanup_json_ json_object *line = json_object_new_object();
        int r;

        if (!copy || !line)
                return -ENOMEM;
        if (json_object_object_add(line, "line", json_object_new_int64(number)) < 0)
                return -ENOMEM;
        r = add_text(line, "text", copy);
        if (r >= 0 && json_object_array_add(lines, json_object_get(line)) < 0)
                r = -ENOMEM;
        return r;
}

/* Of a unit only what speaks to us. */
static int add_lines(json_object *lines, const ConfigFile *f) {
        bool ours = f->kind != CONFIG_UNIT;
        unsigned number = 0;

        for (const char *line = f->text; *line;) {
                size_t n = strcspn(line, "\n"), blanks = strspn(line, " \t");
                int r = 0;

                number++;
                if (f->kind == CONFIG_UNIT && line[blanks] == '[')
                        ours = startswith(line + blanks, "[X-Stackd]");
                if (ours)
                        r = add_line(lines, number, line, n);
                if (r < 0)
                        return r;
                line += n;
                line += *line == '\n';
        }
        return 0;
}

static int add_file(json_object *files, const ConfigFile *f, bool hidden) {
        static const char *const kinds[_CONFIG_KIND_MAX] = {
                [CONFIG_USERS] = "users", [CONFIG_DAEMON] = "daemon", [CONFIG_POLICY] = "policy", [CONFIG_UNIT] = "service",
        };
        _cleanup_json_ json_object *o = json_object_new_object(), *lines = json_object_new_array();
        int r;

        if (!o || !lines)
                return -ENOMEM;
        r = add_text(o, "path", f->path);
        if (r >= 0)
                r = add_text(o, "kind", kinds[f->kind]);
        if (r >= 0)
                r = add_text(o, "name", f->name);
        if (r >= 0)
                r = add_text(o, "drop_in", f->drop_in);
        if (r >= 0 && !hidden)
                r = add_lines(lines, f);
        if (r < 0)
                return r;
        if (json_object_object_add(o, "kept", json_object_new_boolean(f->kept)) < 0 ||
            json_object_object_add(o, "hidden", json_object_new_boolean(hidden)) < 0 ||
            json_object_object_add(o, "lines", json_object_get(lines)) < 0)
                return -ENOMEM;
        return json_object_array_add(files, json_object_get(o)) < 0 ? -ENOMEM : 0;
}

/* Drop-ins of what is not there do not hold, though nothing hides them. */
static bool is_shown(const Configuration *c, size_t i) {
        const ConfigFile *f = &c->files[i];

        if (!f->holds || !f->text[0] || f->kind == CONFIG_USERS)
                return false;
        if (f->kind != CONFIG_POLICY || !f->drop_in)
                return true;
        for (size_t k = i; k-- > 0 && c->files[k].kind == f->kind && streq(c->files[k].name, f->name);)
                if (c->files[k].holds && !c->files[k].drop_in)
                        return true;
        return false;
}

/* They quote the lines that they are about. */
static bool is_about_secret(const Configuration *c, const char *remark) {
        for (size_t i = 0; i < c->n; i++) {
                _cleanup_free_ char *path = c->files[i].secret ? text_escape(c->files[i].path) : NULL;
                const char *rest = path ? startswith(remark, path) : NULL;

                if ((rest && *rest == ':') || (c->files[i].secret && !path))
                        return true;
        }
        return false;
}

int configuration_describe(const Configuration *c, bool secrets, char **ret) {
        _cleanup_json_ json_object *o = json_object_new_object(), *files = json_object_new_array(), *warnings = json_object_new_array();
        const char *text;
        char *copy;
        int r = 0;

        if (!o || !files || !warnings || json_object_object_add(o, "version", json_object_new_int(1)) < 0)
                return -ENOMEM;
        for (size_t i = 0; r >= 0 && i < c->n; i++)
                if (is_shown(c, i))
                        r = add_file(files, &c->files[i], c->files[i].secret && !secrets);
        for (char **line = c->remarks.lines; r >= 0 && line && *line; line++)
                if (secrets || !is_about_secret(c, *line))
                        r = add_text(warnings, NULL, *line);
        if (r < 0)
                return r;
        if (json_object_object_add(o, "files", json_object_get(files)) < 0 ||
            json_object_object_add(o, "warnings", json_object_get(warnings)) < 0)
                return -ENOMEM;
        text = json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
        copy = text ? strdup(text) : NULL;
        if (!copy)
                return -ENOMEM;
        *ret = copy;
        return 0;
}
