/* The products inside attention: register tiles whose strides, and mostly whose inner length, are
 * constants.
 *
 * Rows are cut into tiles of two heights that differ by one at most, so nothing is padded: that
 * costs a second copy of the code and saves what the last tile of 145 rows would waste. b is read
 * by vectors, a is broadcast. Sums are in order of the inner dimension. */
#include "codegen/kernels/attention.h"

/* One position of the inner dimension. */
static void step(Kb *k, const Product *p, int rows, Val a, Val b, Val *sum) {
    Val bv[4];
    for (int v = 0; v < p->vectors; v++) {
        Val from = kb_gep(k, k->f32, b, kb_i64(k, (int64_t)v * k->vl));
        bv[v] = kb_load(k, p->bf16 ? k->vi : k->vf, from, NULL);
    }
    for (int r = 0; r < rows; r++) {
        Val from = kb_gep(k, k->f32, a, kb_i64(k, r * p->a_row));
        Val x = kb_splat(k, LLVMBuildLoad2(k->b, p->bf16 ? k->i32 : k->f32, from, ""));
        for (int v = 0; v < p->vectors; v++) {
            Val *s = &sum[r * p->vectors + v];
            *s = p->bf16 ? kb_dot(k, *s, x, bv[v]) : kb_fma(k, x, bv[v], *s);
        }
    }
}

/* Not unrolled: LLVM would hoist and spill what the processor's own window overlaps well. */
static void sum_up(Kb *k, const Product *p, int rows, Val a, Val sum[]) {
    int n = rows * p->vectors;
    Loop l;
    kb_loop(k, &l, kb_i64(k, 0), p->count, 1, sum, n);
    Val a_at = kb_gep(k, k->f32, a, kb_mul(k, l.i, kb_i64(k, p->a_step)));
    Val b_at = kb_gep(k, k->f32, p->b, kb_mul(k, l.i, kb_i64(k, p->b_step)));
    for (int i = 0; i < n; i++) l.next[i] = l.carry[i];
    step(k, p, rows, a_at, b_at, l.next);
    kb_loop_end(k, &l);
    for (int i = 0; i < n; i++) sum[i] = l.carry[i];
}

static void tile(Kb *k, const Product *p, int rows, Val row0, Val *carry) {
    Val sum[MAX_CARRY];
    Val a = kb_gep(k, k->f32, p->a, kb_mul(k, row0, kb_i64(k, p->a_row)));
    Val c = kb_gep(k, k->f32, p->c, kb_mul(k, row0, kb_i64(k, p->c_row)));
    for (int i = 0; i < rows * p->vectors; i++) {
        int64_t at = i / p->vectors * p->c_row + (int64_t)(i % p->vectors) * k->vl;
        Val from = kb_gep(k, k->f32, c, kb_i64(k, at));
        sum[i] = p->accumulate ? kb_load(k, k->vf, from, NULL) : kb_vf(k, 0);
    }
    sum_up(k, p, rows, a, sum);
    for (int i = 0; i < rows * p->vectors; i++) {
        int r = i / p->vectors, v = i % p->vectors;
        Val x = sum[i];
        if (p->finish) x = p->finish(k, p->ctx, row0, r, v, x, carry);
        kb_store(k, x, kb_gep(k, k->f32, c, kb_i64(k, r * p->c_row + (int64_t)v * k->vl)), NULL);
    }
}

static void tiles(Kb *k, const Product *p, int rows, int64_t begin, int64_t end, Val *carry) {
    Loop l;
    if (begin >= end) return;
    kb_loop(k, &l, kb_i64(k, begin), kb_i64(k, end), rows, carry, p->ncarry);
    for (int i = 0; i < p->ncarry; i++) l.next[i] = l.carry[i];
    tile(k, p, rows, l.i, l.next);
    kb_loop_end(k, &l);
    for (int i = 0; i < p->ncarry; i++) carry[i] = l.carry[i];
}

/* Registers: the sums, a row of b, one broadcast, what finish carries. */
void attn_product(Kb *k, const Product *p, Val *carry) {
    int64_t most = (k->target->vector_registers - 1 - p->vectors - p->ncarry) / p->vectors;
    int64_t count = (p->rows + most - 1) / most, low = p->rows / count, taller = p->rows % count;
    int64_t middle = taller * (low + 1);
    tiles(k, p, (int)low + 1, 0, middle, carry);
    tiles(k, p, (int)low, middle, p->rows, carry);
}
