/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "cli/output.h"

typedef struct Column {
        const char *title;
        bool right; /* aligned; the last column is never padded */
} Column;

typedef struct Table {
        const Column *columns;
        size_t n_columns;
        char **cells; /* escaped, row after row */
        size_t n_cells, capacity;
        bool utf8;
} Table;

/* Appends a cell, untrusted; NULL and "" show as "-". 0 or -ENOMEM. */
int table_add(Table *t, const char *untrusted);
/* The same for a number; a negative one was not told. */
int table_add_number(Table *t, int64_t number);
int table_print(const Table *t, Output *o, bool header);
void table_clear(Table *t);
