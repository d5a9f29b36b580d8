/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Preloaded into a server that marks itself, makes it one that does not, as it was before it learnt to: what it asks
 * of prctl(PR_SET_IO_FLUSHER) succeeds and does nothing. */
#include <stdarg.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

int prctl(int option, ...) {
        unsigned long arguments[4];
        va_list list;

        va_start(list, option);
        for (int i = 0; i < 4; i++)
                arguments[i] = va_arg(list, unsigned long);
        va_end(list);
        return option == 57 /* PR_SET_IO_FLUSHER */
                       ? 0
                       : (int) syscall(SYS_prctl, option, arguments[0], arguments[1], arguments[2], arguments[3]);
}
