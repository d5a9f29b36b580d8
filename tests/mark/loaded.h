/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* For the victim: registers filled with patterns, and what came of them. One file an architecture. */

#include <stdbool.h>
#include <stdint.h>

typedef struct Difference {
        const char *what;
        long index, value;
} Difference;

/* False on a processor without what is to be checked. */
bool loaded_supported(void);
/* Makes a system call, or spins, with all registers loaded. False if one is not what it should be afterwards. */
bool loaded_call(long nr, const long args[6], long *ret_result, Difference *ret);
bool loaded_spin(uint64_t count, Difference *ret);

static inline uint64_t loaded_pattern(unsigned i) {
        static uint64_t salt = 0x9e3779b97f4a7c15;

        salt = salt * 6364136223846793005U + 1442695040888963407U;
        return salt ^ ((uint64_t) i << 56);
}

/* What the kernel itself would say in this register of a call that is to be restarted: here it means nothing. */
static inline uint64_t loaded_restart(void) {
        static const int64_t values[] = { -512, -513, -514, -516 };
        static unsigned i;

        return (uint64_t) values[i++ % 4];
}
