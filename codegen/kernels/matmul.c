/* Matrix products, dense and batched: out[.., M, N] = a[.., M, K] b[.., K, N], either operand
 * transposed. Blocks of rows and columns of all matrices are one pool of items. */
#include "codegen/plan/blocks.h"
#include "codegen/kernels/gemm.h"
#include "codegen/kernels/rules.h"

/* with so few a weight comes from memory, and is not met often enough to hide it */
enum { FEW_ROWS = 512 };

static bool shared_b(const IrNode *n) {
    return n->in[1]->type.rank == 2;
}

/* Rows of a matrix of a view, or its columns; of b the matrix itself. */
static Val matrix_row(Kb *k, const Operand *o, Val matrix, Val row, int64_t stride) {
    Val skip = row ? kb_mul(k, row, kb_i64(k, stride)) : NULL;
    Val at = kb_matrix_offset(k, &o->view, matrix);
    if (row) at = kb_add(k, at, skip);
    return kb_gep(k, kb_elem(k, o->view.type.dtype), kb_view_ptr(k, &o->view), at);
}

static Val dense_column(Kb *k, const Gemm *g, const Operand *o, Val matrix, Val row, Val k0) {
    (void)g;
    Val at = matrix_row(k, o, matrix, row, o->view.stride[o->view.type.rank - 1]);
    return gemm_from(k, o, at, k0);
}

static Val dense_row(Kb *k, const Gemm *g, const Operand *o, Val matrix, Val row, Val k0) {
    (void)g;
    Val at = matrix_row(k, o, matrix, row, o->view.stride[o->view.type.rank - 2]);
    return gemm_from(k, o, at, k0);
}

/* All matrices of a have one b: their rows are those of one. */
static Val shared_row(Kb *k, const Gemm *g, const Operand *o, Val matrix, Val row, Val k0) {
    (void)g, (void)matrix;
    Val at = kb_row_offset(k, &o->view, row);
    at = kb_gep(k, kb_elem(k, o->view.type.dtype), kb_view_ptr(k, &o->view), at);
    return gemm_from(k, o, at, k0);
}

static Val view_row(Kb *k, const Gemm *g, const Operand *o, Val row) {
    (void)g;
    const View *w = &o->view;
    return kb_gep(k, kb_elem(k, w->type.dtype), kb_view_ptr(k, w), kb_row_offset(k, w, row));
}

/* Rows of a are read in place, in bf16 two elements at a time; the operands of a weight gradient in
 * bf16 are paired. */
static Operand operand_a(const Kb *k, const IrNode *n, RowMaker front) {
    bool ta = ir_int(n, ATTR_matmul_ta);
    Operand a = {.value = n->in[0],
                 .row = ta            ? dense_column
                        : shared_b(n) ? shared_row
                                      : dense_row,
                 .side_by_side = block_side_by_side(k->cl),
                 .make = front,
                 .address = view_row};
    view_resolve(n->in[0], &a.view);
    a.step = a.view.stride[a.view.type.rank - (ta ? 2 : 1)];
    if (front) a.made = OPERAND_BY_BLOCK;
    if (ta && ir_rounds_operands(n)) a.made = OPERAND_IN_PAIRS;
    return a;
}

static Operand operand_b(const Kb *k, const IrNode *n) {
    Operand b = {.value = n->in[1], .row = dense_row, .address = view_row};
    view_resolve(n->in[1], &b.view);
    b.step = b.view.stride[b.view.type.rank - 2];
    if (k->cl->pack_buffer >= 0)
        b.made = OPERAND_PACKED;
    else if (ir_int(n, ATTR_matmul_ta) && ir_rounds_operands(n))
        b.made = OPERAND_IN_PAIRS;
    return b;
}

static void lower_product(Kb *k, IrNode *n, RowMaker front, RowBody behind, void *ctx) {
    Gemm g = {.n = n,
              .a = operand_a(k, n, front),
              .b = operand_b(k, n),
              .bf16 = ir_rounds_operands(n),
              .behind = behind,
              .ctx = ctx};
    const IrType *t = &n->out[0].type, *a = &n->in[0]->type;
    bool ta = ir_int(n, ATTR_matmul_ta);
    int64_t matrices = 1;
    g.cols = ir_cols(t);
    g.rows = t->dim[t->rank - 2];
    g.inner = ceil_div(a->dim[ta ? a->rank - 2 : a->rank - 1], g.bf16 ? 2 : 1);
    if (shared_b(n) && !ta)
        g.rows = ir_rows(t);
    else
        matrices = ir_rows(t) / g.rows;
    g.b.streams = g.b.made == OPERAND_PACKED && g.rows <= FEW_ROWS;
    gemm_choose(k, &g);
    gemm_scratch(k, &g);
    int64_t row_blocks = ceil_div(g.rows, g.mb), per_matrix = row_blocks * g.col_blocks;
    Val begin, end;
    kb_share(k, matrices * per_matrix, &begin, &end);
    Loop l;
    kb_loop(k, &l, begin, end, 1, NULL, 0);
    Val matrix = kb_udiv(k, l.i, per_matrix), item = kb_urem(k, l.i, per_matrix);
    if (per_matrix == 1) item = kb_i64(k, 0);
    Val row0 = kb_mul(k, kb_udiv(k, item, g.col_blocks), kb_i64(k, g.mb));
    Val row_end = kb_min(k, kb_add(k, row0, kb_i64(k, g.mb)), kb_i64(k, g.rows));
    Val out_row = kb_add(k, kb_mul(k, matrix, kb_i64(k, g.rows)), row0);
    Val cb = kb_urem(k, item, g.col_blocks);
    g.first_row = kb_mul(k, matrix, kb_i64(k, a->dim[ta ? a->rank - 2 : 0]));
    g.sum_rows = kb_i64(k, a->dim[a->rank - 2]);
    g.a.col0 = row0;
    g.b.col0 = kb_mul(k, cb, kb_i64(k, g.np * g.tile.nr));
    gemm_block(k, &g, matrix, row0, row_end, out_row, cb, kb_i64(k, g.inner));
    kb_loop_end(k, &l);
}

void cg_lower_matmul(Kb *k, IrNode *n) {
    lower_product(k, n, NULL, NULL, NULL);
}

void gemm_rows_of_product(Kb *k, RowBody body, void *ctx) {
    lower_product(k, k->cl->anchor, NULL, body, ctx);
}

void gemm_product_of_rows(Kb *k, RowMaker make, void *ctx) {
    lower_product(k, k->cl->anchor, make, NULL, ctx);
}
