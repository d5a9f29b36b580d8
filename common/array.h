/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Growable arrays without a container type: an array is a pointer, its length and its capacity. */

#include <errno.h>
#include <stddef.h>

/* Makes room for at least 'need' elements of 'size' bytes; existing ones stay. 0 or -ENOMEM. */
int array_reserve(void **array, size_t *capacity, size_t need, size_t size);

/* Appends one value; evaluates to 0 or -ENOMEM. */
#define ARRAY_APPEND(array, n, capacity, value)                                                     \
        ({                                                                                          \
                int _r = array_reserve((void **) &(array), &(capacity), (n) + 1, sizeof(*(array))); \
                if (_r >= 0)                                                                        \
                        (array)[(n)++] = (value);                                                   \
                _r;                                                                                 \
        })
