/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* valgrind of Debian 12 does not know openat2(2). For what it looks at, openat(2) will do: what RESOLVE_... forbids is
 * tested without it. */
#include <dlfcn.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdarg.h>
#include <sys/syscall.h>

long syscall(long number, ...);

long syscall(long number, ...) {
        long (*original)(long number, ...) = (long (*)(long, ...)) dlsym(RTLD_NEXT, "syscall");
        long a[6];
        va_list list;

        va_start(list, number);
        for (int i = 0; i < 6; i++)
                a[i] = va_arg(list, long);
        va_end(list);
        if (number == SYS_openat2) {
                const struct open_how *how = (const struct open_how *) a[2];

                return openat((int) a[0], (const char *) a[1], (int) how->flags, (mode_t) how->mode);
        }
        return original(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
