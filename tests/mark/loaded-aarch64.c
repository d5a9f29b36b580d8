/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>
#include <sys/syscall.h>

#include "tests/mark/loaded.h"

#define CONDITION_FLAGS (UINT64_C(0xf) << 28)
#define NUMBER 8U
#define SCRATCH_FIRST 16U /* and the next: base and counter */

typedef struct Registers {
        uint64_t general[31], flags;
        unsigned char vector[32][16];
} Registers;

/* Loads everything from 'in', then either makes a system call or spins 'count' times, and stores it to 'out'. */
void run_loaded(const Registers *in, Registers *out, uint64_t count);
__asm__(".text\n.globl run_loaded\n.type run_loaded,%function\nrun_loaded:\n"
        "stp x29,x30,[sp,#-160]!\nstp x19,x20,[sp,#16]\nstp x21,x22,[sp,#32]\nstp x23,x24,[sp,#48]\n"
        "stp x25,x26,[sp,#64]\nstp x27,x28,[sp,#80]\nstp d8,d9,[sp,#96]\nstp d10,d11,[sp,#112]\n"
        "stp d12,d13,[sp,#128]\nstp d14,d15,[sp,#144]\n"
        "sub sp,sp,#32\nmov x3,sp\nstp x1,x3,[sp]\nmov x16,x0\nmov x17,x2\n"
        "ldr x3,[x16,#248]\nmsr nzcv,x3\nadd x3,x16,#256\n"
        ".irp n,0,2,4,6,8,10,12,14,16,18,20,22,24,26,28,30\n.set m,\\n\nldr q\\n,[x3,#m*16]\n.endr\n"
        ".irp n,1,3,5,7,9,11,13,15,17,19,21,23,25,27,29,31\n.set m,\\n\nldr q\\n,[x3,#m*16]\n.endr\n"
        ".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,18,19,20,21,22,23,24,25,26,27,28,29,30\n"
        "ldr x\\n,[x16,#\\n*8]\n.endr\n"
        "cbnz x17,1f\nsvc #0\nb 2f\n"
        "1: sub x17,x17,#1\ncbnz x17,1b\n"
        "2: ldr x16,[sp]\n"
        ".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,18,19,20,21,22,23,24,25,26,27,28,29,30\n"
        "str x\\n,[x16,#\\n*8]\n.endr\n"
        "mrs x3,nzcv\nstr x3,[x16,#248]\nadd x3,x16,#256\n"
        ".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31\n"
        "str q\\n,[x3,#\\n*16]\n.endr\n"
        "ldr x4,[sp,#8]\nmov x3,sp\ncmp x3,x4\nb.eq 3f\nbrk #1\n3:\n"
        "add sp,sp,#32\nldp d14,d15,[sp,#144]\nldp d12,d13,[sp,#128]\nldp d10,d11,[sp,#112]\nldp d8,d9,[sp,#96]\n"
        "ldp x27,x28,[sp,#80]\nldp x25,x26,[sp,#64]\nldp x23,x24,[sp,#48]\nldp x21,x22,[sp,#32]\n"
        "ldp x19,x20,[sp,#16]\nldp x29,x30,[sp],#160\nret\n.size run_loaded,.-run_loaded\n");

bool loaded_supported(void) {
        return true;
}

static void registers_fill(Registers *r) {
        for (unsigned i = 0; i < 31; i++)
                r->general[i] = loaded_pattern(i);
        r->flags = loaded_pattern(31) & CONDITION_FLAGS;
        for (unsigned i = 0; i < 32; i++)
                for (unsigned k = 0; k < 2; k++) {
                        uint64_t v = loaded_pattern(i * 2 + k);
                        memcpy(&r->vector[i][k * 8], &v, 8);
                }
}

/* The kernel leaves the number of restart_syscall() where that of the call was, after any stop. */
static bool is_restarted(unsigned i, const Registers *out) {
        return i == NUMBER && out->general[i] == SYS_restart_syscall;
}

static bool registers_check(const Registers *in, const Registers *out, bool call, Difference *ret) {
        for (unsigned i = 0; i < 31; i++)
                if (in->general[i] != out->general[i] && !(call && (i == 0 || is_restarted(i, out))) &&
                    i != SCRATCH_FIRST && i != SCRATCH_FIRST + 1) {
                        *ret = (Difference) { "register", i, (long) out->general[i] };
                        return false;
                }
        if (in->flags != out->flags) {
                *ret = (Difference) { "flags", 0, (long) out->flags };
                return false;
        }
        for (unsigned i = 0; i < 32; i++)
                if (memcmp(in->vector[i], out->vector[i], 16) != 0) {
                        *ret = (Difference) { "vector register", i, 0 };
                        return false;
                }
        return true;
}

bool loaded_call(long nr, const long args[6], long *ret_result, Difference *ret) {
        Registers in, out;

        registers_fill(&in);
        memcpy(in.general, args, 6 * sizeof(long));
        in.general[NUMBER] = (uint64_t) nr;
        run_loaded(&in, &out, 0);
        *ret_result = (long) out.general[0];
        return registers_check(&in, &out, true, ret);
}

bool loaded_spin(uint64_t count, Difference *ret) {
        Registers in, out;

        registers_fill(&in);
        in.general[0] = loaded_restart();
        run_loaded(&in, &out, count);
        return registers_check(&in, &out, false, ret);
}
