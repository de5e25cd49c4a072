/* Matrix products grouped by expert, and their weight gradient. */
#include "codegen/kernels/gemm.h"
#include "codegen/kernels/rules.h"

static Val load_offset(Kb *k, const Gemm *g, Val expert) {
    return kb_load_i32(k, kb_ptr(k, g->n->in[2]), expert);
}

/* Address of routed row `row` (in units of the operand's rows) of a grouped operand, gathered when
 * it is a dispatch. */
static Val routed_row(Kb *k, IrValue *v, Val row) {
    const IrType *t = &v->type;
    View w;
    if (v->node->op != OP_dispatch) {
        view_resolve(v, &w);
        return kb_gep(k, kb_elem(k, t->dtype), kb_view_ptr(k, &w),
                      kb_mul(k, row, kb_i64(k, ir_cols(t))));
    }
    view_resolve(v->node->in[0], &w);
    Val from = kb_gather_row(k, v->node, row);
    return kb_gep(k, kb_elem(k, t->dtype), kb_view_ptr(k, &w),
                  kb_mul(k, from, kb_i64(k, ir_cols(t))));
}

static Val expert_row(Kb *k, const Gemm *g, const Operand *o, Val matrix, Val row, Val k0) {
    (void)g, (void)matrix;
    return gemm_from(k, o, routed_row(k, o->value, row), k0);
}

static int64_t rows_per_routed(const IrValue *v) {
    return v->type.rank > 1 ? ir_rows(&v->type) / v->type.dim[0] : 1;
}

/* Blocks of experts before e are numbered below this: it leaves room for a partial block of each,
 * and is known from e's offset alone. */
static Val first_block(Kb *k, const Gemm *g, Val e, Val per) {
    return kb_add(k, e, kb_udiv(k, kb_mul(k, load_offset(k, g, e), per), g->mb));
}

/* The expert whose numbers contain `block`: the last with first_block(e) <= block. */
static Val expert_of_block(Kb *k, const Gemm *g, Val block, int64_t experts, Val per) {
    Val e = kb_i64(k, 0);
    for (int64_t n = experts, half; n > 1; n -= half) { /* one of the n experts from e */
        half = n / 2;
        Val mid = kb_add(k, e, kb_i64(k, half));
        Val at = LLVMBuildICmp(k->b, LLVMIntSLE, first_block(k, g, mid, per), block, "");
        e = LLVMBuildSelect(k->b, at, mid, e, "");
    }
    return e;
}

/* All experts' row blocks form one pool, however skewed the routing is. Numbers that no block has,
 * one per expert at most, lie between the blocks, so that equal ranges of items hold about equally
 * many blocks. */
int64_t gemm_expert_blocks(const Gemm *g, int64_t rows, int64_t experts) {
    return rows / g->mb + experts;
}

ExpertBlock gemm_expert_block(Kb *k, const Gemm *g, Val block, int64_t experts, Val per) {
    Val e = expert_of_block(k, g, block, experts, per);
    Val first = kb_mul(k, load_offset(k, g, e), per);
    Val last = kb_mul(k, load_offset(k, g, kb_add(k, e, kb_i64(k, 1))), per);
    Val within = kb_sub(k, block, first_block(k, g, e, per));
    return (ExpertBlock){e, kb_add(k, first, kb_mul(k, within, kb_i64(k, g->mb))), last};
}

void cg_lower_expert_matmul(Kb *k, IrNode *n) {
    Gemm g = {.n = n, .bf16 = ir_rounds_operands(n)};
    g.a = (Operand){.value = n->in[0], .row = expert_row, .step = 1};
    if (fuse_is_inline(n->in[0]->node)) g.a.made = OPERAND_BY_BLOCK;
    /* an expert's rows may be few, and then nothing of its matrix is in a cache yet */
    g.b = (Operand){.value = n->in[1], .made = OPERAND_PACKED, .streams = true};
    const IrType *t = &n->out[0].type;
    int64_t experts = n->in[1]->type.dim[0], per = rows_per_routed(n->in[0]);
    g.cols = ir_cols(t);
    g.inner = ir_cols(&n->in[0]->type) / (g.bf16 ? 2 : 1);
    gemm_choose(k, &g);
    gemm_scratch(k, &g);
    Val begin, end;
    Loop l;
    If any;
    kb_share(k, gemm_expert_blocks(&g, ir_rows(t), experts) * g.col_blocks, &begin, &end);
    kb_loop(k, &l, begin, end, 1, NULL, 0);
    Val block = kb_udiv(k, l.i, g.col_blocks);
    ExpertBlock x = gemm_expert_block(k, &g, block, experts, kb_i64(k, per));
    kb_if(k, &any, LLVMBuildICmp(k->b, LLVMIntSLT, x.row0, x.last, ""));
    Val row_end = kb_min(k, kb_add(k, x.row0, kb_i64(k, g.mb)), x.last);
    gemm_block(k, &g, x.expert, x.row0, row_end, x.row0, kb_urem(k, l.i, g.col_blocks),
               kb_i64(k, g.inner));
    kb_if_end(k, &any);
    kb_loop_end(k, &l);
}

/* ---- weight gradient of the grouped product: inner dimension = the expert's rows ---- */

/* Rows of v are read in place if they lie one after the other; rows that are looked up, or made in
 * the load, are copied chunk by chunk: each is used for a whole block. */
static bool in_place(const IrValue *v) {
    const IrNode *n = v->node;
    return ir_ops[n->op].route != ROUTE_GATHER && !fuse_is_inline(n);
}

/* A row of the result is a column of x. */
static Val dw_column(Kb *k, const Gemm *g, const Operand *o, Val matrix, Val row, Val k0) {
    (void)matrix;
    Val at = kb_gep(k, k->f32, routed_row(k, o->value, g->first_row), row);
    return gemm_from(k, o, at, k0);
}

static Val dw_matrix(Kb *k, const Gemm *g, const Operand *o, Val matrix, Val row, Val k0) {
    (void)matrix, (void)row, (void)k0;
    return routed_row(k, o->value, g->first_row);
}

/* The dispatch whose rows are read where v's are made; NULL: there is none. */
static IrValue *dispatched(IrValue *v) {
    if (v->node->op == OP_dispatch) return v;
    for (int i = 0; fuse_is_inline(v->node) && i < v->node->nin; i++)
        if (v->node->in[i]->node->op == OP_dispatch) return v->node->in[i];
    return NULL;
}

/* A row that is looked up lies anywhere: asks for the one that is copied some rows later. */
static void prefetch_routed(Kb *k, IrValue *v, Val row, Val last, Val col0, int64_t width) {
    enum { AHEAD = 12 };
    IrValue *d = dispatched(v);
    if (!d) return;
    Val from = routed_row(k, d, kb_min(k, kb_add(k, row, kb_i64(k, AHEAD)), last));
    kb_prefetch_run(k, from, col0, width < ir_cols(&v->type) ? width : ir_cols(&v->type));
}

/* The block's columns of rows first.., dense. */
static void copy_rows(Kb *k, const Gemm *g, const Operand *o, Val first, Val count) {
    (void)g;
    IrValue *v = o->value;
    Val col0 = o->col0;
    int64_t width = o->step;
    Val end = kb_min(k, kb_add(k, col0, kb_i64(k, width)), kb_i64(k, ir_cols(&v->type)));
    Val last = kb_sub(k, kb_add(k, first, count), kb_i64(k, 1));
    Loop l;
    kb_loop(k, &l, kb_i64(k, 0), count, 1, NULL, 0);
    prefetch_routed(k, v, kb_add(k, first, l.i), last, col0, width);
    gemm_make_row(k, v, kb_add(k, first, l.i), col0, end,
                  kb_gep(k, k->f32, o->at, kb_mul(k, l.i, kb_i64(k, width))));
    kb_loop_end(k, &l);
}

static Val dw_address(Kb *k, const Gemm *g, const Operand *o, Val row) {
    (void)g;
    return routed_row(k, o->value, row);
}

/* Inner positions of an expert with that many rows. */
static Val dw_inner(Kb *k, const Gemm *g, Val rows) {
    if (!g->bf16) return rows;
    return LLVMBuildAShr(k->b, kb_add(k, rows, kb_i64(k, 1)), kb_i64(k, 1), "");
}

/* One of the operands; pairs: rows of both are paired. */
static Operand dw_operand(IrValue *v, bool pairs, int64_t step) {
    return (Operand){.value = v,
                     .step = step,
                     .made = pairs         ? OPERAND_IN_PAIRS
                             : in_place(v) ? OPERAND_IN_PLACE
                                           : OPERAND_BY_CHUNK,
                     .copy = copy_rows,
                     .address = dw_address};
}

/* Sets which rows result `matrix` sums over: part matrix / experts of an expert's. */
static void part_rows(Kb *k, Gemm *g, Val matrix, int64_t experts, int64_t parts) {
    Val per = kb_i64(k, rows_per_routed(g->n->in[0]));
    Val expert = kb_urem(k, matrix, experts), part = kb_udiv(k, matrix, experts);
    Val first = kb_mul(k, load_offset(k, g, expert), per);
    Val last = kb_mul(k, load_offset(k, g, kb_add(k, expert, kb_i64(k, 1))), per),
        rows = kb_sub(k, last, first);
    Val begin = kb_udiv(k, kb_mul(k, part, rows), parts);
    Val end = kb_udiv(k, kb_mul(k, kb_add(k, part, kb_i64(k, 1)), rows), parts);
    g->first_row = kb_add(k, first, begin);
    g->sum_rows = kb_sub(k, end, begin);
}

void cg_lower_expert_matmul_dw(Kb *k, IrNode *n) {
    Gemm g = {.n = n, .bf16 = ir_rounds_operands(n)};
    const IrType *t = &n->out[0].type;
    int64_t experts = n->in[2]->type.dim[0] - 1, parts = ir_int(n, ATTR_expert_matmul_dw_parts);
    g.rows = t->dim[t->rank - 2];
    g.cols = ir_cols(t);
    g.a = dw_operand(n->in[0], g.bf16, g.rows);
    g.a.row = dw_column;
    g.a.side_by_side = true;
    g.b = dw_operand(n->in[1], g.bf16, g.cols);
    g.b.row = dw_matrix;
    gemm_choose(k, &g);
    gemm_scratch(k, &g);
    int64_t row_blocks = ceil_div(g.rows, g.mb), per_matrix = row_blocks * g.col_blocks;
    Val begin, end;
    kb_share(k, parts * experts * per_matrix, &begin, &end);
    Loop l;
    kb_loop(k, &l, begin, end, 1, NULL, 0);
    Val matrix = kb_udiv(k, l.i, per_matrix), item = kb_urem(k, l.i, per_matrix);
    part_rows(k, &g, matrix, experts, parts);
    Val row0 = kb_mul(k, kb_udiv(k, item, g.col_blocks), kb_i64(k, g.mb));
    Val row_end = kb_min(k, kb_add(k, row0, kb_i64(k, g.mb)), kb_i64(k, g.rows));
    Val out_row = kb_add(k, kb_mul(k, matrix, kb_i64(k, g.rows)), row0),
        cb = kb_urem(k, item, g.col_blocks);
    g.a.col0 = row0;
    g.b.col0 = kb_mul(k, cb, kb_i64(k, g.np * g.tile.nr));
    gemm_block(k, &g, matrix, row0, row_end, out_row, cb, dw_inner(k, &g, g.sum_rows));
    kb_loop_end(k, &l);
}
