/* The interpreter against numbers worked out by hand or by closed forms, and MODEL ops against
 * their expansions. */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "interp/ref.h"
#include "passes/passes.h"
#include "base/rng.h"
#include "tests/ops/util_case.h"

/* One graph with a builder; values are read back after run(). */
typedef struct Bench {
    Arena *arena;
    IrGraph *g;
    IrBuilder b;
    Interp *it;
} Bench;

static Bench bench(void) {
    Arena *a = arena_create();
    IrGraph *g = ir_graph_create(a, "t");
    return (Bench){a, g, ir_builder(g), NULL};
}

static void run(Bench *t, bool training) {
    t->it = interp_create(t->arena, t->g, training);
    interp_set_rng(t->it, 7, 5);
}

static void expect(const Bench *t, const IrValue *v, const double *want, int64_t n, double tol) {
    const RefTensor *got = interp_value(t->it, v);
    cr_assert_eq(ir_elems(&got->type), n, "%s has %lld elements, expected %lld",
                 ir_ops[v->node->op].name, (long long)ir_elems(&got->type), (long long)n);
    for (int64_t i = 0; i < n; i++)
        cr_assert(fabs(got->data[i] - want[i]) <= tol,
                  "%s result %d element %lld: %.9g, expected %.9g", ir_ops[v->node->op].name,
                  v->index, (long long)i, got->data[i], want[i]);
}
#define EXPECT(t, v, tol, ...)                                                                     \
    expect((t), (v), (const double[]){__VA_ARGS__},                                                \
           sizeof((const double[]){__VA_ARGS__}) / sizeof(double), tol)
#define SET(t, name, ...) cr_assert(interp_set((t)->it, name, (const double[]){__VA_ARGS__}))

static IrValue *input(Bench *t, const char *name, IrType type) {
    return ir_input(&t->b, name, type);
}

static IrValue *total(Bench *t, IrValue *x) {
    int64_t axes[IR_MAX_RANK] = {0, 1, 2, 3, 4, 5};
    return ir_sum_axes(&t->b, x, axes, x->type.rank);
}

Test(ref, the_inverse_error_function_inverts) {
    for (double x = -0.999; x < 1; x += 0.0175)
        cr_assert(fabs(erf(ref_inverse_erf(x)) - x) <= 4e-16, "erf(erfinv(%.17g)) is off", x);
    for (double tail = 1e-3; tail > 1e-16; tail /= 2) {
        double y = ref_inverse_erf(1 - tail), rest = 1 - (1 - tail);
        cr_assert(fabs(erfc(y) - rest) <= 1e-13 * rest, "erfc(erfinv(1 - %.17g)) is off", tail);
    }
    cr_assert(ref_inverse_erf(1) == INFINITY && ref_inverse_erf(-1) == -INFINITY);
    cr_assert(isnan(ref_inverse_erf(1.5)) && isnan(ref_inverse_erf(NAN)) &&
              ref_inverse_erf(0) == 0);
}

/* ---- published gate numbers ------------------------------------------------------------------ */

Test(ref, topk_of_softmax_and_softmax_of_topk) {
    Bench t = bench();
    IrValue *h = input(&t, "h", IR_TYPE(DT_f32, 1, 4));
    IrValue *p = ir_unary(&t.b, OP_softmax, h);
    IrValue *top = IR_OP(&t.b, topk, VALS(h), ATTRS(A_INT(topk_k, 2)));
    IrValue *w = ir_unary(&t.b, OP_softmax, top);
    IrValue *all = IR_OP(&t.b, topk, VALS(p), ATTRS(A_INT(topk_k, 4)));
    run(&t, false);
    SET(&t, "h", 1, .5, -.5, 0);
    interp_run(t.it);
    EXPECT(&t, p, 1e-6, .455054, .276004, .101536, .167405);
    EXPECT(&t, &top->node->out[1], 0, 0, 1);
    EXPECT(&t, w, 1e-6, .622459, .377541);
    EXPECT(&t, &all->node->out[1], 0, 0, 1, 3, 2);
    EXPECT(&t, all, 1e-6, .455054, .276004, .167405, .101536);
    arena_destroy(t.arena);
}

Test(ref, ties_go_to_the_lowest_index) {
    Bench t = bench();
    IrValue *h = input(&t, "h", IR_TYPE(DT_f32, 2, 4));
    IrNode *top = IR_OP(&t.b, topk, VALS(h), ATTRS(A_INT(topk_k, 3)))->node;
    IrValue *at = ir_unary(&t.b, OP_argmax, h);
    run(&t, false);
    SET(&t, "h", 1, 2, 2, 1, 0, 0, 0, 0);
    interp_run(t.it);
    EXPECT(&t, &top->out[1], 0, 1, 2, 0, 0, 1, 2);
    EXPECT(&t, &top->out[0], 0, 2, 2, 1, 0, 0, 0);
    EXPECT(&t, at, 0, 1, 0);
    arena_destroy(t.arena);
}

Test(ref, gate_losses) {
    Bench t = bench();
    IrValue *h = input(&t, "h", IR_TYPE(DT_f32, 3, 4));
    IrValue *n = input(&t, "n", IR_TYPE(DT_f32, 3, 4));
    IrValue *p = ir_unary(&t.b, OP_softmax, h);
    IrValue *importance = IR_OP(&t.b, sum, VALS(p), ATTRS(A_INTS(sum_axes, ((int64_t[]){0}), 1)));
    IrValue *off = ir_binary(&t.b, OP_sub, importance, ir_const(&t.b, 0.75, importance->type));
    IrValue *imp_loss = ir_scale(&t.b, total(&t, ir_unary(&t.b, OP_square, off)), 4.0 / 9);
    IrValue *noisy = ir_binary(&t.b, OP_add, h, ir_scale(&t.b, n, 0.25));
    IrValue *top = IR_OP(&t.b, topk, VALS(noisy), ATTRS(A_INT(topk_k, 2)));
    IrValue *balance = IR_OP(&t.b, load_balance, VALS(p, &top->node->out[1]), NO_ATTRS);
    IrValue *balance_noisy = IR_OP(
        &t.b, load_balance, VALS(ir_unary(&t.b, OP_softmax, noisy), &top->node->out[1]), NO_ATTRS);
    IrValue *e = IR_OP(&t.b, sum, VALS(ir_unary(&t.b, OP_exp, h)),
                       ATTRS(A_INTS(sum_axes, ((int64_t[]){1}), 1)));
    IrValue *z = ir_unary(&t.b, OP_square, ir_unary(&t.b, OP_log, e));
    IrValue *z_loss = IR_OP(&t.b, mean, VALS(z), ATTRS(A_INTS(mean_axes, ((int64_t[]){0}), 1)));
    run(&t, true);
    SET(&t, "h", 1, .5, -.5, 0, .2, .1, .9, -1, 2, 1.5, 0, -.5);
    SET(&t, "n", .1, -.2, .3, 0, -.1, .4, 0, .2, 0, .1, -.3, .2);
    interp_run(t.it);
    EXPECT(&t, importance, 1e-6, 1.240294, .822968, .652952, .283786);
    EXPECT(&t, imp_loss, 1e-6, 0.209994);
    EXPECT(&t, balance, 1e-6, 1.392684);
    EXPECT(&t, balance_noisy, 1e-6, 1.385011);
    EXPECT(&t, z_loss, 1e-6, 4.216233);
    arena_destroy(t.arena);
}

Test(ref, load_balance_is_one_when_uniform) {
    Bench t = bench();
    IrValue *p = input(&t, "p", IR_TYPE(DT_f32, 2, 2, 4));
    IrValue *idx = input(&t, "idx", IR_TYPE(DT_i32, 4, 2));
    IrValue *l = IR_OP(&t.b, load_balance, VALS(p, idx), NO_ATTRS);
    run(&t, true);
    double uniform[16];
    for (int i = 0; i < 16; i++) uniform[i] = 0.25;
    interp_set(t.it, "p", uniform);
    SET(&t, "idx", 0, 1, 1, 2, 2, 3, 3, 0);
    interp_run(t.it);
    EXPECT(&t, l, 1e-12, 1);
    arena_destroy(t.arena);
}

/* ---- elementwise, rows ----------------------------------------------------------------------- */

Test(ref, elementwise_values) {
    Bench t = bench();
    IrValue *x = input(&t, "x", IR_TYPE(DT_f32, 4));
    struct {
        OpCode op;
        double want[4];
    } const rows[] = {
        {OP_neg, {1, 0, -1, -2}},
        {OP_abs, {1, 0, 1, 2}},
        {OP_exp, {0.36787944117, 1, 2.71828182846, 7.38905609893}},
        {OP_tanh, {-0.76159415596, 0, 0.76159415596, 0.96402758008}},
        {OP_erf, {-0.84270079295, 0, 0.84270079295, 0.99532226502}},
        {OP_sigmoid, {0.26894142137, 0.5, 0.73105857863, 0.88079707798}},
        {OP_relu, {0, 0, 1, 2}},
        {OP_gelu, {-0.15865525393, 0, 0.84134474607, 1.95449973610}},
        {OP_gelu_grad, {-0.08331547058, 0.5, 1.08331547058, 1.08523180101}},
        {OP_gelu_tanh, {-0.15880800939, 0, 0.84119199061, 1.95459769409}},
        {OP_gelu_tanh_grad, {-0.08296408385, 0.5, 1.08296408385, 1.08609925662}},
        {OP_silu, {-0.26894142137, 0, 0.73105857863, 1.76159415596}},
        {OP_softplus, {0.31326168752, 0.69314718056, 1.31326168752, 2.12692801104}},
        {OP_square, {1, 0, 1, 4}},
    };
    enum { N = sizeof rows / sizeof rows[0] };
    IrValue *y[N];
    for (int i = 0; i < N; i++) y[i] = ir_unary(&t.b, rows[i].op, x);
    run(&t, false);
    SET(&t, "x", -1, 0, 1, 2);
    interp_run(t.it);
    for (int i = 0; i < N; i++) expect(&t, y[i], rows[i].want, 4, 1e-10);
    arena_destroy(t.arena);
}

Test(ref, rows_closed_forms) {
    Bench t = bench();
    IrValue *x = input(&t, "x", IR_TYPE(DT_f32, 2, 4));
    IrValue *label = input(&t, "label", IR_TYPE(DT_i32, 2));
    IrValue *ln = IR_OP(&t.b, layer_norm, VALS(x), ATTRS(A_FLOAT(layer_norm_eps, 0.75)));
    IrValue *rms = IR_OP(&t.b, rms_norm, VALS(x), ATTRS(A_FLOAT(rms_norm_eps, 0.5)));
    IrValue *xent = IR_OP(&t.b, xent, VALS(x, label), NO_ATTRS);
    IrValue *ce = IR_OP(&t.b, cross_entropy, VALS(x, label), NO_ATTRS);
    IrValue *acc = IR_OP(&t.b, accuracy, VALS(x, label), NO_ATTRS);
    IrValue *top = ir_unary(&t.b, OP_max, x), *at = ir_unary(&t.b, OP_argmax, x);
    run(&t, false);
    SET(&t, "x", 1, 2, 3, 4, 5, 5, 5, 5);
    SET(&t, "label", 3, 1);
    interp_run(t.it);
    /* variance of 1..4 is 1.25: rstd = 1/sqrt(2) */
    double r = 0.70710678118654752;
    EXPECT(&t, ln, 1e-12, -1.5 * r, -.5 * r, .5 * r, 1.5 * r, 0, 0, 0, 0);
    EXPECT(&t, &ln->node->out[1], 1e-12, r, 1 / sqrt(0.75));
    /* mean squares are 7.5 and 25 */
    double q = sqrt(0.125), h = 1 / sqrt(25.5);
    EXPECT(&t, rms, 1e-12, q, 2 * q, 3 * q, 4 * q, 5 * h, 5 * h, 5 * h, 5 * h);
    EXPECT(&t, &rms->node->out[1], 1e-12, q, h);
    double first = log(exp(-3) + exp(-2) + exp(-1) + 1), second = log(4);
    EXPECT(&t, xent, 1e-12, first, second);
    EXPECT(&t, ce, 1e-12, (first + second) / 2);
    EXPECT(&t, acc, 0, 0.5); /* a tie goes to class 0 */
    EXPECT(&t, top, 0, 4, 5);
    EXPECT(&t, at, 0, 3, 0);
    arena_destroy(t.arena);
}

Test(ref, views_and_movement) {
    Bench t = bench();
    IrValue *x = input(&t, "x", IR_TYPE(DT_f32, 2, 3));
    const int64_t perm[] = {1, 0}, flat[] = {3, 2}, wide[] = {2, 2, 3};
    IrValue *tr = IR_OP(&t.b, transpose, VALS(x), ATTRS(A_INTS(transpose_perm, perm, 2)));
    IrValue *re = IR_OP(&t.b, reshape, VALS(x), ATTRS(A_INTS(reshape_shape, flat, 2)));
    IrValue *br = IR_OP(&t.b, broadcast, VALS(x), ATTRS(A_INTS(broadcast_shape, wide, 3)));
    IrValue *sl = ir_slice(&t.b, x, 1, 1, 2);
    IrValue *un =
        IR_OP(&t.b, unslice, VALS(sl),
              ATTRS(A_INT(unslice_axis, 1), A_INT(unslice_start, 1), A_INT(unslice_size, 4)));
    IrValue *cat = IR_OP(&t.b, concat, VALS(x, sl), ATTRS(A_INT(concat_axis, 1)));
    run(&t, false);
    SET(&t, "x", 1, 2, 3, 4, 5, 6);
    interp_run(t.it);
    EXPECT(&t, tr, 0, 1, 4, 2, 5, 3, 6);
    EXPECT(&t, re, 0, 1, 2, 3, 4, 5, 6);
    EXPECT(&t, br, 0, 1, 2, 3, 4, 5, 6, 1, 2, 3, 4, 5, 6);
    EXPECT(&t, sl, 0, 2, 3, 5, 6);
    EXPECT(&t, un, 0, 0, 2, 3, 0, 0, 5, 6, 0);
    EXPECT(&t, cat, 0, 1, 2, 3, 2, 3, 4, 5, 6, 5, 6);
    arena_destroy(t.arena);
}

Test(ref, matmul_orientations) {
    Bench t = bench();
    IrValue *a = input(&t, "a", IR_TYPE(DT_f32, 2, 3)),
            *at = input(&t, "at", IR_TYPE(DT_f32, 3, 2));
    IrValue *b = input(&t, "b", IR_TYPE(DT_f32, 3, 2)),
            *bt = input(&t, "bt", IR_TYPE(DT_f32, 2, 3));
    IrValue *y[4] = {
        IR_OP(&t.b, matmul, VALS(a, b), NO_ATTRS),
        IR_OP(&t.b, matmul, VALS(at, b), ATTRS(A_INT(matmul_ta, 1))),
        IR_OP(&t.b, matmul, VALS(a, bt), ATTRS(A_INT(matmul_tb, 1))),
        IR_OP(&t.b, matmul, VALS(at, bt), ATTRS(A_INT(matmul_ta, 1), A_INT(matmul_tb, 1))),
    };
    run(&t, false);
    SET(&t, "a", 1, 2, 3, 4, 5, 6);
    SET(&t, "at", 1, 4, 2, 5, 3, 6);
    SET(&t, "b", 7, 8, 9, 10, 11, 12);
    SET(&t, "bt", 7, 9, 11, 8, 10, 12);
    interp_run(t.it);
    for (int i = 0; i < 4; i++) EXPECT(&t, y[i], 0, 58, 64, 139, 154);
    arena_destroy(t.arena);
}

Test(ref, patchify_order) {
    Bench t = bench();
    IrValue *x = input(&t, "x", IR_TYPE(DT_f32, 1, 2, 2, 4));
    IrValue *y = IR_OP(&t.b, patchify, VALS(x), ATTRS(A_INT(patchify_patch, 2)));
    run(&t, false);
    SET(&t, "x", 0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12, 13, 14, 15, 16, 17);
    interp_run(t.it);
    EXPECT(&t, y, 0, 0, 10, 1, 11, 4, 14, 5, 15, 2, 12, 3, 13, 6, 16, 7, 17);
    arena_destroy(t.arena);
}

/* ---- attention ------------------------------------------------------------------------------- */

/* Of 2^18 numbers: mean and variance within five standard errors, fourth cumulants within reach; 0
 * in evaluation, and the operand does not matter. */
static void check_noise(const char *kind, double mean, double variance) {
    Bench t = bench();
    IrValue *x = ir_const(&t.b, NAN, IR_TYPE(DT_f32, 1 << 18));
    IrValue *y =
        IR_OP(&t.b, noise, VALS(x), ATTRS(A_STR(noise_kind, kind), A_STR(noise_stream, "n")));
    run(&t, true);
    interp_run(t.it);
    const double *v = interp_value(t.it, y)->data;
    double n = 1 << 18, sum = 0, squares = 0;
    for (int i = 0; i < 1 << 18; i++) {
        cr_assert(isfinite(v[i]), "%s: %g", kind, v[i]);
        sum += v[i] - mean;
        squares += (v[i] - mean) * (v[i] - mean);
    }
    double error = sqrt(variance / n);
    cr_assert(fabs(sum / n) < 5 * error, "%s: the mean is off by %g, standard error %g", kind,
              sum / n, error);
    cr_assert(fabs(squares / n / variance - 1) < 0.02, "%s: variance %g, expected %g", kind,
              squares / n, variance);
    run(&t, false);
    interp_run(t.it);
    v = interp_value(t.it, y)->data;
    for (int i = 0; i < 1 << 18; i++) cr_assert_eq(v[i], 0);
    arena_destroy(t.arena);
}

Test(ref, noise_has_its_distribution) {
    check_noise("normal", 0, 1);
    check_noise("uniform", 0, 1.0 / 3);
    check_noise("gumbel", 0.57721566490153286, 1.6449340668482264); /* Euler's constant, pi^2/6 */
}

Test(ref, sdpa_of_equal_and_of_chosen_keys) {
    Bench t = bench();
    IrValue *q = input(&t, "q", IR_TYPE(DT_f32, 1, 1, 2)),
            *k = input(&t, "k", IR_TYPE(DT_f32, 1, 2, 2));
    IrValue *v = input(&t, "v", IR_TYPE(DT_f32, 1, 2, 2));
    IrValue *key = ir_rng_key(&t.b, "unused");
    IrValue *o = IR_OP(&t.b, sdpa, VALS(q, k, v, key),
                       ATTRS(A_INT(sdpa_heads, 2), A_FLOAT(sdpa_scale, 0.5)));
    IrValue *m = IR_OP(&t.b, attention, VALS(q, k, v), ATTRS(A_INT(attention_heads, 2)));
    run(&t, false);
    /* head 0: equal keys, the mean of v. head 1: scores 0.5*2*ln3 and 0, so weights 3/4 and 1/4 */
    SET(&t, "q", 5, 2);
    SET(&t, "k", 1, log(3), 1, 0);
    SET(&t, "v", 1, 8, 3, 4);
    interp_run(t.it);
    EXPECT(&t, o, 1e-12, 2, 7);
    EXPECT(&t, &o->node->out[1], 1e-12, 2.5 + log(2), log(4));
    /* attention's scale is 1 here: weights 9/10 and 1/10 */
    EXPECT(&t, m, 1e-12, 2, 7.6);
    arena_destroy(t.arena);
}

Test(ref, random_numbers_are_the_runtimes) {
    Bench t = bench();
    IrValue *key = ir_rng_key(&t.b, "noise");
    const int64_t shape[] = {5, 7};
    IrValue *u = IR_OP(&t.b, uniform, VALS(key), ATTRS(A_INTS(uniform_shape, shape, 2)));
    IrValue *x = ir_const(&t.b, 3, IR_TYPE(DT_f32, 5, 7));
    IrValue *d = IR_OP(&t.b, dropout, VALS(x),
                       ATTRS(A_FLOAT(dropout_p, 0.25), A_STR(dropout_stream, "noise")));
    uint32_t k[2];
    vm_rng_key(7, vm_hash_name("noise"), 5, k);
    double want[35], kept[35];
    int dropped = 0;
    for (uint32_t i = 0; i < 35; i++) {
        want[i] = vm_rng_uniform(k, i);
        kept[i] = want[i] < 0.25 ? 0 : 4;
        dropped += kept[i] == 0;
    }
    cr_assert(dropped > 0 && dropped < 35);
    run(&t, true);
    interp_run(t.it);
    expect(&t, u, want, 35, 0);
    expect(&t, d, kept, 35, 1e-12);
    run(&t, false);
    interp_run(t.it);
    for (int i = 0; i < 35; i++) kept[i] = 3;
    expect(&t, d, kept, 35, 0);
    arena_destroy(t.arena);
}

/* ---- experts --------------------------------------------------------------------------------- */

Test(ref, routing_by_hand) {
    Bench t = bench();
    IrValue *idx = input(&t, "idx", IR_TYPE(DT_i32, 3, 2)),
            *x = input(&t, "x", IR_TYPE(DT_f32, 3, 1));
    IrValue *w = input(&t, "w", IR_TYPE(DT_f32, 3, 2)),
            *m = input(&t, "m", IR_TYPE(DT_f32, 4, 1, 1));
    IrNode *route = IR_OP(&t.b, route, VALS(idx), ATTRS(A_INT(route_experts, 4)))->node;
    IrValue *rows = IR_OP(&t.b, dispatch, VALS(x, &route->out[1]), ATTRS(A_INT(dispatch_k, 2)));
    IrValue *y = IR_OP(&t.b, expert_matmul, VALS(rows, m, &route->out[0]), NO_ATTRS);
    IrValue *dw = IR_OP(&t.b, expert_matmul_dw, VALS(rows, y, &route->out[0]), NO_ATTRS);
    IrValue *out = IR_OP(&t.b, combine, VALS(y, &route->out[2], w), NO_ATTRS);
    IrValue *plain = IR_OP(&t.b, combine_rows, VALS(y, &route->out[2]), NO_ATTRS);
    IrValue *dweight = IR_OP(&t.b, combine_dw, VALS(y, &route->out[2], x), NO_ATTRS);
    const IrType matrix = IR_TYPE(DT_f32, 4, 1);
    IrValue *m1 = ir_reshape(&t.b, m, &matrix);
    IrValue *ex = IR_OP(&t.b, expert_expand, VALS(m1, &route->out[3]), NO_ATTRS);
    IrValue *es =
        IR_OP(&t.b, expert_sum, VALS(rows, &route->out[3]), ATTRS(A_INT(expert_sum_experts, 4)));
    IrValue *count = IR_OP(&t.b, histogram, VALS(idx), ATTRS(A_INT(histogram_bins, 4)));
    IrValue *part = IR_OP(&t.b, route_counts, VALS(idx),
                          ATTRS(A_INT(route_counts_experts, 4), A_INT(route_counts_segments, 4)));
    run(&t, false);
    SET(&t, "idx", 2, 0, 2, 3, 0, 2); /* expert 1 gets nothing */
    SET(&t, "x", 1, 2, 3);
    SET(&t, "w", .5, .25, 1, 2, 4, 8);
    SET(&t, "m", 10, 100, 1000, 10000);
    interp_run(t.it);
    EXPECT(&t, &route->out[0], 0, 0, 2, 2, 5, 6);
    EXPECT(&t, &route->out[1], 0, 1, 4, 0, 2, 5, 3);
    EXPECT(&t, &route->out[2], 0, 2, 0, 3, 5, 1, 4);
    EXPECT(&t, &route->out[3], 0, 0, 0, 2, 2, 2, 3);
    EXPECT(&t, rows, 0, 1, 3, 1, 2, 3, 2);
    EXPECT(&t, y, 0, 10, 30, 1000, 2000, 3000, 20000);
    EXPECT(&t, dw, 0, 100, 0, 14000, 40000);
    EXPECT(&t, out, 0, 502.5, 42000, 24120);
    EXPECT(&t, plain, 0, 1010, 22000, 3030);
    EXPECT(&t, dweight, 0, 1000, 10, 4000, 40000, 90, 9000);
    EXPECT(&t, ex, 0, 10, 10, 1000, 1000, 1000, 10000);
    EXPECT(&t, es, 0, 4, 0, 6, 2);
    EXPECT(&t, count, 0, 2, 0, 3, 1);
    EXPECT(&t, part, 0, 0, 0, 1, 0, 1, 0, 1, 0, 0, 0, 0, 1, 1, 0, 1, 0); /* pairs 0, 1-2, 3, 4-5 */
    arena_destroy(t.arena);
}

Test(ref, take_and_put) {
    Bench t = bench();
    IrValue *x = input(&t, "x", IR_TYPE(DT_f32, 2, 3)),
            *idx = input(&t, "idx", IR_TYPE(DT_i32, 2, 2));
    IrValue *take = IR_OP(&t.b, take_last, VALS(x, idx), NO_ATTRS);
    IrValue *put = IR_OP(&t.b, put_last, VALS(take, idx), ATTRS(A_INT(put_last_experts, 3)));
    run(&t, false);
    SET(&t, "x", 1, 2, 3, 4, 5, 6);
    SET(&t, "idx", 2, 0, 1, 2);
    interp_run(t.it);
    EXPECT(&t, take, 0, 3, 1, 5, 6);
    EXPECT(&t, put, 0, 1, 0, 3, 0, 5, 6);
    arena_destroy(t.arena);
}

Test(ref, adamw_writes_weights_and_state_after_the_step) {
    Bench t = bench();
    IrType two = IR_TYPE(DT_f32, 2);
    IrValue *p = ir_param(&t.b, "p", two, "zeros", "", true), *g = input(&t, "g", two);
    IrValue *m = ir_state(&t.b, "m", two), *v = ir_state(&t.b, "v", two);
    IrValue *step = input(&t, "step", IR_TYPE(DT_f32, 4));
    IrValue *reader = ir_unary(&t.b, OP_copy, p);
    IrValue *new_p = IR_OP(&t.b, adamw, VALS(p, g, m, v, step),
                           ATTRS(A_FLOAT(adamw_eps, 0), A_FLOAT(adamw_decay, 0.5)));
    run(&t, true);
    SET(&t, "p", 2, -4);
    SET(&t, "g", 3, -0.5);
    SET(&t, "step", 0.1, 1 - 0.9, 1 - 0.999, 0);
    interp_run(t.it);
    /* first step: m/c1 = g and v/c2 = g^2, so p -= lr * (p/2 + sign(g)) */
    EXPECT(&t, new_p, 1e-12, 1.8, -3.7);
    EXPECT(&t, p, 1e-12, 1.8, -3.7);
    EXPECT(&t, m, 1e-12, 0.3, -0.05);
    EXPECT(&t, v, 1e-12, 0.009, 0.00025);
    EXPECT(&t, reader, 0, 2, -4);
    SET(&t, "step", 0, 1, 1, 0);
    interp_run(t.it);
    EXPECT(&t, reader, 1e-12, 1.8, -3.7);
    arena_destroy(t.arena);
}

Test(ref, objective_is_the_weighted_sum) {
    Bench t = bench();
    IrValue *x = input(&t, "x", ir_scalar(DT_f32)), *y = input(&t, "y", ir_scalar(DT_f32));
    ir_add_out(t.g, OUT_loss, "a", x, 1, (IrLoc){0});
    ir_add_out(t.g, OUT_aux, "b", y, 0.25, (IrLoc){0});
    ir_add_out(t.g, OUT_metric, "c", y, 1, (IrLoc){0});
    run(&t, false);
    cr_assert_not(interp_set(t.it, "z", (const double[]){1}));
    SET(&t, "x", 3);
    SET(&t, "y", 8);
    interp_run(t.it);
    cr_assert_eq(interp_objective(t.it), 5);
    cr_assert_eq(interp_out(t.it, "c")->data[0], 8);
    cr_assert_null(interp_out(t.it, "d"));
    arena_destroy(t.arena);
}

/* ---- MODEL ops and their expansions ---------------------------------------------------------- */

static void compare_expansion(const OpCase *c, bool training) {
    Arena *a = arena_create();
    IrGraph *g = case_graph(a, c, false, NULL), *core = ir_graph_clone(a, g);
    PassCtx ctx = pass_ctx(arena_create());
    ctx.training = training;
    const PassId expand = PASS_expand;
    const char *error = pass_run(&ctx, core, &expand, 1);
    cr_assert_null(error, "%s: %s", case_text(a, c), error);
    cr_assert_null(ir_verify(a, core, false));
    Interp *x = interp_create(a, g, training), *y = interp_create(a, core, training);
    case_fill_all(x, g, 11);
    case_fill_all(y, core, 11);
    interp_run(x);
    interp_run(y);
    const RefTensor *want = interp_out(x, "y0"), *got = interp_out(y, "y0");
    cr_assert(ir_type_equal(&want->type, &got->type));
    int64_t at;
    double err = case_error(want->data, got->data, ir_elems(&want->type), false, INFINITY, &at);
    cr_assert(err < 1e-11, "%s, %s: element %lld is %.12g by its formula, %.12g expanded",
              case_text(a, c), training ? "training" : "evaluation", (long long)at, want->data[at],
              got->data[at]);
    arena_destroy(ctx.scratch);
    arena_destroy(a);
}

Test(ref, model_ops_equal_their_expansions) {
    int compared = 0;
    for (int i = 0; i < op_ncases; i++) {
        if (ir_ops[op_cases[i].op].stage != STAGE_MODEL) continue;
        compare_expansion(&op_cases[i], true);
        compare_expansion(&op_cases[i], false);
        compared++;
    }
    cr_assert(compared >= 12);
}

Test(ref, every_op_has_a_case) {
    bool seen[OP_COUNT] = {false};
    for (int i = 0; i < op_ncases; i++) seen[op_cases[i].op] = true;
    for (int op = 0; op < OP_COUNT; op++)
        cr_assert(seen[op] || ir_ops[op].route == ROUTE_LEAF, "no row of cases.def for %s",
                  ir_ops[op].name);
}

/* Every case verifies and its results are finite: a case that cannot run tests nothing. */
Test(ref, every_case_is_a_legal_graph) {
    for (int i = 0; i < op_ncases; i++) {
        Arena *a = arena_create();
        IrNode *node;
        IrGraph *g = case_graph(a, &op_cases[i], false, &node);
        const char *error = ir_verify(a, g, true);
        cr_assert_null(error, "%s: %s", case_text(a, &op_cases[i]), error);
        Interp *it = interp_create(a, g, true);
        case_fill_all(it, g, 1);
        interp_run(it);
        for (int r = 0; r < node->nout; r++) {
            const RefTensor *y = interp_value(it, &node->out[r]);
            for (int64_t e = 0; e < ir_elems(&y->type); e++)
                cr_assert(isfinite(y->data[e]) || strstr(op_cases[i].operands, "wide["), "%s: %g",
                          case_text(a, &op_cases[i]), y->data[e]);
        }
        arena_destroy(a);
    }
}
