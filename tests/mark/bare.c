/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A program without any library: as 32 bit one, as x32 one, and as one that has no return from signal handlers to use. */

#ifdef __i386__
__asm__(".globl _start\n_start:\n"
        "mov $4,%eax\nmov $1,%ebx\nmov $text,%ecx\nmov $6,%edx\nint $0x80\n"
        "1: mov $3,%eax\nxor %ebx,%ebx\nmov $buffer,%ecx\nmov $1,%edx\nint $0x80\ntest %eax,%eax\njg 1b\n"
        "mov $1,%eax\nxor %ebx,%ebx\nint $0x80\n"
        ".section .rodata\ntext: .ascii \"ready\\n\"\n.bss\nbuffer: .space 16\n.text\n");
#elif defined(__aarch64__)
__asm__(".globl _start\n_start:\n"
        "mov x8,#64\nmov x0,#1\nadr x1,text\nmov x2,#6\nsvc #0\n"
        "1: mov x8,#63\nmov x0,#0\nadrp x1,buffer\nadd x1,x1,:lo12:buffer\nmov x2,#1\nsvc #0\ncmp x0,#0\nb.gt 1b\n"
        "mov x8,#93\nmov x0,#0\nsvc #0\n"
        "text: .ascii \"ready\\n\"\n.bss\nbuffer: .space 16\n.text\n");
#else
#ifdef __ILP32__
#define NUMBER(n) "$0x40000000+" #n
#else
#define NUMBER(n) "$" #n
#endif
__asm__(".globl _start\n_start:\n"
        "mov " NUMBER(1) ",%eax\nmov $1,%edi\nlea text(%rip),%rsi\nmov $6,%edx\nsyscall\n"
        "1: mov " NUMBER(0) ",%eax\nxor %edi,%edi\nlea buffer(%rip),%rsi\nmov $1,%edx\nsyscall\ntest %eax,%eax\njg 1b\n"
        "mov " NUMBER(60) ",%eax\nxor %edi,%edi\nsyscall\n"
        ".section .rodata\ntext: .ascii \"ready\\n\"\n.bss\nbuffer: .space 16\n.text\n");
#endif
