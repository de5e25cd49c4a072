/* Kernels that measure what an AArch64 CPU can do at most. Each runs `rounds` rounds of twelve
 * independent multiply-adds, enough in flight to fill two pipelines of latency four, and returns
 * the number of floating point operations. One asm block per round keeps all of them in registers
 * whatever the compiler's options are.
 *
 * Advanced SIMD, which every one has that runs our code; no code of ours multiplies pairs of bf16.
 */
#include "runtime/exec/internal.h"

#ifdef __aarch64__

#include <arm_neon.h>

enum { CHAINS = 12 };

#define EACH(op)                                                                                   \
    op("0") op("1") op("2") op("3") op("4") op("5") op("6") op("7") op("8") op("9") op("10")       \
        op("11")
#define FMA(i) "fmla %" i ".4s, %12.4s, %13.4s\n\t"

static double fma_neon(int64_t rounds) {
    float32x4_t x = vdupq_n_f32(0.999f), y = vdupq_n_f32(0.001f);
    float32x4_t a0 = y, a1 = y, a2 = y, a3 = y, a4 = y, a5 = y, a6 = y, a7 = y, a8 = y, a9 = y,
                a10 = y, a11 = y;
    for (int64_t r = 0; r < rounds; r++) {
        __asm__ volatile(EACH(FMA)
                         : "+w"(a0), "+w"(a1), "+w"(a2), "+w"(a3), "+w"(a4), "+w"(a5), "+w"(a6),
                           "+w"(a7), "+w"(a8), "+w"(a9), "+w"(a10), "+w"(a11)
                         : "w"(x), "w"(y));
    }
    return (double)rounds * CHAINS * 4 * 2;
}

VmPeakKernel vm_peak_f32(void) {
    return fma_neon;
}

VmPeakKernel vm_peak_bf16(void) {
    return NULL;
}

#endif
