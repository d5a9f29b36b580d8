/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* All that depends on the machine: registers, the layout of a signal frame, system call numbers. One file an
 * architecture. Functions that take a thread want it in a ptrace stop, and change nothing unless they say so. */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "daemon/actuator/mark/memory-map.h"

#define ARCH_REGISTERS_MAX 64
#define ARCH_VECTOR_MAX 16384
#define ARCH_FRAME_MAX (ARCH_VECTOR_MAX + 4096)

/* Instructions in the target's text on which the path runs. */
typedef struct ArchGadgets {
        uint64_t call;     /* a system call, then a return */
        uint64_t restorer; /* the C library's return from a signal handler */
} ArchGadgets;

/* A stopped thread. */
typedef struct ArchState {
        uint64_t registers[ARCH_REGISTERS_MAX]; /* as they are to be restored */
        uint64_t signal_mask;
        unsigned char vector[ARCH_VECTOR_MAX] __attribute__((aligned(64)));
        size_t vector_size;
        uint64_t vector_features;
        long continued; /* the call that restart_syscall() continues; -1: it is not in that */
} ArchState;

/* The path prepared for one thread: the bytes to lie on its stack, and where. */
typedef struct ArchFrame {
        uint64_t address;
        size_t size;
        size_t nonce_at;
        unsigned char bytes[ARCH_FRAME_MAX];
} ArchFrame;

/* The system call in which a thread was stopped. */
typedef struct ArchCall {
        long nr; /* -1: none */
        uint64_t args[6];
        int64_t result;
        bool restarts; /* the kernel begins it again */
} ArchCall;

typedef enum ArchPosition {
        ARCH_ELSEWHERE,
        ARCH_BEFORE_CALL, /* on the path, our call not begun */
        ARCH_AFTER_CALL,  /* on the path, our call begun or over */
} ArchPosition;

/* 0, or -EOPNOTSUPP where this machine or this kernel is not supported. */
int arch_init(void);
int arch_gadgets_find(const MemoryMap *map, pid_t tid, ArchGadgets *ret);
/* The most that a frame needs below the stack pointer, and the same with what a signal handler on top of it would need. */
size_t arch_frame_need(void);
size_t arch_stack_need(void);

/* Reads everything and settles what the interrupted call is to do: -EOPNOTSUPP for another instruction set or
 * vector state we do not know, -EAGAIN where the thread must not be diverted right now. 'seen' is what the thread
 * was doing just before it was asked to stop; 'ret' holds its state at the visit before, or zeros. */
int arch_state_read(pid_t tid, const ThreadCall *seen, ArchState *ret);
/* False if the thread has to run on once before it can be put back exactly where it is now. */
bool arch_state_is_settled(const ArchState *s);
uint64_t arch_state_sp(const ArchState *s);
uint64_t arch_state_tls(const ArchState *s);
/* Whether the thread was in a system call, or stopped outside of any. */
bool arch_state_in_call(const ArchState *s);
void arch_state_call(const ArchState *s, const ThreadCall *seen, ArchCall *ret);
uint64_t arch_state_ip(const ArchState *s);
/* The kernel would use restart_syscall(), which a filter forbids: let it repeat the call instead. */
void arch_state_avoid_restart_call(ArchState *s);

/* Whether 'tls' is where the C library made the control block of this very thread: 0 or -EOPNOTSUPP. The address of
 * its list of robust mutexes is 0 where it has none. */
int arch_thread_block_check(pid_t tid, uint64_t tls, uint64_t robust_list);

/* The nonce is stored where it means nothing to the kernel. */
int arch_frame_build(const ArchState *s, const ArchGadgets *g, uint64_t nonce, ArchFrame *ret);
/* Changes the thread: the one step that sends it on the path to call prctl(args). */
int arch_path_enter(pid_t tid, const ArchState *s, const ArchGadgets *g, const ArchFrame *f, const uint64_t args[6]);
/* Changes the thread in the stop that ends our call: it waits as 'rest' would have, with nothing to submit, and then returns with
 * the interrupted call's result, all on its own. See call_has_rest(). */
int arch_path_rest(pid_t tid, const ArchState *s, const ArchGadgets *g, const ArchFrame *f, const ArchCall *rest);
int arch_path_position(pid_t tid, const ArchGadgets *g, const ArchFrame *f, ArchPosition *ret);
/* In the stop that ends our call: 0 and its result (negative errno), or -EBADMSG if it is not that stop. */
int arch_path_result(pid_t tid, const ArchGadgets *g, const ArchFrame *f, long *ret);
/* Changes the thread: back to the interrupted state; the kernel's own restart logic follows on detaching. */
int arch_state_restore(pid_t tid, const ArchState *s);

/* What a filter sees of our calls. */
uint32_t arch_audit(void);
long arch_nr_prctl(void);
long arch_nr_sigreturn(void);
long arch_nr_restart(void);
/* Where the calls return to, as seccomp reports it. */
uint64_t arch_call_ip(const ArchGadgets *g);
uint64_t arch_sigreturn_ip(const ArchGadgets *g);
