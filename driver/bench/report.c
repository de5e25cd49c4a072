/* What vmoec bench found, as a table for people and as JSON. The roof of a kernel is the roofline
 * model's: the least time its arithmetic needs at the measured peak of its number format or its
 * bytes at the measured copy bandwidth, whichever is longer. Bytes are counted as if every operand
 * came from memory once. */
#include "driver/bench/bench.h"

#include <math.h>

double bench_rate(double amount, double seconds) {
    return seconds > 0 ? 1e-9 * amount / seconds : 0;
}

static double compute_seconds(const Bench *b, const KernelTime *k) {
    double peak = k->bf16 && b->bf16_gflops > 0 ? b->bf16_gflops : b->peak_gflops;
    return k->flops / (1e9 * peak);
}

static double memory_seconds(const Bench *b, const KernelTime *k) {
    return k->bytes / (1e9 * b->peak_gbs);
}

const char *bench_bound(const Bench *b, const KernelTime *k) {
    return compute_seconds(b, k) > memory_seconds(b, k) ? "compute" : "memory";
}

double bench_roof(const Bench *b, const KernelTime *k) {
    return k->seconds > 0 ? fmax(compute_seconds(b, k), memory_seconds(b, k)) / k->seconds : 0;
}

double bench_total(const Bench *b) {
    double total = 0;
    for (int i = 0; i < b->nkernel; i++) total += b->kernel[i].seconds;
    return total;
}

static double step_flops(const Bench *b) {
    return (b->training ? 6 : 2) * b->macs_per_image * (double)b->code->batch;
}

static double mfu(const Bench *b) {
    return step_flops(b) / b->step_seconds / (1e9 * b->peak_gflops);
}

static double compile_seconds(const Session *s) {
    return s->times.frontend + s->times.passes + s->times.codegen;
}

static const char *precision_name(const Session *s) {
    return s->bf16 ? "bf16" : "f32";
}

void bench_print_kernels(const Bench *b) {
    printf("%-48s %5s %9s %6s %9s %8s %6s %8s\n", "kernel", "calls", "ms", "%", "GFLOP/s", "GB/s",
           "roof %", "bound");
    double total = bench_total(b);
    for (int i = 0; i < b->nkernel; i++) {
        const KernelTime *k = &b->kernel[i];
        printf("%-48s %5d %9.3f %6.1f %9.1f %8.1f %6.1f %8s\n", k->name, k->calls, 1e3 * k->seconds,
               100 * k->seconds / total, bench_rate(k->flops, k->seconds),
               bench_rate(k->bytes, k->seconds), 100 * bench_roof(b, k), bench_bound(b, k));
    }
}

void bench_print_table(const Bench *b) {
    const Session *s = b->s;
    printf("%s of %s, %s, %lld images per step, %d thread%s, %s\n", s->model, s->path,
           b->training ? "training" : "inference", (long long)b->code->batch, b->threads,
           b->threads == 1 ? "" : "s", precision_name(s));
    printf("step      %10.3f ms   median of %d, %.0f images/s\n", 1e3 * b->step_seconds, b->steps,
           (double)b->code->batch / b->step_seconds);
    if (!b->training)
        printf("latency   %10.3f ms   median, %.3f ms p90, %.3f ms p99\n", 1e3 * b->step_seconds,
               1e3 * b->p90, 1e3 * b->p99);
    printf("useful    %10.3f GFLOP per step, %.1f GFLOP/s, %.1f %% of the f32 peak\n",
           1e-9 * step_flops(b), bench_rate(step_flops(b), b->step_seconds), 100 * mfu(b));
    printf("machine   %10.1f GFLOP/s f32 FMA, %.1f GB/s copy, measured now\n", b->peak_gflops,
           b->peak_gbs);
    if (b->bf16_gflops > 0)
        printf("          %10.1f GFLOP/s bf16 dot products, of which the step reaches %.1f %%\n",
               b->bf16_gflops, 100 * bench_rate(step_flops(b), b->step_seconds) / b->bf16_gflops);
    if (b->moe.known)
        printf("routing   %10.1f %%    over plain layers on as many rows (%.3f against %.3f ms "
               "without "
               "optimizer "
               "updates); %s, fullest expert %.2f x the mean\n",
               100 * b->moe.overhead, 1e3 * b->moe.seconds, 1e3 * b->moe.dense_seconds,
               b->routing.text, b->load);
    printf("compiled  %10.1f ms   %d distinct kernels\n", 1e3 * compile_seconds(s),
           cg_module_stats(s->module)->kernels);
    printf("memory    %10.1f MiB held by this process at most\n", (double)b->peak_rss / 1048576.0);
    if (!b->nkernel) return;
    putchar('\n');
    bench_print_kernels(b);
}

VmJson bench_kernels_json(const Bench *b) {
    VmJson list = vm_json_list();
    for (int i = 0; i < b->nkernel; i++) {
        const KernelTime *k = &b->kernel[i];
        VmJson o = vm_json_object();
        vm_json_string(&o, "name", k->name);
        vm_json_int(&o, "calls", k->calls);
        vm_json_number(&o, "ms", 1e3 * k->seconds);
        vm_json_number(&o, "gflops", bench_rate(k->flops, k->seconds));
        vm_json_number(&o, "gbs", bench_rate(k->bytes, k->seconds));
        vm_json_number(&o, "roof", bench_roof(b, k));
        vm_json_string(&o, "bound", bench_bound(b, k));
        vm_json_put(&list, NULL, o);
    }
    return list;
}

static VmJson latency_json(const Bench *b) {
    VmJson o = vm_json_object();
    vm_json_number(&o, "p50", 1e3 * b->step_seconds);
    vm_json_number(&o, "p90", 1e3 * b->p90);
    vm_json_number(&o, "p99", 1e3 * b->p99);
    return o;
}

void bench_print_json(const Bench *b) {
    const Session *s = b->s;
    VmJson o = vm_json_object();
    vm_json_string(&o, "file", s->path);
    vm_json_string(&o, "model", s->model);
    vm_json_string(&o, "mode", b->training ? "train" : "infer");
    vm_json_int(&o, "batch", b->code->batch);
    vm_json_int(&o, "threads", b->threads);
    vm_json_string(&o, "precision", precision_name(s));
    vm_json_int(&o, "steps", b->steps);
    vm_json_number(&o, "step_ms", 1e3 * b->step_seconds);
    vm_json_put(&o, "latency_ms", latency_json(b));
    vm_json_number(&o, "images_per_second", (double)b->code->batch / b->step_seconds);
    vm_json_number(&o, "flops", step_flops(b));
    vm_json_number(&o, "peak_gflops", b->peak_gflops);
    vm_json_number(&o, "peak_bf16_gflops", s->bf16 ? b->bf16_gflops : NAN);
    vm_json_number(&o, "peak_gbs", b->peak_gbs);
    vm_json_number(&o, "mfu", mfu(b));
    vm_json_number(&o, "moe_overhead", b->moe.known ? b->moe.overhead : NAN);
    if (b->moe.known) {
        vm_json_string(&o, "routing", b->routing.text);
        vm_json_number(&o, "expert_load_max", b->load);
        vm_json_number(&o, "no_update_ms", 1e3 * b->moe.seconds);
        vm_json_number(&o, "dense_no_update_ms", 1e3 * b->moe.dense_seconds);
    }
    vm_json_number(&o, "compile_ms", 1e3 * compile_seconds(s));
    vm_json_int(&o, "peak_rss", b->peak_rss);
    vm_json_put(&o, "kernels", bench_kernels_json(b));
    vm_json_print(stdout, &o);
}
