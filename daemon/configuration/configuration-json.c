/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "common/json-text.h"
#include "common/text.h"
#include "daemon/configuration/configuration.h"

static int put_line(JsonText *j, unsigned number, const char *text, size_t n) {
        _cleanup_free_ char *copy = strndup(text, n > 0 && text[n - 1] == '\r' ? n - 1 : n);

        if (!copy)
                return -ENOMEM;
        json_put_object(j, NULL);
        json_put_unsigned(j, "line", number);
        json_put_string(j, "text", copy);
        json_put_end(j, '}');
        return 0;
}

/* Of a unit only what speaks to us. */
static int put_lines(JsonText *j, const ConfigFile *f) {
        bool ours = f->kind != CONFIG_UNIT;
        unsigned number = 0;

        for (const char *line = f->text; *line;) {
                size_t n = strcspn(line, "\n"), blanks = strspn(line, " \t");
                int r = 0;

                number++;
                if (f->kind == CONFIG_UNIT && line[blanks] == '[')
                        ours = startswith(line + blanks, "[X-Stackd]");
                if (ours)
                        r = put_line(j, number, line, n);
                if (r < 0)
                        return r;
                line += n;
                line += *line == '\n';
        }
        return 0;
}

static int put_file(JsonText *j, const ConfigFile *f, bool hidden) {
        static const char *const kinds[_CONFIG_KIND_MAX] = {
                [CONFIG_USERS] = "users", [CONFIG_DAEMON] = "daemon", [CONFIG_POLICY] = "policy", [CONFIG_UNIT] = "service",
        };
        int r;

        json_put_object(j, NULL);
        json_put_string(j, "path", f->path);
        json_put_string(j, "kind", kinds[f->kind]);
        json_put_string(j, "name", f->name);
        json_put_string(j, "drop_in", f->drop_in);
        json_put_bool(j, "kept", f->kept);
        json_put_bool(j, "hidden", hidden);
        json_put_array(j, "lines");
        r = hidden ? 0 : put_lines(j, f);
        json_put_end(j, ']');
        json_put_end(j, '}');
        return r;
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
        _cleanup_json_text_ JsonText j = {};
        int r = 0;

        json_put_object(&j, NULL);
        json_put_unsigned(&j, "version", 1);
        json_put_array(&j, "files");
        for (size_t i = 0; r >= 0 && i < c->n; i++)
                if (is_shown(c, i))
                        r = put_file(&j, &c->files[i], c->files[i].secret && !secrets);
        json_put_end(&j, ']');
        json_put_array(&j, "warnings");
        for (char **line = c->remarks.lines; line && *line; line++)
                if (secrets || !is_about_secret(c, *line))
                        json_put_string(&j, NULL, *line);
        json_put_end(&j, ']');
        json_put_end(&j, '}');
        return r < 0 ? r : json_text_take(&j, ret);
}
