/* Matrix products: dense, batched and grouped by expert, and the weight gradient of the grouped one.
 *
 * The result is cut into blocks of `mb` rows and `np` column panels; a block is one work item. Its tiles are
 * computed into this thread's scratch, the inner dimension in chunks of KC so that the chunk of b stays in
 * cache; then the block's rows run through the fused elementwise consumers and are stored. Rows past the
 * end of a block repeat its last row, so there is one code path for whole and partial tiles. */
#include "codegen/emit.h"
#include "passes/passes.h"

enum { KC = 256, BLOCK_ROWS = 48, BLOCK_COLS = 256, WANT_ITEMS = 12 };

typedef struct Gemm {
    IrNode *n;
    Tile tile;
    int64_t rows, cols, inner; /* of one matrix; 0: known at run time only */
    int64_t panels, mb, np, col_blocks;
    bool packed, gather; /* gather: the inner dimension is looked up (expert_matmul_dw) */
    /* address of row m of a at inner position 0 (`local`: its number in the block), and of b's matrix */
    Val (*a_row)(Kb *k, const struct Gemm *g, Val matrix, Val row, Val local);
    Val (*b_matrix)(Kb *k, const struct Gemm *g, Val matrix);
    void (*offsets)(Kb *k, const struct Gemm *g, Val k0, Val count); /* gather: fills a_off, b_off */
    int64_t a_step, b_step;                                          /* elements between inner positions */
    View a, b;
    Val offset_ptr;                 /* grouped: i32 offsets */
    Val a_off, b_off, row_ptr, acc; /* scratch */
    Val made_a, made_b;             /* scratch for rows of operands that are made in the load; or NULL */
    Val row0, col0;                 /* gather: where the block begins in the result */
    Val first_row;                  /* expert_matmul_dw: first routed row of the expert */
} Gemm;

static int64_t min64(int64_t a, int64_t b) {
    return a < b ? a : b;
}
static int64_t ceil_div(int64_t a, int64_t b) {
    return (a + b - 1) / b;
}

/* Block sizes from the shape only: large blocks read less, but every core wants several. */
static void choose_blocks(Kb *k, Gemm *g, int64_t matrices, int64_t typical_rows) {
    g->tile = tile_choose(k->target, g->cols);
    g->panels = ceil_div(g->cols, g->tile.nr);
    g->np = min64(g->panels, BLOCK_COLS / g->tile.nr > 0 ? BLOCK_COLS / g->tile.nr : 1);
    g->mb =
        min64(BLOCK_ROWS / g->tile.rows * g->tile.rows, ceil_div(typical_rows, g->tile.rows) * g->tile.rows);
    while (matrices * ceil_div(typical_rows, g->mb) * ceil_div(g->panels, g->np) < WANT_ITEMS) {
        if (g->np > 1)
            g->np = ceil_div(g->np, 2);
        else if (g->mb >= 2 * g->tile.rows)
            g->mb = g->mb / 2 / g->tile.rows * g->tile.rows;
        else
            break;
    }
    g->col_blocks = ceil_div(g->panels, g->np);
}

static void take_scratch(Kb *k, Gemm *g) {
    g->row_ptr = kb_scratch(k, g->mb * 8);
    g->acc = kb_scratch(k, g->mb * g->np * g->tile.nr * 4);
    if (!g->gather) return;
    g->a_off = kb_scratch(k, KC * 8);
    g->b_off = kb_scratch(k, KC * 8);
}

static Val max2(Kb *k, Val a, Val b) {
    return LLVMBuildSelect(k->b, LLVMBuildICmp(k->b, LLVMIntSGT, a, b, ""), a, b, "");
}

/* Pointers to the block's rows of a at inner position k0; rows past the last repeat it. */
static void block_rows(Kb *k, const Gemm *g, Val matrix, Val row0, Val row_end, Val k0) {
    Loop l;
    kb_loop(k, &l, kb_i64(k, 0), kb_i64(k, g->mb), 1, NULL, 0);
    Val row = kb_min(k, kb_add(k, row0, l.i), kb_sub(k, row_end, kb_i64(k, 1)));
    Val ptr = g->a_row(k, g, matrix, row, kb_sub(k, row, row0));
    if (!g->gather) ptr = kb_gep(k, k->f32, ptr, kb_mul(k, k0, kb_i64(k, g->a_step)));
    LLVMBuildStore(k->b, ptr, kb_gep(k, k->ptr, g->row_ptr, l.i));
    kb_loop_end(k, &l);
}

/* One chunk of the inner dimension for every tile of the block. */
static void block_chunk(Kb *k, const Gemm *g, Val b, Val panel0, Val nrows, Val k0, Val count,
                        Val accumulate) {
    Tile t = g->tile;
    Val panel_end = kb_min(k, kb_add(k, panel0, kb_i64(k, g->np)), kb_i64(k, g->panels));
    int64_t ldc = g->np * t.nr;
    Loop p, r;
    kb_loop(k, &p, panel0, panel_end, 1, NULL, 0);
    Val bp;
    if (g->packed) {
        Val at = kb_mul(k, kb_add(k, kb_mul(k, p.i, kb_i64(k, g->inner)), k0), kb_i64(k, t.nr));
        bp = kb_gep(k, k->f32, b, at);
    } else {
        Val skip = g->gather ? kb_i64(k, 0) : kb_mul(k, k0, kb_i64(k, g->b_step));
        Val panel = g->made_b ? kb_sub(k, p.i, panel0) : p.i; /* what is made is the block's columns only */
        bp = kb_gep(k, k->f32, b, kb_add(k, skip, kb_mul(k, panel, kb_i64(k, t.nr))));
    }
    Val c_panel = kb_gep(k, k->f32, g->acc, kb_mul(k, kb_sub(k, p.i, panel0), kb_i64(k, t.nr)));
    kb_loop(k, &r, kb_i64(k, 0), nrows, t.rows, NULL, 0);
    Val rows = kb_gep(k, k->ptr, g->row_ptr, r.i);
    Val c = kb_gep(k, k->f32, c_panel, kb_mul(k, r.i, kb_i64(k, ldc)));
    if (g->gather)
        kb_micro_gather(k, t, rows, g->a_off, bp, g->b_off, count, c, kb_i64(k, ldc), accumulate);
    else
        kb_micro(k, t, rows, kb_i64(k, g->a_step), bp, kb_i64(k, g->packed ? t.nr : g->b_step), count, c,
                 kb_i64(k, ldc), accumulate);
    kb_loop_end(k, &r);
    kb_loop_end(k, &p);
}

/* The fused consumers, and the stores: one row of the block. */
static void epilogue_vector(Kb *k, const Gemm *g, Pos pos) {
    kb_new_pos(k);
    const IrValue *v = &g->n->out[0];
    if (plan_is_stored(k->plan, v)) kb_store_value(k, v, kb_eval(k, (IrValue *)v, pos), pos);
    kb_store_members(k, STORE_ALL, pos);
    kb_new_pos(k);
}

static void block_epilogue(Kb *k, const Gemm *g, Val out_row0, Val nrows, Val panel0) {
    int64_t ldc = g->np * g->tile.nr, whole_cols = g->cols / k->vl * k->vl;
    Val col0 = kb_mul(k, panel0, kb_i64(k, g->tile.nr));
    Val end = kb_min(k, kb_add(k, col0, kb_i64(k, ldc)), kb_i64(k, whole_cols));
    kb_source(k, (Source){&g->n->out[0], g->acc, out_row0, col0, kb_i64(k, ldc)});
    Loop r, c;
    kb_loop(k, &r, kb_i64(k, 0), nrows, 1, NULL, 0);
    Val row = kb_add(k, out_row0, r.i);
    kb_loop(k, &c, col0, end, k->vl, NULL, 0);
    epilogue_vector(k, g, (Pos){row, c.i, NULL});
    kb_loop_end(k, &c);
    if (g->cols > whole_cols) {
        If tail;
        Val has = LLVMBuildICmp(k->b, LLVMIntSGT, kb_add(k, col0, kb_i64(k, ldc)), kb_i64(k, whole_cols), "");
        kb_if(k, &tail, has);
        Val mask = kb_mask_below(k, kb_i64(k, g->cols - whole_cols));
        epilogue_vector(k, g, (Pos){row, kb_i64(k, whole_cols), mask});
        kb_if_end(k, &tail);
    }
    kb_loop_end(k, &r);
    kb_drop_sources(k);
}

/* Row `row` of an operand that is made in the load, columns [col0, end), into scratch at `to`. */
static void make_row(Kb *k, IrValue *v, Val row, Val col0, Val end, Val to) {
    Loop c;
    kb_loop(k, &c, col0, end, k->vl, NULL, 0);
    kb_new_pos(k);
    Pos pos = {row, c.i, kb_mask_below(k, kb_sub(k, kb_i64(k, ir_cols(&v->type)), c.i))};
    kb_store(k, kb_eval(k, v, pos), kb_gep(k, k->f32, to, kb_sub(k, c.i, col0)), NULL);
    kb_new_pos(k);
    kb_loop_end(k, &c);
}

static int64_t padded_cols(const Kb *k, const IrValue *v) {
    return ceil_div(ir_cols(&v->type), k->vl) * k->vl;
}

/* Makes the block's rows of a, once for all its chunks. */
static void make_a_rows(Kb *k, const Gemm *g, Val row0, Val row_end) {
    IrValue *a = g->n->in[0];
    Loop l;
    kb_loop(k, &l, row0, row_end, 1, NULL, 0);
    Val to = kb_mul(k, kb_sub(k, l.i, row0), kb_i64(k, padded_cols(k, a)));
    make_row(k, a, l.i, kb_i64(k, 0), kb_i64(k, ir_cols(&a->type)), kb_gep(k, k->f32, g->made_a, to));
    kb_loop_end(k, &l);
}

/* Rows [row0, row_end) (at most mb) of a matrix, column block cb. out_row: the result's flattened row that
 * row0 is. */
static void block(Kb *k, const Gemm *g, Val matrix, Val row0, Val row_end, Val out_row, Val cb, Val inner) {
    Val nrows = kb_sub(k, row_end, row0), panel0 = kb_mul(k, cb, kb_i64(k, g->np));
    Val b = g->b_matrix(k, g, matrix);
    if (g->made_a && !g->gather) make_a_rows(k, g, row0, row_end);
    if (g->inner && g->inner <= KC + KC / 2 && !g->gather) {
        block_rows(k, g, matrix, row0, row_end, kb_i64(k, 0));
        block_chunk(k, g, b, panel0, nrows, kb_i64(k, 0), inner, LLVMConstInt(k->i1, 0, 0));
    } else { /* at least one chunk, so that an empty sum gives zeros */
        Loop l;
        kb_loop(k, &l, kb_i64(k, 0), max2(k, inner, kb_i64(k, 1)), KC, NULL, 0);
        Val count = kb_min(k, kb_sub(k, inner, l.i), kb_i64(k, KC));
        if (g->gather) g->offsets(k, g, l.i, count);
        block_rows(k, g, matrix, row0, row_end, l.i);
        Val more = LLVMBuildICmp(k->b, LLVMIntSGT, l.i, kb_i64(k, 0), "");
        block_chunk(k, g, b, panel0, nrows, l.i, count, more);
        kb_loop_end(k, &l);
    }
    block_epilogue(k, g, out_row, nrows, panel0);
}

/* ---- dense and batched ---- */

/* Offset of matrix `index` of a view whose last two dimensions are the matrix. */
static Val matrix_offset(Kb *k, const View *w, Val index) {
    View lead = *w;
    lead.type.rank = w->type.rank - 1;
    lead.type.dim[lead.type.rank - 1] = 1;
    lead.stride[lead.type.rank - 1] = 0;
    return kb_row_offset(k, &lead, index);
}

static bool shared_b(const IrNode *n) {
    return n->in[1]->type.rank == 2;
}

static Val dense_a_row(Kb *k, const Gemm *g, Val matrix, Val row, Val local) {
    (void)local;
    Val base = kb_view_ptr(k, &g->a);
    int r = g->a.type.rank;
    if (ir_int(g->n, ATTR_matmul_ta)) {
        Val at = kb_add(k, matrix_offset(k, &g->a, matrix), kb_mul(k, row, kb_i64(k, g->a.stride[r - 1])));
        return kb_gep(k, k->f32, base, at);
    }
    if (shared_b(g->n)) return kb_gep(k, k->f32, base, kb_row_offset(k, &g->a, row));
    Val at = kb_add(k, matrix_offset(k, &g->a, matrix), kb_mul(k, row, kb_i64(k, g->a.stride[r - 2])));
    return kb_gep(k, k->f32, base, at);
}

static Val packed_base(Kb *k) {
    for (int i = 0; i < k->cl->narg; i++)
        if (k->cl->arg[i].buffer == k->cl->pack_buffer) return k->arg_ptr[i];
    VM_BUG("codegen: packed operand is not an argument");
}

static Val b_matrix(Kb *k, const Gemm *g, Val matrix) {
    if (g->packed) {
        Val at = kb_mul(k, matrix, kb_i64(k, g->panels * g->inner * g->tile.nr));
        return kb_gep(k, k->f32, packed_base(k), at);
    }
    return kb_gep(k, k->f32, kb_view_ptr(k, &g->b), matrix_offset(k, &g->b, matrix));
}

void cg_lower_matmul(Kb *k, IrNode *n) {
    Gemm g = {.n = n, .packed = k->cl->pack_buffer >= 0, .a_row = dense_a_row, .b_matrix = b_matrix};
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
    choose_blocks(k, &g, matrices, g.rows);
    take_scratch(k, &g);
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
    block(k, &g, matrix, row0, row_end, out_row, kb_urem(k, item, g.col_blocks), kb_i64(k, g.inner));
    kb_loop_end(k, &l);
}

/* ---- grouped by expert ---- */

static Val load_offset(Kb *k, const Gemm *g, Val expert) {
    Val v = LLVMBuildLoad2(k->b, k->i32, kb_gep(k, k->i32, g->offset_ptr, expert), "");
    return LLVMBuildSExt(k->b, v, k->i64, "");
}

/* Address of routed row `row` (in units of the operand's rows) of a grouped operand, gathered when it is
 * a dispatch. */
static Val routed_row(Kb *k, IrValue *v, Val row) {
    const IrType *t = &v->type;
    View w;
    if (v->node->op != OP_dispatch) {
        view_resolve(v, &w);
        return kb_gep(k, k->f32, kb_view_ptr(k, &w), kb_mul(k, row, kb_i64(k, ir_cols(t))));
    }
    view_resolve(v->node->in[0], &w);
    Val from = kb_gather_row(k, v->node, row);
    return kb_gep(k, k->f32, kb_view_ptr(k, &w), kb_mul(k, from, kb_i64(k, ir_cols(t))));
}

static Val expert_a_row(Kb *k, const Gemm *g, Val matrix, Val row, Val local) {
    (void)matrix;
    if (g->made_a)
        return kb_gep(k, k->f32, g->made_a, kb_mul(k, local, kb_i64(k, padded_cols(k, g->n->in[0]))));
    return routed_row(k, g->n->in[0], row);
}

static int64_t rows_per_routed(const IrValue *v) {
    return v->type.rank > 1 ? ir_rows(&v->type) / v->type.dim[0] : 1;
}

/* All experts' row blocks form one pool, however skewed the routing is. */
void cg_lower_expert_matmul(Kb *k, IrNode *n) {
    Gemm g = {.n = n, .packed = true, .a_row = expert_a_row, .b_matrix = b_matrix, .a_step = 1};
    const IrType *t = &n->out[0].type;
    int64_t experts = n->in[1]->type.dim[0], per = rows_per_routed(n->in[0]);
    g.cols = ir_cols(t);
    g.inner = ir_cols(&n->in[0]->type);
    g.offset_ptr = kb_ptr(k, n->in[2]);
    choose_blocks(k, &g, experts, ceil_div(ir_rows(t), experts));
    take_scratch(k, &g);
    if (fuse_is_inline(n->in[0]->node)) g.made_a = kb_scratch(k, g.mb * padded_cols(k, n->in[0]) * 4);
    Val zero = kb_i64(k, 0), begin, end;
    Loop e, l;
    /* as many items as any routing can need; those past the last block find nothing to do */
    kb_share(k, (ceil_div(ir_rows(t), g.mb) + experts) * g.col_blocks, &begin, &end);
    kb_loop(k, &e, zero, kb_i64(k, experts), 1, &zero, 1);
    Val first = kb_mul(k, load_offset(k, &g, e.i), kb_i64(k, per));
    Val last = kb_mul(k, load_offset(k, &g, kb_add(k, e.i, kb_i64(k, 1))), kb_i64(k, per));
    Val blocks = kb_udiv(k, kb_add(k, kb_sub(k, last, first), kb_i64(k, g.mb - 1)), g.mb);
    Val base = e.carry[0], next = kb_add(k, base, kb_mul(k, blocks, kb_i64(k, g.col_blocks)));
    e.next[0] = next;
    kb_loop(k, &l, max2(k, begin, base), kb_min(k, end, next), 1, NULL, 0);
    Val item = kb_sub(k, l.i, base);
    Val row0 = kb_add(k, first, kb_mul(k, kb_udiv(k, item, g.col_blocks), kb_i64(k, g.mb)));
    Val row_end = kb_min(k, kb_add(k, row0, kb_i64(k, g.mb)), last);
    block(k, &g, e.i, row0, row_end, row0, kb_urem(k, item, g.col_blocks), kb_i64(k, g.inner));
    kb_loop_end(k, &l);
    kb_loop_end(k, &e);
}

/* ---- weight gradient of the grouped product: inner dimension = the expert's rows ---- */

/* Memory behind a grouped operand that is not made in the load. */
static Val grouped_base(Kb *k, IrValue *v) {
    View w;
    view_resolve(v->node->op == OP_dispatch ? v->node->in[0] : v, &w);
    return kb_view_ptr(k, &w);
}

static Val dw_a_row(Kb *k, const Gemm *g, Val matrix, Val row, Val local) {
    (void)matrix; /* a row of the result is a column of x */
    if (g->made_a) return kb_gep(k, k->f32, g->made_a, local);
    return kb_gep(k, k->f32, grouped_base(k, g->n->in[0]), row);
}

static Val dw_b_matrix(Kb *k, const Gemm *g, Val matrix) {
    (void)matrix;
    return g->made_b ? g->made_b : grouped_base(k, g->n->in[1]);
}

/* Elements from the base of operand v to its routed row `row`; made rows are made here, `width` columns from
 * col0 on. */
static Val dw_offset(Kb *k, IrValue *v, Val made, Val row, Val local, Val col0, int64_t width) {
    if (!made) {
        Val a = LLVMBuildPtrToInt(k->b, routed_row(k, v, row), k->i64, "");
        Val b = LLVMBuildPtrToInt(k->b, grouped_base(k, v), k->i64, "");
        return LLVMBuildAShr(k->b, kb_sub(k, a, b), kb_i64(k, 2), "");
    }
    Val at = kb_mul(k, local, kb_i64(k, width));
    Val end = kb_min(k, kb_add(k, col0, kb_i64(k, width)), kb_i64(k, ir_cols(&v->type)));
    make_row(k, v, row, col0, end, kb_gep(k, k->f32, made, at));
    return at;
}

static int64_t made_a_width(const Kb *k, const Gemm *g) {
    return ceil_div(g->mb, k->vl) * k->vl;
}

static void dw_offsets(Kb *k, const Gemm *g, Val k0, Val count) {
    Loop l;
    kb_loop(k, &l, kb_i64(k, 0), count, 1, NULL, 0);
    Val row = kb_add(k, kb_add(k, g->first_row, k0), l.i);
    Val a = dw_offset(k, g->n->in[0], g->made_a, row, l.i, g->row0, made_a_width(k, g));
    Val b = dw_offset(k, g->n->in[1], g->made_b, row, l.i, g->col0, g->np * g->tile.nr);
    LLVMBuildStore(k->b, a, kb_gep(k, k->i64, g->a_off, l.i));
    LLVMBuildStore(k->b, b, kb_gep(k, k->i64, g->b_off, l.i));
    kb_loop_end(k, &l);
}

void cg_lower_expert_matmul_dw(Kb *k, IrNode *n) {
    Gemm g = {.n = n, .gather = true, .a_row = dw_a_row, .b_matrix = dw_b_matrix, .offsets = dw_offsets};
    const IrType *t = &n->out[0].type;
    int64_t experts = t->dim[0], per = rows_per_routed(n->in[0]);
    g.rows = t->dim[1];
    g.cols = t->dim[2];
    g.offset_ptr = kb_ptr(k, n->in[2]);
    choose_blocks(k, &g, experts, g.rows);
    take_scratch(k, &g);
    if (fuse_is_inline(n->in[0]->node)) g.made_a = kb_scratch(k, KC * made_a_width(k, &g) * 4);
    if (fuse_is_inline(n->in[1]->node)) g.made_b = kb_scratch(k, KC * g.np * g.tile.nr * 4);
    int64_t row_blocks = ceil_div(g.rows, g.mb), per_expert = row_blocks * g.col_blocks;
    Val begin, end;
    kb_share(k, experts * per_expert, &begin, &end);
    Loop l;
    kb_loop(k, &l, begin, end, 1, NULL, 0);
    Val expert = kb_udiv(k, l.i, per_expert), item = kb_urem(k, l.i, per_expert);
    g.first_row = kb_mul(k, load_offset(k, &g, expert), kb_i64(k, per));
    Val last = kb_mul(k, load_offset(k, &g, kb_add(k, expert, kb_i64(k, 1))), kb_i64(k, per));
    Val row0 = kb_mul(k, kb_udiv(k, item, g.col_blocks), kb_i64(k, g.mb));
    Val row_end = kb_min(k, kb_add(k, row0, kb_i64(k, g.mb)), kb_i64(k, g.rows));
    Val out_row = kb_add(k, kb_mul(k, expert, kb_i64(k, g.rows)), row0), cb = kb_urem(k, item, g.col_blocks);
    g.row0 = row0;
    g.col0 = kb_mul(k, cb, kb_i64(k, g.np * g.tile.nr));
    block(k, &g, expert, row0, row_end, out_row, cb, kb_sub(k, last, g.first_row));
    kb_loop_end(k, &l);
}
