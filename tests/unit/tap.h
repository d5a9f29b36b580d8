/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The Test Anything Protocol, as little of it as is needed: each test function is one case; a failed
 * check ends the program, so that a sanitizer or debugger sees the place. */

#include <stdio.h>
#include <stdlib.h>

#define CHECK(condition)                                                                        \
        do {                                                                                    \
                if (!(condition)) {                                                             \
                        printf("Bail out! %s:%d: %s\n", __FILE__, __LINE__, #condition);        \
                        fflush(stdout);                                                         \
                        abort();                                                                \
                }                                                                               \
        } while (0)

typedef struct TestCase {
        const char *name;
        void (*run)(void);
} TestCase;

#define TEST(function) { #function, function }

#define TEST_MAIN(...)                                                                          \
        int main(void) {                                                                        \
                static const TestCase cases[] = { __VA_ARGS__ };                                \
                size_t n = sizeof(cases) / sizeof(cases[0]);                                    \
                printf("1..%zu\n", n);                                                          \
                for (size_t i = 0; i < n; i++) {                                                \
                        cases[i].run();                                                         \
                        printf("ok %zu - %s\n", i + 1, cases[i].name);                          \
                        fflush(stdout);                                                         \
                }                                                                               \
                return 0;                                                                       \
        }
