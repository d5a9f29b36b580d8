/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What all fuzzers share: each is one file with one function, libFuzzer's entry point. fuzz-main.c calls it where
 * libFuzzer does not. */

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What must hold whatever the input is. */
#define MUST(condition)                                                                         \
        do {                                                                                    \
                if (!(condition)) {                                                             \
                        fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);         \
                        abort();                                                                \
                }                                                                               \
        } while (0)

/* The input as text; the caller's. What follows a NUL is not seen. */
static inline char *fuzz_text(const uint8_t *data, size_t size) {
        char *text = malloc(size + 1);

        MUST(text);
        memcpy(text, data, size);
        text[size] = 0;
        return text;
}

/* Takes an input apart: what is not there any more is 0, or empty. */
typedef struct FuzzInput {
        const uint8_t *data;
        size_t left;
} FuzzInput;

static inline uint8_t fuzz_byte(FuzzInput *i) {
        if (i->left == 0)
                return 0;
        i->left--;
        return *i->data++;
}

/* Up to the next byte that is 'end', or to the end. */
static inline char *fuzz_part(FuzzInput *i, char end) {
        const uint8_t *found = i->left > 0 ? memchr(i->data, end, i->left) : NULL;
        size_t n = found ? (size_t) (found - i->data) : i->left;
        char *text = fuzz_text(i->data, n);

        n += found != NULL;
        i->data += n;
        i->left -= n;
        return text;
}
