/* States over several training steps, compiled: against the interpreter in f64 and against formulas
 * that know nothing of either, with the same bits for every number of threads. */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "runtime/train/train.h"
#include "tests/ops/util_jit.h"
#include "tests/std/util_std.h"

enum { ROWS = 30, C = 4, E = 3, STEPS = 6 };
static const uint64_t seed = 5;

/* A counter, two states that change places every step, one that follows a weight, one per expert
 * that follows a weight per expert, and the statistics of a batch. */
static const char *const model = "use \"std/conv\"\n"
                                 "layer followed(x: [.., D]) {\n"
                                 "  param w: [D] = normal(0.5)\n"
                                 "  state average: [D] = zeros()\n"
                                 "  update average = average + 0.5 * (w - average)\n"
                                 "  x * w + average\n"
                                 "}\n"
                                 "model m(image: f32[B, 6, 4], target: f32[B, 6, 4]) {\n"
                                 "  state count: [] = zeros()\n"
                                 "  state a: [4] = ones()\n"
                                 "  state b: [4] = constant(2)\n"
                                 "  update count = count + 1\n"
                                 "  update a = b\n"
                                 "  update b = a\n"
                                 "  x = batch_norm(followed(image) * a)\n"
                                 "  route = top_k(softmax(linear(x, 3, bias = false)), 2)\n"
                                 "  y = dispatch(x, route) |> followed() |> combine(route)\n"
                                 "  loss total = mean(square(y - target))\n"
                                 "}\n";

/* The training graph before anything is simplified or fused. */
static IrGraph *trained(Arena *a, const IrGraph *g) {
    IrGraph *t = ir_graph_clone(a, g);
    const PassId *list;
    int n = pass_pipeline_part(PIPE_TRAIN, false, PASS_expand, PASS_simplify, &list);
    PassCtx c = pass_ctx(arena_create());
    c.training = true;
    const char *error = pass_run(&c, t, list, n);
    cr_assert_null(error, "%s", error);
    arena_destroy(c.scratch);
    return t;
}

static float *leaf(VmEngine *e, const char *name) {
    float *x = vm_engine_data(e, 0, name);
    cr_assert_not_null(x, "there is no %s", name);
    return x;
}

static VmEngine *engine(const Jit *j, int threads) {
    VmEngine *e;
    VmError err;
    cr_assert_eq(vm_engine_create(threads, &e, &err), VM_OK, "%s", err.text);
    cr_assert_eq(vm_engine_add(e, j->program, &err), 0, "%s", err.text);
    cr_assert_eq(vm_engine_init(e, seed, &err), VM_OK, "%s", err.text);
    return e;
}

/* Inputs of a step: other ones in every step. */
static void set_inputs(VmEngine *e, Interp *it, int step) {
    static const char *const name[] = {"image", "target"};
    for (int k = 0; k < 2; k++) {
        float *x = leaf(e, name[k]);
        for (int i = 0; i < ROWS * C; i++)
            x[i] = (float)(sin(1.7 * i + 3.1 * step + k) + 0.25 * (i % C));
        if (it) interp_set_f32(it, name[k], x);
    }
    VmOptimizerSpec adam;
    vm_spec_default(VM_FIELD_optimizer, VM_optimizer_adam, &adam);
    float *scalars = leaf(e, VM_INPUT_STEP);
    vm_step_scalars(&adam, 1e-2, step, scalars);
    if (it) interp_set_f32(it, VM_INPUT_STEP, scalars);
}

static bool is_kept(const IrNode *n) {
    return n->op == OP_param || n->op == OP_state;
}

static const char *name_of(const IrNode *n) {
    return ir_str(n, n->op == OP_param ? ATTR_param_name : ATTR_state_name);
}

/* ---- formulas -------------------------------------------------------------------------------- */

/* What the states of a step should become, of weights, states and images from before it. */
typedef struct Want {
    double count, a[C], b[C], average[C], experts[E * C], mean[C], var[C];
} Want;

static void followed(double *want, const float *w, const float *average, int n) {
    for (int i = 0; i < n; i++) want[i] = average[i] + 0.5 * ((double)w[i] - average[i]);
}

static Want expected(VmEngine *e) {
    Want want = {.count = leaf(e, "m.count")[0] + 1};
    const float *w = leaf(e, "m.x.followed.w"), *average = leaf(e, "m.x.followed.average");
    const float *a = leaf(e, "m.a"), *image = leaf(e, "image");
    for (int c = 0; c < C; c++) {
        double mean = 0, squares = 0;
        for (int i = 0; i < ROWS; i++)
            mean += ((double)image[i * C + c] * w[c] + average[c]) * a[c] / ROWS;
        for (int i = 0; i < ROWS; i++) {
            double d = ((double)image[i * C + c] * w[c] + average[c]) * a[c] - mean;
            squares += d * d;
        }
        want.a[c] = leaf(e, "m.b")[c];
        want.b[c] = a[c];
        want.mean[c] = 0.9 * leaf(e, "m.x.mean")[c] + 0.1 * mean;
        want.var[c] = 0.9 * leaf(e, "m.x.var")[c] + 0.1 * squares / (ROWS - 1);
    }
    followed(want.average, w, average, C);
    followed(want.experts, leaf(e, "m.y.w"), leaf(e, "m.y.average"), E * C);
    return want;
}

static void check(VmEngine *e, const char *name, const double *want, int n, int step) {
    for (int i = 0; i < n; i++)
        cr_assert(fabs(leaf(e, name)[i] - want[i]) <= 2e-6 * (1 + fabs(want[i])),
                  "step %d: %s[%d] is %.9g, expected %.9g", step, name, i, leaf(e, name)[i],
                  want[i]);
}

static void check_states(VmEngine *e, const Want *want, int step) {
    check(e, "m.count", &want->count, 1, step);
    check(e, "m.a", want->a, C, step);
    check(e, "m.b", want->b, C, step);
    check(e, "m.x.followed.average", want->average, C, step);
    check(e, "m.y.average", want->experts, E * C, step);
    check(e, "m.x.mean", want->mean, C, step);
    check(e, "m.x.var", want->var, C, step);
}

/* ---- several steps --------------------------------------------------------------------------- */

static void same_as_interpreter(VmEngine *e, const Interp *it, const IrGraph *g) {
    IR_FOR (n, g) {
        if (!is_kept(n)) continue;
        const RefTensor *want = interp_value(it, &n->out[0]);
        const float *have = leaf(e, name_of(n));
        for (int64_t i = 0, count = ir_elems(&want->type); i < count; i++)
            cr_assert(fabs(have[i] - want->data[i]) <= 1e-4 * (1 + fabs(want->data[i])),
                      "%s[%lld] is %.9g, interpreted %.9g", name_of(n), (long long)i, have[i],
                      want->data[i]);
    }
}

static void same_bits(VmEngine *x, VmEngine *y, const IrGraph *g, int threads) {
    IR_FOR (n, g)
        if (is_kept(n))
            cr_assert(!memcmp(leaf(x, name_of(n)), leaf(y, name_of(n)),
                              (size_t)ir_elems(&n->out[0].type) * sizeof(float)),
                      "%s differs with %d threads", name_of(n), threads);
}

static void run_steps(Arena *a, const IrGraph *g, const char *isa, int recompute) {
    Jit j = jit_compile_recomputing(a, g, PIPE_TRAIN, isa, recompute, isa);
    IrGraph *reference = trained(a, g);
    Interp *it = interp_create(a, reference, true);
    VmEngine *one = engine(&j, 1);
    IR_FOR (n, reference)
        if (is_kept(n)) interp_set_f32(it, name_of(n), leaf(one, name_of(n)));
    for (int step = 0; step < STEPS; step++) {
        set_inputs(one, it, step);
        Want want = expected(one);
        vm_engine_run(one, 0, seed, (uint64_t)step);
        check_states(one, &want, step);
        interp_run(it);
    }
    same_as_interpreter(one, it, reference);
    for (int threads = 2; threads <= 7; threads += 5) {
        VmEngine *more = engine(&j, threads);
        for (int step = 0; step < STEPS; step++) {
            set_inputs(more, NULL, step);
            vm_engine_run(more, 0, seed, (uint64_t)step);
        }
        same_bits(one, more, reference, threads);
        vm_engine_destroy(more);
    }
    vm_engine_destroy(one);
    jit_free(&j);
}

Test(states, follow_their_formulas) {
    Arena *a = arena_create();
    IrGraph *g = std_model(a, model, ROWS / 6);
    const char *isa;
    for (int k = 0; (isa = jit_isa(a, k)); k++) {
        run_steps(a, g, isa, 0);
        run_steps(a, g, isa, 3);
    }
    arena_destroy(a);
}

/* Per expert: a leading E, in the weight as in the state. */
Test(states, of_experts_have_a_leading_dimension) {
    Arena *a = arena_create();
    IrGraph *g = std_model(a, model, ROWS / 6);
    IrType want = IR_TYPE(DT_f32, E, C);
    const IrNode *n = ir_find_leaf(g, OP_param, "m.y.average");
    cr_assert(n && ir_type_equal(&n->out[0].type, &want) && ir_int(n, ATTR_param_state) == 1);
    arena_destroy(a);
}

/* The program without routing has the states of the other layers, and trains. */
Test(states, of_the_model_without_routing) {
    Arena *a = arena_create();
    IrGraph *g = std_model(a, model, ROWS / 6);
    PassCtx c = pass_ctx(arena_create());
    const PassId dense[] = {PASS_dense};
    const char *error = pass_run(&c, g, dense, 1);
    cr_assert_null(error, "%s", error);
    arena_destroy(c.scratch);
    cr_assert_not_null(ir_find_out(g, "state.m.x.mean"));
    cr_assert_null(ir_find_out(g, "state.m.y.average"));
    Jit j = jit_compile(a, g, PIPE_TRAIN, jit_isa(a, 0), "dense");
    jit_free(&j);
    arena_destroy(a);
}
