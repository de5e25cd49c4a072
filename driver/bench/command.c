/* vmoec bench: time per step and per kernel of a model, or of one kernel alone, next to the peaks
 * of this machine measured in the same run with the same threads. Images and labels are random:
 * neither values nor their order matter for the time, except through the load of the experts. */
#include "driver/bench/bench.h"

#include <string.h>

static VmStatus fit(Bench *b, const Args *a) {
    const char *budget = a->o.mem_budget;
    if (!budget) return VM_OK;
    Budget limit = {0};
    VmStatus st = drv_parse_size(budget, "mem-budget", &limit.limit);
    if (st) return st;
    MemoryUse use = {.scratch = session_scratch_ahead(b->threads),
                     .process = session_process_ahead(0)};
    st = session_fit(b->s, &limit, b->training, &use);
    const char *chosen = st ? NULL : session_budget_text(b->s->arena, &limit);
    if (chosen) fprintf(stderr, "%s\n", chosen);
    return st;
}

/* Kernels one by one, and what routing costs. */
static VmStatus time_parts(Bench *b, const IrGraph *g, const Program *p) {
    int64_t now;
    bench_time_kernels(b, b->steps < 20 ? b->steps : 20);
    b->load = routing_load(g, b->s->engine, b->index);
    vm_memory_now(&now, &b->peak_rss); /* before the dense twin, which takes memory of its own */
    return bench_overhead(b, g, p, b->steps);
}

static VmStatus bench_model(Bench *b, const Args *a) {
    Session *s = b->s;
    const IrGraph *g = session_graph(s, s->batch);
    if (!g) return VM_INPUT;
    if (b->training && !session_has_loss(g))
        return drv_fail(VM_INPUT, "%s has no loss to train on", s->model);
    b->threads = vm_threads((int)opt_or(a->o.threads, 0));
    VmStatus st = session_engine(s, b->threads);
    if (!st) st = fit(b, a);
    if (st) return st;
    VmError err = {.text = ""};
    const Program *p =
        session_program(s, b->training ? KIND_TRAIN : KIND_EVAL, s->batch, false, &err);
    if (!p) return drv_fail(err.status, "%s", err.text);
    b->code = p->code;
    b->index = p->index;
    int64_t now;
    double t0 = vm_seconds();
    st = vm_engine_init(s->engine, s->train ? (uint64_t)s->train->recipe.seed : 0, &err);
    if (st) return drv_fail(st, "%s", err.text);
    s->times.init = vm_seconds() - t0;
    b->macs_per_image = session_count(s->arena, g, s->batch).total.macs;
    session_fill_inputs(g, s->engine, b->index);
    routing_fill(&b->routing, g, s->engine, b->index);
    session_first_step(s);
    bench_time_steps(b, (int)opt_or(a->o.steps, 0), 2);
    vm_memory_now(&now,
                  &b->peak_rss); /* before measuring the peaks, which takes memory of its own */
    if (!a->o.step_only) st = time_parts(b, g, p);
    if (st) return st;
    vm_measure_peaks(b->threads, &b->peak_gflops, &b->peak_gbs);
    if (s->bf16) b->bf16_gflops = vm_measure_bf16_peak(b->threads);
    if (a->o.json)
        bench_print_json(b);
    else
        bench_print_table(b);
    if (a->o.time) drv_print_times(s);
    const char *picture = a->o.roofline;
    return picture ? bench_write_roofline(b, picture) : VM_OK;
}

/* Options that say something about a model's step mean nothing for one kernel, and the other way
 * round. */
static VmStatus check_kernel_options(const Args *a) {
    static const OptId of_models[] = {OPT_mode,    OPT_batch,      OPT_model, OPT_set,
                                      OPT_routing, OPT_mem_budget, OPT_tune,  OPT_precision};
    if (a->noperand)
        return drv_fail(VM_USAGE, "--kernel takes the place of a file; '%s' is one word too many",
                        a->operand[0]);
    for (size_t i = 0; i < sizeof of_models / sizeof of_models[0]; i++)
        if (a->given[of_models[i]])
            return drv_fail(VM_USAGE, "%s is about a model; it does not go with --kernel",
                            opt_typed(a->arena, of_models[i]));
    return VM_OK;
}

static VmStatus check_options(const Args *a) {
    const char *mode = a->o.mode;
    bool kernel = a->o.kernel != NULL;
    if (!kernel && !a->noperand) return drv_fail(VM_USAGE, "bench needs F.vmoe or --kernel TEXT");
    if (!kernel && a->o.no_verify) return drv_fail(VM_USAGE, "--no-verify goes with --kernel");
    if (a->o.step_only && (kernel || a->o.roofline))
        return drv_fail(VM_USAGE, "--step-only leaves no kernels for %s",
                        kernel ? "--kernel" : "--roofline");
    if (kernel && check_kernel_options(a)) return VM_USAGE;
    if (mode && strcmp(mode, "train") && strcmp(mode, "infer"))
        return drv_fail(VM_USAGE, "--mode is train or infer, not '%s'", mode);
    return VM_OK;
}

VmStatus cmd_bench(const Args *a) {
    VmStatus st = check_options(a);
    if (st) return st;
    if (a->o.kernel) return bench_kernel(a);
    Session s;
    Routing routing;
    st = routing_parse(a->o.routing, &routing);
    if (st) return st;
    st = drv_open(a, false, &s);
    if (st) return st;
    if (routing.kind == ROUTING_FORCED) s.edit = routing_force;
    const char *mode = a->o.mode;
    Bench b = {.s = &s, .routing = routing, .training = !mode || !strcmp(mode, "train")};
    st = bench_model(&b, a);
    session_close(&s);
    return st;
}
