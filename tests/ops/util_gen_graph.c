/* Random graphs. Values stay of order one: what amplifies is damped at once, so that chains of a
 * dozen layers remain comparable between f32 and f64. */
#include <math.h>
#include <stdlib.h>

#include "tests/ops/util_gen.h"

bool gen_chance(Gen *g, int percent) {
    return case_below(&g->r, 100) < percent;
}

IrValue *gen_pick(Gen *g) {
    /* Later values are picked more often: deep graphs, not wide ones. */
    int recent = g->npool < 4 ? g->npool : 4;
    if (gen_chance(g, 70)) return g->pool[g->npool - 1 - case_below(&g->r, recent)];
    return g->pool[case_below(&g->r, g->npool)];
}

IrValue *gen_weight(Gen *g, IrType t, int tenths) {
    const char *name = arena_printf(g->arena, "w%d:x%d.%d", g->names++, tenths / 10, tenths % 10);
    return ir_param(&g->b, name, t, "zeros", "", true);
}

static IrValue *constant_like(Gen *g, double v, const IrValue *like) {
    return ir_const(&g->b, v, like->type);
}

IrValue *gen_damp(Gen *g, IrValue *x) {
    if (x->type.rank > 0 && ir_cols(&x->type) >= 4 && gen_chance(g, 40))
        return IR_OP(&g->b, layer_norm, VALS(x), ATTRS(A_FLOAT(layer_norm_eps, 0.01)));
    return gen_chance(g, 50) ? ir_unary(&g->b, OP_tanh, x) : ir_scale(&g->b, x, 0.5);
}

static IrValue *positive(Gen *g, IrValue *x) {
    return ir_binary(&g->b, OP_add, ir_unary(&g->b, OP_abs, x), constant_like(g, 0.5, x));
}

static int normalised_axis(Gen *g, const IrValue *x) {
    return (int)case_below(&g->r, x->type.rank);
}

/* ---- table-driven growth --------------------------------------------------------------------- */

static OpCode random_op(Gen *g, int nin, bool stop_too) {
    for (;;) {
        OpCode op = (OpCode)case_below(&g->r, OP_COUNT);
        const OpInfo *o = &ir_ops[op];
        bool grad =
            o->grad == GRAD_YES || o->grad == GRAD_VIA || (stop_too && o->grad == GRAD_STOP);
        if (grad && o->min_in == nin && o->max_in == nin && o->nattr == 0 && o->nout == 1 &&
            o->route != ROUTE_LEAF && !(o->flags & OPF_EFFECT))
            return op;
    }
}

static IrValue *grow_unary(Gen *g) {
    OpCode op = random_op(g, 1, false);
    IrValue *x = gen_pick(g);
    if (op == OP_log || op == OP_sqrt || op == OP_rsqrt) x = positive(g, x);
    if (op == OP_erfinv) x = ir_scale(&g->b, ir_unary(&g->b, OP_tanh, x), 0.9);
    if (op == OP_exp) x = ir_unary(&g->b, OP_tanh, x);
    if (op == OP_variance && ir_rows(&x->type) == 1) return NULL; /* none to train with */
    IrValue *y = ir_try(&g->b, op, &x, 1, NO_ATTRS);
    return y && (op == OP_square || op == OP_exp) ? gen_damp(g, y) : y;
}

/* Of x's shape: another value, or a param broadcast from some of its dimensions. */
static IrValue *partner(Gen *g, const IrValue *x) {
    for (int i = 0; i < 4; i++) {
        IrValue *y = gen_pick(g);
        if (y != x && ir_shape_equal(&y->type, &x->type)) return y;
    }
    IrType t = x->type;
    for (int d = 0; d < t.rank; d++)
        if (gen_chance(g, 40)) t.dim[d] = 1;
    int drop = (int)case_below(&g->r, t.rank);
    IrType lower = ir_type(DT_f32, t.rank - drop, t.dim + drop);
    return ir_broadcast(&g->b, gen_weight(g, lower, 10), &x->type);
}

static IrValue *grow_binary(Gen *g) {
    OpCode op = random_op(g, 2, true);
    IrValue *x = gen_pick(g), *y = partner(g, x);
    if (op == OP_div) y = positive(g, y);
    if (!ir_shape_equal(&x->type, &y->type)) return NULL;
    IrValue *z = ir_try(&g->b, op, VALS(x, y), NO_ATTRS);
    if (!z) return NULL;
    if (op == OP_less || op == OP_equal) return IR_OP(&g->b, select, VALS(z, x, y), NO_ATTRS);
    return op == OP_mul || op == OP_div ? gen_damp(g, z) : z;
}

/* Arithmetic with constants, the ones that simplify knows among them. */
static IrValue *grow_const(Gen *g) {
    static const double values[] = {0, 1, -1, 2, 0.5, -0.25};
    static const OpCode ops[] = {OP_add, OP_sub, OP_mul, OP_div, OP_maximum, OP_minimum};
    IrValue *x = gen_pick(g);
    for (int n = 1 + (int)case_below(&g->r, 3); n > 0; n--) {
        OpCode op = ops[case_below(&g->r, 6)];
        IrValue *c = constant_like(g, values[case_below(&g->r, 6)], x);
        bool first = gen_chance(g, 40);
        if (op == OP_div && first) x = positive(g, x);
        if (op == OP_div && !first) c = constant_like(g, gen_chance(g, 50) ? 1 : -2, x);
        x = first ? ir_binary(&g->b, op, c, x) : ir_binary(&g->b, op, x, c);
        if (gen_chance(g, 30)) x = ir_unary(&g->b, OP_neg, x);
    }
    return gen_damp(g, x);
}

/* A value computed a second time: random numbers of one stream are equal, too. */
static IrValue *grow_twin(Gen *g) {
    IrValue *x = gen_pick(g);
    IrNode *n = x->node;
    if (ir_ops[n->op].route == ROUTE_LEAF || ir_ops[n->op].nattr > 0) return NULL;
    IrValue *again = ir_try(&g->b, n->op, n->in, n->nin, NO_ATTRS);
    return again ? ir_binary(&g->b, gen_chance(g, 50) ? OP_add : OP_maximum, x, again) : NULL;
}

/* ---- shapes ---------------------------------------------------------------------------------- */

static IrValue *grow_reduce(Gen *g) {
    IrValue *x = gen_pick(g);
    int64_t axes[IR_MAX_RANK];
    int n = 0;
    IrType kept = x->type;
    for (int d = 0; d < x->type.rank; d++) {
        if (!gen_chance(g, 45)) continue;
        axes[n++] = d;
        kept.dim[d] = 1;
    }
    if (n == 0 || n == x->type.rank) return NULL;
    IrValue *y = gen_chance(g, 50)
                     ? IR_OP(&g->b, mean, VALS(x), ATTRS(A_INTS(mean_axes, axes, n)))
                     : gen_damp(g, IR_OP(&g->b, sum, VALS(x), ATTRS(A_INTS(sum_axes, axes, n))));
    if (gen_chance(g, 40)) return y;
    y = ir_broadcast(&g->b, ir_reshape(&g->b, y, &kept), &x->type);
    return ir_binary(&g->b, gen_chance(g, 50) ? OP_add : OP_sub, x, y);
}

static IrValue *grow_transpose(Gen *g) {
    IrValue *x = gen_pick(g);
    int64_t perm[IR_MAX_RANK];
    for (int d = 0; d < x->type.rank; d++) perm[d] = d;
    for (int d = x->type.rank - 1; d > 0; d--) {
        int64_t j = case_below(&g->r, d + 1), swap = perm[d];
        perm[d] = perm[j];
        perm[j] = swap;
    }
    return ir_try(&g->b, OP_transpose, &x, 1, ATTRS(A_INTS(transpose_perm, perm, x->type.rank)));
}

static IrValue *slice_of(Gen *g, IrValue *x, int axis) {
    int64_t size = 1 + case_below(&g->r, x->type.dim[axis]);
    return ir_slice(&g->b, x, axis, case_below(&g->r, x->type.dim[axis] - size + 1), size);
}

static IrValue *grow_slice(Gen *g) {
    IrValue *x = gen_pick(g);
    return slice_of(g, x, normalised_axis(g, x));
}

static IrValue *grow_concat(Gen *g) {
    IrValue *x = gen_pick(g);
    int axis = normalised_axis(g, x), n = 1 + (int)case_below(&g->r, 3);
    IrValue *part[4];
    for (int i = 0; i < n; i++) part[i] = slice_of(g, x, axis);
    part[n] = partner(g, x);
    return ir_try(&g->b, OP_concat, part, n + 1, ATTRS(A_INT(concat_axis, axis)));
}

static IrValue *grow_unslice(Gen *g) {
    IrValue *x = gen_pick(g);
    int axis = normalised_axis(g, x);
    int64_t start = case_below(&g->r, 3), size = start + x->type.dim[axis] + case_below(&g->r, 3);
    return ir_try(
        &g->b, OP_unslice, &x, 1,
        ATTRS(A_INT(unslice_axis, axis), A_INT(unslice_start, start), A_INT(unslice_size, size)));
}

/* Joins two neighbouring dimensions or splits one. */
static IrValue *grow_reshape(Gen *g) {
    IrValue *x = gen_pick(g);
    IrType t = x->type;
    int d = normalised_axis(g, x);
    if (d + 1 < t.rank && gen_chance(g, 50)) {
        t.dim[d] *= t.dim[d + 1];
        for (int i = d + 1; i + 1 < t.rank; i++) t.dim[i] = t.dim[i + 1];
        t.rank--;
        return ir_reshape(&g->b, x, &t);
    }
    if (t.rank >= 4) return NULL;
    int64_t f = 2 + case_below(&g->r, 3);
    if (t.dim[d] % f != 0) return NULL;
    for (int i = t.rank; i > d + 1; i--) t.dim[i] = t.dim[i - 1];
    t.dim[d + 1] = f;
    t.dim[d] /= f;
    t.rank++;
    return ir_reshape(&g->b, x, &t);
}

/* ---- matrix products and attention ----------------------------------------------------------- */

static IrValue *grow_linear(Gen *g) {
    IrValue *x = gen_pick(g);
    if (x->type.rank < 2) return NULL;
    int64_t I = ir_cols(&x->type), O = 1 + case_below(&g->r, 19);
    if (gen_chance(g, 30)) {
        bool tb = gen_chance(g, 50);
        IrValue *w = gen_weight(g, tb ? IR_TYPE(DT_f32, O, I) : IR_TYPE(DT_f32, I, O), 5);
        return IR_OP(&g->b, matmul, VALS(x, w), ATTRS(A_INT(matmul_tb, tb)));
    }
    IrValue *w = gen_weight(g, IR_TYPE(DT_f32, I, O), 5);
    if (gen_chance(g, 30)) return IR_OP(&g->b, linear, VALS(x, w), NO_ATTRS);
    return IR_OP(&g->b, linear, VALS(x, w, gen_weight(g, IR_TYPE(DT_f32, O), 5)), NO_ATTRS);
}

/* x x^T or x^T x of the last two dimensions, or x with another value; the shape rule decides. */
static IrValue *grow_matmul(Gen *g) {
    IrValue *x = gen_pick(g), *y = gen_chance(g, 50) ? x : gen_pick(g);
    bool ta = gen_chance(g, 50), tb = gen_chance(g, 50);
    IrValue *z =
        ir_try(&g->b, OP_matmul, VALS(x, y), ATTRS(A_INT(matmul_ta, ta), A_INT(matmul_tb, tb)));
    return z ? gen_damp(g, ir_scale(&g->b, z, 0.25)) : NULL;
}

static IrValue *grow_attention(Gen *g) {
    IrValue *x = gen_pick(g);
    if (x->type.rank != 3) return NULL;
    int64_t D = ir_cols(&x->type), heads = 1 + case_below(&g->r, 4);
    if (D % heads != 0) heads = 1;
    IrValue *q = ir_binary(&g->b, OP_add, x, partner(g, x)), *v = partner(g, x);
    IrValue *k = gen_chance(g, 30) ? slice_of(g, x, 1) : x;
    if (k != x) v = k;
    const char *stream = arena_printf(g->arena, "attention%d", g->names++);
    double p = gen_chance(g, 40) ? 0.25 : 0;
    return IR_OP(&g->b, attention, VALS(q, k, v),
                 ATTRS(A_INT(attention_heads, heads), A_FLOAT(attention_dropout, p),
                       A_STR(attention_stream, stream)));
}

/* ---- random numbers, indices ----------------------------------------------------------------- */

static IrValue *grow_random(Gen *g) {
    IrValue *x = gen_pick(g);
    const char *stream = arena_printf(g->arena, "noise%d", g->names++);
    if (gen_chance(g, 60))
        return IR_OP(
            &g->b, dropout, VALS(x),
            ATTRS(A_FLOAT(dropout_p, gen_chance(g, 20) ? 0 : 0.3), A_STR(dropout_stream, stream)));
    IrValue *key = ir_rng_key(&g->b, stream);
    IrValue *u =
        IR_OP(&g->b, uniform, VALS(key), ATTRS(A_INTS(uniform_shape, x->type.dim, x->type.rank)));
    return ir_binary(&g->b, gen_chance(g, 50) ? OP_mul : OP_add, x, u);
}

/* The largest entry of each row kept, and everything below the mean dropped: integer ops on the
 * way. */
/* Rows by where other rows have their largest, or by numbers of which some are outside. */
static IrValue *grow_gather(Gen *g) {
    IrValue *x = gen_pick(g), *by = gen_pick(g);
    if (x->type.rank < 1 || by->type.rank < 1) return NULL;
    int64_t shape[] = {1 + case_below(&g->r, 3), 1 + case_below(&g->r, 6)};
    bool largest = gen_chance(g, 50);
    int64_t rows = largest ? ir_rows(&by->type) : shape[0] * shape[1];
    if (ir_elems(&x->type) / x->type.dim[0] * rows > GEN_MAX_ELEMS) return NULL;
    IrValue *index = largest ? ir_unary(&g->b, OP_argmax, by)
                             : IR_OP(&g->b, iota, NO_VALS, ATTRS(A_INTS(iota_shape, shape, 2)));
    IrValue *in[] = {x, index};
    return ir_try(&g->b, OP_gather, in, 2, NO_ATTRS);
}

static IrValue *grow_argmax(Gen *g) {
    IrValue *x = gen_pick(g);
    IrType wide = x->type, column = x->type;
    if (x->type.rank < 2) return NULL;
    wide.dtype = column.dtype = DT_i32;
    column.dim[column.rank - 1] = 1;
    IrValue *at = ir_unary(&g->b, OP_argmax, x);
    if (gen_chance(g, 40)) {
        IrValue *number = ir_scale(&g->b, ir_unary(&g->b, OP_cast, at), 0.1);
        IrType f = column;
        f.dtype = DT_f32;
        return ir_binary(&g->b, OP_add, x,
                         ir_broadcast(&g->b, ir_reshape(&g->b, number, &f), &x->type));
    }
    IrValue *iota = IR_OP(&g->b, iota, NO_VALS, ATTRS(A_INTS(iota_shape, wide.dim, wide.rank)));
    IrValue *all = ir_broadcast(&g->b, ir_reshape(&g->b, at, &column), &wide);
    IrValue *hot = ir_binary(&g->b, gen_chance(g, 50) ? OP_equal : OP_less, iota, all);
    return ir_binary(&g->b, OP_add, ir_binary(&g->b, OP_mul, x, hot), ir_scale(&g->b, x, 0.5));
}

static IrValue *grow_patchify(Gen *g) {
    IrValue *x = gen_pick(g);
    if (x->type.rank != 4) return NULL;
    IrValue *y = ir_try(&g->b, OP_patchify, &x, 1, ATTRS(A_INT(patchify_patch, 2)));
    return y ? y : ir_try(&g->b, OP_patchify, &x, 1, ATTRS(A_INT(patchify_patch, 1)));
}

/* ---- routing --------------------------------------------------------------------------------- */

/* One expert layer over rows [R,..,I]. */
static IrValue *expert_layer(Gen *g, IrValue *rows, const IrNode *route, int64_t E, int64_t O) {
    IrBuilder *b = &g->b;
    int64_t I = ir_cols(&rows->type);
    IrValue *off = &route->out[0], *who = &route->out[3];
    if (gen_chance(g, 25)) {
        IrValue *w = gen_weight(g, IR_TYPE(DT_f32, E, O, I), 5);
        return IR_OP(b, expert_matmul, VALS(rows, w, off), ATTRS(A_INT(expert_matmul_tb, 1)));
    }
    IrValue *w = gen_weight(g, IR_TYPE(DT_f32, E, I, O), 5);
    if (gen_chance(g, 30)) return IR_OP(b, expert_linear, VALS(rows, w, off, who), NO_ATTRS);
    IrValue *bias = gen_weight(g, IR_TYPE(DT_f32, E, O), 5);
    return IR_OP(b, expert_linear, VALS(rows, w, off, who, bias), NO_ATTRS);
}

/* Scale of each row's expert, shared by all elements of the row. */
static IrValue *expert_scale(Gen *g, IrValue *rows, const IrNode *route, int64_t E) {
    IrValue *s = gen_weight(g, IR_TYPE(DT_f32, E), 10);
    IrType column = rows->type;
    for (int d = 1; d < column.rank; d++) column.dim[d] = 1;
    IrValue *each = IR_OP(&g->b, expert_expand, VALS(s, &route->out[3]), NO_ATTRS);
    return ir_binary(&g->b, OP_mul, rows,
                     ir_broadcast(&g->b, ir_reshape(&g->b, each, &column), &rows->type));
}

static const OpCode activations[] = {OP_gelu, OP_relu, OP_silu, OP_tanh, OP_gelu_tanh};
enum { ACTIVATIONS = sizeof activations / sizeof *activations };

/* Weights of the chosen experts, [T,K]: probabilities, softmax over the chosen logits, or
 * probabilities taken at the choices of the logits; sometimes damped by how often each expert was
 * chosen. */
static IrValue *route_weights(Gen *g, IrValue *logits, int64_t E, int64_t K) {
    IrBuilder *b = &g->b;
    IrValue *p = ir_unary(b, OP_softmax, logits);
    int kind = (int)case_below(&g->r, 3);
    IrNode *top = IR_OP(b, topk, VALS(kind == 0 ? p : logits), ATTRS(A_INT(topk_k, K)))->node;
    g->gate = p;
    g->chosen = &top->out[1];
    IrValue *w = kind == 0   ? &top->out[0]
                 : kind == 1 ? ir_unary(b, OP_softmax, &top->out[0])
                             : IR_OP(b, take_last, VALS(p, g->chosen), NO_ATTRS);
    if (gen_chance(g, 70)) return w;
    IrValue *sparse = IR_OP(b, put_last, VALS(w, g->chosen), ATTRS(A_INT(put_last_experts, E)));
    IrValue *count = IR_OP(b, histogram, VALS(g->chosen), ATTRS(A_INT(histogram_bins, E)));
    count = ir_broadcast(b, ir_scale(b, count, 0.1), &sparse->type);
    return IR_OP(b, take_last, VALS(ir_binary(b, OP_mul, sparse, count), g->chosen), NO_ATTRS);
}

/* Routed experts over tokens [T,D], or over whole images [B,N,D] with the gate on their mean. */
static IrValue *grow_moe(Gen *g) {
    IrBuilder *b = &g->b;
    IrValue *x = gen_pick(g), *tokens = x;
    if (x->type.rank < 2) return NULL;
    bool images = x->type.rank == 3 && gen_chance(g, 30);
    int64_t D = ir_cols(&x->type), E = 1 + case_below(&g->r, 5), K = 1 + case_below(&g->r, E);
    IrType flat = IR_TYPE(DT_f32, ir_rows(&x->type), D);
    if (!images) tokens = ir_reshape(b, x, &flat);
    const int64_t axis = 1;
    IrValue *seen = images ? IR_OP(b, mean, VALS(x), ATTRS(A_INTS(mean_axes, &axis, 1))) : tokens;
    IrValue *logits = ir_scale(
        b, IR_OP(b, linear, VALS(seen, gen_weight(g, IR_TYPE(DT_f32, D, E), 10)), NO_ATTRS), 2);
    IrValue *w = route_weights(g, logits, E, K);
    IrNode *route = IR_OP(b, route, VALS(g->chosen), ATTRS(A_INT(route_experts, E)))->node;
    IrValue *rows = IR_OP(b, dispatch, VALS(tokens, &route->out[1]), ATTRS(A_INT(dispatch_k, K)));
    if (ir_elems(&rows->type) > GEN_MAX_ELEMS) return NULL;
    IrValue *y = expert_layer(g, rows, route, E, 1 + case_below(&g->r, 18));
    y = ir_unary(b, activations[case_below(&g->r, ACTIVATIONS)], y);
    if (gen_chance(g, 30)) y = expert_scale(g, y, route, E);
    y = expert_layer(g, y, route, E, D);
    y = gen_chance(g, 85)
            ? IR_OP(b, combine, VALS(y, &route->out[2], w), NO_ATTRS)
            : IR_OP(b, combine_rows, VALS(ir_scale(b, y, 0.25), &route->out[2]), NO_ATTRS);
    y = ir_reshape(b, y, &x->type);
    return gen_chance(g, 70) ? ir_binary(b, OP_add, x, y) : y;
}

static IrValue *grow_norm(Gen *g) {
    IrValue *x = gen_pick(g);
    if (ir_cols(&x->type) < 3) return NULL;
    IrValue *y = gen_chance(g, 60)
                     ? IR_OP(&g->b, layer_norm, VALS(x), ATTRS(A_FLOAT(layer_norm_eps, 1e-3)))
                     : IR_OP(&g->b, rms_norm, VALS(x), ATTRS(A_FLOAT(rms_norm_eps, 1e-3)));
    if (gen_chance(g, 40)) return y;
    IrType row = IR_TYPE(DT_f32, ir_cols(&x->type));
    y = ir_binary(&g->b, OP_mul, y, ir_broadcast(&g->b, gen_weight(g, row, 10), &x->type));
    return ir_binary(&g->b, OP_add, y, ir_broadcast(&g->b, gen_weight(g, row, 10), &x->type));
}

/* ---- the whole graph ------------------------------------------------------------------------- */

typedef IrValue *(*GrowFn)(Gen *g);
static const GrowFn growers[] = {
    grow_unary,
    grow_unary,
    grow_unary,
    grow_binary,
    grow_binary,
    grow_binary,
    grow_reduce,
    grow_reduce,
    grow_slice,
    grow_concat,
    grow_transpose,
    grow_linear,
    grow_linear,
    grow_unslice,
    grow_matmul,
    grow_reshape,
    grow_norm,
    grow_attention,
    grow_random,
    grow_argmax,
    grow_gather,
    grow_patchify,
    grow_moe,
    grow_moe,
    grow_const,
    grow_const,
    grow_twin,
    gen_grow_max_pool,
    gen_grow_conv,
    gen_grow_conv,
    gen_grow_conv_experts,
};

static void add_to_pool(Gen *g, IrValue *v) {
    if (!v || v->type.dtype != DT_f32 || v->type.rank < 1 || v->type.rank > 4) return;
    if (ir_elems(&v->type) > GEN_MAX_ELEMS || g->npool == GEN_MAX_POOL) return;
    g->pool[g->npool++] = v;
}

static void add_losses(Gen *g) {
    IrBuilder *b = &g->b;
    IrLoc none = {0};
    IrValue *x = g->pool[g->npool - 1];
    IrType rows = IR_TYPE(DT_f32, ir_rows(&x->type), ir_cols(&x->type));
    IrValue *logits = ir_reshape(b, x, &rows);
    const char *name = arena_printf(g->arena, "label:int%lld", (long long)rows.dim[1]);
    IrValue *label = ir_input(b, name, IR_TYPE(DT_i32, rows.dim[0]));
    ir_add_out(g->g, OUT_loss, "entropy", IR_OP(b, cross_entropy, VALS(logits, label), NO_ATTRS), 1,
               none);
    ir_add_out(g->g, OUT_metric, "accuracy", IR_OP(b, accuracy, VALS(logits, label), NO_ATTRS), 1,
               none);
    IrValue *sum = NULL;
    for (int i = 0; i < 3; i++) {
        IrValue *v = gen_pick(g);
        const int64_t axes[] = {0, 1, 2, 3};
        IrValue *w = ir_input(b, arena_printf(g->arena, "pull%d:f", i), v->type);
        v = IR_OP(b, mean, VALS(ir_binary(b, OP_mul, v, w)),
                  ATTRS(A_INTS(mean_axes, axes, v->type.rank)));
        sum = sum ? ir_binary(b, OP_add, sum, v) : v;
    }
    ir_add_out(g->g, OUT_loss, "pull", sum, 2, none);
    if (g->gate) {
        IrValue *aux = IR_OP(b, load_balance, VALS(g->gate, g->chosen), NO_ATTRS);
        ir_add_out(g->g, OUT_aux, "balance", aux, 0.1, none);
    }
    ir_add_out(g->g, OUT_output, "out", gen_pick(g), 1, none);
}

IrGraph *gen_graph(Arena *a, uint64_t seed, int steps) {
    Gen g = {.arena = a, .g = ir_graph_create(a, "random"), .r = {seed}};
    static const int64_t widths[] = {4, 6, 8, 12, 16, 17, 20};
    g.b = ir_builder(g.g);
    int64_t B = 1 + case_below(&g.r, 4), N = 1 + case_below(&g.r, 6);
    if (gen_chance(&g, 30)) {
        int64_t C = 1 + case_below(&g.r, 3), side = 2 * (1 + case_below(&g.r, 3));
        add_to_pool(&g, ir_input(&g.b, "image:f", IR_TYPE(DT_f32, B, C, side, 4)));
        add_to_pool(&g, grow_patchify(&g));
    } else {
        add_to_pool(&g,
                    ir_input(&g.b, "image:f", IR_TYPE(DT_f32, B, N, widths[case_below(&g.r, 7)])));
    }
    add_to_pool(&g, grow_linear(&g)); /* so that there is something to learn from the start */
    for (int i = 0; i < steps; i++)
        add_to_pool(&g,
                    growers[case_below(&g.r, (int64_t)(sizeof growers / sizeof growers[0]))](&g));
    add_losses(&g);
    ir_dce(g.g, false);
    ir_renumber(g.g);
    return g.g;
}

/* ---- stability ------------------------------------------------------------------------------- */

static const double margin = 2e-4;

/* Equal values are equal for a reason (zeros of relu or padding, copies) and stay equal in f32. */
static bool close_call(double a, double b) {
    return a != b && fabs(a - b) < margin * (1 + fabs(a));
}

/* Two entries of one row: zeros are equal for a reason, others may be two sums that happen to round
 * alike. */
bool gen_close(double a, double b) {
    return close_call(a, b) || (a == b && a != 0);
}

/* Any two entries of a row that could change places and matter: all pairs, rows are short. */
static bool close_rows(const RefTensor *x, bool top_only) {
    int64_t n = ir_cols(&x->type);
    for (int64_t r = 0, rows = ir_rows(&x->type); r < rows; r++) {
        const double *row = x->data + r * n;
        int64_t top = 0;
        for (int64_t i = 1; i < n; i++) top = row[i] > row[top] ? i : top;
        for (int64_t i = 0; i < n; i++) {
            if (i != top && gen_close(row[top], row[i])) return true;
            for (int64_t j = 0; j < i && !top_only; j++)
                if (gen_close(row[i], row[j])) return true;
        }
    }
    return false;
}

/* Is some row's largest entry there twice? Rows of attention over equal values are equal in one
 * order of additions and not in another. Zeros are equal for a reason. */
static bool tied_rows(const RefTensor *x) {
    int64_t n = ir_cols(&x->type);
    for (int64_t r = 0, rows = ir_rows(&x->type); r < rows; r++) {
        const double *row = x->data + r * n;
        int64_t best = 0;
        for (int64_t i = 1; i < n; i++)
            if (row[i] > row[best]) best = i;
        for (int64_t i = best + 1; i < n; i++)
            if (row[i] == row[best] && row[i] != 0) return true;
    }
    return false;
}

static bool close_pairs(const RefTensor *x, const RefTensor *y) {
    for (int64_t i = 0, n = ir_elems(&x->type); i < n; i++)
        if (close_call(x->data[i], y ? y->data[i] : 0)) return true;
    return false;
}

static bool node_unstable(const Interp *it, const IrNode *n) {
    if (n->nout == 0 || n->out[0].type.dtype == DT_i32) {
        const RefTensor *x = n->op == OP_argmax ? interp_value(it, n->in[0]) : NULL;
        return x && (close_rows(x, true) || tied_rows(x));
    }
    const RefTensor *y = interp_value(it, &n->out[0]);
    for (int64_t i = 0, count = ir_elems(&y->type); i < count; i++)
        if (!(fabs(y->data[i]) < 1e3)) return true;
    if (n->nin == 0 || n->in[0]->type.dtype != DT_f32) return false;
    const RefTensor *x = interp_value(it, n->in[0]);
    switch (n->op) {
    case OP_relu:
    case OP_abs: return close_pairs(x, NULL);
    case OP_maximum:
    case OP_minimum:
    case OP_less:
    case OP_equal: return close_pairs(x, interp_value(it, n->in[1]));
    case OP_max:
    case OP_accuracy: return close_rows(x, true);
    case OP_topk: return close_rows(x, false);
    case OP_max_pool: return gen_close_windows(x, n);
    case OP_layer_norm:
    case OP_rms_norm: {
        const RefTensor *rstd = interp_value(it, &n->out[1]);
        for (int64_t i = 0, count = ir_elems(&rstd->type); i < count; i++)
            if (rstd->data[i] > 8) return true;
        return false;
    }
    default: return false;
    }
}

const char *gen_unstable(const Interp *it, const IrGraph *g) {
    IR_FOR (n, g)
        if (node_unstable(it, n)) return ir_ops[n->op].name;
    return NULL;
}

int64_t gen_count(int64_t normal) {
    const char *text = getenv("VMOEC_FUZZ_N");
    return text && atoll(text) > 0 ? atoll(text) : normal;
}

uint64_t gen_first(uint64_t normal) {
    const char *text = getenv("VMOEC_FUZZ_SEED");
    return text ? strtoull(text, NULL, 10) : normal;
}
