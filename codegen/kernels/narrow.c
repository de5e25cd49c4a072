/* Bodies of the micro-kernel (gemm.c) for products with few columns: a router's logits, a
 * classifier's head, and their weights' gradients. A tile of the usual kind would leave most lanes
 * of its vectors empty. Here lanes are rows of the result, one vector per column, and squares are
 * transposed in registers.
 *
 * - rows_body: a square of a, vl rows by vl inner positions, is loaded, transposed and multiplied
 * with the scalars of b at each position; b is read as it stands, no packed copy is needed.
 * - columns_body: rows of a lie side by side, so a vector of it holds vl rows of one position.
 *
 * Both write whole vectors, of which tile.narrow lanes count, and start from zero. With up to four
 * columns rows_body has two sums for each, of even and of odd positions, to hide the latency of
 * additions; otherwise sums are in order of the inner dimension. */
#include "codegen/kernels/gemm.h"

static Val scalar_of_b(Kb *k, const Micro *m, Val at, int col) {
    Val row = kb_mul(k, at, m->b_step);
    Val from = kb_gep(k, k->f32, m->b, kb_add(k, row, kb_i64(k, col)));
    return LLVMBuildLoad2(k->b, k->f32, from, "");
}

/* Columns in vectors of rows -> rows [row0, + vl) of c. */
static void store_rows(Kb *k, const Micro *m, const Val *col, int row0) {
    Val square[16];
    for (int i = 0; i < k->vl; i++) square[i] = i < m->tile.narrow ? col[i] : kb_vf(k, 0);
    kb_transpose(k, square);
    for (int i = 0; i < k->vl; i++) {
        Val row =
            LLVMBuildLoad2(k->b, k->ptr, kb_gep(k, k->ptr, m->c_rows, kb_i64(k, row0 + i)), "");
        kb_store(k, square[i], kb_gep(k, k->f32, row, m->c_at), NULL);
    }
}

static int sets_of(const Micro *m) {
    return m->tile.narrow <= 4 ? 2 : 1;
}

/* Positions [at, at + vl) of the rows, transposed; positions from `end` on are zero when it is
 * given. */
static void load_square(Kb *k, const Val *row, Val at, Val end, Val *square) {
    Val mask = end ? kb_mask_below(k, kb_sub(k, end, at)) : NULL;
    for (int i = 0; i < k->vl; i++)
        square[i] = kb_load(k, k->vf, kb_gep(k, k->f32, row[i], at), mask);
    kb_transpose(k, square);
}

/* end: positions from it on have no scalars; NULL: all have. */
static void add_square(Kb *k, const Micro *m, const Val *square, Val at, Val end, Val *sum) {
    for (int i = 0; i < k->vl; i++) {
        Val row = kb_add(k, at, kb_i64(k, i)), inside = NULL;
        if (end) {
            inside = LLVMBuildICmp(k->b, LLVMIntSLT, row, end, "");
            row = LLVMBuildSelect(k->b, inside, row, at, "");
        }
        for (int j = 0; j < m->tile.narrow; j++) {
            Val *to = &sum[i % sets_of(m) * m->tile.narrow + j], x = scalar_of_b(k, m, row, j);
            if (end) x = LLVMBuildSelect(k->b, inside, x, kb_f32(k, 0), "");
            *to = kb_fma(k, square[i], kb_splat(k, x), *to);
        }
    }
}

static void rows_body(Kb *k, const Micro *m) {
    int n = m->tile.narrow * sets_of(m);
    Val row[16], square[16], sum[MAX_CARRY];
    for (int i = 0; i < k->vl; i++)
        row[i] = LLVMBuildLoad2(k->b, k->ptr, kb_gep(k, k->ptr, m->a_rows, kb_i64(k, i)), "");
    for (int i = 0; i < n; i++) sum[i] = kb_vf(k, 0);
    Val whole = kb_sub(k, m->count, kb_urem(k, m->count, k->vl));
    Loop l;
    kb_loop(k, &l, kb_i64(k, 0), whole, k->vl, sum, n);
    for (int i = 0; i < n; i++) l.next[i] = l.carry[i];
    load_square(k, row, l.i, NULL, square);
    add_square(k, m, square, l.i, NULL, l.next);
    kb_loop_end(k, &l);
    Loop rest; /* none or one */
    kb_loop(k, &rest, whole, m->count, k->vl, l.carry, n);
    for (int i = 0; i < n; i++) rest.next[i] = rest.carry[i];
    load_square(k, row, rest.i, m->count, square);
    add_square(k, m, square, rest.i, m->count, rest.next);
    kb_loop_end(k, &rest);
    for (int i = 0; i < m->tile.narrow; i++)
        sum[i] = n > m->tile.narrow ? kb_fadd(k, rest.carry[i], rest.carry[m->tile.narrow + i])
                                    : rest.carry[i];
    store_rows(k, m, sum, 0);
}

/* Sum of vector v and column j: at v * cols + j. */
static void columns_body(Kb *k, const Micro *m) {
    int vectors = m->tile.rows / k->vl, n = m->tile.narrow * vectors;
    Val sum[MAX_CARRY];
    for (int i = 0; i < n; i++) sum[i] = kb_vf(k, 0);
    Loop l;
    kb_loop(k, &l, kb_i64(k, 0), m->count, 1, sum, n);
    Val a = kb_gep(k, k->f32, m->a_rows, kb_mul(k, l.i, m->a_step));
    for (int v = 0; v < vectors; v++) {
        Val x = kb_load(k, k->vf, kb_gep(k, k->f32, a, kb_i64(k, (int64_t)v * k->vl)), NULL);
        for (int j = 0; j < m->tile.narrow; j++) {
            int i = v * m->tile.narrow + j;
            l.next[i] = kb_fma(k, x, kb_splat(k, scalar_of_b(k, m, l.i, j)), l.carry[i]);
        }
    }
    kb_loop_end(k, &l);
    for (int v = 0; v < vectors; v++) store_rows(k, m, l.carry + v * m->tile.narrow, v * k->vl);
}

void gemm_narrow_body(Kb *k, const Micro *m) {
    if (m->side_by_side)
        columns_body(k, m);
    else
        rows_body(k, m);
}
