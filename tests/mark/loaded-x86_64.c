/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "tests/mark/loaded.h"

typedef struct Registers {
        uint64_t general[16]; /* rax rbx rcx rdx rsi rdi rbp r8..r15, flags last */
        unsigned char vector[16][32];
        uint64_t red_zone[14];
} Registers;

/* Loads everything from 'in', then either makes a system call or spins 'count' times, and stores it to 'out'. */
void run_loaded(const Registers *in, Registers *out, uint64_t count);
__asm__(".text\n.globl run_loaded\n.type run_loaded,@function\nrun_loaded:\n"
        "push %rbx\npush %rbp\npush %r12\npush %r13\npush %r14\npush %r15\n"
        "sub $40,%rsp\nmov %rsi,(%rsp)\nmov %rdx,8(%rsp)\nmov %rsp,16(%rsp)\n"
        "mov %rdi,%rax\n"
        ".set i,0\n.rept 14\nmov 640+i*8(%rax),%rcx\nmov %rcx,-8-i*8(%rsp)\n.set i,i+1\n.endr\n"
        "vmovdqu 128(%rax),%ymm0\nvmovdqu 160(%rax),%ymm1\nvmovdqu 192(%rax),%ymm2\nvmovdqu 224(%rax),%ymm3\n"
        "vmovdqu 256(%rax),%ymm4\nvmovdqu 288(%rax),%ymm5\nvmovdqu 320(%rax),%ymm6\nvmovdqu 352(%rax),%ymm7\n"
        "vmovdqu 384(%rax),%ymm8\nvmovdqu 416(%rax),%ymm9\nvmovdqu 448(%rax),%ymm10\nvmovdqu 480(%rax),%ymm11\n"
        "vmovdqu 512(%rax),%ymm12\nvmovdqu 544(%rax),%ymm13\nvmovdqu 576(%rax),%ymm14\nvmovdqu 608(%rax),%ymm15\n"
        "mov 8(%rax),%rbx\nmov 16(%rax),%rcx\nmov 24(%rax),%rdx\nmov 32(%rax),%rsi\nmov 40(%rax),%rdi\n"
        "mov 48(%rax),%rbp\nmov 56(%rax),%r8\nmov 64(%rax),%r9\nmov 72(%rax),%r10\nmov 80(%rax),%r11\n"
        "mov 88(%rax),%r12\nmov 96(%rax),%r13\nmov 104(%rax),%r14\nmov 112(%rax),%r15\n"
        "mov (%rax),%rax\n"
        "cmpq $0,8(%rsp)\njne 1f\nsyscall\njmp 2f\n"
        "1: decq 8(%rsp)\njnz 1b\n"
        "2:\n"
        "cmp %rsp,16(%rsp)\nje 3f\nud2\n3:\n"
        "push %rax\npushf\nmov 16(%rsp),%rax\npop 120(%rax)\npop (%rax)\n" /* clobbers two slots of red zone */
        "mov %rbx,8(%rax)\nmov %rcx,16(%rax)\nmov %rdx,24(%rax)\nmov %rsi,32(%rax)\nmov %rdi,40(%rax)\n"
        "mov %rbp,48(%rax)\nmov %r8,56(%rax)\nmov %r9,64(%rax)\nmov %r10,72(%rax)\nmov %r11,80(%rax)\n"
        "mov %r12,88(%rax)\nmov %r13,96(%rax)\nmov %r14,104(%rax)\nmov %r15,112(%rax)\n"
        "vmovdqu %ymm0,128(%rax)\nvmovdqu %ymm1,160(%rax)\nvmovdqu %ymm2,192(%rax)\nvmovdqu %ymm3,224(%rax)\n"
        "vmovdqu %ymm4,256(%rax)\nvmovdqu %ymm5,288(%rax)\nvmovdqu %ymm6,320(%rax)\nvmovdqu %ymm7,352(%rax)\n"
        "vmovdqu %ymm8,384(%rax)\nvmovdqu %ymm9,416(%rax)\nvmovdqu %ymm10,448(%rax)\nvmovdqu %ymm11,480(%rax)\n"
        "vmovdqu %ymm12,512(%rax)\nvmovdqu %ymm13,544(%rax)\nvmovdqu %ymm14,576(%rax)\nvmovdqu %ymm15,608(%rax)\n"
        ".set i,0\n.rept 14\nmov -8-i*8(%rsp),%rcx\nmov %rcx,640+i*8(%rax)\n.set i,i+1\n.endr\n"
        "vzeroupper\nadd $40,%rsp\npop %r15\npop %r14\npop %r13\npop %r12\npop %rbp\npop %rbx\nret\n"
        ".size run_loaded,.-run_loaded\n");

bool loaded_supported(void) {
        return __builtin_cpu_supports("avx");
}

static void registers_fill(Registers *r) {
        for (unsigned i = 0; i < 16; i++)
                r->general[i] = loaded_pattern(i);
        for (unsigned i = 0; i < 16; i++)
                for (unsigned k = 0; k < 4; k++) {
                        uint64_t v = loaded_pattern(i * 4 + k);
                        memcpy(&r->vector[i][k * 8], &v, 8);
                }
        for (unsigned i = 0; i < 14; i++)
                r->red_zone[i] = loaded_pattern(i);
}

static bool registers_check(const Registers *in, const Registers *out, bool call, Difference *ret) {
        for (unsigned i = 0; i < 15; i++)
                if (in->general[i] != out->general[i] && !(call && (i == 0 || i == 2 || i == 10))) {
                        *ret = (Difference) { "register", i, (long) out->general[i] };
                        return false;
                }
        for (unsigned i = 0; i < 16; i++)
                if (memcmp(in->vector[i], out->vector[i], 32) != 0) {
                        *ret = (Difference) { "vector register", i, 0 };
                        return false;
                }
        /* the two nearest slots are used by the saving itself */
        for (unsigned i = 2; i < 14; i++)
                if (in->red_zone[i] != out->red_zone[i]) {
                        *ret = (Difference) { "red zone", i, (long) out->red_zone[i] };
                        return false;
                }
        return true;
}

bool loaded_call(long nr, const long args[6], long *ret_result, Difference *ret) {
        Registers in, out;

        registers_fill(&in);
        in.general[0] = (uint64_t) nr;
        in.general[5] = (uint64_t) args[0];
        in.general[4] = (uint64_t) args[1];
        in.general[3] = (uint64_t) args[2];
        in.general[9] = (uint64_t) args[3]; /* r10 */
        in.general[7] = (uint64_t) args[4];
        in.general[8] = (uint64_t) args[5];
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
