/* Times a program: whole steps, and its tasks one by one. Requires an engine that holds the
 * program, with its inputs filled in. Medians, because machines are shared. */
#include "driver/bench/bench.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_STEPS = 2000 };
#define WARM_SECONDS 1

void bench_set_step(Bench *b) {
    vm_step_scalars(&b->s->pass.optimizer, 1e-5, b->step,
                    vm_engine_data(b->s->engine, b->index, VM_INPUT_STEP));
}

static double one_step(Bench *b) {
    bench_set_step(b);
    double t0 = vm_seconds();
    vm_engine_run(b->s->engine, b->index, 0, (uint64_t)b->step++);
    return vm_seconds() - t0;
}

/* The smallest time that at least `share` of the n sorted times do not exceed. */
static double percentile(const double *t, int n, double share) {
    int i = (int)ceil(share * n) - 1;
    return t[i < 0 ? 0 : i];
}

void bench_time_steps(Bench *b, int steps, double seconds) {
    double warm = 1e9, spent = 0;
    for (int i = 0; i < 3 && spent < WARM_SECONDS; i++) {
        double t = one_step(b);
        warm = fmin(warm, t);
        spent += t;
    }
    if (!steps) steps = (int)fmin(fmax(seconds / fmax(warm, 1e-6), 9), MAX_STEPS);
    double *t = ARENA_ARRAY(b->s->arena, double, steps);
    for (int i = 0; i < steps; i++) t[i] = one_step(b);
    b->steps = steps;
    b->step_seconds = drv_median(t, steps); /* sorts */
    b->p90 = percentile(t, steps, 0.90);
    b->p99 = percentile(t, steps, 0.99);
}

static KernelTime *row(Bench *b, const char *name) {
    for (int i = 0; i < b->nkernel; i++)
        if (!strcmp(b->kernel[i].name, name)) return &b->kernel[i];
    b->kernel[b->nkernel].name = name;
    return &b->kernel[b->nkernel++];
}

static int by_time(const void *x, const void *y) {
    const KernelTime *a = x, *b = y;
    if (a->seconds != b->seconds) return a->seconds < b->seconds ? 1 : -1;
    return strcmp(a->name, b->name);
}

void bench_time_kernels(Bench *b, int runs) {
    const VmProgram *p = b->code;
    double *once = ARENA_ARRAY(b->s->arena, double, p->ntask + 1);
    double *all = ARENA_ARRAY(b->s->arena, double, (int64_t)p->ntask *runs + 1); /* [task][run] */
    for (int i = 0; i < runs; i++) {
        bench_set_step(b);
        memset(once, 0, (size_t)p->ntask * sizeof *once);
        vm_engine_profile(b->s->engine, b->index, 0, (uint64_t)b->step++, once);
        for (int t = 0; t < p->ntask; t++) all[(int64_t)t * runs + i] = once[t];
    }
    b->kernel = ARENA_ARRAY(b->s->arena, KernelTime, p->ntask + 1);
    b->nkernel = 0;
    for (int t = 0; t < p->ntask; t++) {
        KernelTime *k = row(b, p->task[t].name);
        k->calls++;
        k->seconds += drv_median(all + (int64_t)t * runs, runs);
        k->flops += p->task[t].flops;
        k->bytes += p->task[t].bytes;
        k->bf16 = p->task[t].bf16;
    }
    qsort(b->kernel, (size_t)b->nkernel, sizeof *b->kernel, by_time);
}
