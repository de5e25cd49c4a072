/* Elementwise functions with broadcasting, row functions and reductions. Compile-time numbers fold.
 */
#include "frontend/meaning/sema.h"

#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>

/* ---- broadcasting --------------------------------------------------------------------------- */

static bool check_f32(Elab *E, Span s, const char *what, const FeValue *v) {
    if (v->kind != FV_TENSOR || v->v->type.dtype == DT_f32) return true;
    Diag *dg =
        sema_error(E, s, D_wrong_kind, "%s works on f32, this is %s", what, fv_describe(E->a, v));
    sema_note(E, dg, v->span, "made here");
    return false;
}

static bool check_number(Elab *E, Span s, double x) {
    if (fabs(x) <= FLT_MAX) return true;
    sema_error(E, s, D_not_finite, "%s does not fit in f32", fe_number_text(E->a, x));
    return false;
}

static const FeValue *no_broadcast(Elab *E, Span s, const char *what, const FeValue *a,
                                   const FeValue *b) {
    Diag *dg = sema_error(E, s, D_shape_mismatch, "%s: shapes %s and %s do not broadcast", what,
                          fv_text(E->a, a), fv_text(E->a, b));
    sema_note(E, dg, a->span, "%s is made here", fv_describe(E->a, a));
    sema_note(E, dg, b->span, "%s is made here", fv_describe(E->a, b));
    return fv_bad();
}

/* Grouped values align their row shapes: [R,D] against [R,N,D] becomes [R,1,D]. */
static IrValue *align(Elab *E, const FeValue *v, int rank) {
    const IrType *t = &v->v->type;
    if (!v->group || t->rank >= rank || t->rank == 0) return v->v;
    IrType to = {.dtype = t->dtype, .rank = rank};
    int gap = rank - t->rank;
    for (int i = 0; i < rank; i++) to.dim[i] = i == 0 ? t->dim[0] : i <= gap ? 1 : t->dim[i - gap];
    return ir_reshape(&E->b, v->v, &to);
}

static bool broadcast_type(const IrType *a, const IrType *b, IrType *out) {
    int rank = a->rank > b->rank ? a->rank : b->rank;
    *out = (IrType){.dtype = DT_f32, .rank = rank};
    for (int i = 1; i <= rank; i++) {
        int64_t x = i <= a->rank ? a->dim[a->rank - i] : 1,
                y = i <= b->rank ? b->dim[b->rank - i] : 1;
        if (x != y && x != 1 && y != 1) return false;
        out->dim[rank - i] = x == 1 ? y : x;
    }
    return true;
}

/* A plain tensor meets rows of unknown order: it must be the same for every row. */
static bool plain_fits(const FeValue *v, const FeGroup *g, int rank) {
    return !g || v->group || v->v->type.rank < rank || v->v->type.dim[0] == 1;
}

static IrValue *spread(Elab *E, Span s, const char *what, const FeValue *v, IrValue *x,
                       const IrType *to) {
    if (ir_shape_equal(&x->type, to)) return x;
    return build(E, s, what, OP_broadcast, &v, 1, VALS(x),
                 ATTRS(A_INTS(broadcast_shape, to->dim, to->rank)));
}

static const FeValue *with_number(Elab *E, Span s, const char *what, OpCode op, const FeValue *a,
                                  const FeValue *b) {
    const FeValue *t = a->kind == FV_TENSOR ? a : b;
    double x = fv_number(t == a ? b : a);
    if (!check_number(E, s, x)) return fv_bad();
    elab_at(E, s);
    IrValue *c = ir_const(&E->b, x, t->v->type);
    IrValue *l = t == a ? t->v : c, *r = t == a ? c : t->v;
    IrValue *y = build(E, s, what, op, &t, 1, VALS(l, r), NO_ATTRS);
    return y ? fv_tensor(E->a, y, t->group, t->per_expert, s) : fv_bad();
}

const FeValue *tensor_binary(Elab *E, Span s, const char *what, OpCode op, const FeValue *a,
                             const FeValue *b) {
    if (!check_f32(E, s, what, a) || !check_f32(E, s, what, b)) return fv_bad();
    if (a->kind != FV_TENSOR || b->kind != FV_TENSOR) return with_number(E, s, what, op, a, b);
    const FeValue *v[2] = {a, b};
    FeGroup *g;
    bool rows;
    if (!common_group(E, s, what, v, 2, &g, &rows)) return fv_bad();
    for (int i = 0; rows && i < 2; i++) v[i] = expand_rows(E, s, v[i]);
    if (v[0]->kind == FV_BAD || v[1]->kind == FV_BAD) return fv_bad();
    int ra = v[0]->v->type.rank, rb = v[1]->v->type.rank, rank = ra > rb ? ra : rb;
    if (!plain_fits(v[0], g, rank) || !plain_fits(v[1], g, rank))
        return no_broadcast(E, s, what, a, b);
    if (g && ((v[0]->group && !v[1]->group && ra < rb) || (v[1]->group && !v[0]->group && rb < ra)))
        return no_broadcast(E, s, what, a, b);
    elab_at(E, s);
    IrValue *x = align(E, v[0], rank), *y = align(E, v[1], rank);
    IrType to;
    if (!broadcast_type(&x->type, &y->type, &to)) return no_broadcast(E, s, what, a, b);
    x = spread(E, s, what, a, x, &to);
    y = x ? spread(E, s, what, b, y, &to) : NULL;
    IrValue *r = y ? build(E, s, what, op, v, 2, VALS(x, y), NO_ATTRS) : NULL;
    return r ? fv_tensor(E->a, r, g, !rows, s) : fv_bad();
}

const FeValue *tensor_unary(Elab *E, Span s, const char *what, OpCode op, const FeValue *a) {
    if (!check_f32(E, s, what, a)) return fv_bad();
    IrValue *y = build(E, s, what, op, &a, 1, VALS(a->v), NO_ATTRS);
    return y ? fv_tensor(E->a, y, a->group, a->per_expert, s) : fv_bad();
}

/* ---- elementwise ---------------------------------------------------------------------------- */

static double fold(OpCode op, double x) {
    switch (op) {
    case OP_exp: return exp(x);
    case OP_log: return log(x);
    case OP_log1p: return log1p(x);
    case OP_sqrt: return sqrt(x);
    case OP_rsqrt: return 1 / sqrt(x);
    case OP_tanh: return tanh(x);
    case OP_erf: return erf(x);
    case OP_sigmoid: return 1 / (1 + exp(-x));
    case OP_relu: return x > 0 ? x : 0;
    case OP_gelu: return 0.5 * x * (1 + erf(x * 0.70710678118654752440));
    case OP_silu: return x / (1 + exp(-x));
    case OP_softplus: return (x > 0 ? x : 0) + log1p(exp(-fabs(x)));
    case OP_abs: return fabs(x);
    case OP_square: return x * x;
    default: VM_BUG("no compile-time rule for %s", ir_ops[op].name);
    }
}

const FeValue *builtin_math(Elab *E, const FeCall *c) {
    const FeValue *x = c->arg[0];
    if (x->kind == FV_TENSOR)
        return tensor_unary(E, c->ast->span, arena_printf(E->a, "`%s`", c->b->name), c->b->op, x);
    if (!fv_is_number(x)) return arg_kind_error(E, c, 0, "a tensor or a number");
    if (x->kind == FV_INT && c->b->op == OP_abs && x->i > INT64_MIN)
        return fv_int(E->a, x->i < 0 ? -x->i : x->i, c->ast->span);
    return check_finite(E, c->ast->span, fold(c->b->op, fv_number(x)));
}

const FeValue *builtin_math2(Elab *E, const FeCall *c) {
    const FeValue *a = c->arg[0], *b = c->arg[1];
    for (int i = 0; i < 2; i++)
        if (c->arg[i]->kind != FV_TENSOR && !fv_is_number(c->arg[i]))
            return arg_kind_error(E, c, i, "a tensor or a number");
    if (a->kind == FV_TENSOR || b->kind == FV_TENSOR)
        return tensor_binary(E, c->ast->span, arena_printf(E->a, "`%s`", c->b->name), c->b->op, a,
                             b);
    bool ints = a->kind == FV_INT && b->kind == FV_INT;
    bool less = ints ? a->i < b->i : fv_number(a) < fv_number(b);
    const FeValue *r = less == (c->b->op == OP_minimum) ? a : b;
    return ints ? fv_int(E->a, r->i, c->ast->span) : fv_float(E->a, fv_number(r), c->ast->span);
}

/* ---- rows and reductions -------------------------------------------------------------------- */

/* Functions of the last dimension, which for grouped tensors must not be the rows themselves. */
static bool has_last(Elab *E, const FeCall *c, const FeValue *x) {
    int need = x->group ? 2 : 1;
    if (x->v->type.rank >= need) return true;
    Diag *dg = sema_error(E, c->span[0], D_shape_mismatch,
                          "`%s` works along the last dimension, this is %s", c->b->name,
                          fv_describe(E->a, x));
    sema_note(E, dg, x->span, "made here");
    return false;
}

const FeValue *builtin_softmax(Elab *E, const FeCall *c) {
    const FeValue *x;
    if (!arg_tensor(E, c, 0, &x) || !has_last(E, c, x)) return fv_bad();
    if (x->v->node->op == OP_topk && ir_cols(&x->v->type) == 1) {
        Diag *dg = sema_warning(
            E, c->ast->span, D_dead_gate,
            "the softmax of one chosen value is 1: this gate has no gradient and cannot "
            "learn; take the softmax before top_k");
        sema_note(E, dg, x->span, "with k = 1, one value is chosen here");
    }
    return tensor_unary(E, c->ast->span, "`softmax`", OP_softmax, x);
}

const FeValue *builtin_layer_norm(Elab *E, const FeCall *c) {
    const FeValue *x;
    double eps = 1e-6;
    if (!arg_tensor(E, c, 0, &x) || !has_last(E, c, x) || !arg_float(E, c, 1, 0, 1, &eps))
        return fv_bad();
    IrValue *y = build(E, c->ast->span, "`layer_norm`", OP_layer_norm, &x, 1, VALS(x->v),
                       ATTRS(A_FLOAT(layer_norm_eps, eps)));
    return y ? fv_tensor(E->a, y, x->group, x->per_expert, c->ast->span) : fv_bad();
}

/* With `keep`, y has dimensions of 1 where x's were reduced. */
static const FeValue *reduced(Elab *E, const FeCall *c, const FeValue *x, IrValue *y,
                              const int64_t *axes, int n, bool keep) {
    if (!y) return fv_bad();
    IrType t = x->v->type;
    for (int i = 0; i < n; i++) t.dim[axes[i]] = 1;
    elab_at(E, c->ast->span);
    if (keep) y = ir_reshape(&E->b, y, &t);
    return fv_tensor(E->a, y, x->group, x->per_expert, c->ast->span);
}

const FeValue *builtin_reduce(Elab *E, const FeCall *c) {
    const FeValue *x;
    int64_t axes[IR_MAX_RANK];
    int n;
    bool keep = false;
    if (!arg_tensor(E, c, 0, &x) || !arg_axes(E, c, 1, x, axes, &n) || !arg_bool(E, c, 2, &keep))
        return fv_bad();
    if (n == 0) return x;
    AttrArg attr = c->b->op == OP_mean ? A_INTS(mean_axes, axes, n) : A_INTS(sum_axes, axes, n);
    IrValue *y = build(E, c->ast->span, arena_printf(E->a, "`%s`", c->b->name), c->b->op, &x, 1,
                       VALS(x->v), &attr, 1);
    return reduced(E, c, x, y, axes, n, keep);
}

/* Mean and variance of every column. */
const FeValue *builtin_moments(Elab *E, const FeCall *c) {
    const FeValue *x;
    int64_t axes[IR_MAX_RANK] = {0, 1, 2, 3, 4, 5};
    if (!arg_tensor(E, c, 0, &x)) return fv_bad();
    if (x->group) {
        Diag *dg = sema_error(E, c->ast->span, D_axis_range,
                              "`moments` would mix the rows of different experts of %s",
                              fv_describe(E->a, x));
        sema_note(E, dg, x->span, "the tensor is made here");
        return fv_bad();
    }
    IrValue *v = build(E, c->ast->span, "`moments`", OP_variance, &x, 1, VALS(x->v), NO_ATTRS);
    if (!v) return fv_bad();
    IrValue *m = build(E, c->ast->span, "`moments`", OP_mean, &x, 1, VALS(x->v),
                       ATTRS(A_INTS(mean_axes, axes, x->v->type.rank - 1)));
    FeValue *list = fv_new(E->a, FV_LIST, c->ast->span);
    const FeValue **item = ARENA_ARRAY(E->a, const FeValue *, 2);
    item[0] = fv_tensor(E->a, m, NULL, false, c->ast->span);
    item[1] = fv_tensor(E->a, v, NULL, false, c->ast->span);
    list->item = item;
    list->n = 2;
    return list;
}

const FeValue *builtin_max(Elab *E, const FeCall *c) {
    const FeValue *x;
    bool keep = false;
    if (!arg_tensor(E, c, 0, &x) || !has_last(E, c, x) || !arg_bool(E, c, 1, &keep))
        return fv_bad();
    int64_t last = x->v->type.rank - 1;
    IrValue *y = build(E, c->ast->span, "`max`", OP_max, &x, 1, VALS(x->v), NO_ATTRS);
    return reduced(E, c, x, y, &last, 1, keep);
}

/* The k largest of the last dimension: top_k without a route. */
const FeValue *builtin_top_values(Elab *E, const FeCall *c) {
    const FeValue *x;
    int64_t k = 0;
    if (!arg_tensor(E, c, 0, &x) || !has_last(E, c, x)) return fv_bad();
    if (!arg_int(E, c, 1, 1, ir_cols(&x->v->type), &k)) return fv_bad();
    IrType t = x->v->type, flat = IR_TYPE(DT_f32, ir_rows(&t), ir_cols(&t));
    IrValue *rows = ir_reshape(&E->b, x->v, &flat);
    IrValue *y =
        build(E, c->ast->span, "`top_values`", OP_topk, &x, 1, VALS(rows), ATTRS(A_INT(topk_k, k)));
    if (!y) return fv_bad();
    t.dim[t.rank - 1] = k;
    return fv_tensor(E->a, ir_reshape(&E->b, y, &t), x->group, x->per_expert, c->ast->span);
}

const FeValue *builtin_less(Elab *E, const FeCall *c) {
    for (int i = 0; i < 2; i++)
        if (c->arg[i]->kind != FV_TENSOR && !fv_is_number(c->arg[i]))
            return arg_kind_error(E, c, i, "a tensor or a number");
    if (c->arg[0]->kind != FV_TENSOR && c->arg[1]->kind != FV_TENSOR)
        return arg_kind_error(E, c, 0, "a tensor when `b` is a number: `<` compares numbers");
    return tensor_binary(E, c->ast->span, "`less`", OP_less, c->arg[0], c->arg[1]);
}

/* x in training, `otherwise` in evaluation. */
const FeValue *builtin_in_training(Elab *E, const FeCall *c) {
    for (int i = 0; i < 2; i++)
        if (c->arg[i]->kind != FV_TENSOR && !fv_is_number(c->arg[i]))
            return arg_kind_error(E, c, i, "a tensor or a number");
    if (c->arg[0]->kind != FV_TENSOR && c->arg[1]->kind != FV_TENSOR)
        return arg_kind_error(E, c, 0, "a tensor when `otherwise` is a number");
    return tensor_binary(E, c->ast->span, "`in_training`", OP_by_mode, c->arg[0], c->arg[1]);
}

/* Functions of any tensor that keep its shape. */
const FeValue *builtin_unary(Elab *E, const FeCall *c) {
    const FeValue *x;
    if (!arg_tensor(E, c, 0, &x)) return fv_bad();
    return tensor_unary(E, c->ast->span, arena_printf(E->a, "`%s`", c->b->name), c->b->op, x);
}
