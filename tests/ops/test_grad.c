/* Gradients: what autodiff builds, evaluated by the interpreter in f64, against central differences
 * of the graph as written (MODEL ops included, so expansion is checked on the way). The objective
 * is the sum of result 0 with fixed random weights. One test per op with a gradient, pasted from
 * the op table. */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "passes/passes.h"
#include "tests/ops/util_case.h"

enum { MAX_OPERANDS = 8, SAMPLES = 16 };
static const double step = 1e-5, tolerance = 2e-6;

/* A graph, its differentiated expansion, and interpreters with the same data. */
typedef struct Pair {
    Arena *arena;
    const char *what; /* for messages */
    IrGraph *g, *grad;
    Interp *value, *gradient;
    uint64_t seed;
} Pair;

static Pair pair_make(Arena *a, IrGraph *g, const char *what, uint64_t seed) {
    Pair p = {.arena = a, .what = what, .g = g, .grad = ir_graph_clone(a, g), .seed = seed};
    PassCtx ctx = pass_ctx(arena_create());
    ctx.training = true;
    const PassId list[] = {PASS_expand, PASS_autodiff};
    const char *error = pass_run(&ctx, p.grad, list, 2);
    cr_assert_null(error, "%s: %s", what, error);
    arena_destroy(ctx.scratch);
    p.value = interp_create(a, g, true);
    p.gradient = interp_create(a, p.grad, true);
    case_fill_all(p.value, g, seed);
    case_fill_all(p.gradient, p.grad, seed);
    interp_run(p.gradient);
    return p;
}

static const RefTensor *grad_of(const Pair *p, const IrNode *param) {
    const char *name = arena_printf(p->arena, "grad.%s", ir_str(param, ATTR_param_name));
    const RefTensor *t = interp_out(p->gradient, name);
    cr_assert_not_null(t, "%s: there is no output %s", p->what, name);
    cr_assert(ir_type_equal(&t->type, &param->out[0].type),
              "%s: %s has another type than its param", p->what, name);
    return t;
}

/* Objective with param = x + h * direction. */
static double objective_at(Pair *p, const IrNode *param, const double *x, const double *direction,
                           double h) {
    int64_t n = ir_elems(&param->out[0].type);
    double *moved = ARENA_ARRAY(p->arena, double, n);
    for (int64_t i = 0; i < n; i++) moved[i] = x[i] + h * direction[i];
    interp_set(p->value, ir_str(param, ATTR_param_name), moved);
    interp_run(p->value);
    return interp_objective(p->value);
}

static void check_direction(Pair *p, const IrNode *param, const double *x, const double *direction,
                            int64_t at) {
    const RefTensor *g = grad_of(p, param);
    double want = 0, size = 0;
    for (int64_t i = 0, n = ir_elems(&g->type); i < n; i++) {
        want += g->data[i] * direction[i];
        size += fabs(g->data[i] * direction[i]);
    }
    double up = objective_at(p, param, x, direction, step),
           down = objective_at(p, param, x, direction, -step);
    double slope = (up - down) / (2 * step);
    cr_assert(
        fabs(slope - want) <= tolerance * (size + 0.1),
        "%s: d objective / d %s (element %lld, -1: all): autodiff says %.9g, differences say %.9g",
        p->what, ir_str(param, ATTR_param_name), (long long)at, want, slope);
}

/* One random direction moves every element; single elements say which one is wrong. True when the
 * gradient is not zero everywhere. */
static bool check_param(Pair *p, const IrNode *param) {
    int64_t n = ir_elems(&param->out[0].type);
    double *x = ARENA_ARRAY(p->arena, double, n), *direction = ARENA_ARRAY(p->arena, double, n);
    case_fill(param, p->seed, x);
    CaseRng r = {p->seed};
    for (int i = 0; i < SAMPLES && i < n; i++) {
        int64_t at = n <= SAMPLES ? i : case_below(&r, n);
        direction[at] = 1;
        check_direction(p, param, x, direction, at);
        direction[at] = 0;
    }
    for (int64_t i = 0; i < n; i++) direction[i] = 2 * case_unit(&r) - 1;
    check_direction(p, param, x, direction, -1);
    objective_at(p, param, x, direction, 0);
    const RefTensor *g = grad_of(p, param);
    for (int64_t i = 0; i < n; i++)
        if (g->data[i] != 0) return true;
    return false;
}

static bool check_all_params(Pair *p) {
    bool live = false;
    IR_FOR (n, p->g)
        if (n->op == OP_param) live |= check_param(p, n);
    return live;
}

/* ---- one test per op ------------------------------------------------------------------------- */

typedef struct Seen {
    bool param[MAX_OPERANDS], live[MAX_OPERANDS];
} Seen;

/* False: a case whose result is of integers. */
static bool check_case(const OpCase *c, Seen *seen) {
    Arena *a = arena_create();
    IrNode *node;
    IrGraph *g = case_graph(a, c, true, &node);
    if (node->out[0].type.dtype != DT_f32) {
        arena_destroy(a);
        return false;
    }
    case_add_objective(g, &node->out[0]);
    Pair p = pair_make(a, g, case_text(a, c), 5);
    bool live = false;
    for (int i = 0; i < node->nin; i++) {
        if (node->in[i]->node->op != OP_param) continue;
        seen->param[i] = true;
        if (!check_param(&p, node->in[i]->node)) continue;
        seen->live[i] = live = true;
    }
    cr_assert(live, "%s: every gradient is zero", p.what);
    arena_destroy(a);
    return true;
}

static void check_op(OpCode op) {
    Seen seen = {0};
    int checked = 0;
    for (int i = 0; i < op_ncases; i++) {
        if (op_cases[i].op != op || case_has_ties(&op_cases[i]) ||
            strstr(op_cases[i].attrs, "bf16=1")) /* rounding has steps and no slopes */
            continue;
        checked += check_case(&op_cases[i], &seen);
    }
    cr_assert(checked > 0, "no case of %s can be differentiated", ir_ops[op].name);
    for (int i = 0; i < MAX_OPERANDS; i++)
        cr_assert(seen.live[i] || !seen.param[i] ||
                      (op == OP_by_mode && i == 1), /* evaluation's operand */
                  "%s: the gradient of operand %d is zero in every case", ir_ops[op].name, i);
}

#define GRAD_TEST_YES(name)                                                                        \
    Test(grad, name) {                                                                             \
        check_op(OP_##name);                                                                       \
    }
#define GRAD_TEST_VIA(name) GRAD_TEST_YES(name)
#define GRAD_TEST_STOP(name)
#define GRAD_TEST_END(name)
#define OP(name, lo, hi, nout, stage, route, grad, ...) GRAD_TEST_##grad(name)
#include "ir/ops.def"

/* ---- ops without a gradient ------------------------------------------------------------------ */

/* objective = <stop(x), w> + <x, w'>: the gradient of x is w' exactly. */
static int check_stop_case(const OpCase *c) {
    Arena *a = arena_create();
    IrNode *node;
    IrGraph *g = case_graph(a, c, true, &node);
    IrBuilder b = ir_builder(g);
    IrValue *y = &node->out[0];
    if (y->type.dtype == DT_i32) y = ir_unary(&b, OP_cast, y);
    case_add_objective(g, y);
    int params = 0;
    for (int i = 0; i < node->nin; i++) {
        if (node->in[i]->node->op != OP_param) continue;
        IrValue *x = node->in[i], *w = ir_input(&b, arena_printf(a, "w%d:f", i), x->type);
        const int64_t axes[] = {0, 1, 2, 3, 4, 5};
        IrValue *dot = ir_sum_axes(&b, ir_binary(&b, OP_mul, x, w), axes, x->type.rank);
        ir_add_out(g, OUT_loss, arena_printf(a, "dot%d", i), dot, 1, (IrLoc){0});
        params++;
    }
    Pair p = pair_make(a, g, case_text(a, c), 5);
    for (int i = 0; i < node->nin; i++) {
        if (node->in[i]->node->op != OP_param) continue;
        const RefTensor *got = grad_of(&p, node->in[i]->node);
        const IrNode *leaf = ir_find_leaf(p.grad, OP_input, arena_printf(a, "w%d:f", i));
        const RefTensor *want = interp_value(p.gradient, &leaf->out[0]);
        double err = case_error(want->data, got->data, ir_elems(&got->type), false, INFINITY, NULL);
        cr_assert_eq(err, 0, "%s: something flows back to operand %d", p.what, i);
    }
    arena_destroy(a);
    return params;
}

Test(grad, nothing_flows_through_stop_ops) {
    int params = 0;
    for (int i = 0; i < op_ncases; i++)
        if (ir_ops[op_cases[i].op].grad == GRAD_STOP &&
            !(ir_ops[op_cases[i].op].flags & OPF_EFFECT))
            params += check_stop_case(&op_cases[i]); /* what is written is read no more */
    cr_assert(params >= 8);
}

/* ---- whole layers ---------------------------------------------------------------------------- */

typedef struct Layer {
    Arena *arena;
    IrGraph *g;
    IrBuilder b;
} Layer;

static IrValue *weight(Layer *l, const char *name, IrType t) {
    return ir_param(&l->b, name, t, "zeros", "", true);
}

/* Routed experts with a bias and GELU; `renormalise`: softmax over the chosen logits, otherwise the
 * probabilities themselves. The logits are far enough apart that differences cannot flip a choice.
 */
static void moe_layer(Layer *l, int64_t K, bool renormalise, bool expert_bias) {
    enum { T = 7, D = 5, H = 6, E = 4 };
    IrBuilder *b = &l->b;
    IrValue *x = weight(l, "x:f", IR_TYPE(DT_f32, T, D)),
            *h = weight(l, "logits:sep", IR_TYPE(DT_f32, T, E));
    IrValue *p = ir_unary(b, OP_softmax, h);
    IrNode *top = IR_OP(b, topk, VALS(renormalise ? h : p), ATTRS(A_INT(topk_k, K)))->node;
    IrValue *w = renormalise ? ir_unary(b, OP_softmax, &top->out[0]) : &top->out[0];
    IrNode *r = IR_OP(b, route, VALS(&top->out[1]), ATTRS(A_INT(route_experts, E)))->node;
    IrValue *rows = IR_OP(b, dispatch, VALS(x, &r->out[1]), ATTRS(A_INT(dispatch_k, K)));
    IrValue *up = weight(l, "up:f", IR_TYPE(DT_f32, E, D, H)),
            *bias = weight(l, "bias:f", IR_TYPE(DT_f32, E, H));
    IrValue *down = weight(l, "down:f", IR_TYPE(DT_f32, E, H, D));
    IrValue *y =
        expert_bias
            ? IR_OP(b, expert_linear, VALS(rows, up, &r->out[0], &r->out[3], bias), NO_ATTRS)
            : IR_OP(b, expert_linear, VALS(rows, up, &r->out[0], &r->out[3]), NO_ATTRS);
    y = ir_unary(b, OP_gelu, y);
    y = IR_OP(b, expert_linear, VALS(y, down, &r->out[0], &r->out[3]), NO_ATTRS);
    y = IR_OP(b, combine, VALS(y, &r->out[2], w), NO_ATTRS);
    case_add_objective(l->g, ir_binary(b, OP_add, x, y));
    IrValue *aux = IR_OP(b, load_balance, VALS(p, &top->out[1]), NO_ATTRS);
    ir_add_out(l->g, OUT_aux, "balance", aux, renormalise ? 0 : 0.5, (IrLoc){0});
}

static Layer layer(void) {
    Arena *a = arena_create();
    IrGraph *g = ir_graph_create(a, "layer");
    return (Layer){a, g, ir_builder(g)};
}

Test(grad, moe_layer_with_its_balance_loss) {
    for (int k = 1; k <= 4; k++) {
        Layer l = layer();
        moe_layer(&l, k, false, true);
        Pair p = pair_make(l.arena, l.g, "moe layer, probabilities as weights", 3);
        cr_assert(check_all_params(&p));
        arena_destroy(l.arena);
    }
}

Test(grad, moe_layer_with_renormalised_weights) {
    for (int k = 1; k <= 4; k++) {
        Layer l = layer();
        moe_layer(&l, k, true, true);
        Pair p = pair_make(l.arena, l.g, "moe layer, renormalised weights", 3);
        cr_assert(check_all_params(&p));
        /* With one expert per token its weight is 1 whatever the gate says. */
        const RefTensor *gate = grad_of(&p, ir_find_leaf(l.g, OP_param, "logits:sep"));
        double size = 0;
        for (int64_t i = 0; i < ir_elems(&gate->type); i++) size += fabs(gate->data[i]);
        cr_assert(k == 1 ? size < 1e-12 : size > 1e-3, "k = %d: |gate gradient| = %g", k, size);
        arena_destroy(l.arena);
    }
}

/* The second result of layer_norm is differentiable too, alone and together with the first. */
Test(grad, layer_norm_through_rstd) {
    for (int both = 0; both < 2; both++) {
        Layer l = layer();
        IrValue *x = weight(&l, "x:f", IR_TYPE(DT_f32, 3, 5));
        IrNode *n = IR_OP(&l.b, layer_norm, VALS(x), ATTRS(A_FLOAT(layer_norm_eps, 0.01)))->node;
        IrValue *y = &n->out[1];
        if (both) y = ir_binary(&l.b, OP_mul, &n->out[0], ir_broadcast(&l.b, y, &n->out[0].type));
        case_add_objective(l.g, y);
        Pair p = pair_make(l.arena, l.g, "layer_norm through rstd", 3);
        cr_assert(check_all_params(&p));
        arena_destroy(l.arena);
    }
}

Test(grad, a_weight_without_use_gets_zero) {
    Layer l = layer();
    moe_layer(&l, 2, false, false); /* makes the bias and leaves it alone */
    Pair p = pair_make(l.arena, l.g, "moe layer without expert bias", 3);
    const RefTensor *g = grad_of(&p, ir_find_leaf(p.g, OP_param, "bias:f"));
    for (int64_t i = 0; i < ir_elems(&g->type); i++) cr_assert_eq(g->data[i], 0);
    arena_destroy(l.arena);
}

Test(grad, uses_and_weighted_losses_add_up) {
    Layer l = layer();
    IrValue *x = weight(&l, "x:f", IR_TYPE(DT_f32, 3, 5));
    const int64_t axes[] = {0, 1};
    IrValue *cube = ir_binary(&l.b, OP_mul, x, ir_unary(&l.b, OP_square, x));
    ir_add_out(l.g, OUT_loss, "cube", ir_sum_axes(&l.b, cube, axes, 2), 1, (IrLoc){0});
    IrValue *plain = ir_sum_axes(&l.b, x, axes, 2);
    ir_add_out(l.g, OUT_aux, "plain", plain, 0.25, (IrLoc){0});
    ir_add_out(l.g, OUT_metric, "free", plain, 1, (IrLoc){0});
    Pair p = pair_make(l.arena, l.g, "x^3 + x/4", 9);
    const IrNode *leaf = ir_find_leaf(p.g, OP_param, "x:f");
    double data[15];
    case_fill(leaf, 9, data);
    const RefTensor *g = grad_of(&p, leaf);
    for (int i = 0; i < 15; i++)
        cr_assert(fabs(g->data[i] - (3 * data[i] * data[i] + 0.25)) < 1e-12);
    cr_assert(check_all_params(&p));
    arena_destroy(l.arena);
}

Test(grad, every_differentiable_op_has_a_case) {
    for (int op = 0; op < OP_COUNT; op++) {
        if (ir_ops[op].grad != GRAD_YES && ir_ops[op].grad != GRAD_VIA) continue;
        int found = 0;
        for (int i = 0; i < op_ncases; i++)
            found += op_cases[i].op == (OpCode)op && !case_has_ties(&op_cases[i]);
        cr_assert(found > 0, "no differentiable row of cases.def for %s", ir_ops[op].name);
    }
}
