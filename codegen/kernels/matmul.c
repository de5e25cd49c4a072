/* Matrix products, dense and batched: out[.., M, N] = a[.., M, K] b[.., K, N], either operand
 * transposed. Blocks of rows and columns of all matrices are one pool of items. */
#include "codegen/plan/blocks.h"
#include "codegen/kernels/gemm.h"
#include "codegen/kernels/rules.h"

enum {
    FEW_ROWS = 512
}; /* with so few a weight comes from memory, and is not met often enough to hide it */

static bool shared_b(const IrNode *n) {
    return n->in[1]->type.rank == 2;
}

static Val dense_a_row(Kb *k, const Gemm *g, Val matrix, Val row, Val local) {
    if (g->pairs) return kb_gep(k, k->f32, g->made_a, local);
    if (g->front) {
        int64_t ld = gemm_padded_cols(k, g->n->in[0]);
        return kb_gep(k, k->f32, g->made_a, kb_mul(k, local, kb_i64(k, ld)));
    }
    LLVMTypeRef elem = kb_elem(k, g->a.type.dtype);
    Val base = kb_view_ptr(k, &g->a);
    int r = g->a.type.rank;
    if (ir_int(g->n, ATTR_matmul_ta)) {
        Val at = kb_add(k, kb_matrix_offset(k, &g->a, matrix),
                        kb_mul(k, row, kb_i64(k, g->a.stride[r - 1])));
        return kb_gep(k, elem, base, at);
    }
    if (shared_b(g->n)) return kb_gep(k, elem, base, kb_row_offset(k, &g->a, row));
    Val at = kb_add(k, kb_matrix_offset(k, &g->a, matrix),
                    kb_mul(k, row, kb_i64(k, g->a.stride[r - 2])));
    return kb_gep(k, elem, base, at);
}

static Val dense_b_matrix(Kb *k, const Gemm *g, Val matrix) {
    if (g->packed) {
        Val at = kb_mul(k, matrix, kb_i64(k, g->panels * g->inner * g->tile.nr));
        return kb_gep(k, k->f32, gemm_packed_base(k), at);
    }
    if (g->pairs) return g->made_b;
    return kb_gep(k, k->f32, kb_view_ptr(k, &g->b), kb_matrix_offset(k, &g->b, matrix));
}

static Val view_row(Kb *k, IrValue *v, Val row) {
    View w;
    view_resolve(v, &w);
    return kb_gep(k, kb_elem(k, v->type.dtype), kb_view_ptr(k, &w), kb_row_offset(k, &w, row));
}

static void pair_chunk(Kb *k, const Gemm *g, Val k0, Val count) {
    const IrType *a = &g->n->in[0]->type;
    gemm_pair_chunk(k, g, view_row, g->first_row, kb_i64(k, a->dim[a->rank - 2]), k0, count);
}

/* Rows of a are read in place, two elements at a time; the operands of a weight gradient are
 * paired. */
static void use_bf16(Gemm *g, bool ta) {
    g->bf16 = true;
    g->inner = ceil_div(g->inner, 2);
    g->pairs = ta;
    if (ta) g->chunk = pair_chunk;
}

static void lower_product(Kb *k, IrNode *n, RowMaker front, RowBody behind, void *ctx) {
    Gemm g = {.n = n,
              .packed = k->cl->pack_buffer >= 0,
              .a_row = dense_a_row,
              .b_matrix = dense_b_matrix};
    g.front = front;
    g.behind = behind;
    g.ctx = ctx;
    view_resolve(n->in[0], &g.a);
    view_resolve(n->in[1], &g.b);
    const IrType *t = &n->out[0].type;
    int ra = g.a.type.rank, rb = g.b.type.rank;
    bool ta = ir_int(n, ATTR_matmul_ta);
    int64_t matrices = 1;
    g.cols = ir_cols(t);
    g.rows = t->dim[t->rank - 2];
    g.inner = g.a.type.dim[ta ? ra - 2 : ra - 1];
    if (shared_b(n) && !ta)
        g.rows = ir_rows(t);
    else
        matrices = ir_rows(t) / g.rows;
    g.a_step = g.a.stride[ta ? ra - 2 : ra - 1];
    g.b_step = g.b.stride[rb - 2];
    g.side_by_side = block_side_by_side(k->cl);
    if (ir_rounds_operands(n)) use_bf16(&g, ta);
    g.streams_b = g.packed && g.rows <= FEW_ROWS;
    gemm_choose(k, &g);
    gemm_scratch(k, &g);
    if (g.pairs) gemm_pair_scratch(k, &g);
    if (front) g.made_a = kb_scratch(k, g.mb * gemm_padded_cols(k, n->in[0]) * 4);
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
    g.first_row = kb_mul(k, matrix, kb_i64(k, g.a.type.dim[ta ? ra - 2 : 0]));
    g.row0 = row0;
    g.col0 = kb_mul(k, cb, kb_i64(k, g.np * g.tile.nr));
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
