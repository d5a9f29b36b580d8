/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The path on x86-64. Below the red zone of the thread's stack lies, before anything else is changed, exactly what
 * the kernel itself leaves there for a signal handler: struct rt_sigframe, at its top the address of a restorer,
 * and the vector state. The registers then say: at a `syscall; ret` in the target's text, about to call prctl,
 * with the stack pointer at the frame. So `ret` takes the thread to the restorer (`mov $15,%eax; syscall`), which
 * is rt_sigreturn, which reads the frame. Nobody's help is needed on the way.
 *
 * What the frame says differs from a signal's in three places:
 * - It holds the kernel's restart fix-up already made (see frame_restart()), as rt_sigreturn makes none.
 * - uc_stack is deliberately not valid: the kernel ignores that, and so the alternate stack stays as it is; it
 *   cannot be read from outside.
 * - pretcode need not be the address that sigaction() was given.
 *
 * Vector state goes back in the size that the kernel has enabled for every thread. A thread that has used AMX has a larger area,
 * also after TILERELEASE, when XSTATE_BV no longer says so. The kernel wants its second magic number at the end of the thread's own
 * area (arch/x86/kernel/fpu/signal.c, check_xstate_in_sigframe()), and without it resets the state. So the number is at both ends. */

#include <cpuid.h>
#include <elf.h>
#include <errno.h>
#include <linux/audit.h>
#include <stddef.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>

#include "daemon/actuator/mark/arch.h"
#include "daemon/actuator/mark/interruption.h"

#ifndef NT_X86_XSTATE
#define NT_X86_XSTATE 0x202
#endif

#define RED_ZONE 128U
#define HANDLER_ROOM 16384U
#define USER_CS 0x33U
#define USER_SS 0x2bU
#define X32_BIT 0x40000000
#define FLAG_TRAP 0x100U

/* Kernel-internal results, visible to a tracer only. */
#define ERESTARTSYS 512
#define ERESTARTNOINTR 513
#define ERESTARTNOHAND 514
#define ERESTART_RESTARTBLOCK 516

#define XSTATE_LEGACY_SIZE 576U
#define XSTATE_BV_OFFSET 512U
#define XSTATE_COMP_OFFSET 520U
#define XSTATE_SW_OFFSET 464U
#define XSTATE_TILE_DATA (UINT64_C(1) << 18)
#define XSTATE_MAGIC1 0x46505853U
#define XSTATE_MAGIC2 0x46505845U

#define UC_FP_XSTATE 1U
#define UC_SIGCONTEXT_SS 2U
#define UC_STRICT_RESTORE_SS 4U
#define SS_MODE_INVALID 4U

/* struct user_regs_struct up to ss: what follows are segment bases, which we never touch. */
#define REGISTERS_WRITTEN (offsetof(struct user_regs_struct, fs_base))

typedef struct SoftwareBytes {
        uint32_t magic1, extended_size;
        uint64_t xfeatures;
        uint32_t xstate_size, padding[7];
} SoftwareBytes;

typedef struct Context {
        uint64_t r8, r9, r10, r11, r12, r13, r14, r15, di, si, bp, bx, dx, ax, cx, sp, ip, flags;
        uint16_t cs, gs, fs, ss;
        uint64_t err, trapno, oldmask, cr2, fpstate, reserved[8];
} Context;

typedef struct SignalFrame {
        uint64_t pretcode;
        uint64_t uc_flags, uc_link;
        uint64_t stack_sp;
        uint32_t stack_flags, stack_padding;
        uint64_t stack_size;
        Context context;
        uint64_t signal_mask;
        unsigned char siginfo[128];
} SignalFrame;

_Static_assert(sizeof(SoftwareBytes) == 48, "struct _fpx_sw_bytes");
_Static_assert(sizeof(Context) == 256, "struct sigcontext");
_Static_assert(offsetof(SignalFrame, context) == 48, "struct ucontext");
_Static_assert(offsetof(SignalFrame, signal_mask) == 304, "struct ucontext");
_Static_assert(sizeof(SignalFrame) == 440, "struct rt_sigframe");
_Static_assert(sizeof(struct user_regs_struct) <= ARCH_REGISTERS_MAX * 8, "registers");

static const unsigned char code_call[] = { 0x0f, 0x05, 0xc3 };
static const unsigned char code_restorer_long[] = { 0x48, 0xc7, 0xc0, 0x0f, 0, 0, 0, 0x0f, 0x05 };
static const unsigned char code_restorer_short[] = { 0xb8, 0x0f, 0, 0, 0, 0x0f, 0x05 };

static const MemoryPattern patterns_call[] = { { code_call, sizeof(code_call), 1 } };
static const MemoryPattern patterns_restorer[] = {
        { code_restorer_long, sizeof(code_restorer_long), 1 },
        { code_restorer_short, sizeof(code_restorer_short), 1 },
};

/* What the processor and kernel have enabled, for every thread and for those with AMX; filled in once by arch_init(). */
static uint64_t features_enabled, features_largest;

static struct user_regs_struct *registers(ArchState *s) {
        return (struct user_regs_struct *) s->registers;
}

static const struct user_regs_struct *registers_const(const ArchState *s) {
        return (const struct user_regs_struct *) s->registers;
}

/* Size of the standard format up to the last of these features; 0 when the processor does not say. */
static size_t xstate_size(uint64_t features) {
        size_t size = XSTATE_LEGACY_SIZE;

        for (unsigned i = 2; i < 63; i++) {
                unsigned a = 0, b = 0, c = 0, d = 0;

                if (!(features & (UINT64_C(1) << i)))
                        continue;
                if (!__get_cpuid_count(0xd, i, &a, &b, &c, &d) || a == 0 || b < XSTATE_LEGACY_SIZE)
                        return 0;
                size = MAX(size, (size_t) a + b);
        }
        return size;
}

int arch_init(void) {
        unsigned a, b, c, d, low, high;

        if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE))
                return -EOPNOTSUPP;
        __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
        features_largest = (uint64_t) high << 32 | low;
        features_enabled = features_largest & ~XSTATE_TILE_DATA;
        if ((features_enabled & 3) != 3 || xstate_size(features_enabled) == 0 || xstate_size(features_largest) == 0)
                return -EOPNOTSUPP;
        return 0;
}

size_t arch_frame_need(void) {
        return RED_ZONE + sizeof(SignalFrame) + xstate_size(features_largest) + 256;
}

size_t arch_stack_need(void) {
        return arch_frame_need() + xstate_size(features_largest) + HANDLER_ROOM;
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

static int registers_read(pid_t tid, struct user_regs_struct *ret) {
        struct iovec v = { ret, sizeof(*ret) };

        if (ptrace(PTRACE_GETREGSET, tid, NT_PRSTATUS, &v) < 0)
                return -errno;
        /* a shorter set is that of a 32 bit task */
        return v.iov_len == sizeof(*ret) ? 0 : -EOPNOTSUPP;
}

static int registers_write(pid_t tid, const struct user_regs_struct *r) {
        struct iovec v = { (void *) r, REGISTERS_WRITTEN };

        return ptrace(PTRACE_SETREGSET, tid, NT_PRSTATUS, &v) < 0 ? -errno : 0;
}

static int vector_read(pid_t tid, ArchState *s) {
        struct iovec v = { s->vector, sizeof(s->vector) };
        uint64_t used, compact, features = features_enabled;
        size_t size;

        if (ptrace(PTRACE_GETREGSET, tid, NT_X86_XSTATE, &v) < 0)
                return errno == ESRCH ? -ESRCH : -EOPNOTSUPP;
        if (v.iov_len < XSTATE_LEGACY_SIZE)
                return -EOPNOTSUPP;
        memcpy(&used, s->vector + XSTATE_BV_OFFSET, sizeof(used));
        memcpy(&compact, s->vector + XSTATE_COMP_OFFSET, sizeof(compact));
        if (used & XSTATE_TILE_DATA)
                features |= XSTATE_TILE_DATA;
        size = xstate_size(features);
        if (compact != 0 || (used & ~features) || size == 0 || size > v.iov_len ||
            size + sizeof(uint32_t) > sizeof(s->vector))
                return -EOPNOTSUPP;
        s->vector_features = features;
        s->vector_size = size;
        return 0;
}

/* Whether the call is over, or would be continued as restart_syscall(), only because we stopped the thread, and may
 * as well begin again. poll() without a time-out has nothing to be continued, and as restart_syscall() the thread
 * could not be marked, or unmarked, again before something happens. */
static bool call_may_repeat(const struct user_regs_struct *r) {
        if ((long) r->orig_rax < 0)
                return false;
        if ((long) r->rax == -ERESTART_RESTARTBLOCK)
                return (long) r->orig_rax == SYS_poll && (int) r->rdx < 0;
        return (long) r->rax == -EINTR && call_can_repeat((long) r->orig_rax);
}

/* -ERESTARTNOHAND makes the kernel decide the way it does for ppoll(): EINTR if a handler runs after all, else once
 * more. Written back at once, so that it holds whatever becomes of us. */
static int state_repeat(pid_t tid, struct user_regs_struct *r) {
        if (!call_may_repeat(r))
                return 0;
        r->rax = (unsigned long) -ERESTARTNOHAND;
        return registers_write(tid, r);
}

static bool state_will_restart(const struct user_regs_struct *r) {
        long result = (long) r->rax;

        return (long) r->orig_rax >= 0 && (result == -ERESTARTSYS || result == -ERESTARTNOINTR ||
                                           result == -ERESTARTNOHAND || result == -ERESTART_RESTARTBLOCK);
}

/* ppoll() and its like sleep with another signal mask, which the kernel puts back when it starts them again. Doing
 * that now makes no difference to the thread, and a signal that only the other mask lets through then waits for the
 * repeated call instead of running its handler on our path. */
static int mask_settle(pid_t tid, ArchState *s) {
        uint64_t mask;

        if (ptrace(PTRACE_GETSIGMASK, tid, sizeof(mask), &mask) < 0)
                return -errno;
        s->signal_mask = mask;
        if (!state_will_restart(registers(s)))
                return 0;
        return ptrace(PTRACE_SETSIGMASK, tid, sizeof(mask), &mask) < 0 ? -errno : 0;
}

/* The rest of a time-out: rt_sigreturn forgets it, so a thread that is left to itself on the path begins the first call again. */
static int continued_settle(const ThreadCall *seen, ArchState *s) {
        const struct user_regs_struct *r = registers(s);

        s->continued = -1;
        if ((long) r->orig_rax != SYS_restart_syscall || !state_will_restart(r))
                return 0;
        if (seen->running || seen->nr != SYS_restart_syscall || seen->continued < 0 || seen->sp != r->rsp || seen->ip != r->rip)
                return -EAGAIN; /* has begun since it was looked at */
        s->continued = seen->continued;
        return 0;
}

int arch_state_read(pid_t tid, const ThreadCall *seen, ArchState *ret) {
        struct user_regs_struct *r = registers(ret);
        int k;

        k = registers_read(tid, r);
        if (k < 0)
                return k;
        if (r->cs != USER_CS || r->ss != USER_SS || r->rip >> 63 || ((long) r->orig_rax >= 0 && (r->orig_rax & X32_BIT)))
                return -EOPNOTSUPP;
        k = state_repeat(tid, r);
        if (k < 0)
                return k;
        if (r->rsp >> 32 == 0) /* perhaps an x32 thread, outside of a call */
                return -EOPNOTSUPP;
        if (r->eflags & FLAG_TRAP) /* steps through itself */
                return -EAGAIN;
        k = continued_settle(seen, ret);
        if (k < 0)
                return k;
        k = vector_read(tid, ret);
        if (k < 0)
                return k;
        return mask_settle(tid, ret);
}

uint64_t arch_state_sp(const ArchState *s) {
        return registers_const(s)->rsp;
}

uint64_t arch_state_ip(const ArchState *s) {
        return registers_const(s)->rip;
}

uint64_t arch_state_tls(const ArchState *s) {
        return registers_const(s)->fs_base;
}

bool arch_state_in_call(const ArchState *s) {
        return (long) registers_const(s)->orig_rax >= 0;
}

void arch_state_call(const ArchState *s, const ThreadCall *seen _unused_, ArchCall *ret) {
        const struct user_regs_struct *r = registers_const(s);

        *ret = (ArchCall) {
                .nr = (long) r->orig_rax,
                .args = { r->rdi, r->rsi, r->rdx, r->r10, r->r8, r->r9 },
                .result = (int64_t) r->rax,
                .restarts = state_will_restart(r),
        };
}

/* The kernel decides after the stop, from registers that we read and can put back. */
bool arch_state_is_settled(const ArchState *s _unused_) {
        return true;
}

/* The block holds its own address at its beginning. */
int arch_thread_block_check(pid_t tid, uint64_t tls, uint64_t robust_list _unused_) {
        uint64_t self;
        int r = memory_read(tid, tls, &self, sizeof(self));

        if (r < 0)
                return r;
        return self == tls ? 0 : -EOPNOTSUPP;
}

void arch_state_avoid_restart_call(ArchState *s) {
        struct user_regs_struct *r = registers(s);

        if ((long) r->orig_rax >= 0 && (long) r->orig_rax != SYS_restart_syscall &&
            (long) r->rax == -ERESTART_RESTARTBLOCK)
                r->rax = (unsigned long) -ERESTARTNOHAND;
}

/* What the kernel does to the registers when no handler runs, for a thread that is left to itself. The exception
 * is -ERESTART_RESTARTBLOCK: rt_sigreturn forgets what is left of the time-out, so the call begins again with all
 * of it. So does a call that is a restart already: see continued_settle(). */
static void frame_restart(long continued, struct user_regs_struct *r) {
        if (!state_will_restart(r))
                return;
        r->rax = continued >= 0 ? (unsigned long) continued : r->orig_rax;
        r->rip -= 2;
}

static void context_fill(const struct user_regs_struct *r, uint64_t fpstate, Context *c) {
        *c = (Context) {
                .r8 = r->r8, .r9 = r->r9, .r10 = r->r10, .r11 = r->r11,
                .r12 = r->r12, .r13 = r->r13, .r14 = r->r14, .r15 = r->r15,
                .di = r->rdi, .si = r->rsi, .bp = r->rbp, .bx = r->rbx,
                .dx = r->rdx, .ax = r->rax, .cx = r->rcx, .sp = r->rsp,
                .ip = r->rip, .flags = r->eflags,
                .cs = (uint16_t) r->cs, .ss = (uint16_t) r->ss,
                .fpstate = fpstate,
        };
}

int arch_frame_build(const ArchState *s, const ArchGadgets *g, uint64_t nonce, ArchFrame *ret) {
        struct user_regs_struct r = *registers_const(s);
        const uint32_t magic2 = XSTATE_MAGIC2;
        const size_t vector_full = MAX(s->vector_size, xstate_size(features_largest)) + sizeof(magic2);
        SoftwareBytes software = {
                .magic1 = XSTATE_MAGIC1,
                .extended_size = (uint32_t) vector_full,
                .xfeatures = s->vector_features,
                .xstate_size = (uint32_t) s->vector_size,
        };
        SignalFrame frame = {
                .pretcode = g->restorer,
                .uc_flags = UC_FP_XSTATE | UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS,
                .stack_flags = SS_MODE_INVALID,
                .signal_mask = s->signal_mask,
        };
        uint64_t vector, address;
        size_t offset;

        vector = (r.rsp - RED_ZONE - vector_full) & ~UINT64_C(63);
        address = ((vector - sizeof(frame)) & ~UINT64_C(15)) - 8;
        offset = vector - address;
        if (offset + vector_full > sizeof(ret->bytes))
                return -EOPNOTSUPP;
        frame_restart(s->continued, &r);
        context_fill(&r, vector, &frame.context);
        memset(ret->bytes, 0, offset + vector_full);
        memcpy(frame.siginfo, &nonce, sizeof(nonce));
        memcpy(ret->bytes, &frame, sizeof(frame));
        memcpy(ret->bytes + offset, s->vector, s->vector_size);
        memcpy(ret->bytes + offset + XSTATE_SW_OFFSET, &software, sizeof(software));
        memcpy(ret->bytes + offset + s->vector_size, &magic2, sizeof(magic2));
        memcpy(ret->bytes + offset + vector_full - sizeof(magic2), &magic2, sizeof(magic2));
        ret->nonce_at = offsetof(SignalFrame, siginfo);
        ret->address = address;
        ret->size = offset + vector_full;
        return 0;
}

static int path_call(pid_t tid, const ArchState *s, const ArchGadgets *g, const ArchFrame *f, long nr, const uint64_t args[6]) {
        struct user_regs_struct r = *registers_const(s);

        r.rip = g->call;
        r.rsp = f->address;
        r.orig_rax = (unsigned long) -1L;
        r.rax = (unsigned long) nr;
        r.rdi = args[0];
        r.rsi = args[1];
        r.rdx = args[2];
        r.r10 = args[3];
        r.r8 = args[4];
        r.r9 = args[5];
        return registers_write(tid, &r);
}

int arch_path_enter(pid_t tid, const ArchState *s, const ArchGadgets *g, const ArchFrame *f, const uint64_t args[6]) {
        return path_call(tid, s, g, f, SYS_prctl, args);
}

int arch_path_rest(pid_t tid, const ArchState *s, const ArchGadgets *g, const ArchFrame *f, const ArchCall *rest) {
        const uint64_t args[6] = { rest->args[0], 0, rest->args[2], rest->args[3], rest->args[4], rest->args[5] };

        return path_call(tid, s, g, f, rest->nr, args);
}

int arch_path_position(pid_t tid, const ArchGadgets *g, const ArchFrame *f, ArchPosition *ret) {
        struct user_regs_struct r;
        int k = registers_read(tid, &r);

        if (k < 0)
                return k;
        if (r.rsp != f->address || (r.rip != g->call && r.rip != g->call + 2))
                *ret = ARCH_ELSEWHERE;
        else
                *ret = r.rip == g->call ? ARCH_BEFORE_CALL : ARCH_AFTER_CALL;
        return 0;
}

int arch_path_result(pid_t tid, const ArchGadgets *g, const ArchFrame *f, long *ret) {
        struct user_regs_struct r;
        int k = registers_read(tid, &r);

        if (k < 0)
                return k;
        if (r.rsp != f->address || r.rip != g->call + 2 || r.orig_rax != SYS_prctl)
                return -EBADMSG;
        *ret = (long) r.rax;
        return 0;
}

int arch_state_restore(pid_t tid, const ArchState *s) {
        return registers_write(tid, registers_const(s));
}

uint32_t arch_audit(void) {
        return AUDIT_ARCH_X86_64;
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
        return g->call + 2;
}

/* Both spellings of the restorer end with the call; where exactly matters to no sane filter. */
uint64_t arch_sigreturn_ip(const ArchGadgets *g) {
        return g->restorer + sizeof(code_restorer_long);
}
