/* Operands of matrix products: where their rows lie, and how those get there that are not read in
 * place. Rows that are looked up or computed are made by block or by chunk; weight gradients of
 * bf16 lay the rows of both operands side by side in pairs. What a row function gives is the
 * product's. */
#include "codegen/kernels/gemm.h"

bool gemm_made_by_chunk(const Operand *o) {
    return o->made == OPERAND_BY_CHUNK || o->made == OPERAND_IN_PAIRS;
}

/* Of a row that is made by block. */
static int64_t made_cols(const Operand *o) {
    return o->cols ? o->cols : ir_cols(&o->value->type);
}

static int64_t padded_cols(const Kb *k, const Operand *o) {
    return ceil_div(made_cols(o), k->vl) * k->vl;
}

static Val packed_base(Kb *k) {
    for (int i = 0; i < k->cl->narg; i++)
        if (k->cl->arg[i].buffer == k->cl->pack_buffer) return k->arg_ptr[i];
    VM_BUG("codegen: packed operand is not an argument");
}

/* ---- where rows lie ---- */

Val gemm_from(Kb *k, const Operand *o, Val row, Val k0) {
    return k0 ? kb_gep(k, k->f32, row, kb_mul(k, k0, kb_i64(k, o->step))) : row;
}

Val gemm_row_of_a(Kb *k, const Gemm *g, Val matrix, Val row, Val local, Val k0) {
    const Operand *a = &g->a;
    if (gemm_made_by_chunk(a)) return kb_gep(k, k->f32, a->at, local);
    if (a->made == OPERAND_IN_PLACE) return a->row(k, g, a, matrix, row, k0);
    Val at = kb_mul(k, local, kb_i64(k, padded_cols(k, a)));
    return gemm_from(k, a, kb_gep(k, k->f32, a->at, at), k0);
}

Val gemm_matrix_of_b(Kb *k, const Gemm *g, Val matrix) {
    const Operand *b = &g->b;
    if (gemm_made_by_chunk(b)) return b->at;
    if (b->made == OPERAND_IN_PLACE) return b->row(k, g, b, matrix, NULL, NULL);
    int64_t inner = g->runs ? g->runs->of_b * g->runs->length : g->inner;
    Val at = kb_mul(k, matrix, kb_i64(k, g->panels * inner * g->tile.nr));
    return kb_gep(k, k->f32, packed_base(k), at);
}

Val gemm_panel_of_b(Kb *k, const Gemm *g, Val b, Val panel, Val panel0, Val k0) {
    int64_t nr = g->tile.nr;
    if (g->runs) { /* which run it is, b_runs says */
        int64_t apart = g->b.made == OPERAND_PACKED ? g->runs->length * nr : nr;
        return kb_gep(k, k->f32, b, kb_mul(k, panel, kb_i64(k, apart)));
    }
    if (g->b.made == OPERAND_PACKED) {
        Val at = kb_add(k, kb_mul(k, panel, kb_i64(k, g->inner)), k0);
        return kb_gep(k, k->f32, b, kb_mul(k, at, kb_i64(k, nr)));
    }
    if (gemm_made_by_chunk(&g->b)) /* the chunk and the block's columns only */
        return kb_gep(k, k->f32, b, kb_mul(k, kb_sub(k, panel, panel0), kb_i64(k, nr)));
    Val skip = kb_mul(k, k0, kb_i64(k, g->b.step));
    return kb_gep(k, k->f32, b, kb_add(k, skip, kb_mul(k, panel, kb_i64(k, nr))));
}

/* ---- making rows ---- */

void gemm_operand_scratch(Kb *k, Gemm *g) {
    if (g->a.made == OPERAND_BY_BLOCK) g->a.at = kb_scratch(k, g->mb * padded_cols(k, &g->a) * 4);
    if (gemm_made_by_chunk(&g->a)) {
        g->a.step = ceil_div(g->mb, k->vl) * k->vl;
        g->a.at = kb_scratch(k, g->kc * g->a.step * 4);
    }
    if (gemm_made_by_chunk(&g->b)) {
        g->b.step = g->np * g->tile.nr;
        g->b.at = kb_scratch(k, g->kc * g->b.step * 4);
    }
}

void gemm_make_row(Kb *k, IrValue *v, Val row, Val col0, Val end, Val to) {
    Loop c;
    kb_loop(k, &c, col0, end, k->vl, NULL, 0);
    kb_new_pos(k);
    Pos pos = {row, c.i, kb_mask_below(k, kb_sub(k, kb_i64(k, ir_cols(&v->type)), c.i))};
    kb_store(k, kb_eval(k, v, pos), kb_gep(k, k->f32, to, kb_sub(k, c.i, col0)), NULL);
    kb_new_pos(k);
    kb_loop_end(k, &c);
}

void gemm_make_block(Kb *k, const Gemm *g, Val row0, Val row_end) {
    const Operand *a = &g->a;
    if (a->made != OPERAND_BY_BLOCK) return;
    Loop l;
    kb_loop(k, &l, row0, row_end, 1, NULL, 0);
    Val to = kb_mul(k, kb_sub(k, l.i, row0), kb_i64(k, padded_cols(k, a)));
    Val at = kb_gep(k, k->f32, a->at, to);
    if (a->make)
        a->make(k, l.i, at, g->ctx);
    else
        gemm_make_row(k, a->value, l.i, kb_i64(k, 0), kb_i64(k, made_cols(a)), at);
    kb_loop_end(k, &l);
}

/* ---- pairs of rows ---- */

static void pair_row(Kb *k, const Gemm *g, const Val even[2], const Val odd[2], Val at) {
    for (int i = 0; i < 2; i++) {
        const Operand *o = i ? &g->b : &g->a;
        Val width = kb_i64(k, o->step);
        Val end = kb_min(k, kb_add(k, o->col0, width), kb_i64(k, ir_cols(&o->value->type)));
        Val to = kb_gep(k, k->f32, o->at, kb_mul(k, at, width));
        kb_pair_rows(k, even[i], odd ? odd[i] : NULL, o->col0, end, to);
    }
}

/* A block's columns of a row are few lines, far from those of the next row. */
static void prefetch_pair(Kb *k, const Gemm *g, Val row, Val last) {
    enum { AHEAD = 12 };
    for (int i = 0; i < 4; i++) {
        const Operand *o = i % 2 ? &g->b : &g->a;
        Val later = kb_min(k, kb_add(k, row, kb_i64(k, AHEAD + i / 2)), last);
        Val from = o->address(k, g, o, later), col = kb_udiv(k, o->col0, 2);
        kb_prefetch_run(k, from, col, ceil_div(o->step, 2)); /* a pair is as wide as a float */
    }
}

static Val address(Kb *k, const Gemm *g, int i, Val row) {
    const Operand *o = i ? &g->b : &g->a;
    return o->address(k, g, o, row);
}

/* Pairs [k0, + count) of the rows that this matrix sums over. */
static void pair_chunk(Kb *k, const Gemm *g, Val k0, Val count) {
    Val first = g->first_row, rows = g->sum_rows;
    Val whole = kb_min(k, count, kb_sub(k, LLVMBuildAShr(k->b, rows, kb_i64(k, 1), ""), k0));
    Val even[2], odd[2];
    Loop l;
    kb_loop(k, &l, kb_i64(k, 0), whole, 1, NULL, 0);
    Val row = kb_add(k, first, kb_mul(k, kb_add(k, k0, l.i), kb_i64(k, 2)));
    for (int i = 0; i < 2; i++) {
        even[i] = address(k, g, i, row);
        odd[i] = address(k, g, i, kb_add(k, row, kb_i64(k, 1)));
    }
    prefetch_pair(k, g, row, kb_add(k, first, kb_sub(k, rows, kb_i64(k, 1))));
    pair_row(k, g, even, odd, l.i);
    kb_loop_end(k, &l);
    If rest; /* the last row of an odd number */
    kb_if(k, &rest, LLVMBuildICmp(k->b, LLVMIntSLT, whole, count, ""));
    Val last = kb_add(k, first, kb_sub(k, rows, kb_i64(k, 1)));
    for (int i = 0; i < 2; i++) even[i] = address(k, g, i, last);
    pair_row(k, g, even, NULL, whole);
    kb_if_end(k, &rest);
}

void gemm_make_chunk(Kb *k, const Gemm *g, Val k0, Val count) {
    if (g->a.made == OPERAND_IN_PAIRS) {
        pair_chunk(k, g, k0, count);
        return;
    }
    if (!g->a.copy && !g->b.copy) return;
    Val first = kb_add(k, g->first_row, k0);
    if (g->a.made == OPERAND_BY_CHUNK) g->a.copy(k, g, &g->a, first, count);
    if (g->b.made == OPERAND_BY_CHUNK) g->b.copy(k, g, &g->b, first, count);
}
