/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* PTRACE_O_SUSPEND_SECCOMP alone would not do: it ends with us, and a thread left to itself makes its calls under
 * its filter. So a filter must bear them: allow prctl() or fail it with an error, and allow rt_sigreturn(). */

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <string.h>
#include <sys/ptrace.h>

#include "daemon/actuator/mark/filter.h"

#ifndef PTRACE_SECCOMP_GET_FILTER
#define PTRACE_SECCOMP_GET_FILTER 0x420c
#endif

#define FILTERS_MAX 256

typedef struct Machine {
        uint32_t a, x, memory[BPF_MEMWORDS];
} Machine;

static int alu(Machine *m, uint16_t op, uint32_t v) {
        switch (op) {
        case BPF_ADD: m->a += v; return 0;
        case BPF_SUB: m->a -= v; return 0;
        case BPF_MUL: m->a *= v; return 0;
        case BPF_OR: m->a |= v; return 0;
        case BPF_AND: m->a &= v; return 0;
        case BPF_XOR: m->a ^= v; return 0;
        case BPF_NEG: m->a = -m->a; return 0;
        case BPF_LSH: m->a = v < 32 ? m->a << v : 0; return 0;
        case BPF_RSH: m->a = v < 32 ? m->a >> v : 0; return 0;
        case BPF_DIV:
        case BPF_MOD:
                if (v == 0)
                        return -EINVAL;
                m->a = op == BPF_DIV ? m->a / v : m->a % v;
                return 0;
        }
        return -EINVAL;
}

static int load(Machine *m, const struct sock_filter *i, const struct seccomp_data *data) {
        uint32_t v;

        switch (BPF_MODE(i->code)) {
        case BPF_ABS:
                if (i->k % 4 || i->k > sizeof(*data) - 4)
                        return -EINVAL;
                memcpy(&v, (const char *) data + i->k, sizeof(v));
                break;
        case BPF_IMM: v = i->k; break;
        case BPF_LEN: v = sizeof(*data); break;
        case BPF_MEM:
                if (i->k >= BPF_MEMWORDS)
                        return -EINVAL;
                v = m->memory[i->k];
                break;
        default: return -EINVAL;
        }
        *(BPF_CLASS(i->code) == BPF_LD ? &m->a : &m->x) = v;
        return 0;
}

/* The number of instructions to skip, or -EINVAL. */
static int jump(const Machine *m, const struct sock_filter *i, size_t left) {
        uint32_t v = BPF_SRC(i->code) == BPF_X ? m->x : i->k;
        bool taken;

        switch (BPF_OP(i->code)) {
        case BPF_JA: return i->k < left ? (int) i->k : -EINVAL;
        case BPF_JEQ: taken = m->a == v; break;
        case BPF_JGT: taken = m->a > v; break;
        case BPF_JGE: taken = m->a >= v; break;
        case BPF_JSET: taken = m->a & v; break;
        default: return -EINVAL;
        }
        return taken ? i->jt : i->jf;
}

int filter_run(const struct sock_filter *program, size_t n, const struct seccomp_data *data, uint32_t *ret) {
        Machine m = {};

        for (size_t pc = 0; pc < n; pc++) {
                const struct sock_filter *i = &program[pc];
                int r = 0;

                switch (BPF_CLASS(i->code)) {
                case BPF_LD:
                case BPF_LDX: r = load(&m, i, data); break;
                case BPF_ST:
                case BPF_STX:
                        if (i->k >= BPF_MEMWORDS)
                                return -EINVAL;
                        m.memory[i->k] = BPF_CLASS(i->code) == BPF_ST ? m.a : m.x;
                        break;
                case BPF_ALU: r = alu(&m, BPF_OP(i->code), BPF_SRC(i->code) == BPF_X ? m.x : i->k); break;
                case BPF_JMP:
                        r = jump(&m, i, n - pc);
                        pc += r > 0 ? (size_t) r : 0;
                        break;
                case BPF_RET:
                        *ret = BPF_RVAL(i->code) == BPF_A ? m.a : i->k;
                        return 0;
                case BPF_MISC: *(BPF_MISCOP(i->code) == BPF_TAX ? &m.x : &m.a) =
                                BPF_MISCOP(i->code) == BPF_TAX ? m.a : m.x;
                        break;
                }
                if (r < 0)
                        return r;
        }
        return -EINVAL;
}

/* Of several filters the most severe answer counts; it is the smallest as a signed number. */
static void severest(uint32_t action, int32_t *worst) {
        int32_t a = (int32_t) (action & SECCOMP_RET_ACTION_FULL);

        *worst = MIN(*worst, a);
}

static bool is_allowed(int32_t action) {
        return action == (int32_t) SECCOMP_RET_ALLOW || action == (int32_t) SECCOMP_RET_LOG;
}

int filter_judge(pid_t tid, const ArchGadgets *g, const uint64_t args[5], FilterVerdict *ret, bool *ret_restart) {
        struct seccomp_data calls[3] = {
                { .nr = (int) arch_nr_prctl(), .arch = arch_audit(), .instruction_pointer = arch_call_ip(g) },
                { .nr = (int) arch_nr_sigreturn(), .arch = arch_audit(), .instruction_pointer = arch_sigreturn_ip(g) },
                { .nr = (int) arch_nr_restart(), .arch = arch_audit() },
        };
        static struct sock_filter program[BPF_MAXINSNS];
        int32_t worst[3] = { INT32_MAX, INT32_MAX, INT32_MAX };

        memcpy(calls[0].args, args, 5 * sizeof(args[0]));
        for (unsigned long i = 0; i < FILTERS_MAX; i++) {
                long n = ptrace(PTRACE_SECCOMP_GET_FILTER, tid, i, program);

                if (n < 0 && errno == ENOENT && i > 0)
                        break;
                if (n < 0 || i == FILTERS_MAX - 1)
                        return n < 0 ? -errno : -E2BIG;
                for (size_t c = 0; c < ELEMENTSOF(calls); c++) {
                        uint32_t action;
                        int r = filter_run(program, (size_t) n, &calls[c], &action);

                        if (r < 0)
                                return r;
                        severest(action, &worst[c]);
                }
        }
        *ret_restart = is_allowed(worst[2]);
        if (!is_allowed(worst[1]))
                *ret = FILTER_HARMS;
        else if (is_allowed(worst[0]))
                *ret = FILTER_ALLOWS;
        else
                *ret = worst[0] == (int32_t) SECCOMP_RET_ERRNO ? FILTER_REFUSES : FILTER_HARMS;
        return 0;
}
