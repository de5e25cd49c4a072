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

/* t takes in x; false where they do not broadcast. */
static bool widen(IrType *t, const IrType *x) {
    IrType a = *t;
    t->rank = a.rank > x->rank ? a.rank : x->rank;
    for (int i = 1; i <= t->rank; i++) {
        int64_t p = i <= a.rank ? a.dim[a.rank - i] : 1, q = i <= x->rank ? x->dim[x->rank - i] : 1;
        if (p != q && p != 1 && q != 1) return false;
        t->dim[t->rank - i] = p == 1 ? q : p;
    }
    return true;
}

/* A plain tensor meets rows of unknown order: it must be the same for every row. */
static bool plain_fits(const FeValue *v, const FeGroup *g, int rank) {
    return !g || v->group || v->v->type.rank < rank || v->v->type.dim[0] == 1;
}

/* A plain tensor may not have more dimensions than a grouped one that it meets. */
static bool reaches_over(const FeValue *a, const FeValue *b) {
    return a->group && !b->group && a->v->type.rank < b->v->type.rank;
}

static IrValue *spread(Elab *E, Span s, const char *what, const FeValue *v, IrValue *x,
                       const IrType *to) {
    if (ir_shape_equal(&x->type, to)) return x;
    return build(E, s, what, OP_broadcast, &v, 1, VALS(x),
                 ATTRS(A_INTS(broadcast_shape, to->dim, to->rank)));
}

/* Numbers as constants of a tensor's type. */
static bool number_fits(Elab *E, Span s, const char *what, const FeValue *v, DType dtype) {
    if (dtype == DT_f32) return check_number(E, s, fv_number(v));
    if (v->kind == FV_INT && v->i >= INT32_MIN && v->i <= INT32_MAX) return true;
    sema_error(E, s, D_wrong_kind,
               "%s: next to a tensor of i32 stands an integer of 32 bits, not %s", what,
               fv_describe(E->a, v));
    return false;
}

static bool one_dtype(Elab *E, Span s, const char *what, const FeValue *const *v, int n, bool ints,
                      DType *dtype) {
    const FeValue *first = NULL;
    for (int i = 0; i < n; i++) {
        if (v[i]->kind != FV_TENSOR) continue;
        if (!first) first = v[i];
        bool mixed = v[i]->v->type.dtype != first->v->type.dtype;
        if ((!ints || mixed) && !check_f32(E, s, what, v[i])) return false;
        if (mixed) return check_f32(E, s, what, first);
    }
    *dtype = first->v->type.dtype;
    return true;
}

/* Two of the tensors, aligned as x and y. */
static bool pair_fits(const FeValue *a, const FeValue *b, const FeGroup *g, int rank,
                      const IrType *x, const IrType *y) {
    IrType t = *x;
    return plain_fits(a, g, rank) && plain_fits(b, g, rank) && !reaches_over(a, b) &&
           !reaches_over(b, a) && widen(&t, y);
}

/* Aligns the tensors among v, whose groups agree; `to` becomes the shape that takes in all.
 * Messages show them as they were given. */
static bool common_shape(Elab *E, Span s, const char *what, const FeValue *const *v, int n,
                         const FeValue *const *given, FeMeet *m, IrType *to) {
    int rank = 0;
    for (int i = 0; i < n; i++)
        if (v[i]->kind == FV_TENSOR && v[i]->v->type.rank > rank) rank = v[i]->v->type.rank;
    elab_at(E, s);
    for (int i = 0; i < n; i++) {
        if (v[i]->kind != FV_TENSOR) continue;
        m->x[i] = align(E, v[i], rank);
        for (int j = 0; j < i; j++) {
            if (v[j]->kind != FV_TENSOR) continue;
            if (pair_fits(v[j], v[i], m->group, rank, &m->x[j]->type, &m->x[i]->type)) continue;
            no_broadcast(E, s, what, given[j], given[i]);
            return false;
        }
        widen(to, &m->x[i]->type);
    }
    return true;
}

bool tensor_meet(Elab *E, Span s, const char *what, const FeValue *const *v, int n, bool ints,
                 FeMeet *m) {
    DType dtype = DT_f32;
    bool rows;
    const FeValue *w[FE_MAX_MEET];
    if (!one_dtype(E, s, what, v, n, ints, &dtype)) return false;
    for (int i = 0; i < n; i++)
        if (v[i]->kind != FV_TENSOR && !number_fits(E, s, what, v[i], dtype)) return false;
    if (!common_group(E, s, what, v, n, &m->group, &rows)) return false;
    m->per_expert = m->group && !rows;
    for (int i = 0; i < n; i++) {
        w[i] = rows ? expand_rows(E, s, v[i]) : v[i];
        if (w[i]->kind == FV_BAD) return false;
    }
    IrType to = {.dtype = dtype};
    if (!common_shape(E, s, what, w, n, v, m, &to)) return false;
    for (int i = 0; i < n; i++) {
        if (v[i]->kind != FV_TENSOR)
            m->x[i] = ir_const(&E->b, fv_number(v[i]), to);
        else
            m->x[i] = spread(E, s, what, v[i], m->x[i], &to);
        if (!m->x[i]) return false;
    }
    return true;
}

static const FeValue *met(Elab *E, Span s, const FeMeet *m, IrValue *y) {
    return y ? fv_tensor(E->a, y, m->group, m->per_expert, s) : fv_bad();
}

const FeValue *tensor_binary(Elab *E, Span s, const char *what, OpCode op, const FeValue *a,
                             const FeValue *b) {
    const FeValue *v[2] = {a, b};
    FeMeet m;
    if (!tensor_meet(E, s, what, v, 2, false, &m)) return fv_bad();
    return met(E, s, &m, build(E, s, what, op, v, 2, m.x, 2, NO_ATTRS));
}

/* NaN is unequal to everything, and neither less nor more. */
const FeValue *tensor_compare(Elab *E, const Ast *x, const FeValue *a, const FeValue *b) {
    const char *what = arena_printf(E->a, "`%s`", x->op);
    bool swap = x->op[0] == '>', or_equal = strchr("<>", x->op[0]) && x->op[1] == '=';
    const FeValue *v[2] = {swap ? b : a, swap ? a : b};
    FeMeet m;
    if (!tensor_meet(E, x->span, what, v, 2, true, &m)) return fv_bad();
    elab_at(E, x->span);
    OpCode op = strchr("<>", x->op[0]) ? OP_less : OP_equal;
    IrValue *y = ir_binary(&E->b, op, m.x[0], m.x[1]);
    if (or_equal) y = ir_binary(&E->b, OP_add, y, ir_binary(&E->b, OP_equal, m.x[0], m.x[1]));
    if (x->op[0] == '!') y = ir_binary(&E->b, OP_sub, ir_const(&E->b, 1, y->type), y);
    return met(E, x->span, &m, y);
}

/* a where the mask is not 0, else b; what is not taken counts neither here nor in the gradient. */
const FeValue *builtin_where(Elab *E, const FeCall *c) {
    if (c->arg[0]->kind != FV_TENSOR)
        return arg_kind_error(E, c, 0, "a tensor; `if c { a } else { b }` decides once for all");
    for (int i = 1; i < 3; i++)
        if (c->arg[i]->kind != FV_TENSOR && !fv_is_number(c->arg[i]))
            return arg_kind_error(E, c, i, "a tensor or a number");
    FeMeet m;
    if (!tensor_meet(E, c->ast->span, "`where`", c->arg, 3, false, &m)) return fv_bad();
    return met(E, c->ast->span, &m,
               build(E, c->ast->span, "`where`", OP_select, c->arg, 3, m.x, 3, NO_ATTRS));
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
    case OP_gelu_tanh: return x / (1 + exp(-1.5957691216057308 * (x + 0.044715 * x * x * x)));
    case OP_silu: return x / (1 + exp(-x));
    case OP_softplus: return (x > 0 ? x : 0) + log1p(exp(-fabs(x)));
    case OP_abs: return fabs(x);
    case OP_square: return x * x;
    default: VM_BUG("no compile-time rule for %s", ir_ops[op].name);
    }
}

static const FeValue *apply(Elab *E, const FeCall *c, OpCode op) {
    const FeValue *x = c->arg[0];
    if (x->kind == FV_TENSOR)
        return tensor_unary(E, c->ast->span, arena_printf(E->a, "`%s`", c->b->name), op, x);
    if (!fv_is_number(x)) return arg_kind_error(E, c, 0, "a tensor or a number");
    if (x->kind == FV_INT && op == OP_abs && x->i > INT64_MIN)
        return fv_int(E->a, x->i < 0 ? -x->i : x->i, c->ast->span);
    return check_finite(E, c->ast->span, fold(op, fv_number(x)));
}

const FeValue *builtin_math(Elab *E, const FeCall *c) {
    return apply(E, c, c->b->op);
}

/* The words are PyTorch's. */
const FeValue *builtin_gelu(Elab *E, const FeCall *c) {
    static const char *const forms[] = {"none", "tanh"};
    int form = 0;
    if (!arg_word(E, c, 1, forms, 2, &form)) return fv_bad();
    return apply(E, c, form ? OP_gelu_tanh : OP_gelu);
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

/* x, eps: `attr` is the op's own attribute. */
static const FeValue *normalised(Elab *E, const FeCall *c, AttrId attr, double eps) {
    const FeValue *x;
    if (!arg_tensor(E, c, 0, &x) || !has_last(E, c, x) || !arg_float(E, c, 1, 0, 1, &eps))
        return fv_bad();
    AttrArg a = {attr, {.set = true, .f = eps}};
    IrValue *y = build(E, c->ast->span, arena_printf(E->a, "`%s`", c->b->name), c->b->op, &x, 1,
                       VALS(x->v), &a, 1);
    return y ? fv_tensor(E->a, y, x->group, x->per_expert, c->ast->span) : fv_bad();
}

const FeValue *builtin_layer_norm(Elab *E, const FeCall *c) {
    return normalised(E, c, ATTR_layer_norm_eps, 1e-6);
}

/* PyTorch's default: the distance of 1 from the next f32. */
const FeValue *builtin_rms_scale(Elab *E, const FeCall *c) {
    return normalised(E, c, ATTR_rms_norm_eps, 0x1p-23);
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
