/* Result types of reductions, row ops, matrix products, attention, data movement, losses and the
 * updates. Conventions as in shape.c. */
#include "ir/internal.h"

#include <math.h>

/* ---- reductions and rows --------------------------------------------------------------------- */

static const char *reduce_axes(Arena *a, IrNode *n, AttrId id) {
    TRY(ir_want_f32(a, n));
    const IrType *x = &n->in[0]->type;
    const int64_t *axes;
    int count = ir_ints(n, id, &axes);
    if (count < 1) return ir_shape_fail(a, n, "expected at least one axis, found none");
    for (int i = 0; i < count; i++) {
        if (axes[i] < 0 || axes[i] >= x->rank)
            return ir_shape_fail(a, n, "axis is %lld, but %s has %d dimension%s (counted from 0)",
                                 (long long)axes[i], ir_shape_in(a, n, 0), x->rank,
                                 x->rank == 1 ? "" : "s");
        if (i > 0 && axes[i] <= axes[i - 1])
            return ir_shape_fail(a, n, "expected ascending axes, each once, found %lld after %lld",
                                 (long long)axes[i], (long long)axes[i - 1]);
    }
    IrType t = {.dtype = DT_f32};
    for (int d = 0, k = 0; d < x->rank; d++) {
        if (k < count && axes[k] == d)
            k++;
        else
            t.dim[t.rank++] = x->dim[d];
    }
    return ir_set_result(a, n, 0, t);
}

const char *shape_sum(Arena *a, IrNode *n) {
    return reduce_axes(a, n, ATTR_sum_axes);
}

const char *shape_mean(Arena *a, IrNode *n) {
    return reduce_axes(a, n, ATTR_mean_axes);
}

const char *shape_variance(Arena *a, IrNode *n) {
    TRY(ir_want_f32(a, n));
    TRY(ir_want_rank(a, n, 0, 2, IR_MAX_RANK));
    return ir_set_result(a, n, 0, IR_TYPE(DT_f32, ir_cols(&n->in[0]->type)));
}

static const char *reduce_last(Arena *a, IrNode *n, DType result) {
    TRY(ir_want_f32(a, n));
    TRY(ir_want_rank(a, n, 0, 1, IR_MAX_RANK));
    const IrType *x = &n->in[0]->type;
    return ir_set_result(a, n, 0, ir_type(result, x->rank - 1, x->dim));
}

const char *shape_max(Arena *a, IrNode *n) {
    return reduce_last(a, n, DT_f32);
}

const char *shape_argmax(Arena *a, IrNode *n) {
    TRY(reduce_last(a, n, DT_i32));
    if (ir_cols(&n->in[0]->type) <= INT32_MAX) return NULL;
    return ir_shape_fail(a, n, "expected a last dimension below 2^31, found %s",
                         ir_shape_in(a, n, 0));
}

const char *shape_softmax(Arena *a, IrNode *n) {
    TRY(ir_want_f32(a, n));
    TRY(ir_want_rank(a, n, 0, 1, IR_MAX_RANK));
    return ir_set_result(a, n, 0, n->in[0]->type);
}

const char *shape_softmax_grad(Arena *a, IrNode *n) {
    TRY(shape_softmax(a, n));
    return ir_want_like(a, n, 1, &n->in[0]->type);
}

static IrType with_last(const IrType *t, int64_t last) {
    IrType r = *t;
    r.dim[r.rank - 1] = last;
    return r;
}

const char *shape_layer_norm(Arena *a, IrNode *n) {
    TRY(shape_softmax(a, n));
    TRY(ir_want_finite(a, n, ATTR_layer_norm_eps, 0));
    return ir_set_result(a, n, 1, with_last(&n->in[0]->type, 1));
}

const char *shape_layer_norm_grad(Arena *a, IrNode *n) {
    TRY(shape_softmax(a, n));
    IrType rstd = with_last(&n->in[0]->type, 1);
    TRY(ir_want_like(a, n, 1, &rstd));
    return ir_want_like(a, n, 2, &n->in[0]->type);
}

const char *shape_rms_norm(Arena *a, IrNode *n) {
    TRY(shape_softmax(a, n));
    TRY(ir_want_finite(a, n, ATTR_rms_norm_eps, 0));
    return ir_set_result(a, n, 1, with_last(&n->in[0]->type, 1));
}

const char *shape_rms_norm_grad(Arena *a, IrNode *n) {
    return shape_layer_norm_grad(a, n);
}

/* ---- losses and metrics ---------------------------------------------------------------------- */

/* Operands: logits f32[B,C] and labels i32[B]. */
static const char *want_logits(Arena *a, const IrNode *n) {
    TRY(ir_want_dtype(a, n, 0, DT_f32));
    TRY(ir_want_rank(a, n, 0, 2, 2));
    IrType label = IR_TYPE(DT_i32, n->in[0]->type.dim[0]);
    if (ir_type_equal(&n->in[1]->type, &label)) return NULL;
    return ir_shape_fail(a, n, "expected labels %s for logits %s, found %s",
                         ir_type_text(a, &label), ir_shape_in(a, n, 0), ir_shape_in(a, n, 1));
}

const char *shape_xent(Arena *a, IrNode *n) {
    TRY(want_logits(a, n));
    return ir_set_result(a, n, 0, IR_TYPE(DT_f32, n->in[0]->type.dim[0]));
}

const char *shape_cross_entropy(Arena *a, IrNode *n) {
    TRY(want_logits(a, n));
    return ir_set_result(a, n, 0, ir_scalar(DT_f32));
}

const char *shape_accuracy(Arena *a, IrNode *n) {
    return shape_cross_entropy(a, n);
}

/* ---- matrix products ------------------------------------------------------------------------- */

const char *shape_matmul(Arena *a, IrNode *n) {
    TRY(ir_want_int(a, n, ATTR_matmul_bf16, 0, 1));
    for (int i = 0; i < 2; i++) TRY(ir_want_factor(a, n, i, ir_int(n, ATTR_matmul_bf16) != 0));
    TRY(ir_want_rank(a, n, 0, 2, IR_MAX_RANK));
    TRY(ir_want_rank(a, n, 1, 2, IR_MAX_RANK));
    TRY(ir_want_int(a, n, ATTR_matmul_ta, 0, 1));
    TRY(ir_want_int(a, n, ATTR_matmul_tb, 0, 1));
    const IrType *x = &n->in[0]->type, *y = &n->in[1]->type;
    int ta = (int)ir_int(n, ATTR_matmul_ta), tb = (int)ir_int(n, ATTR_matmul_tb);
    if ((ta || y->rank != 2) && x->rank != y->rank)
        return ir_shape_fail(
            a, n, "expected operands with the same number of dimensions, found %s and %s",
            ir_shape_in(a, n, 0), ir_shape_in(a, n, 1));
    for (int i = 0; y->rank > 2 && i < x->rank - 2; i++)
        if (x->dim[i] != y->dim[i])
            return ir_shape_fail(a, n, "expected equal leading dimensions, found %s and %s",
                                 ir_shape_in(a, n, 0), ir_shape_in(a, n, 1));
    int64_t kx = x->dim[x->rank - (ta ? 2 : 1)], ky = y->dim[y->rank - (tb ? 1 : 2)];
    if (kx != ky)
        return ir_shape_fail(a, n,
                             "expected %lld rows in the second matrix for %s, found %lld in %s%s",
                             (long long)kx, ir_shape_in(a, n, 0), (long long)ky,
                             ir_shape_in(a, n, 1), ta || tb ? " (after transposition)" : "");
    IrType t = *x;
    t.dtype = DT_f32;
    t.dim[t.rank - 2] = x->dim[x->rank - (ta ? 1 : 2)];
    t.dim[t.rank - 1] = y->dim[y->rank - (tb ? 2 : 1)];
    return ir_set_result(a, n, 0, t);
}

const char *shape_linear(Arena *a, IrNode *n) {
    TRY(ir_want_f32(a, n));
    TRY(ir_want_rank(a, n, 0, 2, IR_MAX_RANK));
    TRY(ir_want_rank(a, n, 1, 2, 2));
    const IrType *x = &n->in[0]->type, *w = &n->in[1]->type;
    if (ir_cols(x) != w->dim[0])
        return ir_shape_fail(a, n, "expected a weight of %lld rows for %s, found %s",
                             (long long)ir_cols(x), ir_shape_in(a, n, 0), ir_shape_in(a, n, 1));
    IrType bias = IR_TYPE(DT_f32, w->dim[1]);
    if (n->nin == 3) TRY(ir_want_like(a, n, 2, &bias));
    return ir_set_result(a, n, 0, with_last(x, w->dim[1]));
}

static IrType in_f32(IrType t) {
    t.dtype = DT_f32;
    return t;
}

/* Operand i is like t, but that one of them may be bf16 where the op allows it. */
static const char *want_size_of(Arena *a, const IrNode *n, int i, const IrType *t) {
    IrType want = *t;
    if (ir_rounds_operands(n)) {
        TRY(ir_want_factor(a, n, i, true));
        want.dtype = n->in[i]->type.dtype;
    }
    return ir_want_like(a, n, i, &want);
}

/* q [B,N,D], k and v [B,M,D]; heads divides D. */
static const char *want_attention(Arena *a, const IrNode *n, AttrId heads_id, AttrId dropout_id) {
    for (int i = 0; i < 3; i++) {
        TRY(ir_want_factor(a, n, i, ir_rounds_operands(n)));
        TRY(ir_want_rank(a, n, i, 3, 3));
    }
    const IrType *q = &n->in[0]->type, *k = &n->in[1]->type;
    if (q->dim[0] != k->dim[0] || q->dim[2] != k->dim[2])
        return ir_shape_fail(a, n, "expected keys [%lld,..,%lld] for queries %s, found %s",
                             (long long)q->dim[0], (long long)q->dim[2], ir_shape_in(a, n, 0),
                             ir_shape_in(a, n, 1));
    TRY(want_size_of(a, n, 2, k));
    int64_t heads = ir_int(n, heads_id);
    if (heads < 1 || q->dim[2] % heads)
        return ir_shape_fail(a, n, "heads is %lld, expected a divisor of the width %lld of %s",
                             (long long)heads, (long long)q->dim[2], ir_shape_in(a, n, 0));
    TRY(ir_want_probability(a, n, dropout_id));
    int64_t scores = IR_MAX_ELEMS;
    if (__builtin_mul_overflow(q->dim[0] * heads * q->dim[1], k->dim[1], &scores))
        scores = INT64_MAX;
    return ir_float(n, dropout_id) > 0 ? ir_want_random_count(a, n, scores) : NULL;
}

/* [B,heads,N]: one number per score row. */
static IrType score_rows(const IrNode *n, AttrId heads_id) {
    const IrType *q = &n->in[0]->type;
    return IR_TYPE(DT_f32, q->dim[0], ir_int(n, heads_id), q->dim[1]);
}

const char *shape_attention(Arena *a, IrNode *n) {
    TRY(want_attention(a, n, ATTR_attention_heads, ATTR_attention_dropout));
    return ir_set_result(a, n, 0, n->in[0]->type);
}

const char *shape_sdpa(Arena *a, IrNode *n) {
    TRY(want_attention(a, n, ATTR_sdpa_heads, ATTR_sdpa_dropout));
    TRY(ir_want_finite(a, n, ATTR_sdpa_scale, -INFINITY));
    TRY(ir_want_int(a, n, ATTR_sdpa_bf16, 0, 1));
    TRY(ir_want_key(a, n, 3));
    TRY(ir_set_result(a, n, 0, in_f32(n->in[0]->type)));
    return ir_set_result(a, n, 1, score_rows(n, ATTR_sdpa_heads));
}

const char *shape_sdpa_grad(Arena *a, IrNode *n) {
    TRY(want_attention(a, n, ATTR_sdpa_grad_heads, ATTR_sdpa_grad_dropout));
    TRY(ir_want_finite(a, n, ATTR_sdpa_grad_scale, -INFINITY));
    TRY(ir_want_int(a, n, ATTR_sdpa_grad_bf16, 0, 1));
    TRY(ir_want_key(a, n, 3));
    IrType lse = score_rows(n, ATTR_sdpa_grad_heads);
    TRY(ir_want_like(a, n, 4, &lse));
    TRY(want_size_of(a, n, 5, &n->in[0]->type));
    for (int i = 0; i < 3; i++) TRY(ir_set_result(a, n, i, in_f32(n->in[i]->type)));
    return NULL;
}

/* ---- data movement --------------------------------------------------------------------------- */

const char *shape_concat(Arena *a, IrNode *n) {
    TRY(ir_want_f32(a, n));
    TRY(ir_want_axis(a, n, ATTR_concat_axis));
    int64_t axis = ir_int(n, ATTR_concat_axis);
    IrType t = n->in[0]->type;
    for (int i = 1; i < n->nin; i++) {
        IrType x = n->in[i]->type;
        int64_t size = x.rank == t.rank ? x.dim[axis] : 0;
        if (size) x.dim[axis] = t.dim[axis];
        if (!ir_shape_equal(&x, &t))
            return ir_shape_fail(a, n,
                                 "expected operands that differ only in dimension %lld, found %s "
                                 "and %s (operand %d)",
                                 (long long)axis, ir_shape_in(a, n, 0), ir_shape_in(a, n, i),
                                 i + 1);
        t.dim[axis] += size; /* 64 operands below 2^40: no overflow */
    }
    return ir_set_result(a, n, 0, t);
}

const char *shape_unslice(Arena *a, IrNode *n) {
    TRY(ir_want_f32(a, n));
    TRY(ir_want_axis(a, n, ATTR_unslice_axis));
    IrType t = n->in[0]->type;
    int64_t axis = ir_int(n, ATTR_unslice_axis);
    TRY(ir_want_int(a, n, ATTR_unslice_size, t.dim[axis], INT64_MAX));
    TRY(ir_want_int(a, n, ATTR_unslice_start, 0, ir_int(n, ATTR_unslice_size) - t.dim[axis]));
    t.dim[axis] = ir_int(n, ATTR_unslice_size);
    return ir_set_result(a, n, 0, t);
}

const char *shape_patchify(Arena *a, IrNode *n) {
    TRY(ir_want_f32(a, n));
    TRY(ir_want_rank(a, n, 0, 4, 4));
    const IrType *x = &n->in[0]->type;
    int64_t p = ir_int(n, ATTR_patchify_patch);
    if (p < 1 || x->dim[2] % p || x->dim[3] % p)
        return ir_shape_fail(
            a, n, "patch is %lld, expected a divisor of height %lld and width %lld of %s",
            (long long)p, (long long)x->dim[2], (long long)x->dim[3], ir_shape_in(a, n, 0));
    return ir_set_result(
        a, n, 0, IR_TYPE(DT_f32, x->dim[0], (x->dim[2] / p) * (x->dim[3] / p), p * p * x->dim[1]));
}

/* ---- updates -------------------------------------------------------------------------------- */

const char *shape_assign(Arena *a, IrNode *n) {
    TRY(ir_want_f32(a, n));
    TRY(ir_want_like(a, n, 1, &n->in[0]->type));
    return ir_set_result(a, n, 0, n->in[0]->type);
}

const char *shape_adamw(Arena *a, IrNode *n) {
    TRY(ir_want_f32(a, n));
    for (int i = 1; i < 4; i++) TRY(ir_want_like(a, n, i, &n->in[0]->type));
    IrType step = IR_TYPE(DT_f32, 4);
    TRY(ir_want_like(a, n, 4, &step));
    TRY(ir_want_probability(a, n, ATTR_adamw_beta1));
    TRY(ir_want_probability(a, n, ATTR_adamw_beta2));
    TRY(ir_want_finite(a, n, ATTR_adamw_eps, 0));
    TRY(ir_want_finite(a, n, ATTR_adamw_decay, 0));
    for (int i = 0; i < 3; i++) TRY(ir_set_result(a, n, i, n->in[0]->type));
    return NULL;
}
