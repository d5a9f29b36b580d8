/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Seccomp filters: what they would say about our calls is computed before any of them is made. */

#include "daemon/actuator/mark/arch.h"

typedef enum FilterVerdict {
        FILTER_ALLOWS,  /* every call of ours may be made */
        FILTER_REFUSES, /* prctl() would fail with an error, the rest is allowed: harmless, but to be suspended */
        FILTER_HARMS,   /* would kill, trap, or report elsewhere */
} FilterVerdict;

/* The thread is in a ptrace stop. 0, or the error that reading its filters met. */
int filter_judge(pid_t tid, const ArchGadgets *g, const uint64_t args[5], FilterVerdict *ret, bool *ret_restart);

struct sock_filter;
struct seccomp_data;
/* Runs one classic BPF program of n instructions: 0, or -EINVAL for one that is not well-formed. */
int filter_run(const struct sock_filter *program, size_t n, const struct seccomp_data *data, uint32_t *ret);
