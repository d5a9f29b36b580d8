/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>

#include "cli/escape.h"
#include "cli/output-table.h"
#include "common/array.h"
#include "common/text.h"

int table_add(Table *t, const char *untrusted) {
        _cleanup_free_ char *escaped = escape_text(untrusted && *untrusted ? untrusted : "-", t->utf8);
        int r;

        if (!escaped)
                return -ENOMEM;
        r = ARRAY_APPEND(t->cells, t->n_cells, t->capacity, escaped);
        if (r >= 0)
                TAKE_PTR(escaped);
        return r;
}

int table_add_number(Table *t, int64_t number) {
        char text[32] = "-";

        if (number >= 0)
                snprintf(text, sizeof(text), "%lli", (long long) number);
        return table_add(t, text);
}

static void print_cell(Output *o, const char *text, size_t width, bool right, bool last) {
        int padding = (int) (width - escape_width(text));

        output_raw(o, "%*s%s", right ? padding : 0, "", text);
        if (last)
                output_raw(o, "\n");
        else
                output_raw(o, "%*s  ", right ? 0 : padding, "");
}

int table_print(const Table *t, Output *o, bool header) {
        _cleanup_free_ size_t *widths = calloc(t->n_columns, sizeof(size_t));

        if (!widths)
                return -ENOMEM;
        for (size_t i = 0; header && i < t->n_columns; i++)
                widths[i] = strlen(t->columns[i].title);
        for (size_t i = 0; i < t->n_cells; i++)
                widths[i % t->n_columns] = MAX(widths[i % t->n_columns], escape_width(t->cells[i]));
        output_style_begin(o, STYLE_DIM);
        for (size_t i = 0; header && i < t->n_columns; i++)
                print_cell(o, t->columns[i].title, widths[i], t->columns[i].right, i + 1 == t->n_columns);
        output_style_end(o);
        for (size_t i = 0; i < t->n_cells; i++) {
                size_t k = i % t->n_columns;

                print_cell(o, t->cells[i], widths[k], t->columns[k].right, k + 1 == t->n_columns);
        }
        return 0;
}

void table_clear(Table *t) {
        for (size_t i = 0; i < t->n_cells; i++)
                free(t->cells[i]);
        free(t->cells);
}
