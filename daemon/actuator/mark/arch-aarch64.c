/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The path on aarch64. Below the thread's stack (there is no red zone) lies, before anything else is changed, what
 * the kernel itself leaves there for a signal handler: struct rt_sigframe, with the FPSIMD registers as its only
 * record, and that of the permission overlay where there is one. The registers then say: at a `svc #0; ret` in the
 * target's text, about to call prctl, the stack pointer at the frame, the link register at the vdso's return from
 * signal handlers (`mov x8, #139; svc #0`). Nobody's help is needed on the way.
 *
 * Here the kernel makes its restart fix-up before a tracer sees the stop: the thread stands at its system call again,
 * with all arguments, and what is restored is what was read. Three things the tracer is not told:
 * - Whether the kernel, once it is let go, will put restart_syscall() in the place of the call, for the rest of a
 *   time-out. A call that may have such a rest is let go once and stopped again: then it stands at restart_syscall(). (Its number stays in x8 when the call is over, as after any stop; those who keep other
 *   numbers there over a call have met SIGSTOP or a suspended machine before.) Left to itself on the path that would
 *   end with EINTR, as rt_sigreturn forgets the rest; so the frame holds the call as it was before.
 * - Whether there was a call at all. It makes no difference: with the program counter at a `svc` it begins next.
 * - The first argument of a call that has ended. It is known if the thread was seen asleep in the same call right
 *   before, and only then is a thread stopped in a call.
 * As to the kernel the call has yet to begin, a handler that runs right after the stop never interrupts it, with
 * SA_RESTART or without: as if its signal had come before the call. A call with a signal mask of its own has not
 * that mask yet, and takes the signal when it has.
 *
 * Not touched by prctl nor by rt_sigreturn without a record of it: TPIDR2_EL0, FPMR, keys of pointer authentication,
 * tagging modes. BTYPE is part of pstate: cleared on the path, restored after it. Refused: guarded control stacks
 * (our `ret` would be a fault), 32 bit. Tried again later: live SVE state beyond the FPSIMD registers, streaming mode
 * and ZA. A system call drops the first two, and a thread that sleeps in one has none. */

#include <asm/ptrace.h>
#include <asm/sigcontext.h>
#include <elf.h>
#include <errno.h>
#include <linux/audit.h>
#include <linux/futex.h>
#include <stddef.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>

#include "daemon/actuator/mark/arch.h"
#include "daemon/actuator/mark/interruption.h"

#ifndef NT_ARM_SSVE
#define NT_ARM_SSVE 0x40b
#define NT_ARM_ZA 0x40c
#endif
#ifndef NT_ARM_POE
#define NT_ARM_POE 0x40f
#endif
#ifndef NT_ARM_GCS
#define NT_ARM_GCS 0x410
#endif

#define HANDLER_ROOM 16384U
#define INSTRUCTION_SIZE 4U
#define INSTRUCTION_CALL 0xd4000001U
#define PSTATE_BTYPE UINT64_C(0xc00)
#define PSTATE_STEP (UINT64_C(1) << 21)
#define GCS_ENABLED 1U
#define SVE_LIVE 1U
#define CALL_END 1U /* what x7 says in the stop at the end of a call */
#define OVERLAY_MAGIC 0x504f4530U
#define ALTERNATE_STACK_INVALID 4U
#define CONTROL_BLOCK_MAX 4096U
#define CONTROL_BLOCK_MUSL_MAX 512U

typedef struct OverlayContext {
        struct _aarch64_ctx head;
        uint64_t value;
} OverlayContext;

typedef struct SignalFrame {
        unsigned char siginfo[128];
        uint64_t uc_flags, uc_link;
        uint64_t stack_sp;
        uint32_t stack_flags, stack_padding;
        uint64_t stack_size;
        uint64_t signal_mask;
        unsigned char unused[120];
        struct sigcontext context;
} SignalFrame;

/* What lies in the reserved part of the context. */
typedef struct Records {
        struct fpsimd_context fpsimd;
        OverlayContext overlay; /* or the end */
        struct _aarch64_ctx end;
} Records;

/* What ArchState.registers holds. */
typedef struct State {
        struct user_pt_regs registers;
        uint64_t tls, overlay;
        uint64_t number; /* of the call, for a thread that is left to itself */
        bool has_overlay;
        bool at_call; /* about to begin a call, or to begin it again */
        bool settled;
} State;

_Static_assert(offsetof(SignalFrame, context) == 304, "struct rt_sigframe");
_Static_assert(sizeof(SignalFrame) == 4688, "struct rt_sigframe");
_Static_assert(offsetof(struct sigcontext, __reserved) == 288, "struct sigcontext");
_Static_assert(sizeof(struct fpsimd_context) == 528, "struct fpsimd_context");
_Static_assert(sizeof(State) <= ARCH_REGISTERS_MAX * 8, "registers");
_Static_assert(sizeof(SignalFrame) <= ARCH_FRAME_MAX, "frame");

static const unsigned char code_call[] = { 0x01, 0x00, 0x00, 0xd4, 0xc0, 0x03, 0x5f, 0xd6 };
static const unsigned char code_restorer[] = { 0x68, 0x11, 0x80, 0xd2, 0x01, 0x00, 0x00, 0xd4 };

static const MemoryPattern patterns_call[] = { { code_call, sizeof(code_call), INSTRUCTION_SIZE } };
static const MemoryPattern patterns_restorer[] = { { code_restorer, sizeof(code_restorer), INSTRUCTION_SIZE } };

static State *state(ArchState *s) {
        return (State *) s->registers;
}

static const State *state_const(const ArchState *s) {
        return (const State *) s->registers;
}

int arch_init(void) {
        return 0;
}

size_t arch_frame_need(void) {
        return sizeof(SignalFrame) + 16;
}

size_t arch_stack_need(void) {
        return arch_frame_need() + HANDLER_ROOM;
}

int arch_gadgets_find(const MemoryMap *map, pid_t tid, ArchGadgets *ret) {
        ArchGadgets g;
        int r;

        r = memory_map_search(map, tid, patterns_call, ELEMENTSOF(patterns_call), &g.call);
        if (r < 0)
                return r;
        r = memory_map_search(map, tid, patterns_restorer, ELEMENTSOF(patterns_restorer), &g.restorer);
        if (r < 0)
                return r;
        *ret = g;
        return 0;
}

/* The size that there is, or a negative errno. */
static int set_read(pid_t tid, int type, void *buffer, size_t size) {
        struct iovec v = { buffer, size };

        return ptrace(PTRACE_GETREGSET, tid, type, &v) < 0 ? -errno : (int) v.iov_len;
}

static int registers_read(pid_t tid, struct user_pt_regs *ret) {
        int n = set_read(tid, NT_PRSTATUS, ret, sizeof(*ret));

        if (n < 0)
                return n;
        /* a shorter set is that of a 32 bit task */
        return n == sizeof(*ret) ? 0 : -EOPNOTSUPP;
}

static int registers_write(pid_t tid, const struct user_pt_regs *r) {
        struct iovec v = { (void *) r, sizeof(*r) };

        return ptrace(PTRACE_SETREGSET, tid, NT_PRSTATUS, &v) < 0 ? -errno : 0;
}

/* A kernel or a machine without an extension answers EINVAL or ENODEV. */
static bool is_absent(int n) {
        return n == -EINVAL || n == -ENODEV || n == -EIO;
}

/* -EOPNOTSUPP or -EAGAIN for state that the path would lose. */
static int extensions_check(pid_t tid) {
        struct {
                uint64_t enabled, locked, pointer;
        } guarded;
        struct user_sve_header header;
        static const int vectors[] = { NT_ARM_SVE, NT_ARM_SSVE };
        int n;

        n = set_read(tid, NT_ARM_GCS, &guarded, sizeof(guarded));
        if (n < 0 && !is_absent(n))
                return n;
        if (n >= (int) sizeof(guarded.enabled) && (guarded.enabled & GCS_ENABLED))
                return -EOPNOTSUPP;
        for (size_t i = 0; i < ELEMENTSOF(vectors); i++) {
                n = set_read(tid, vectors[i], &header, sizeof(header));
                if (n < 0 && !is_absent(n))
                        return n;
                if (n == sizeof(header) && (header.flags & SVE_LIVE))
                        return -EAGAIN;
        }
        n = set_read(tid, NT_ARM_ZA, &header, sizeof(header));
        if (n < 0 && !is_absent(n))
                return n;
        return n == sizeof(header) && header.size > sizeof(header) ? -EAGAIN : 0;
}

static int vector_read(pid_t tid, ArchState *s) {
        int n = set_read(tid, NT_PRFPREG, s->vector, sizeof(struct user_fpsimd_state));

        if (n < 0)
                return n == -ESRCH ? n : -EOPNOTSUPP;
        if (n != sizeof(struct user_fpsimd_state))
                return -EOPNOTSUPP;
        s->vector_size = (size_t) n;
        return 0;
}

static int special_read(pid_t tid, State *s) {
        uint64_t tls[2]; /* newer kernels add TPIDR2_EL0 */
        int n = set_read(tid, NT_ARM_TLS, tls, sizeof(tls));

        if (n < (int) sizeof(tls[0]))
                return n < 0 ? n : -EOPNOTSUPP;
        s->tls = tls[0];
        n = set_read(tid, NT_ARM_POE, &s->overlay, sizeof(s->overlay));
        if (n < 0 && !is_absent(n))
                return n;
        s->has_overlay = n == sizeof(s->overlay);
        return 0;
}

static int instruction_is_call(pid_t tid, uint64_t address) {
        uint32_t instruction;
        int r = memory_read(tid, address, &instruction, sizeof(instruction));

        return r < 0 ? r : instruction == INSTRUCTION_CALL;
}

/* Whether the thread is at the end of the call that it was seen asleep in. */
static bool is_at_end_of(const ThreadCall *seen, const struct user_pt_regs *r) {
        return !seen->running && seen->nr >= 0 && (long) r->regs[8] == seen->nr && r->pc == seen->ip && r->sp == seen->sp &&
                memcmp(r->regs + 1, seen->args + 1, 5 * sizeof(uint64_t)) == 0;
}

/* A call that ended with EINTR only because we stopped the thread: back to where it begins. Written at once, so that
 * it holds whatever becomes of us. */
static int state_repeat(pid_t tid, const ThreadCall *seen, struct user_pt_regs *r) {
        int k;

        if ((int64_t) r->regs[0] != -EINTR || !is_at_end_of(seen, r) || !call_can_repeat(seen->nr))
                return 0;
        k = instruction_is_call(tid, r->pc - INSTRUCTION_SIZE);
        if (k <= 0)
                return k;
        r->regs[0] = seen->args[0];
        r->pc -= INSTRUCTION_SIZE;
        return registers_write(tid, r);
}

/* Calls with a timeout in whose place the kernel may put restart_syscall(). */
static bool call_may_continue(const struct user_pt_regs *r) {
        switch (r->regs[8]) {
        case SYS_nanosleep: return true;
        case SYS_clock_nanosleep: return !(r->regs[1] & TIMER_ABSTIME);
        case SYS_futex: return (r->regs[1] & FUTEX_CMD_MASK) == FUTEX_WAIT && r->regs[3] != 0;
        }
        return false;
}

/* The same place, with the same arguments, but perhaps another call. */
static bool is_same_but_number(const struct user_pt_regs *a, const struct user_pt_regs *b) {
        struct user_pt_regs other = *b;

        other.regs[8] = a->regs[8];
        return memcmp(a, &other, sizeof(other)) == 0;
}

/* ppoll() and its like sleep with another signal mask. To put the thread's own back, as the kernel does before the
 * call begins again, makes no difference to it, and a signal that only the other mask lets through then waits for
 * that instead of running its handler on our path. */
static int mask_settle(pid_t tid, ArchState *s) {
        uint64_t mask;

        if (ptrace(PTRACE_GETSIGMASK, tid, sizeof(mask), &mask) < 0)
                return -errno;
        s->signal_mask = mask;
        if (!state(s)->at_call)
                return 0;
        return ptrace(PTRACE_SETSIGMASK, tid, sizeof(mask), &mask) < 0 ? -errno : 0;
}

/* What the interrupted call is, and whether that is sure. */
static int call_settle(pid_t tid, const ThreadCall *seen, const State *previous, State *s) {
        int r = instruction_is_call(tid, s->registers.pc);

        if (r < 0)
                return r == -EFAULT ? -EOPNOTSUPP : r; /* text that can be executed only */
        s->at_call = r > 0;
        s->number = s->registers.regs[8];
        if (s->at_call && s->number == SYS_restart_syscall && previous->at_call &&
            is_same_but_number(&s->registers, &previous->registers))
                s->number = previous->number;
        else if (s->at_call && s->number == SYS_restart_syscall && !seen->running && seen->continued >= 0 && seen->sp == s->registers.sp)
                s->number = (uint64_t) seen->continued;
        if (s->at_call && s->number == SYS_restart_syscall) /* has begun since it was looked at */
                return -EAGAIN;
        s->settled = !s->at_call || !call_may_continue(&s->registers);
        return 0;
}

int arch_state_read(pid_t tid, const ThreadCall *seen, ArchState *ret) {
        const State previous = *state(ret);
        State *s = state(ret);
        int r;

        r = registers_read(tid, &s->registers);
        if (r < 0)
                return r;
        if (s->registers.pstate & PSTATE_STEP)
                return -EAGAIN;
        r = extensions_check(tid);
        if (r >= 0)
                r = special_read(tid, s);
        if (r >= 0)
                r = vector_read(tid, ret);
        if (r >= 0)
                r = state_repeat(tid, seen, &s->registers);
        if (r >= 0)
                r = call_settle(tid, seen, &previous, s);
        return r < 0 ? r : mask_settle(tid, ret);
}

bool arch_state_is_settled(const ArchState *s) {
        return state_const(s)->settled;
}

uint64_t arch_state_sp(const ArchState *s) {
        return state_const(s)->registers.sp;
}

uint64_t arch_state_ip(const ArchState *s) {
        return state_const(s)->registers.pc;
}

uint64_t arch_state_tls(const ArchState *s) {
        return state_const(s)->tls;
}

/* What comes after a call that is over may be anything. */
bool arch_state_in_call(const ArchState *s) {
        return state_const(s)->at_call;
}

/* Off the path the kernel makes its choice; on it, the call begins again as it stands. */
/* The first argument is that of the look before: its register has the result. */
void arch_state_call(const ArchState *s, const ThreadCall *seen, ArchCall *ret) {
        const struct user_pt_regs *r = &state_const(s)->registers;
        const bool at_end = is_at_end_of(seen, r);

        *ret = (ArchCall) { .nr = at_end ? seen->nr : -1, .result = (int64_t) r->regs[0], .restarts = state_const(s)->at_call };
        if (at_end)
                memcpy(ret->args, seen->args, sizeof(ret->args));
}

void arch_state_avoid_restart_call(ArchState *s) {
        State *t = state(s);

        t->settled = true;
        if (t->at_call && t->registers.regs[8] == SYS_restart_syscall)
                t->registers.regs[8] = t->number;
}

/* The block is above the address, and what the C library keeps of its own for the thread right below: so is its list
 * of robust mutexes. Musl has none, but a word that holds its own address. */
int arch_thread_block_check(pid_t tid, uint64_t tls, uint64_t robust_list) {
        uint64_t words[CONTROL_BLOCK_MUSL_MAX / 8];
        const uint64_t low = tls - sizeof(words);
        int r;

        if (tls % 8 != 0)
                return -EOPNOTSUPP;
        if (robust_list != 0)
                return robust_list < tls && tls - robust_list <= CONTROL_BLOCK_MAX ? 0 : -EOPNOTSUPP;
        r = memory_read(tid, low, words, sizeof(words));
        if (r < 0)
                return r;
        for (size_t i = 0; i < ELEMENTSOF(words); i++)
                if (words[i] == low + i * 8)
                        return 0;
        return -EOPNOTSUPP;
}

static size_t records_fill(const ArchState *s, void *reserved) {
        const State *t = state_const(s);
        struct user_fpsimd_state vector;
        Records records = {
                .fpsimd.head = { FPSIMD_MAGIC, sizeof(struct fpsimd_context) },
        };

        memcpy(&vector, s->vector, sizeof(vector));
        records.fpsimd.fpsr = vector.fpsr;
        records.fpsimd.fpcr = vector.fpcr;
        memcpy(records.fpsimd.vregs, vector.vregs, sizeof(vector.vregs));
        if (t->has_overlay)
                records.overlay = (OverlayContext) {
                        .head = { OVERLAY_MAGIC, sizeof(OverlayContext) },
                        .value = t->overlay,
                };
        memcpy(reserved, &records, sizeof(records));
        return sizeof(records);
}

int arch_frame_build(const ArchState *s, const ArchGadgets *g _unused_, uint64_t nonce, ArchFrame *ret) {
        const State *t = state_const(s);
        SignalFrame frame = {
                .stack_flags = ALTERNATE_STACK_INVALID, /* ignored: the alternate stack stays as it is */
                .signal_mask = s->signal_mask,
        };
        size_t size;

        memcpy(frame.context.regs, t->registers.regs, sizeof(t->registers.regs));
        frame.context.regs[8] = t->number;
        frame.context.sp = t->registers.sp;
        frame.context.pc = t->registers.pc;
        frame.context.pstate = t->registers.pstate;
        memcpy(frame.siginfo, &nonce, sizeof(nonce));
        size = offsetof(SignalFrame, context.__reserved) + records_fill(s, frame.context.__reserved);
        memcpy(ret->bytes, &frame, size);
        ret->nonce_at = offsetof(SignalFrame, siginfo);
        ret->address = (t->registers.sp - sizeof(frame)) & ~UINT64_C(15);
        ret->size = size;
        return 0;
}

static int path_call(pid_t tid, const ArchState *s, const ArchGadgets *g, const ArchFrame *f, long nr, const uint64_t args[6]) {
        struct user_pt_regs r = state_const(s)->registers;

        memcpy(r.regs, args, 6 * sizeof(args[0]));
        /* x7 stays the thread's: at the end of our call it cannot be written. */
        r.regs[8] = (uint64_t) nr;
        r.regs[30] = g->restorer;
        r.sp = f->address;
        r.pc = g->call;
        r.pstate &= ~PSTATE_BTYPE;
        return registers_write(tid, &r);
}

int arch_path_enter(pid_t tid, const ArchState *s, const ArchGadgets *g, const ArchFrame *f, const uint64_t args[6]) {
        const struct user_pt_regs *r = &state_const(s)->registers;

        /* In this one place the kernel would, on the way out of this stop, have restart_syscall() called for us. */
        if (r->pc == g->call && r->regs[8] == SYS_restart_syscall)
                return -EAGAIN;
        return path_call(tid, s, g, f, SYS_prctl, args);
}

int arch_path_position(pid_t tid, const ArchGadgets *g, const ArchFrame *f, ArchPosition *ret) {
        struct user_pt_regs r;
        int k = registers_read(tid, &r);

        if (k < 0)
                return k;
        if (r.sp != f->address || (r.pc != g->call && r.pc != g->call + INSTRUCTION_SIZE))
                *ret = ARCH_ELSEWHERE;
        else
                *ret = r.pc == g->call ? ARCH_BEFORE_CALL : ARCH_AFTER_CALL;
        return 0;
}

int arch_path_result(pid_t tid, const ArchGadgets *g, const ArchFrame *f, long *ret) {
        struct user_pt_regs r;
        int number = -1, k;

        k = registers_read(tid, &r);
        if (k < 0)
                return k;
        k = set_read(tid, NT_ARM_SYSTEM_CALL, &number, sizeof(number));
        if (k < 0)
                return k;
        if (r.sp != f->address || r.pc != g->call + INSTRUCTION_SIZE || number != SYS_prctl || r.regs[7] != CALL_END)
                return -EBADMSG;
        *ret = (long) r.regs[0];
        return 0;
}

/* At the end of our call the kernel still counts the thread as being in one, and would take a first register that
 * looks like its own for that call's order to be restarted. So it is told first that there is none. */
static int call_forget(pid_t tid) {
        int none = -1;
        struct iovec v = { &none, sizeof(none) };

        return ptrace(PTRACE_SETREGSET, tid, NT_ARM_SYSTEM_CALL, &v) < 0 ? -errno : 0;
}

int arch_state_restore(pid_t tid, const ArchState *s) {
        int r = call_forget(tid);

        return r < 0 ? r : registers_write(tid, &state_const(s)->registers);
}

int arch_path_rest(pid_t tid, const ArchState *s, const ArchGadgets *g, const ArchFrame *f, const ArchCall *rest) {
        const uint64_t args[6] = { rest->args[0], 0, rest->args[2], rest->args[3], rest->args[4], rest->args[5] };
        int r = call_forget(tid);

        return r < 0 ? r : path_call(tid, s, g, f, rest->nr, args);
}

uint32_t arch_audit(void) {
        return AUDIT_ARCH_AARCH64;
}

long arch_nr_prctl(void) {
        return SYS_prctl;
}

long arch_nr_sigreturn(void) {
        return SYS_rt_sigreturn;
}

long arch_nr_restart(void) {
        return SYS_restart_syscall;
}

uint64_t arch_call_ip(const ArchGadgets *g) {
        return g->call + INSTRUCTION_SIZE;
}

uint64_t arch_sigreturn_ip(const ArchGadgets *g) {
        return g->restorer + sizeof(code_restorer);
}
