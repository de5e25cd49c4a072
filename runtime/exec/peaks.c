/* What this machine can do right now: f32 multiply-adds, bf16 dot products and copied bytes per
 * second of a whole team, measured, so that every utilisation we report is against the same machine
 * in the same state.
 *
 * Requires x86-64; uses AVX-512, else AVX2 with FMA, else SSE; bf16 only where the CPU has
 * AVX512_BF16. Does not: pin threads or wait for a quiet machine; it takes the best of several
 * short windows. */
#include "runtime/exec/internal.h"

#include <immintrin.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { WINDOWS = 5, ROUNDS = 4000 };

/* Each kernel runs `rounds` rounds of twelve independent multiply-adds, enough in flight to fill
 * two pipelines of latency four, and returns the number of floating point operations. One asm block
 * per round keeps all of them in registers whatever the compiler's options are. */
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

typedef double (*PeakKernel)(int64_t rounds);

static PeakKernel best_kernel(void) {
    if (__builtin_cpu_supports("avx512f")) return fma_avx512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return fma_avx2;
    return mul_add_sse;
}

/* All threads start together and work for the same time; operations per second of the team. */
static double flops_window(int threads, PeakKernel kernel, double seconds) {
    (void)threads; /* unused in a build without OpenMP, here and below */
    double total = 0;
    VmBarrier barrier = {0};
#pragma omp parallel num_threads(threads) reduction(+ : total)
    {
        (void)kernel(ROUNDS); /* wakes the wide units */
        vm_barrier_wait(&barrier, omp_get_num_threads(), 1000);
        double done = 0, start = vm_seconds(), now = start;
        while (now - start < seconds) {
            done += kernel(ROUNDS);
            now = vm_seconds();
        }
        total += done / (now - start);
    }
    return total;
}

static size_t copy_bytes(void) {
    long cache = sysconf(_SC_LEVEL3_CACHE_SIZE);
    /* source and target together are four times the cache */
    size_t bytes = cache > 0 ? 2 * (size_t)cache : (size_t)64 << 20;
    const size_t most = (size_t)256 << 20;
    return bytes < most ? bytes : most;
}

/* Seconds for the team to copy `bytes` once. */
static double copy_window(int threads, unsigned char *to, const unsigned char *from, size_t bytes) {
    (void)threads;
    VmBarrier barrier = {0};
    double start = 0, end = 0;
#pragma omp parallel num_threads(threads)
    {
        size_t n = (size_t)omp_get_num_threads(), me = (size_t)omp_get_thread_num();
        size_t begin = bytes / n * me, stop = me + 1 == n ? bytes : bytes / n * (me + 1);
        vm_barrier_wait(&barrier, (int)n, 1000);
        if (me == 0) start = vm_seconds();
        memcpy(to + begin, from + begin, stop - begin);
        vm_barrier_wait(&barrier, (int)n, 1000);
        if (me == 0) end = vm_seconds();
    }
    return end - start;
}

static double copy_rate(int threads) {
    size_t bytes = copy_bytes();
    VmBlock from, to;
    double best = 0;
    if (!vm_block_alloc(&from, bytes)) return 0;
    if (vm_block_alloc(&to, bytes)) {
        memset(from.data, 1, bytes); /* pages that were never written share one zero page */
        memset(to.data, 1, bytes);
        for (int i = 0; i < WINDOWS; i++) {
            double seconds = copy_window(threads, to.data, from.data, bytes);
            if (seconds > 0 && 2 * (double)bytes / seconds > best)
                best = 2 * (double)bytes / seconds;
        }
        vm_block_free(&to);
    }
    vm_block_free(&from);
    return best;
}

static double best_rate(int threads, PeakKernel kernel) {
    double best = 0;
    for (int i = 0; i < WINDOWS; i++) {
        double rate = flops_window(threads, kernel, 0.03);
        if (rate > best) best = rate;
    }
    return best * 1e-9;
}

double vm_measure_bf16_peak(int threads) {
    return __builtin_cpu_supports("avx512bf16") ? best_rate(vm_threads(threads), dot_bf16) : 0;
}

void vm_measure_peaks(int threads, double *gflops, double *gbs) {
    int n = vm_threads(threads);
    if (gflops) *gflops = best_rate(n, best_kernel());
    if (gbs) *gbs = copy_rate(n) * 1e-9;
}
