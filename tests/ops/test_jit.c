/* Generated code against the interpreter: every row of cases.def, and the gradients of those that
 * have some, for every instruction set of the host, and the same bits with 1, 2, 3 and 7 threads.
 * One test per op, pasted from the op table. */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "tests/ops/util_jit.h"

static const uint64_t seed = 21;

/* The interpreter's value of what a run left under `name`: an output, or a leaf after the step. */
static const RefTensor *expected(const Interp *it, const IrGraph *g, const char *name) {
    const RefTensor *t = interp_out(it, name);
    if (t) return t;
    const IrNode *leaf = ir_find_leaf(g, OP_param, name);
    if (!leaf) leaf = ir_find_leaf(g, OP_state, name);
    return leaf ? interp_value(it, &leaf->out[0]) : NULL;
}

/* What is allowed: see case_error. */
typedef struct Limit {
    double tolerance, cap;
} Limit;

static void compare(const JitRun *run, const Interp *it, const IrGraph *g, Limit limit,
                    const char *what) {
    for (int i = 0; i < run->n; i++) {
        const JitResult *got = &run->item[i];
        const RefTensor *want = expected(it, g, got->name);
        cr_assert_not_null(want, "%s: nothing to compare %s with", what, got->name);
        cr_assert(ir_type_equal(&want->type, &got->type), "%s: %s has another type", what,
                  got->name);
        int64_t at;
        bool f32 = got->type.dtype == DT_f32;
        double err = case_error(want->data, got->data, ir_elems(&got->type), f32, limit.cap, &at);
        cr_assert(err <= limit.tolerance,
                  "%s: %s element %lld is %.9g, expected %.9g (error %.2g, allowed %.2g)", what,
                  got->name, (long long)at, got->data[at], want->data[at], err, limit.tolerance);
    }
}

static void check_graph(Arena *a, const IrGraph *g, const IrGraph *reference, Pipeline pipe,
                        Limit limit, const char *text) {
    Interp *it = interp_create(a, reference, true);
    case_fill_all(it, reference, seed);
    interp_run(it);
    int checked = 0;
    for (const char *isa; (isa = jit_isa(a, checked)); checked++) {
        const char *what = arena_printf(a, "%s, %s", text, isa);
        if (!jit_can(a, g, isa)) continue;
        Jit j = jit_compile(a, g, pipe, isa, what);
        JitRun one = jit_run(a, &j, seed, 1, what);
        compare(&one, it, reference, limit, what);
        static const int threads[] = {2, 3, 7};
        for (int i = 0; i < 3; i++) {
            JitRun more = jit_run(a, &j, seed, threads[i], what);
            jit_same_bits(&one, &more, arena_printf(a, "%s, %d threads", what, threads[i]));
        }
        jit_free(&j);
    }
    cr_assert(checked > 0, "this machine has neither AVX-512 nor AVX2");
}

/* Products of two activations have no gradients in bf16: they are gradients themselves. */
static bool graded(const OpCase *c) {
    if (strstr(c->attrs, "bf16=1") && strstr(c->attrs, "ta=1")) return false;
    OpGrad grad = ir_ops[c->op].grad;
    return (grad == GRAD_YES || grad == GRAD_VIA) && !case_has_ties(c);
}

/* Gradients by the interpreter come from the same autodiff: what it builds is checked in
 * test_grad.c. */
static void check_gradients(Arena *a, const OpCase *c) {
    IrNode *node;
    IrGraph *g = case_graph(a, c, true, &node);
    if (node->out[0].type.dtype != DT_f32) return;
    case_add_objective(g, &node->out[0]);
    IrGraph *reference = ir_graph_clone(a, g);
    PassCtx ctx = pass_ctx(arena_create());
    ctx.training = true;
    const PassId list[] = {PASS_expand, PASS_autodiff};
    const char *error = pass_run(&ctx, reference, list, 2);
    cr_assert_null(error, "%s: %s", case_text(a, c), error);
    arena_destroy(ctx.scratch);
    const char *text = arena_printf(a, "gradient of %s", case_text(a, c));
    check_graph(a, g, reference, PIPE_GRAD, (Limit){10 * c->tolerance + 1e-5, INFINITY}, text);
}

/* Every element of the result comes from one element of each operand. */
static bool elementwise(OpCode op) {
    const OpInfo *o = &ir_ops[op];
    return o->route == ROUTE_ELTWISE ||
           (o->route == ROUTE_EXPAND && o->max_in == 1 && o->nattr == 0);
}

static void check_case(const OpCase *c) {
    Arena *a = arena_create();
    IrGraph *g = case_graph(a, c, false, NULL);
    /* Results of an op with effects are its operands, which are compared as leaves. */
    if (ir_ops[c->op].flags & OPF_EFFECT) g->nout = 0;
    Limit limit = {c->tolerance, elementwise(c->op) ? 1 : INFINITY};
    check_graph(a, g, g, PIPE_EVAL, limit, case_text(a, c));
    if (graded(c)) check_gradients(a, c);
    arena_destroy(a);
}

static void check_op(OpCode op) {
    int checked = 0;
    for (int i = 0; i < op_ncases; i++) {
        if (op_cases[i].op != op) continue;
        check_case(&op_cases[i]);
        checked++;
    }
    cr_assert(checked > 0, "no row of cases.def for %s", ir_ops[op].name);
}

#define JIT_TEST_LEAF(name)
#define JIT_TEST_KERNEL(name)                                                                      \
    Test(jit, name) {                                                                              \
        check_op(OP_##name);                                                                       \
    }
#define JIT_TEST_VIEW(name) JIT_TEST_KERNEL(name)
#define JIT_TEST_ELTWISE(name) JIT_TEST_KERNEL(name)
#define JIT_TEST_GATHER(name) JIT_TEST_KERNEL(name)
#define JIT_TEST_EXPAND(name) JIT_TEST_KERNEL(name)
#define OP(name, lo, hi, nout, stage, route, grad, ...) JIT_TEST_##route(name)
#include "ir/ops.def"
