/* Time per step and per kernel beside this machine's measured peaks. Images are random numbers:
 * their values do not matter for the time, except through the load of experts. */
#include "trainer/program/program.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

enum { MAX_STEPS = 2000, RUNS = 20 };

typedef struct Row {
    const char *name;
    int calls;
    double seconds, flops, bytes;
} Row;

static void fill(VmModel *m, int program, const VmProgram *p) {
    int64_t classes = m->built->classes > 0 ? m->built->classes : 0;
    for (int i = 0; i < p->ntensor; i++) {
        const VmTensor *t = &p->tensor[i];
        if (t->role != VM_ROLE_INPUT || !strcmp(t->name, VM_INPUT_STEP)) continue;
        bool label = vm_input_use(t) == VM_USE_CLASS;
        vm_made_up_input(t, label ? classes : 0, 1, vm_engine_data(m->engine, program, t->name));
    }
}

static void set_step(VmModel *m, int program, int64_t step) {
    vm_step_scalars(&m->built->recipe->optimizer, 1e-5, step,
                    vm_engine_data(m->engine, program, VM_INPUT_STEP));
}

static double one_step(VmModel *m, int program, int64_t step) {
    set_step(m, program, step);
    double t0 = vm_seconds();
    vm_engine_run(m->engine, program, 0, (uint64_t)step);
    return vm_seconds() - t0;
}

static Row *row_of(Row *row, int *n, const char *name) {
    for (int i = 0; i < *n; i++)
        if (!strcmp(row[i].name, name)) return &row[i];
    row[*n].name = name;
    return &row[(*n)++];
}

static int by_time(const void *x, const void *y) {
    double a = ((const Row *)x)->seconds, b = ((const Row *)y)->seconds;
    return (a < b) - (a > b);
}

static int time_kernels(VmModel *m, int program, const VmProgram *p, int64_t step, Row *row) {
    double *all = ARENA_ARRAY(m->arena, double, RUNS *(int64_t)p->ntask); /* [task][run] */
    double *once = ARENA_ARRAY(m->arena, double, p->ntask);
    int n = 0;
    for (int r = 0; r < RUNS; r++) {
        memset(once, 0, (size_t)p->ntask * sizeof *once);
        set_step(m, program, step + r);
        vm_engine_profile(m->engine, program, 0, (uint64_t)(step + r), once);
        for (int t = 0; t < p->ntask; t++) all[(int64_t)t * RUNS + r] = once[t];
    }
    for (int t = 0; t < p->ntask; t++) {
        Row *k = row_of(row, &n, p->task[t].name);
        k->calls++;
        k->seconds += drv_median(all + (int64_t)t * RUNS, RUNS);
        k->flops += p->task[t].flops;
        k->bytes += p->task[t].bytes;
    }
    qsort(row, (size_t)n, sizeof *row, by_time);
    return n;
}

static void print(const Args *a, const VmModel *m, const VmProgram *p, bool training, int steps,
                  double seconds, const Row *row, int n) {
    int threads = vm_engine_threads(m->engine);
    double gflops, gbs, flops = (training ? 6 : 2) * p->macs;
    vm_measure_peaks(threads, &gflops, &gbs);
    if (a->o.json) {
        VmJson o = vm_json_object();
        vm_json_string(&o, "model", m->built->model);
        vm_json_string(&o, "mode", training ? "train" : "infer");
        vm_json_int(&o, "batch", p->batch);
        vm_json_int(&o, "threads", threads);
        vm_json_int(&o, "steps", steps);
        vm_json_number(&o, "step_ms", 1e3 * seconds);
        vm_json_number(&o, "images_per_second", (double)p->batch / seconds);
        vm_json_number(&o, "peak_gflops", gflops);
        vm_json_number(&o, "peak_gbs", gbs);
        vm_json_number(&o, "mfu", 1e-9 * flops / seconds / gflops);
        vm_json_print(stdout, &o);
        return;
    }
    printf("%s, %s, %lld images per step, %d thread%s\n", m->built->model,
           training ? "training" : "inference", (long long)p->batch, threads,
           threads == 1 ? "" : "s");
    printf("step      %10.3f ms   median of %d, %.0f images/s\n", 1e3 * seconds, steps,
           (double)p->batch / seconds);
    printf("useful    %10.3f GFLOP per step, %.1f %% of the f32 peak of %.1f GFLOP/s\n",
           1e-9 * flops, 100e-9 * flops / seconds / gflops, gflops);
    if (n) printf("\n%-48s %5s %9s %9s %8s\n", "kernel", "calls", "ms", "GFLOP/s", "GB/s");
    for (int i = 0; i < n; i++)
        printf("%-48s %5d %9.3f %9.1f %8.1f\n", row[i].name, row[i].calls, 1e3 * row[i].seconds,
               1e-9 * row[i].flops / row[i].seconds, 1e-9 * row[i].bytes / row[i].seconds);
}

static VmStatus bench(VmModel *m, const Args *a, bool training) {
    VmError err = {.text = ""};
    int program = vm_model_program(m, training ? VM_BUILT_TRAIN : VM_BUILT_EVAL,
                                   m->built->recipe->data.batch, &err);
    if (program < 0) return program_fail(err.status, &err);
    const VmProgram *p = NULL;
    for (int i = 0; i < m->built->nprogram; i++)
        if (m->index[i] == program) p = m->built->program[i].program;
    VmStatus s = vm_engine_init(m->engine, (uint64_t)m->built->recipe->seed, &err);
    if (s) return program_fail(s, &err);
    fill(m, program, p);
    double warm = 1e9;
    int64_t step = 0;
    for (; step < 3; step++) warm = fmin(warm, one_step(m, program, step));
    int steps = (int)opt_or(a->o.steps, (int64_t)fmin(fmax(2 / fmax(warm, 1e-6), 9), MAX_STEPS));
    double *t = ARENA_ARRAY(m->arena, double, steps);
    for (int i = 0; i < steps; i++) t[i] = one_step(m, program, step++);
    Row *row = ARENA_ARRAY(m->arena, Row, p->ntask + 1);
    int n = a->o.step_only || a->o.json ? 0 : time_kernels(m, program, p, step, row);
    print(a, m, p, training, steps, drv_median(t, steps), row, n);
    return VM_OK;
}

VmStatus program_bench(const Args *a) {
    VmModel m;
    const char *mode = a->o.mode;
    if (mode && strcmp(mode, "train") && strcmp(mode, "infer"))
        return drv_fail(VM_USAGE, "--mode is train or infer, not '%s'", mode);
    VmStatus s = program_open(a, &m);
    if (s) return s;
    s = bench(&m, a, !mode || !strcmp(mode, "train"));
    vm_model_close(&m);
    return s;
}
