/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdint.h>
#include <stdlib.h>

#include "common/array.h"

int array_reserve(void **array, size_t *capacity, size_t need, size_t size) {
        size_t n;
        void *p;

        if (need <= *capacity)
                return 0;
        /* There are thousands of arrays that never hold more than one or two: what a layer stands on, who says so. */
        n = *capacity < 2 ? 2 : *capacity * 2;
        if (n < need)
                n = need;
        p = reallocarray(*array, n, size);
        if (!p)
                return -ENOMEM;
        *array = p;
        *capacity = n;
        return 0;
}
