/* A step whose losses are not finite changes nothing: weights, states of the model, optimizer state
 * and packed copies are what they were, and the steps that follow have the bits of a run that never
 * met it. */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "runtime/train/train.h"
#include "tests/ops/util_jit.h"
#include "tests/std/util_std.h"

enum { ROWS = 40, C = 4, STEPS = 4 };
static const uint64_t seed = 5;

/* States, a product whose weight has packed copies and is large enough to be updated in the middle
 * of the backward pass, experts, an auxiliary loss, a metric. */
static const char *const model =
    "use \"std/conv\"\n"
    "model m(image: f32[B, 8, 4], target: f32[B, 8, 4], spoil: f32[B]) {\n"
    "  state count: [] = zeros()\n"
    "  update count = count + 1\n"
    "  x = gelu(linear(batch_norm(image), 160)) |> linear(160) |> linear(4)\n"
    "  gate = softmax(linear(x, 3, bias = false))\n"
    "  route = top_k(gate, 2)\n"
    "  y = dispatch(x, route) |> linear(4) |> combine(route)\n"
    "  loss total = mean(square(y - target))\n"
    "  aux small = mean(square(gate)), weight = 0.01\n"
    "  metric ratio = mean(log(spoil))\n"
    "}\n";

static float *leaf(VmEngine *e, const char *name) {
    float *x = vm_engine_data(e, 0, name);
    cr_assert_not_null(x, "there is no %s", name);
    return x;
}

static void set_inputs(VmEngine *e, int step) {
    static const char *const name[] = {"image", "target"};
    for (int k = 0; k < 2; k++) {
        float *x = leaf(e, name[k]);
        for (int i = 0; i < ROWS * C; i++)
            x[i] = (float)(sin(1.7 * i + 3.1 * step + k) + 0.25 * (i % C));
    }
    for (int i = 0; i < ROWS / 8; i++) leaf(e, "spoil")[i] = 1;
    VmOptimizerSpec adam;
    vm_spec_default(VM_FIELD_optimizer, VM_optimizer_adam, &adam);
    vm_step_scalars(&adam, 1e-2, step, leaf(e, VM_INPUT_STEP));
}

static bool is_kept(const IrNode *n) {
    return n->op == OP_param || n->op == OP_state;
}

static const char *name_of(const IrNode *n) {
    return ir_str(n, n->op == OP_param ? ATTR_param_name : ATTR_state_name);
}

static void same_bits(VmEngine *x, VmEngine *y, const IrGraph *g, const char *when) {
    IR_FOR (n, g)
        if (is_kept(n))
            cr_assert(!memcmp(leaf(x, name_of(n)), leaf(y, name_of(n)),
                              (size_t)ir_elems(&n->out[0].type) * sizeof(float)),
                      "%s: %s differs", when, name_of(n));
}

static VmEngine *engine(const Jit *j, int threads) {
    VmEngine *e;
    VmError err;
    cr_assert_eq(vm_engine_create(threads, &e, &err), VM_OK, "%s", err.text);
    cr_assert_eq(vm_engine_add(e, j->program, &err), 0, "%s", err.text);
    cr_assert_eq(vm_engine_init(e, seed, &err), VM_OK, "%s", err.text);
    return e;
}

/* Every kind of number that is watched is spoiled in turn. */
static void spoil(VmEngine *e, int how) {
    switch (how % 3) {
    case 0: leaf(e, "image")[7] = NAN; return;
    case 1: leaf(e, "target")[ROWS * C - 1] = INFINITY; return;
    default: leaf(e, "spoil")[ROWS / 8 - 1] = 0; return; /* the metric alone */
    }
}

static void run_beside(const Jit *j, int threads) {
    VmEngine *good = engine(j, threads), *spoiled = engine(j, threads);
    for (int step = 0; step < STEPS; step++) {
        set_inputs(spoiled, step);
        spoil(spoiled, step);
        cr_assert_not(vm_engine_run(spoiled, 0, seed, (uint64_t)step), "step %d", step);
        same_bits(good, spoiled, j->g, "after a step that was refused");
        set_inputs(good, step);
        set_inputs(spoiled, step);
        cr_assert(vm_engine_run(good, 0, seed, (uint64_t)step));
        cr_assert(vm_engine_run(spoiled, 0, seed, (uint64_t)step));
        same_bits(good, spoiled, j->g, "after the same step with other images");
    }
    vm_engine_destroy(good);
    vm_engine_destroy(spoiled);
}

Test(refused, steps_change_nothing) {
    Arena *a = arena_create();
    IrGraph *g = std_model(a, model, ROWS / 8);
    const char *isa;
    for (int k = 0; (isa = jit_isa(a, k)); k++) {
        Jit j = jit_compile(a, g, PIPE_TRAIN, isa, isa);
        cr_assert_gt(j.program->gate, 0);
        run_beside(&j, 1);
        run_beside(&j, 2);
        run_beside(&j, 7);
        jit_free(&j);
    }
    arena_destroy(a);
}

/* The gate stands before all updates and behind all that makes a loss; it costs no barrier that was
 * not there. */
Test(refused, gate_stands_between_losses_and_updates) {
    Arena *a = arena_create();
    Jit j = jit_compile(a, std_model(a, model, ROWS / 8), PIPE_TRAIN, jit_isa(a, 0), "gate");
    const VmProgram *p = j.program;
    int first = 0, early = 0;
    while (p->task[first].kind != VM_TASK_UPDATE) first++;
    for (int i = first; i < p->ntask; i++) early += p->task[i].kind == VM_TASK_WORK;
    cr_assert(p->gate > 0 && p->gate <= first && p->task[p->gate].barrier);
    cr_assert_gt(early, 0, "some updates run in the middle of the backward pass");
    jit_free(&j);
    Jit eval = jit_compile(a, std_model(a, model, ROWS / 8), PIPE_EVAL, jit_isa(a, 0), "eval");
    cr_assert_eq(eval.program->gate, 0, "nothing is updated, so nothing is refused");
    jit_free(&eval);
    arena_destroy(a);
}
