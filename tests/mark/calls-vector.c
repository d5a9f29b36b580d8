/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Vector registers of a thread that runs. One that has used AMX has a larger state from then on, though nothing is in it;
 * a frame that was made without knowing so loses the rest of the vectors when the thread goes back alone. */

#include <errno.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tests/mark/calls.h"

#ifdef __x86_64__
#include <cpuid.h>

#define ARCH_REQ_XCOMP_PERM 0x1023
#define XFEATURE_TILEDATA 18
#define CPUID_AMX_TILE (1U << 24) /* edx of leaf 7 */
#define CPUID_AVX2 (1U << 5)      /* ebx of leaf 7 */
#define VECTORS 16
#define SPIN 2000000UL

static bool cpu_has(unsigned ebx_bits, unsigned edx_bits) {
        unsigned a, b, c, d;

        errno = EOPNOTSUPP;
        return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & ebx_bits) == ebx_bits && (d & edx_bits) == edx_bits;
}
static bool setup_vectors(Case *c) {
        (void) c;
        return cpu_has(CPUID_AVX2, 0);
}
static bool setup_amx(Case *c) {
        (void) c;
        return cpu_has(CPUID_AVX2, CPUID_AMX_TILE) && syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_TILEDATA) == 0;
}

/* Uses a tile and lets it go. */
static void tile_use(void) {
        struct __attribute__((packed, aligned(64))) {
                uint8_t palette, start;
                uint8_t reserved[14];
                uint16_t bytes[16];
                uint8_t rows[16];
        } configuration = { .palette = 1, .bytes = { 64 }, .rows = { 16 } };

        __asm__ volatile("ldtilecfg %0\n\ttilezero %%tmm0\n\ttilerelease" : : "m"(configuration));
}

#define EACH(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7) DO(8) DO(9) DO(10) DO(11) DO(12) DO(13) DO(14) DO(15)
#define LOAD(N) "vmovdqu 32*" #N "(%[in]), %%ymm" #N "\n\t"
#define STORE(N) "vmovdqu %%ymm" #N ", 32*" #N "(%[out])\n\t"

static void round_vectors(Case *c) {
        uint8_t in[VECTORS][32], out[VECTORS][32];
        unsigned long turns = SPIN;

        if (c->kind->choice)
                tile_use();
        for (unsigned i = 0; i < sizeof(in); i++)
                ((uint8_t *) in)[i] = (uint8_t) below(256);
        __asm__ volatile(EACH(LOAD) "1: dec %[turns]\n\tjnz 1b\n\t" EACH(STORE) "vzeroupper"
                         : [turns] "+r"(turns)
                         : [in] "r"(in), [out] "r"(out)
                         : "memory", "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10",
                           "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
        for (unsigned i = 0; i < sizeof(in); i++)
                if (((uint8_t *) in)[i] != ((uint8_t *) out)[i]) {
                        effect(c, "byte of the vectors", (long) i, -1);
                        break;
                }
}

const Kind vector_kinds[] = {
        { "vectors", setup_vectors, NULL, round_vectors, .need = NEED_ROUNDS | NEED_DEATHS },
        { "vectors-after-amx", setup_amx, NULL, round_vectors, .choice = 1, .need = NEED_ROUNDS | NEED_DEATHS },
        {},
};
#else
const Kind vector_kinds[] = { {} };
#endif
