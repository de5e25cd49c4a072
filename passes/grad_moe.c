/* Gradient rules of the mixture-of-experts ops; see grad.h for the contract. Routed rows are a
 * permutation of the pairs t*K+j, so gathers and weighted sums are each other's gradients and need
 * both directions of the permutation: `pair` (row -> pair) and `row` (pair -> row). A `route` node
 * has both; for a permutation of other origin the inverse is computed. Where a route drops pairs,
 * rows that are nobody's have gradients that mean nothing, and nobody reads them: combine_rows asks
 * for rows of pairs, expert_matmul_dw and expert_sum stop before them. */
#include "passes/grad.h"

/* perm: i32 with R elements, a permutation of 0..R-1 -> its inverse, i32[R]. Sorting the positions
 * by their content is what route does when every row is an expert of its own. NULL with b->error
 * set when there are more rows than experts can be numbered. */
static IrValue *inverse(IrBuilder *b, IrValue *perm) {
    int64_t r = ir_elems(&perm->type);
    IrType column = IR_TYPE(DT_i32, r, 1);
    IrValue *offsets =
        ir_try(b, OP_route, VALS(ir_reshape(b, perm, &column)), ATTRS(A_INT(route_experts, r)));
    return offsets ? &offsets->node->out[1] : NULL;
}

/* row i32[T,K] -> pair i32[R] */
static IrValue *pair_of_row(IrBuilder *b, IrValue *row) {
    if (row->node->op == OP_route && row->index == 2) return &row->node->out[1];
    return inverse(b, row);
}

/* pair i32[R] -> row i32[T,k] */
static IrValue *row_of_pair(IrBuilder *b, IrValue *pair, int64_t tokens, int64_t k) {
    bool routed = pair->node->op == OP_route && pair->index == 1;
    IrType table = IR_TYPE(DT_i32, tokens, k);
    IrValue *row = routed ? &pair->node->out[2] : inverse(b, pair);
    return row ? ir_reshape(b, row, &table) : NULL;
}

static IrValue *dispatch(IrBuilder *b, IrValue *x, IrValue *pair, int64_t k) {
    return IR_OP(b, dispatch, VALS(x, pair), ATTRS(A_INT(dispatch_k, k)));
}

void grad_topk(IrBuilder *b, const IrNode *n, IrValue *const *dy, IrValue **dx) {
    dx[0] = IR_OP(b, put_last, VALS(dy[0], &n->out[1]),
                  ATTRS(A_INT(put_last_experts, ir_cols(&n->in[0]->type))));
}

void grad_take_last(IrBuilder *b, const IrNode *n, IrValue *const *dy, IrValue **dx) {
    dx[0] = IR_OP(b, put_last, VALS(dy[0], n->in[1]),
                  ATTRS(A_INT(put_last_experts, ir_cols(&n->in[0]->type))));
}

void grad_put_last(IrBuilder *b, const IrNode *n, IrValue *const *dy, IrValue **dx) {
    dx[0] = IR_OP(b, take_last, VALS(dy[0], n->in[1]), NO_ATTRS);
}

/* A token's gradient is the sum over the rows it was sent to. */
void grad_dispatch(IrBuilder *b, const IrNode *n, IrValue *const *dy, IrValue **dx) {
    IrValue *row = row_of_pair(b, n->in[1], n->in[0]->type.dim[0], ir_int(n, ATTR_dispatch_k));
    if (row) dx[0] = IR_OP(b, combine_rows, VALS(dy[0], row), NO_ATTRS);
}

void grad_expert_expand(IrBuilder *b, const IrNode *n, IrValue *const *dy, IrValue **dx) {
    dx[0] = IR_OP(b, expert_sum, VALS(dy[0], n->in[1]),
                  ATTRS(A_INT(expert_sum_experts, n->in[0]->type.dim[0])));
}

void grad_expert_sum(IrBuilder *b, const IrNode *n, IrValue *const *dy, IrValue **dx) {
    dx[0] = IR_OP(b, expert_expand, VALS(dy[0], n->in[1]), NO_ATTRS);
}

/* Row r of pair (t,j): dy[t] * w[t,j]. A weight: <dy[t], its row>. */
void grad_combine(IrBuilder *b, const IrNode *n, IrValue *const *dy, IrValue **dx) {
    IrValue *rows = n->in[0], *row = n->in[1], *w = n->in[2];
    IrValue *pair = pair_of_row(b, row);
    if (!pair) return;
    IrType flat = IR_TYPE(DT_f32, ir_elems(&w->type), 1), column = rows->type;
    for (int i = 1; i < column.rank; i++) column.dim[i] = 1;
    IrValue *weight =
        ir_reshape(b, dispatch(b, ir_reshape(b, w, &flat), pair, 1), &column); /* [R,1..] */
    IrValue *sent = dispatch(b, dy[0], pair, ir_cols(&w->type));
    dx[0] = ir_binary(b, OP_mul, sent, ir_broadcast(b, weight, &rows->type));
    dx[2] = IR_OP(b, combine_dw, VALS(rows, row, dy[0]), NO_ATTRS);
}

void grad_combine_rows(IrBuilder *b, const IrNode *n, IrValue *const *dy, IrValue **dx) {
    IrValue *row = n->in[1], *pair = pair_of_row(b, row);
    if (pair) dx[0] = dispatch(b, dy[0], pair, ir_cols(&row->type));
}

/* dW = X^T dy, its operands swapped when W is stored transposed; dX = dy W^T per expert. In this
 * order, because what is made from dX comes next and finds it in the cache. */
void grad_expert_matmul(IrBuilder *b, const IrNode *n, IrValue *const *dy, IrValue **dx) {
    int64_t tb = ir_int(n, ATTR_expert_matmul_tb), bf16 = ir_int(n, ATTR_expert_matmul_bf16);
    IrValue *x = n->in[0], *w = n->in[1], *offsets = n->in[2];
    dx[1] = IR_OP(b, expert_matmul_dw, VALS(tb ? dy[0] : x, tb ? x : dy[0], offsets),
                  ATTRS(A_INT(expert_matmul_dw_bf16, bf16)));
    dx[0] = IR_OP(b, expert_matmul, VALS(dy[0], w, offsets),
                  ATTRS(A_INT(expert_matmul_tb, !tb), A_INT(expert_matmul_bf16, bf16)));
}
