/* What vmoec bench found, as a table for people and as JSON. The roof of a kernel is the roofline
 * model's: the least time its arithmetic needs at the measured peak of its number format or its
 * bytes at the measured copy bandwidth, whichever is longer. Bytes are counted as if every operand
 * came from memory once. */
#include "driver/bench/bench.h"

#include <jansson.h>
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
    return s->seconds_frontend + s->seconds_passes + s->seconds_codegen;
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
               s->routing.text, b->load);
    printf("compiled  %10.1f ms   %d distinct kernels\n", 1e3 * compile_seconds(s),
           cg_module_stats(s->module)->kernels);
    printf("memory    %10.1f MiB held by this process at most\n", (double)b->peak_rss / 1048576.0);
    if (!b->nkernel) return;
    putchar('\n');
    bench_print_kernels(b);
}

json_t *bench_kernels_json(const Bench *b) {
    json_t *list = json_array();
    for (int i = 0; i < b->nkernel; i++) {
        const KernelTime *k = &b->kernel[i];
        json_t *row = json_pack("{s:s, s:i, s:o, s:o, s:o, s:o, s:s}", "name", k->name, "calls",
                                k->calls, "ms", drv_json_number(1e3 * k->seconds), "gflops",
                                drv_json_number(bench_rate(k->flops, k->seconds)), "gbs",
                                drv_json_number(bench_rate(k->bytes, k->seconds)), "roof",
                                drv_json_number(bench_roof(b, k)), "bound", bench_bound(b, k));
        json_array_append_new(list, row);
    }
    return list;
}

void bench_print_json(const Bench *b) {
    const Session *s = b->s;
    json_t *j = json_pack("{s:o, s:s, s:s, s:I, s:i, s:s}", "file", drv_json_text(s->path), "model",
                          s->model, "mode", b->training ? "train" : "infer", "batch",
                          (json_int_t)b->code->batch, "threads", b->threads, "precision",
                          precision_name(s));
    json_object_set_new(j, "steps", json_integer(b->steps));
    json_object_set_new(j, "step_ms", drv_json_number(1e3 * b->step_seconds));
    json_object_set_new(j, "latency_ms",
                        json_pack("{s:o, s:o, s:o}", "p50", drv_json_number(1e3 * b->step_seconds),
                                  "p90", drv_json_number(1e3 * b->p90), "p99",
                                  drv_json_number(1e3 * b->p99)));
    json_object_set_new(j, "images_per_second",
                        drv_json_number((double)b->code->batch / b->step_seconds));
    json_object_set_new(j, "flops", drv_json_number(step_flops(b)));
    json_object_set_new(j, "peak_gflops", drv_json_number(b->peak_gflops));
    json_object_set_new(j, "peak_bf16_gflops", drv_json_number(s->bf16 ? b->bf16_gflops : NAN));
    json_object_set_new(j, "peak_gbs", drv_json_number(b->peak_gbs));
    json_object_set_new(j, "mfu", drv_json_number(mfu(b)));
    json_object_set_new(j, "moe_overhead",
                        b->moe.known ? drv_json_number(b->moe.overhead) : json_null());
    if (b->moe.known) {
        json_object_set_new(j, "routing", json_string(s->routing.text));
        json_object_set_new(j, "expert_load_max", drv_json_number(b->load));
        json_object_set_new(j, "no_update_ms", drv_json_number(1e3 * b->moe.seconds));
        json_object_set_new(j, "dense_no_update_ms", drv_json_number(1e3 * b->moe.dense_seconds));
    }
    json_object_set_new(j, "compile_ms", drv_json_number(1e3 * compile_seconds(s)));
    json_object_set_new(j, "peak_rss", json_integer(b->peak_rss));
    json_object_set_new(j, "kernels", bench_kernels_json(b));
    drv_print_json(j);
}
