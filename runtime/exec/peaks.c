/* What this machine can do right now: f32 multiply-adds, bf16 dot products and copied bytes per
 * second of a whole team, measured, so that every utilisation we report is against the same machine
 * in the same state.
 *
 * What it runs is the architecture's (peaks_x86.c, peaks_aarch64.c). Does not: pin threads or wait
 * for a quiet machine; it takes the best of several short windows. */
#include "runtime/exec/internal.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { WINDOWS = 5, ROUNDS = 4000 };

/* All threads start together and work for the same time; operations per second of the team. */
static double flops_window(int threads, VmPeakKernel kernel, double seconds) {
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

static double best_rate(int threads, VmPeakKernel kernel) {
    double best = 0;
    for (int i = 0; i < WINDOWS; i++) {
        double rate = flops_window(threads, kernel, 0.03);
        if (rate > best) best = rate;
    }
    return best * 1e-9;
}

double vm_measure_bf16_peak(int threads) {
    VmPeakKernel kernel = vm_peak_bf16();
    return kernel ? best_rate(vm_threads(threads), kernel) : 0;
}

void vm_measure_peaks(int threads, double *gflops, double *gbs) {
    int n = vm_threads(threads);
    if (gflops) *gflops = best_rate(n, vm_peak_f32());
    if (gbs) *gbs = copy_rate(n) * 1e-9;
}
