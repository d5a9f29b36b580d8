/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "common/array.h"
#include "common/text-stream.h"

typedef struct TextStream {
        char **text;
        size_t *size, capacity;
        bool failed;
} TextStream;

/* Of fewer bytes than it was given stdio makes an error that sticks. */
static ssize_t take(void *cookie, const char *data, size_t n) {
        TextStream *t = cookie;

        if (!t->failed)
                t->failed = array_reserve((void **) t->text, &t->capacity, *t->size + n + 1, 1) < 0;
        if (t->failed)
                return 0;
        memcpy(*t->text + *t->size, data, n);
        *t->size += n;
        (*t->text)[*t->size] = 0;
        return (ssize_t) n;
}

static int go_to(void *cookie, off64_t *offset, int whence) {
        TextStream *t = cookie;

        if (whence != SEEK_SET || *offset != 0)
                return -1;
        *t->size = 0;
        (*t->text)[0] = 0;
        return 0;
}

static int end(void *cookie) {
        TextStream *t = cookie;
        int r = t->failed ? -1 : 0;

        free(t);
        return r;
}

FILE *text_stream_open(char **text, size_t *size) {
        TextStream *t = malloc(sizeof(TextStream));
        FILE *f;

        if (!t)
                return NULL;
        *t = (TextStream) { .text = text, .size = size };
        *text = NULL;
        *size = 0;
        f = array_reserve((void **) text, &t->capacity, 1, 1) < 0
                ? NULL : fopencookie(t, "w", (cookie_io_functions_t) { .write = take, .seek = go_to, .close = end });
        if (!f) {
                free(t);
                free(*text);
                *text = NULL;
                return NULL;
        }
        (*text)[0] = 0;
        return f;
}
