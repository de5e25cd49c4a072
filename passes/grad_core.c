/* Gradient rules of views, elementwise ops, reductions, matrix products and data movement. Each
 * builds CORE ops; see grad.h for the contract. y is the result, dy its gradient, x or a, b the
 * operands. */
#include "passes/grad.h"

/* 2 / sqrt(pi) */
static const double two_over_sqrt_pi = 1.1283791670955126;

static IrValue *add(IrBuilder *b, IrValue *x, IrValue *y) {
    return ir_binary(b, OP_add, x, y);
}

static IrValue *sub(IrBuilder *b, IrValue *x, IrValue *y) {
    return ir_binary(b, OP_sub, x, y);
}

static IrValue *mul(IrBuilder *b, IrValue *x, IrValue *y) {
    return ir_binary(b, OP_mul, x, y);
}

static IrValue *divide(IrBuilder *b, IrValue *x, IrValue *y) {
    return ir_binary(b, OP_div, x, y);
}

static IrValue *neg(IrBuilder *b, IrValue *x) {
    return ir_unary(b, OP_neg, x);
}

static IrValue *less(IrBuilder *b, IrValue *x, IrValue *y) {
    return ir_binary(b, OP_less, x, y);
}

static IrValue *splat(IrBuilder *b, double value, const IrValue *like) {
    return ir_const(b, value, like->type);
}

static IrValue *choose(IrBuilder *b, IrValue *cond, IrValue *x, IrValue *y) {
    return IR_OP(b, select, VALS(cond, x, y), NO_ATTRS);
}

/* index i32[..] -> f32[..,N], 1 where the last coordinate is the index; t is the result's type. */
static IrValue *one_hot(IrBuilder *b, IrValue *index, const IrType *t) {
    IrType wide = *t, column = *t;
    wide.dtype = column.dtype = DT_i32;
    column.dim[t->rank - 1] = 1;
    IrValue *at = IR_OP(b, iota, NO_VALS, ATTRS(A_INTS(iota_shape, t->dim, t->rank)));
    return ir_binary(b, OP_equal, at, ir_broadcast(b, ir_reshape(b, index, &column), &wide));
}

void grad_reshape(IrBuilder *b, const IrNode *n, IrValue *const *dy, IrValue **dx) {
    dx[0] = ir_reshape(b, dy[0], &n->in[0]->type);
}

void grad_broadcast(IrBuilder *b, const IrNode *n, IrValue *const *dy, IrValue **dx) {
    dx[0] = ir_unbroadcast(b, dy[0], &n->in[0]->type);
}

void grad_transpose(IrBuilder *b, const IrNode *n, IrValue *const *dy, IrValue **dx) {
    const int64_t *perm;
    int64_t back[IR_MAX_RANK];
    int rank = ir_ints(n, ATTR_transpose_perm, &perm);
    for (int i = 0; i < rank; i++) back[perm[i]] = i;
    dx[0] = IR_OP(b, transpose, VALS(dy[0]), ATTRS(A_INTS(transpose_perm, back, rank)));
}

void grad_slice(IrBuilder *b, const IrNode *n, IrValue *const *dy, IrValue **dx) {
    int64_t axis = ir_int(n, ATTR_slice_axis);
    dx[0] =
        IR_OP(b, unslice, VALS(dy[0]),
              ATTRS(A_INT(unslice_axis, axis), A_INT(unslice_start, ir_int(n, ATTR_slice_start)),
                    A_INT(unslice_size, n->in[0]->type.dim[axis])));
}

void grad_unslice(IrBuilder *b, const IrNode *n, IrValue *const *dy, IrValue **dx) {
    int axis = (int)ir_int(n, ATTR_unslice_axis);
    dx[0] = ir_slice(b, dy[0], axis, ir_int(n, ATTR_unslice_start), n->in[0]->type.dim[axis]);
}

void grad_concat(IrBuilder *b, const IrNode *n, IrValue *const *dy, IrValue **dx) {
    int axis = (int)ir_int(n, ATTR_concat_axis);
    int64_t start = 0;
    for (int i = 0; i < n->nin; i++) {
        int64_t size = n->in[i]->type.dim[axis];
        dx[i] = ir_slice(b, dy[0], axis, start, size);
        start += size;
    }
}

void grad_copy(IrBuilder *b, const IrNode *n, IrValue *const *dy, IrValue **dx) {
    (void)b;
    (void)n;
    dx[0] = dy[0];
}

void grad_neg(IrBuilder *b, const IrNode *n, IrValue *const *dy, IrValue **dx) {
    (void)n;
    dx[0] = neg(b, dy[0]);
}

/* dy * sign(x), with sign(0) = 0 */
void grad_abs(IrBuilder *b, const IrNode *n, IrValue *const *dy, IrValue **dx) {
    IrValue *x = n->in[0], *zero = splat(b, 0.0, x);
    dx[0] = mul(b, dy[0], sub(b, less(b, zero, x), less(b, x, zero)));
}

void grad_exp(IrBuilder *b, const IrNode *n, IrValue *const *dy, IrValue **dx) {
    dx[0] = mul(b, dy[0], &n->out[0]);
}

void grad_log(IrBuilder *b, const IrNode *n, IrValue *const *dy, IrValue **dx) {
    dx[0] = divide(b, dy[0], n->in[0]);
}

/* dy / (1 + x) */
void grad_log1p(IrBuilder *b, const IrNode *n, IrValue *const *dy, IrValue **dx) {
    dx[0] = divide(b, dy[0], add(b, splat(b, 1.0, n->in[0]), n->in[0]));
}

/* dy / (2 y) */
void grad_sqrt(IrBuilder *b, const IrNode *n, IrValue *const *dy, IrValue **dx) {
    dx[0] = divide(b, ir_scale(b, dy[0], 0.5), &n->out[0]);
}

/* -dy y^3 / 2 */
void grad_rsqrt(IrBuilder *b, const IrNode *n, IrValue *const *dy, IrValue **dx) {
    IrValue *y = &n->out[0];
    dx[0] = mul(b, ir_scale(b, dy[0], -0.5), mul(b, y, mul(b, y, y)));
}

/* dy (1 - y^2) */
void grad_tanh(IrBuilder *b, const IrNode *n, IrValue *const *dy, IrValue **dx) {
    IrValue *y = &n->out[0];
    dx[0] = mul(b, dy[0], sub(b, splat(b, 1.0, y), mul(b, y, y)));
}

/* dy 2/sqrt(pi) exp(-x^2) */
void grad_erf(IrBuilder *b, const IrNode *n, IrValue *const *dy, IrValue **dx) {
    IrValue *x = n->in[0];
    IrValue *bell = ir_unary(b, OP_exp, neg(b, mul(b, x, x)));
    dx[0] = mul(b, dy[0], ir_scale(b, bell, two_over_sqrt_pi));
}

/* dy sqrt(pi)/2 exp(y^2) */
void grad_erfinv(IrBuilder *b, const IrNode *n, IrValue *const *dy, IrValue **dx) {
    IrValue *y = &n->out[0];
    dx[0] = mul(b, dy[0], ir_scale(b, ir_unary(b, OP_exp, mul(b, y, y)), 1.0 / two_over_sqrt_pi));
}

/* dy y (1 - y) */
void grad_sigmoid(IrBuilder *b, const IrNode *n, IrValue *const *dy, IrValue **dx) {
    IrValue *y = &n->out[0];
    dx[0] = mul(b, dy[0], mul(b, y, sub(b, splat(b, 1.0, y), y)));
}

/* By the result, which is positive where the operand is, and which the next product keeps anyway.
 */
void grad_relu(IrBuilder *b, const IrNode *n, IrValue *const *dy, IrValue **dx) {
    IrValue *zero = splat(b, 0.0, n->in[0]);
    dx[0] = choose(b, less(b, zero, &n->out[0]), dy[0], zero);
}

void grad_gelu(IrBuilder *b, const IrNode *n, IrValue *const *dy, IrValue **dx) {
    dx[0] = mul(b, dy[0], ir_unary(b, OP_gelu_grad, n->in[0]));
}

void grad_gelu_tanh(IrBuilder *b, const IrNode *n, IrValue *const *dy, IrValue **dx) {
    dx[0] = mul(b, dy[0], ir_unary(b, OP_gelu_tanh_grad, n->in[0]));
}

void grad_add(IrBuilder *b, const IrNode *n, IrValue *const *dy, IrValue **dx) {
    (void)b;
    (void)n;
    dx[0] = dx[1] = dy[0];
}

void grad_sub(IrBuilder *b, const IrNode *n, IrValue *const *dy, IrValue **dx) {
    (void)n;
    dx[0] = dy[0];
    dx[1] = neg(b, dy[0]);
}

void grad_mul(IrBuilder *b, const IrNode *n, IrValue *const *dy, IrValue **dx) {
    dx[0] = mul(b, dy[0], n->in[1]);
    dx[1] = mul(b, dy[0], n->in[0]);
}

/* dy / b and -(dy / b) y */
void grad_div(IrBuilder *b, const IrNode *n, IrValue *const *dy, IrValue **dx) {
    dx[0] = divide(b, dy[0], n->in[1]);
    dx[1] = neg(b, mul(b, dx[0], &n->out[0]));
}

/* A tie gives everything to the first operand. */
void grad_maximum(IrBuilder *b, const IrNode *n, IrValue *const *dy, IrValue **dx) {
    IrValue *second = less(b, n->in[0], n->in[1]), *zero = splat(b, 0.0, dy[0]);
    dx[0] = choose(b, second, zero, dy[0]);
    dx[1] = choose(b, second, dy[0], zero);
}

void grad_minimum(IrBuilder *b, const IrNode *n, IrValue *const *dy, IrValue **dx) {
    IrValue *second = less(b, n->in[1], n->in[0]), *zero = splat(b, 0.0, dy[0]);
    dx[0] = choose(b, second, zero, dy[0]);
    dx[1] = choose(b, second, dy[0], zero);
}

void grad_select(IrBuilder *b, const IrNode *n, IrValue *const *dy, IrValue **dx) {
    IrValue *zero = splat(b, 0.0, dy[0]);
    dx[1] = choose(b, n->in[0], dy[0], zero);
    dx[2] = choose(b, n->in[0], zero, dy[0]);
}

void grad_sum(IrBuilder *b, const IrNode *n, IrValue *const *dy, IrValue **dx) {
    const int64_t *axes;
    int count = ir_ints(n, ATTR_sum_axes, &axes);
    IrType kept = n->in[0]->type;
    for (int i = 0; i < count; i++) kept.dim[axes[i]] = 1;
    dx[0] = ir_broadcast(b, ir_reshape(b, dy[0], &kept), &n->in[0]->type);
}

/* To the first largest entry of each row. */
void grad_max(IrBuilder *b, const IrNode *n, IrValue *const *dy, IrValue **dx) {
    IrValue *x = n->in[0];
    IrType column = x->type;
    column.dim[column.rank - 1] = 1;
    IrValue *spread = ir_broadcast(b, ir_reshape(b, dy[0], &column), &x->type);
    IrValue *first = one_hot(b, ir_unary(b, OP_argmax, x), &x->type);
    dx[0] = choose(b, first, spread, splat(b, 0.0, x));
}

void grad_softmax(IrBuilder *b, const IrNode *n, IrValue *const *dy, IrValue **dx) {
    dx[0] = ir_binary(b, OP_softmax_grad, &n->out[0], dy[0]);
}

/* Through y: the norm's own gradient. Through rstd: d rstd / dx_i = -rstd^2 y_i / N. */
static void grad_norm(IrBuilder *b, const IrNode *n, OpCode grad, IrValue *const *dy,
                      IrValue **dx) {
    IrValue *y = &n->out[0], *rstd = &n->out[1], *in[] = {y, rstd, dy[0]};
    if (dy[0]) dx[0] = ir_op(b, grad, in, 3, NO_ATTRS);
    if (!dy[1]) return;
    IrValue *rows =
        ir_scale(b, mul(b, dy[1], mul(b, rstd, rstd)), -1.0 / (double)ir_cols(&y->type));
    IrValue *through_rstd = mul(b, ir_broadcast(b, rows, &y->type), y);
    dx[0] = dx[0] ? add(b, dx[0], through_rstd) : through_rstd;
}

void grad_layer_norm(IrBuilder *b, const IrNode *n, IrValue *const *dy, IrValue **dx) {
    grad_norm(b, n, OP_layer_norm_grad, dy, dx);
}

void grad_rms_norm(IrBuilder *b, const IrNode *n, IrValue *const *dy, IrValue **dx) {
    grad_norm(b, n, OP_rms_norm_grad, dy, dx);
}

/* dy_b (softmax(x_b) - onehot(label_b)) */
void grad_xent(IrBuilder *b, const IrNode *n, IrValue *const *dy, IrValue **dx) {
    IrValue *x = n->in[0];
    IrType column = IR_TYPE(DT_f32, x->type.dim[0], 1);
    IrValue *spread = ir_broadcast(b, ir_reshape(b, dy[0], &column), &x->type);
    IrValue *miss = sub(b, ir_unary(b, OP_softmax, x), one_hot(b, n->in[1], &x->type));
    dx[0] = mul(b, miss, spread);
}

static IrValue *matmul(IrBuilder *b, const IrNode *n, IrValue *x, bool tx, IrValue *y, bool ty) {
    return IR_OP(b, matmul, VALS(x, y),
                 ATTRS(A_INT(matmul_ta, tx), A_INT(matmul_tb, ty),
                       A_INT(matmul_bf16, ir_int(n, ATTR_matmul_bf16))));
}

static IrValue *as_matrix(IrBuilder *b, IrValue *x) {
    IrType flat = IR_TYPE(DT_f32, ir_rows(&x->type), ir_cols(&x->type));
    return ir_reshape(b, x, &flat);
}

/* dA = dy B^T and dB = A^T dy, each in the orientation its operand is stored in. A matrix b shared
 * by all leading dimensions of a sums its gradient over them: they count as rows. Gradients are
 * computed in the precision of their product. The weight's gradient first: both products read dy,
 * and the data's gradient is what the next one back reads. */
void grad_matmul(IrBuilder *b, const IrNode *n, IrValue *const *dy, IrValue **dx) {
    bool ta = ir_int(n, ATTR_matmul_ta) != 0, tb = ir_int(n, ATTR_matmul_tb) != 0;
    IrValue *x = n->in[0], *y = n->in[1], *d = dy[0];
    bool flat = y->type.rank == 2 && x->type.rank > 2;
    IrValue *xm = flat ? as_matrix(b, x) : x, *dm = flat ? as_matrix(b, d) : d;
    dx[1] = tb ? matmul(b, n, dm, true, xm, ta) : matmul(b, n, xm, !ta, dm, false);
    dx[0] = ta ? matmul(b, n, y, tb, d, true) : matmul(b, n, d, false, y, !tb);
}

void grad_sdpa(IrBuilder *b, const IrNode *n, IrValue *const *dy, IrValue **dx) {
    if (dy[1]) {
        b->error = "sdpa has no gradient through its logsumexp result";
        return;
    }
    IrValue *dq =
        IR_OP(b, sdpa_grad, VALS(n->in[0], n->in[1], n->in[2], n->in[3], &n->out[1], dy[0]),
              ATTRS(A_INT(sdpa_grad_heads, ir_int(n, ATTR_sdpa_heads)),
                    A_FLOAT(sdpa_grad_scale, ir_float(n, ATTR_sdpa_scale)),
                    A_FLOAT(sdpa_grad_dropout, ir_float(n, ATTR_sdpa_dropout)),
                    A_INT(sdpa_grad_bf16, ir_int(n, ATTR_sdpa_bf16))));
    for (int i = 0; i < 3; i++) dx[i] = &dq->node->out[i];
}
