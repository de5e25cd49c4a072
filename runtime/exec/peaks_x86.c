/* Kernels that measure what an x86-64 CPU can do at most. Each runs `rounds` rounds of twelve
 * independent multiply-adds, enough in flight to fill two pipelines of latency four, and returns
 * the number of floating point operations. One asm block per round keeps all of them in registers
 * whatever the compiler's options are.
 *
 * AVX-512, else AVX2 with FMA, else SSE; bf16 only where the CPU has AVX512_BF16.
 */
#include "runtime/exec/internal.h"

#ifdef __x86_64__

#include <immintrin.h>

enum { CHAINS = 12 };

#define EACH(op)                                                                                   \
    op("0") op("1") op("2") op("3") op("4") op("5") op("6") op("7") op("8") op("9") op("10")       \
        op("11")
#define FMA(i) "vfmadd213ps %13, %12, %" i "\n\t"
#define MUL_ADD(i) "mulps %12, %" i "\n\taddps %13, %" i "\n\t"

#define PEAK_KERNEL(name, attributes, type, splat, lanes, constraint, op)                          \
    attributes static double name(int64_t rounds) {                                                \
        type x = splat(0.999f), y = splat(0.001f);                                                 \
        type a0 = y, a1 = y, a2 = y, a3 = y, a4 = y, a5 = y, a6 = y, a7 = y, a8 = y, a9 = y,       \
             a10 = y, a11 = y;                                                                     \
        for (int64_t r = 0; r < rounds; r++) {                                                     \
            __asm__ volatile(EACH(op)                                                              \
                             : "+" constraint(a0), "+" constraint(a1), "+" constraint(a2),         \
                               "+" constraint(a3), "+" constraint(a4), "+" constraint(a5),         \
                               "+" constraint(a6), "+" constraint(a7), "+" constraint(a8),         \
                               "+" constraint(a9), "+" constraint(a10), "+" constraint(a11)        \
                             : constraint(x), constraint(y));                                      \
        }                                                                                          \
        return (double)rounds * CHAINS * (lanes) * 2;                                              \
    }

PEAK_KERNEL(fma_avx512, __attribute__((target("avx512f"))), __m512, _mm512_set1_ps, 16, "v", FMA)
PEAK_KERNEL(fma_avx2, __attribute__((target("avx2,fma"))), __m256, _mm256_set1_ps, 8, "x", FMA)
PEAK_KERNEL(mul_add_sse, , __m128, _mm_set1_ps, 4, "x", MUL_ADD)

/* Each lane of a dot product multiplies two pairs. */
#define DOT(i) "vdpbf16ps %13, %12, %" i "\n\t"
PEAK_KERNEL(dot_bf16, __attribute__((target("avx512f"))), __m512, _mm512_set1_ps, 32, "v", DOT)

VmPeakKernel vm_peak_f32(void) {
    if (__builtin_cpu_supports("avx512f")) return fma_avx512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return fma_avx2;
    return mul_add_sse;
}

VmPeakKernel vm_peak_bf16(void) {
    return __builtin_cpu_supports("avx512bf16") ? dot_bf16 : NULL;
}

#endif
