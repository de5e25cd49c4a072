/* vmoec bench: time per step and per kernel, next to the peaks of this machine measured in the same run with
 * the same threads. Images and labels are random: neither values nor their order matter for the time, except
 * through the load of the experts. */
#include "driver/driver.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct KernelTime {
    const char *name;
    int calls;                    /* per step */
    double seconds, flops, bytes; /* per step, all calls */
} KernelTime;

typedef struct Bench {
    Session *s;
    const Program *p;
    bool training;
    int threads, steps;
    int64_t step;                        /* steps run so far */
    double step_seconds, macs_per_image; /* step: the median */
    double p90, p99;                     /* seconds that 90 and 99 % of the steps did not exceed */
    double peak_gflops, peak_gbs;
    double load; /* rows of the fullest expert over the mean */
    Overhead moe;
    KernelTime *kernel;
    int nkernel;
} Bench;

static void fill_inputs(Bench *b, const IrGraph *g) {
    IR_FOR (n, g) {
        if (n->op != OP_input) continue;
        void *data = vm_engine_data(b->s->engine, b->p->index, ir_str(n, ATTR_input_name));
        if (data) fill_input(g, n, 1, data);
    }
}

/* A learning rate so small that random labels do no harm over any number of steps. */
static void set_step(Bench *b) {
    float *x = vm_engine_data(b->s->engine, b->p->index, VM_INPUT_STEP);
    if (!x) return;
    double t = (double)(b->step + 1);
    x[0] = 1e-5f;
    x[1] = (float)(1 - pow(b->s->pass.adamw.beta1, t));
    x[2] = (float)(1 - pow(b->s->pass.adamw.beta2, t));
    x[3] = 0;
}

static double one_step(Bench *b) {
    set_step(b);
    double t0 = drv_seconds();
    vm_engine_run(b->s->engine, b->p->index, 0, (uint64_t)b->step++);
    return drv_seconds() - t0;
}

static int by_value(const void *x, const void *y) {
    double a = *(const double *)x, b = *(const double *)y;
    return (a > b) - (a < b);
}

/* The smallest time that at least `share` of the n sorted times do not exceed. */
static double percentile(const double *t, int n, double share) {
    int i = (int)ceil(share * n) - 1;
    return t[i < 0 ? 0 : i];
}

static void time_steps(Bench *b, int steps) {
    double warm = 1e9;
    for (int i = 0; i < 3; i++) {
        double t = one_step(b);
        if (t < warm) warm = t;
    }
    if (!steps) steps = (int)fmin(fmax(2.0 / fmax(warm, 1e-6), 9), 2000);
    double *t = ARENA_ARRAY(b->s->arena, double, steps);
    for (int i = 0; i < steps; i++) t[i] = one_step(b);
    qsort(t, (size_t)steps, sizeof *t, by_value);
    b->steps = steps;
    b->p90 = percentile(t, steps, 0.90);
    b->p99 = percentile(t, steps, 0.99);
    b->step_seconds = steps % 2 ? t[steps / 2] : 0.5 * (t[steps / 2 - 1] + t[steps / 2]);
}

static KernelTime *kernel(Bench *b, const char *name) {
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

/* Tasks that run the same kernel are one row. */
static void time_kernels(Bench *b) {
    const VmProgram *p = b->p->code;
    double *seconds = ARENA_ARRAY(b->s->arena, double, p->ntask + 1);
    int runs = b->steps < 20 ? b->steps : 20;
    for (int i = 0; i < runs; i++) {
        set_step(b);
        vm_engine_profile(b->s->engine, b->p->index, 0, (uint64_t)b->step++, seconds);
    }
    b->kernel = ARENA_ARRAY(b->s->arena, KernelTime, p->ntask + 1);
    for (int i = 0; i < p->ntask; i++) {
        KernelTime *k = kernel(b, p->task[i].name);
        k->calls++;
        k->seconds += seconds[i] / runs;
        k->flops += p->task[i].flops;
        k->bytes += p->task[i].bytes;
    }
    qsort(b->kernel, (size_t)b->nkernel, sizeof *b->kernel, by_time);
}

/* ---- results --------------------------------------------------------------------------------------- */

static double step_flops(const Bench *b) {
    return (b->training ? 6 : 2) * b->macs_per_image * (double)b->p->batch;
}

static double mfu(const Bench *b) {
    return step_flops(b) / b->step_seconds / (1e9 * b->peak_gflops);
}

/* Which of the two peaks gives the longer least time. */
static const char *bound(const Bench *b, const KernelTime *k) {
    return k->flops / b->peak_gflops > k->bytes / b->peak_gbs ? "compute" : "memory";
}

static double rate(double amount, double seconds) {
    return seconds > 0 ? 1e-9 * amount / seconds : 0;
}

static void print_table(const Bench *b) {
    const Session *s = b->s;
    printf("%s of %s, %s, %lld images per step, %d thread%s, f32\n", s->model, s->path,
           b->training ? "training" : "inference", (long long)b->p->batch, b->threads,
           b->threads == 1 ? "" : "s");
    printf("step      %10.3f ms   median of %d, %.0f images/s\n", 1e3 * b->step_seconds, b->steps,
           (double)b->p->batch / b->step_seconds);
    if (!b->training)
        printf("latency   %10.3f ms   median, %.3f ms p90, %.3f ms p99\n", 1e3 * b->step_seconds,
               1e3 * b->p90, 1e3 * b->p99);
    printf("useful    %10.3f GFLOP per step, %.1f GFLOP/s, %.1f %% of the f32 peak\n", 1e-9 * step_flops(b),
           rate(step_flops(b), b->step_seconds), 100 * mfu(b));
    printf("machine   %10.1f GFLOP/s f32 FMA, %.1f GB/s copy, measured now\n", b->peak_gflops, b->peak_gbs);
    if (b->moe.known)
        printf("routing   %10.1f %%    over plain layers on as many rows (%.3f against %.3f ms without "
               "optimizer "
               "updates); %s, fullest expert %.2f x the mean\n",
               100 * b->moe.overhead, 1e3 * b->moe.seconds, 1e3 * b->moe.dense_seconds, s->routing.text,
               b->load);
    double compile = s->seconds_frontend + s->seconds_passes + s->seconds_codegen;
    printf("compiled  %10.1f ms   %d distinct kernels\n\n", 1e3 * compile,
           cg_module_stats(s->module)->kernels);
    printf("%-48s %5s %9s %6s %9s %8s %8s\n", "kernel", "calls", "ms", "%", "GFLOP/s", "GB/s", "bound");
    double total = 0;
    for (int i = 0; i < b->nkernel; i++) total += b->kernel[i].seconds;
    for (int i = 0; i < b->nkernel; i++) {
        const KernelTime *k = &b->kernel[i];
        printf("%-48s %5d %9.3f %6.1f %9.1f %8.1f %8s\n", k->name, k->calls, 1e3 * k->seconds,
               100 * k->seconds / total, rate(k->flops, k->seconds), rate(k->bytes, k->seconds), bound(b, k));
    }
}

static void print_json(const Bench *b) {
    const Session *s = b->s;
    json_t *kernels = json_array();
    for (int i = 0; i < b->nkernel; i++) {
        const KernelTime *k = &b->kernel[i];
        json_array_append_new(kernels,
                              json_pack("{s:s, s:i, s:o, s:o, s:o, s:s}", "name", k->name, "calls", k->calls,
                                        "ms", drv_json_number(1e3 * k->seconds), "gflops",
                                        drv_json_number(rate(k->flops, k->seconds)), "gbs",
                                        drv_json_number(rate(k->bytes, k->seconds)), "bound", bound(b, k)));
    }
    double compile = s->seconds_frontend + s->seconds_passes + s->seconds_codegen;
    json_t *j = json_pack("{s:o, s:s, s:s, s:I, s:i, s:s}", "file", drv_json_text(s->path), "model", s->model,
                          "mode", b->training ? "train" : "infer", "batch", (json_int_t)b->p->batch,
                          "threads", b->threads, "precision", "f32");
    json_object_set_new(j, "steps", json_integer(b->steps));
    json_object_set_new(j, "step_ms", drv_json_number(1e3 * b->step_seconds));
    json_object_set_new(j, "latency_ms",
                        json_pack("{s:o, s:o, s:o}", "p50", drv_json_number(1e3 * b->step_seconds), "p90",
                                  drv_json_number(1e3 * b->p90), "p99", drv_json_number(1e3 * b->p99)));
    json_object_set_new(j, "images_per_second", drv_json_number((double)b->p->batch / b->step_seconds));
    json_object_set_new(j, "flops", drv_json_number(step_flops(b)));
    json_object_set_new(j, "peak_gflops", drv_json_number(b->peak_gflops));
    json_object_set_new(j, "peak_gbs", drv_json_number(b->peak_gbs));
    json_object_set_new(j, "mfu", drv_json_number(mfu(b)));
    json_object_set_new(j, "moe_overhead", b->moe.known ? drv_json_number(b->moe.overhead) : json_null());
    if (b->moe.known) {
        json_object_set_new(j, "routing", json_string(s->routing.text));
        json_object_set_new(j, "expert_load_max", drv_json_number(b->load));
        json_object_set_new(j, "no_update_ms", drv_json_number(1e3 * b->moe.seconds));
        json_object_set_new(j, "dense_no_update_ms", drv_json_number(1e3 * b->moe.dense_seconds));
    }
    json_object_set_new(j, "compile_ms", drv_json_number(1e3 * compile));
    json_object_set_new(j, "kernels", kernels);
    drv_print_json(j);
}

static VmStatus fit(Bench *b, const Args *a) {
    const char *budget = args_str(a, OPT_bench_mem_budget);
    if (!budget) return VM_OK;
    VmStatus st = drv_parse_size(budget, "mem-budget", &b->s->budget.limit);
    if (st) return st;
    MemoryUse use = {.scratch = memory_scratch_ahead(b->threads), .process = memory_process_ahead(0)};
    st = session_fit(b->s, b->training, &use);
    if (!st) budget_print(stderr, b->s);
    return st;
}

static VmStatus bench(Bench *b, const Args *a) {
    Session *s = b->s;
    IrGraph *g = session_elaborate(s, s->batch);
    if (!g) return VM_INPUT;
    if (b->training && !model_has_loss(g)) return drv_fail(VM_INPUT, "%s has no loss to train on", s->model);
    b->threads = vm_threads((int)args_int(a, OPT_bench_threads, 0));
    VmStatus st = session_engine(s, b->threads);
    if (!st) st = fit(b, a);
    if (st) return st;
    VmError err = {{0}};
    b->p = session_program(s, b->training ? KIND_TRAIN : KIND_EVAL, s->batch, false, &err);
    if (!b->p) return drv_fail(VM_ENV, "%s", err.text);
    double t0 = drv_seconds();
    st = vm_engine_init(s->engine, s->train ? s->train->seed : 0, &err);
    if (st) return drv_fail(st, "%s", err.text);
    s->seconds_init = drv_seconds() - t0;
    b->macs_per_image = count_model(s->arena, g, s->batch).total.macs;
    fill_inputs(b, g);
    routing_fill(s, g, s->engine, b->p->index);
    session_first_step(s);
    time_steps(b, (int)args_int(a, OPT_bench_steps, 0));
    time_kernels(b);
    b->load = routing_load(g, s->engine, b->p->index);
    st = bench_overhead(s, g, b->p, b->steps, &b->moe);
    if (st) return st;
    vm_measure_peaks(b->threads, &b->peak_gflops, &b->peak_gbs);
    if (args_flag(a, OPT_bench_json))
        print_json(b);
    else
        print_table(b);
    if (args_flag(a, OPT_bench_time)) session_print_times(s);
    return VM_OK;
}

VmStatus cmd_bench(const Args *a) {
    const char *mode = args_str(a, OPT_bench_mode), *precision = args_str(a, OPT_bench_precision);
    if (mode && strcmp(mode, "train") && strcmp(mode, "infer"))
        return drv_fail(VM_USAGE, "--mode is train or infer, not '%s'", mode);
    if (precision && !strcmp(precision, "bf16"))
        return drv_fail(VM_USAGE, "this version computes in f32 only; bf16 is not there yet");
    if (precision && strcmp(precision, "f32"))
        return drv_fail(VM_USAGE, "--precision is f32, not '%s'", precision);
    Session s;
    Routing routing;
    VmStatus st = routing_parse(args_str(a, OPT_bench_routing), &routing);
    if (st) return st;
    st = session_open(&s, a->operand[0], &a->value[OPT_bench_set], args_str(a, OPT_bench_model), false);
    if (st) return st;
    s.routing = routing;
    s.no_cache = args_flag(a, OPT_bench_no_cache);
    s.started = a->started;
    s.batch = args_int(a, OPT_bench_batch, s.batch);
    Bench b = {.s = &s, .training = !mode || !strcmp(mode, "train")};
    st = bench(&b, a);
    session_close(&s);
    return st;
}
