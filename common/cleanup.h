/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Scope-bound ownership. A variable that carries one of these attributes frees what it holds when it goes
 * out of scope; TAKE_PTR() and TAKE_FD() hand the value on and disarm the attribute. */

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define _cleanup_(f) __attribute__((cleanup(f)))
#define _unused_ __attribute__((unused))
#define _printf_(a, b) __attribute__((format(printf, a, b)))
#define _must_check_ __attribute__((warn_unused_result))

#define TAKE_PTR(p)                        \
        ({                                 \
                typeof(p) *_pp = &(p);     \
                typeof(p) _value = *_pp;   \
                *_pp = NULL;               \
                _value;                    \
        })

#define TAKE_FD(fd)              \
        ({                       \
                int *_fp = &(fd);\
                int _fd = *_fp;  \
                *_fp = -1;       \
                _fd;             \
        })

/* Defines funcp(), usable with _cleanup_(), for a destructor that takes a pointer; it need not accept NULL. */
#define DEFINE_TRIVIAL_CLEANUP_FUNC(type, func)         \
        static inline _unused_ void func##p(type *p) {  \
                if (*p)                                 \
                        func(*p);                       \
        }

/* Frees a NULL-terminated array of strings and the strings. Returns NULL. */
static inline char **strv_free(char **l) {
        for (char **s = l; s && *s; s++)
                free(*s);
        free(l);
        return NULL;
}

/* Closes a descriptor that may be negative; errno is kept. Returns -1. */
int fd_close(int fd);

static inline void freep(void *p) {
        free(*(void **) p);
}
static inline void fd_closep(int *fd) {
        fd_close(*fd);
}
static inline void strv_freep(char ***l) {
        strv_free(*l);
}
DEFINE_TRIVIAL_CLEANUP_FUNC(FILE *, fclose);
DEFINE_TRIVIAL_CLEANUP_FUNC(DIR *, closedir);

#define _cleanup_free_ _cleanup_(freep)
#define _cleanup_close_ _cleanup_(fd_closep)
#define _cleanup_strv_free_ _cleanup_(strv_freep)
#define _cleanup_fclose_ _cleanup_(fclosep)
#define _cleanup_closedir_ _cleanup_(closedirp)

#define ELEMENTSOF(x) (sizeof(x) / sizeof((x)[0]))
/* The names differ at each use, so that one may stand within another. */
#define MAX(a, b) _MINMAX(a, b, >, __COUNTER__)
#define MIN(a, b) _MINMAX(a, b, <, __COUNTER__)
#define _MINMAX(a, b, op, n) _MINMAX_(a, b, op, n)
#define _MINMAX_(a, b, op, n) \
        ({ typeof(a) _a##n = (a); typeof(b) _b##n = (b); _a##n op _b##n ? _a##n : _b##n; })
