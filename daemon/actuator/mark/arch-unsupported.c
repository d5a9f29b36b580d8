/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* For machines without a file of their own: the program says "unsupported" and touches nothing. arch_init() fails,
 * so that none of the others is ever called. */

#include <errno.h>

#include "daemon/actuator/mark/arch.h"

#define NOT_HERE { return -EOPNOTSUPP; }

int arch_init(void) NOT_HERE
int arch_gadgets_find(const MemoryMap *map _unused_, pid_t tid _unused_, ArchGadgets *ret _unused_) NOT_HERE
size_t arch_stack_need(void) {
        return SIZE_MAX / 2;
}
int arch_state_read(pid_t tid _unused_, const ThreadCall *seen _unused_, ArchState *ret _unused_) NOT_HERE
bool arch_state_is_settled(const ArchState *s _unused_) {
        return false;
}
int arch_thread_block_check(pid_t tid _unused_, uint64_t tls _unused_, uint64_t robust_list _unused_) NOT_HERE
uint64_t arch_state_sp(const ArchState *s _unused_) {
        return 0;
}
uint64_t arch_state_tls(const ArchState *s _unused_) {
        return 0;
}
uint64_t arch_state_ip(const ArchState *s _unused_) {
        return 0;
}
bool arch_state_in_call(const ArchState *s _unused_) {
        return false;
}
void arch_state_call(const ArchState *s _unused_, const ThreadCall *seen _unused_, ArchCall *ret) {
        *ret = (ArchCall) { .nr = -1 };
}
void arch_state_avoid_restart_call(ArchState *s _unused_) {
}
int arch_frame_build(const ArchState *s _unused_, const ArchGadgets *g _unused_, uint64_t nonce _unused_,
                     ArchFrame *ret _unused_) NOT_HERE
int arch_path_enter(pid_t tid _unused_, const ArchState *s _unused_, const ArchGadgets *g _unused_,
                    const ArchFrame *f _unused_, const uint64_t args[6] _unused_) NOT_HERE
int arch_path_rest(pid_t tid _unused_, const ArchState *s _unused_, const ArchGadgets *g _unused_,
                   const ArchFrame *f _unused_, const ArchCall *rest _unused_) NOT_HERE
int arch_path_position(pid_t tid _unused_, const ArchGadgets *g _unused_, const ArchFrame *f _unused_,
                       ArchPosition *ret _unused_) NOT_HERE
int arch_path_result(pid_t tid _unused_, const ArchGadgets *g _unused_, const ArchFrame *f _unused_,
                     long *ret _unused_) NOT_HERE
int arch_state_restore(pid_t tid _unused_, const ArchState *s _unused_) NOT_HERE
uint32_t arch_audit(void) {
        return 0;
}
long arch_nr_prctl(void) NOT_HERE
long arch_nr_sigreturn(void) NOT_HERE
long arch_nr_restart(void) NOT_HERE
uint64_t arch_call_ip(const ArchGadgets *g _unused_) {
        return 0;
}
uint64_t arch_sigreturn_ip(const ArchGadgets *g _unused_) {
        return 0;
}
