/* vmoec bench --kernel: one problem, built as a graph, compiled like any program, compared with the
 * f64 interpreter and timed. Operands stay where they are from run to run, so small ones come from
 * caches.
 *
 * Tasks around the kernel itself (packing a weight, sorting routed rows) are rows of their own: in
 * a model they are shared by many steps or kernels. Two times are given, the kernel's alone and
 * with its packing. */
#include "driver/bench/bench.h"

#include <ctype.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

#include "driver/commands/compare.h"

enum { MIN_RUNS = 9, MAX_RUNS = 2000, MAX_REPEATS = 64 };
#define RUN_SECONDS 1e-3
#define KERNEL_SECONDS 0.2

typedef struct KernelBench {
    Bench b;
    Problem problem;
    IrGraph *graph; /* as built; the interpreter's */
    bool verified;
    double error; /* of the worst tensor */
    const char *where;
    KernelTime kernel,
        packing; /* sums over the rows that are the problem itself, and its packing */
} KernelBench;

/* ---- compiling ------------------------------------------------------------------------------- */

static VmStatus compile(KernelBench *k, int threads) {
    Session *s = k->b.s;
    VmStatus st = session_engine(s, threads);
    if (st) return st;
    IrGraph *g = ir_graph_clone(s->arena, k->graph);
    session_lower(s, g, KIND_EVAL);
    double t0 = vm_seconds();
    VmProgram *code = cg_add_program(s->module, g, k->graph->name, 1, 0);
    const char *error = cg_module_compile(s->module);
    s->times.codegen += vm_seconds() - t0;
    session_warn_cache(s);
    if (error) return drv_fail(VM_ENV, "%s", error);
    VmError err = {.text = ""};
    k->b.code = code;
    k->b.index = vm_engine_add(s->engine, code, &err);
    if (k->b.index < 0) return drv_fail(VM_ENV, "%s", err.text);
    VmStatus init = vm_engine_init(s->engine, 0, &err);
    return init ? drv_fail(init, "%s", err.text) : VM_OK;
}

static void *data_of(const KernelBench *k, const char *name) {
    return vm_engine_data(k->b.s->engine, k->b.index, name);
}

static void fill_operands(KernelBench *k) {
    IR_FOR (n, k->graph) {
        if (n->op != OP_input) continue;
        void *data = data_of(k, ir_str(n, ATTR_input_name));
        if (data) problem_fill(&k->problem, k->graph, n, data);
    }
    bench_set_step(&k->b);
    float *step = data_of(k, VM_INPUT_STEP);
    if (step)
        step[VM_STEP_RATE] =
            0.1f; /* for the verified step: large enough that a wrong update shows */
}

/* ---- verifying ------------------------------------------------------------------------------- */

static Interp *interpret(const KernelBench *k) {
    Interp *it = interp_create(k->b.s->arena, k->graph, false);
    interp_set_rng(it, 0, 0);
    IR_FOR (n, k->graph) {
        if (n->op != OP_input && n->op != OP_param) continue;
        const char *name = ir_str(n, n->op == OP_input ? ATTR_input_name : ATTR_param_name);
        const void *data = data_of(k, name);
        if (data) interp_set_f32(it, name, data);
    }
    interp_run(it);
    return it;
}

static const RefTensor *reference(const Interp *it, const IrGraph *g, const VmTensor *t) {
    const IrNode *leaf = NULL;
    if (t->role == VM_ROLE_PARAM) leaf = ir_find_leaf(g, OP_param, t->name);
    if (t->role == VM_ROLE_STATE) leaf = ir_find_leaf(g, OP_state, t->name);
    return leaf ? interp_value(it, &leaf->out[0]) : interp_out(it, t->name);
}

/* One run of each, from the same values. */
static void verify(KernelBench *k) {
    Interp *it = interpret(k);
    vm_engine_run(k->b.s->engine, k->b.index, 0, 0);
    k->b.step++;
    for (int i = 0; i < k->b.code->ntensor; i++) {
        const VmTensor *t = &k->b.code->tensor[i];
        if (t->role == VM_ROLE_INPUT || t->role == VM_ROLE_RNG_KEY) continue;
        const RefTensor *want = reference(it, k->graph, t);
        VM_CHECK(want, "the interpreter has no %s", t->name);
        double error = compare_difference(t, data_of(k, t->name), want, 1e-3, 0);
        if (k->where && error <= k->error) continue;
        k->error = error;
        k->where = t->name;
    }
    k->verified = true;
}

/* ---- timing ---------------------------------------------------------------------------------- */

static bool is_packing(const char *name) {
    return !strncmp(name, "pack_", 5);
}

/* "matmul_64x384_add" is the problem matmul; "sdpa_grad_8x16" is not sdpa. */
static bool is_problem(const KernelBench *k, const char *name) {
    const char *kind = problem_kind_name(k->problem.kind);
    size_t n = strlen(kind);
    return !strncmp(name, kind, n) && name[n] == '_' && isdigit((unsigned char)name[n + 1]);
}

static void add_row(KernelTime *sum, const KernelTime *row) {
    sum->calls += row->calls;
    sum->seconds += row->seconds;
    sum->flops += row->flops;
    sum->bytes += row->bytes;
}

/* The program several times over, with a barrier before every task: one run then takes long enough
 * that waking the team does not count. Returns how often. */
static int repeat(KernelBench *k) {
    const VmProgram *p = k->b.code;
    int times = (int)fmin(fmax(RUN_SECONDS / k->b.step_seconds, 1), MAX_REPEATS), n = p->ntask;
    VmProgram *q = ARENA_NEW(k->b.s->arena, VmProgram);
    VmTask *task = ARENA_ARRAY(k->b.s->arena, VmTask, times * n);
    for (int i = 0; i < times * n; i++) {
        task[i] = p->task[i % n];
        task[i].barrier = 1;
    }
    *q = *p;
    q->task = task;
    q->ntask = times * n;
    VmError err = {.text = ""};
    int index = times > 1 ? vm_engine_add(k->b.s->engine, q, &err) : -1;
    if (index < 0) return 1;
    k->b.index = index;
    k->b.code = q;
    return times;
}

/* What one run costs more when a weight was changed from outside, so that its packed copy is made
 * anew. */
static void time_packing(KernelBench *k) {
    if (!k->b.code->npack) return;
    double best[2] = {INFINITY, INFINITY};
    for (int i = 0; i < 2 * MIN_RUNS; i++) {
        if (i % 2) vm_engine_weights_changed(k->b.s->engine);
        double t0 = vm_seconds();
        vm_engine_run(k->b.s->engine, k->b.index, 0, (uint64_t)k->b.step++);
        best[i % 2] = fmin(best[i % 2], vm_seconds() - t0);
    }
    k->packing.calls = k->b.code->npack;
    k->packing.seconds = fmax(best[1] - best[0], 0);
}

static void time_problem(KernelBench *k, int steps) {
    Bench *b = &k->b;
    bench_time_steps(b, steps, KERNEL_SECONDS / 4); /* to know how long a run takes */
    time_packing(k);
    int times = repeat(k);
    double runs = fmin(fmax(KERNEL_SECONDS / b->step_seconds / times, MIN_RUNS), MAX_RUNS);
    b->steps = steps ? steps : (int)runs;
    bench_time_kernels(b, b->steps);
    k->kernel.name = k->packing.name = k->problem.text;
    for (int i = 0; i < b->nkernel; i++) {
        KernelTime *row = &b->kernel[i];
        row->calls /= times;
        row->seconds /= times;
        row->flops /= times;
        row->bytes /= times;
        if (is_packing(row->name))
            add_row(&k->packing, row);
        else if (is_problem(k, row->name))
            add_row(&k->kernel, row);
    }
    if (k->kernel.calls) return;
    for (int i = 0; i < b->nkernel; i++) /* the whole problem became part of other kernels */
        if (!is_packing(b->kernel[i].name)) add_row(&k->kernel, &b->kernel[i]);
}

/* ---- results --------------------------------------------------------------------------------- */

static bool right(const KernelBench *k) {
    return !k->verified || k->error <= COMPARE_TOLERANCE;
}

static void print_table(const KernelBench *k) {
    const Bench *b = &k->b;
    printf("%s, %d thread%s, f32\n", k->problem.text, b->threads, b->threads == 1 ? "" : "s");
    if (k->verified)
        printf("verified  %10.2e    largest error relative to the f64 interpreter (%s), at most "
               "%.0e: %s\n",
               k->error, k->where, COMPARE_TOLERANCE, right(k) ? "ok" : "WRONG");
    else
        printf("verified          no\n");
    printf(
        "kernel    %10.4f ms   median of %d, %.1f GFLOP/s, %.1f GB/s, %.1f %% of its roof (%s)\n",
        1e3 * k->kernel.seconds, b->steps, bench_rate(k->kernel.flops, k->kernel.seconds),
        bench_rate(k->kernel.bytes, k->kernel.seconds), 100 * bench_roof(b, &k->kernel),
        bench_bound(b, &k->kernel));
    if (k->packing.calls)
        printf("packing   %10.4f ms   %.4f ms with it\n", 1e3 * k->packing.seconds,
               1e3 * (k->kernel.seconds + k->packing.seconds));
    printf("machine   %10.1f GFLOP/s f32 FMA, %.1f GB/s copy, measured now\n\n", b->peak_gflops,
           b->peak_gbs);
    bench_print_kernels(b);
}

static void print_json(const KernelBench *k) {
    const Bench *b = &k->b;
    VmJson o = vm_json_object();
    vm_json_string(&o, "kernel", k->problem.text);
    vm_json_int(&o, "threads", b->threads);
    vm_json_string(&o, "precision", "f32");
    vm_json_int(&o, "steps", b->steps);
    vm_json_number(&o, "ms", 1e3 * k->kernel.seconds);
    vm_json_number(&o, "ms_with_packing", 1e3 * (k->kernel.seconds + k->packing.seconds));
    vm_json_number(&o, "gflops", bench_rate(k->kernel.flops, k->kernel.seconds));
    vm_json_number(&o, "gbs", bench_rate(k->kernel.bytes, k->kernel.seconds));
    vm_json_number(&o, "roof", bench_roof(b, &k->kernel));
    vm_json_string(&o, "bound", bench_bound(b, &k->kernel));
    vm_json_bool(&o, "verified", k->verified);
    vm_json_number(&o, "error", k->verified ? k->error : NAN);
    vm_json_number(&o, "tolerance", COMPARE_TOLERANCE);
    vm_json_number(&o, "peak_gflops", b->peak_gflops);
    vm_json_number(&o, "peak_gbs", b->peak_gbs);
    vm_json_put(&o, "kernels", bench_kernels_json(b));
    vm_json_print(stdout, &o);
}

static VmStatus run(KernelBench *k, const Args *a) {
    Bench *b = &k->b;
    k->graph = problem_graph(b->s->arena, &k->problem);
    b->threads = vm_threads((int)opt_or(a->o.threads, 0));
    VmStatus st = compile(k, b->threads);
    if (st) return st;
    fill_operands(k);
    if (!a->o.no_verify) verify(k);
    time_problem(k, (int)opt_or(a->o.steps, 0));
    vm_measure_peaks(b->threads, &b->peak_gflops, &b->peak_gbs);
    if (a->o.json)
        print_json(k);
    else
        print_table(k);
    if (a->o.time) drv_print_times(b->s);
    if (!right(k))
        return drv_fail(VM_INPUT, "%s: %s is off by %.2e, more than %.0e", k->problem.text,
                        k->where, k->error, COMPARE_TOLERANCE);
    const char *picture = a->o.roofline;
    return picture ? bench_write_roofline(b, picture) : VM_OK;
}

VmStatus bench_kernel(const Args *a) {
    const char *text = a->o.kernel;
    if (!strcmp(text, "help")) {
        problem_help(stdout);
        return VM_OK;
    }
    Session s;
    drv_init(a, &s);
    KernelBench k = {.b = {.s = &s}};
    Diags *d = diags_create(s.arena);
    VmStatus st = VM_USAGE;
    if (problem_parse(d, text, &k.problem))
        st = run(&k, a);
    else
        drv_print_diags(d);
    session_close(&s);
    return st;
}
