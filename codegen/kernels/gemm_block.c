/* Blocks of matrix products. The result is cut into blocks of `mb` rows and `np` column panels; a
 * block is one work item. Panels outside, tiles inside: a panel of b serves all the block's tiles
 * from cache. The inner dimension runs through in one go as long as a panel of b fits the cache;
 * otherwise in chunks, and the sums wait in the result or in scratch.
 *
 * What is fused behind a product runs tile by tile, while the tile is hot, and its stores overlap
 * with the next tile's arithmetic; a bias or a residual that is added first costs nothing, because
 * the sums start from it; and where nothing else is fused, the micro-kernel writes the result
 * itself.
 *
 * How large blocks and chunks are is blocks.c's choice.
 *
 * Rows past the end of a block repeat its last row, so there is one code path for whole and partial
 * tiles. */
#include "codegen/kernels/gemm.h"

#include "codegen/plan/blocks.h"

enum { LINE = 16 /* floats of a cache line */, FAR_BYTES = 4 << 20 };

/* ---- choices ---- */

static bool is_packed(const Gemm *g) {
    return g->b.made == OPERAND_PACKED;
}

static bool is_chunked(const Gemm *g) {
    return !g->inner || g->kc < g->inner;
}

/* The sums start from rows in memory: an operand, what earlier chunks left, or, when later chunks
 * will need the same code, a row of zeros. */
static bool has_init(const Gemm *g) {
    return g->start || is_chunked(g);
}

/* Can the sums start from v: rows of contiguous floats in memory, one per row of the result? */
static bool can_start(const Kb *k, const Gemm *g, IrValue *v) {
    View w;
    const IrType *t = &g->n->out[0].type;
    if (v->type.dtype != DT_f32 || ir_rows(&v->type) != ir_rows(t) || ir_cols(&v->type) != g->cols)
        return false;
    const IrNode *root = view_root(v)->node;
    OpRoute r = ir_ops[root->op].route;
    if (root->op == OP_const || r == ROUTE_GATHER || plan_member(k->cl, root) >= 0) return false;
    if (r == ROUTE_ELTWISE && (fuse_is_inline(root) || plan_made_apart(k->plan, v))) return false;
    return view_resolve(v, &w) && w.stride[w.type.rank - 1] == 1;
}

/* If the product is only ever read by one addition of its cluster, the sums start from the other
 * operand. */
static void take_start(Kb *k, Gemm *g) {
    IrValue *y = &g->n->out[0];
    IrNode *reader = NULL;
    if (plan_is_stored(k->plan, y)) return;
    for (int i = 0; i < k->cl->nnode; i++) {
        IrNode *n = k->cl->node[i];
        for (int j = 0; n != g->n && j < n->nin; j++) {
            if (view_same_position(n->in[j]) != y) continue;
            if (reader) return;
            reader = n;
        }
    }
    if (!reader || reader->op != OP_add) return;
    IrValue *other = reader->in[view_same_position(reader->in[0]) == y ? 1 : 0];
    if (!can_start(k, g, other)) return;
    g->start = other;
    g->result = &reader->out[0];
}

static bool is_direct(const Kb *k, const Gemm *g) {
    int own = g->start ? 2 : 1;
    return k->cl->nnode == own && plan_is_stored(k->plan, g->result) && g->cols % g->tile.nr == 0;
}

/* Are operands, but packed weights, more than any second level holds and a share of the third that
 * may not be this core's? */
static bool is_far(const Gemm *g) {
    int64_t bytes = 0;
    if (g->runs) return false; /* they lie close together */
    for (int i = 0; i < (is_packed(g) ? 1 : 2); i++)
        bytes += ir_elems(&g->n->in[i]->type) * ir_dtype_size(g->n->in[i]->type.dtype);
    return (is_packed(g) || g->a.side_by_side) && bytes > FAR_BYTES;
}

void gemm_choose(Kb *k, Gemm *g) {
    bool narrow =
        g->n->in[0]->type.dtype == DT_bf16 && (is_packed(g) || g->n->in[1]->type.dtype == DT_bf16);
    VM_CHECK(!g->bf16 || narrow, "codegen: a bf16 product of f32 operands");
    g->tile = block_tile(k->target, k->cl);
    g->panels = ceil_div(g->cols, g->tile.nr);
    Blocks blocks = block_of(k->target, k->cl, &g->tile);
    g->mb = blocks.rows;
    g->np = blocks.panels;
    g->col_blocks = ceil_div(g->panels, g->np);
    BlockLimits limits = block_limits(k->target);
    int64_t most = is_packed(g)                    ? limits.packed_kc
                   : g->a.made == OPERAND_IN_PAIRS ? limits.strided_kc / 2
                                                   : limits.strided_kc;
    if (g->runs) most = most > g->runs->length ? most / g->runs->length : 1;
    g->kc = most;
    if (g->inner)
        g->kc =
            g->inner <= most + most / 2 ? g->inner : ceil_div(g->inner, ceil_div(g->inner, most));
    if (g->tile.narrow) g->kc = g->inner; /* nothing is met again */
    g->result = &g->n->out[0];
    if (!g->tile.narrow) take_start(k, g);
    g->far = !g->tile.narrow && is_far(g);
    g->store = g->behind || is_chunked(g) ? GEMM_BLOCK : GEMM_TILE;
    if (!g->behind && is_direct(k, g)) g->store = GEMM_DIRECT;
}

void gemm_scratch(Kb *k, Gemm *g) {
    int64_t tile = g->tile.rows * g->tile.nr;
    if (!g->a.side_by_side) g->row_ptr = kb_scratch(k, g->mb * (g->runs ? g->kc : 1) * 8);
    g->out_ptr = kb_scratch(k, g->mb * 8);
    g->in_ptr = kb_scratch(k, g->mb * 8);
    if (g->a.side_by_side && g->store == GEMM_DIRECT)
        g->spare = kb_scratch(k, g->panels * g->tile.nr * 4);
    if (is_chunked(g) && !g->start) g->zeros = kb_scratch(k, g->tile.nr * 4);
    if (g->store != GEMM_DIRECT)
        g->acc = kb_scratch(k, (g->store == GEMM_BLOCK ? g->mb * g->np * g->tile.nr : tile) * 4);
    gemm_operand_scratch(k, g);
}

/* ---- one block ---- */

typedef struct Block {
    const Gemm *g;
    Val matrix, row0, row_end, nrows, out_row, panel0;
} Block;

/* The flattened row of the result that row `row` is. */
static Val place_of(Kb *k, const Gemm *g, Val row) {
    return g->place ? g->place(k, g, row) : row;
}

/* The column of the result that column `col` is. */
static Val column_of(Kb *k, const Gemm *g, Val col) {
    return g->col_shift ? kb_add(k, g->col_shift, col) : col;
}

/* Address of the result's row, or of the scratch that stands for it. */
static Val out_address(Kb *k, const Block *x, Val local, Val row) {
    const Gemm *g = x->g;
    if (g->store == GEMM_DIRECT) {
        int64_t ld = plan_place_of(k->plan, g->result).ld;
        return kb_gep(k, k->f32, kb_ptr(k, g->result), kb_mul(k, row, kb_i64(k, ld)));
    }
    if (g->store == GEMM_BLOCK)
        return kb_gep(k, k->f32, g->acc, kb_mul(k, local, kb_i64(k, g->np * g->tile.nr)));
    Val within = kb_mul(k, kb_urem(k, local, g->tile.rows), kb_i64(k, g->tile.nr));
    return kb_gep(k, k->f32, g->acc, within);
}

/* Where results go and sums start, per row of the block; rows past the last repeat it (in scratch
 * they have places of their own). */
static void result_rows(Kb *k, const Block *x) {
    const Gemm *g = x->g;
    Loop l;
    View start;
    if (g->start) view_resolve(g->start, &start);
    kb_loop(k, &l, kb_i64(k, 0), kb_i64(k, g->mb), 1, NULL, 0);
    Val local = kb_min(k, l.i, kb_sub(k, x->nrows, kb_i64(k, 1))),
        row = place_of(k, g, kb_add(k, x->out_row, local));
    Val out = out_address(k, x, g->store == GEMM_DIRECT ? local : l.i, row);
    if (g->spare) { /* rows of a past the end are not repeated: what comes of them goes nowhere */
        Val inside = LLVMBuildICmp(k->b, LLVMIntSLT, l.i, x->nrows, "");
        if (g->place)
            inside = LLVMBuildAnd(k->b, inside,
                                  LLVMBuildICmp(k->b, LLVMIntSGE, row, kb_i64(k, 0), ""), "");
        out = LLVMBuildSelect(k->b, inside, out, g->spare, "");
    }
    LLVMBuildStore(k->b, out, kb_gep(k, k->ptr, g->out_ptr, l.i));
    if (has_init(g)) {
        Val in = g->zeros;
        if (g->start) in = kb_gep(k, k->f32, kb_view_ptr(k, &start), kb_row_offset(k, &start, row));
        LLVMBuildStore(k->b, in, kb_gep(k, k->ptr, g->in_ptr, l.i));
    }
    kb_loop_end(k, &l);
}

static Val row_of_a(Kb *k, const Block *x, Val row, Val k0) {
    return gemm_row_of_a(k, x->g, x->matrix, row, kb_sub(k, row, x->row0), k0);
}

/* Pointers to the block's rows of a at inner position k0. */
static void operand_rows(Kb *k, const Block *x, Val k0) {
    const Gemm *g = x->g;
    Loop l;
    if (g->a.side_by_side) return;
    kb_loop(k, &l, kb_i64(k, 0), kb_i64(k, g->mb), 1, NULL, 0);
    Val row = kb_min(k, kb_add(k, x->row0, l.i), kb_sub(k, x->row_end, kb_i64(k, 1)));
    Val ptr = row_of_a(k, x, row, k0);
    LLVMBuildStore(k->b, ptr, kb_gep(k, k->ptr, g->row_ptr, l.i));
    kb_loop_end(k, &l);
}

/* The fused consumers, and the stores, of one vector. */
static void epilogue_vector(Kb *k, const Gemm *g, Pos pos) {
    kb_new_pos(k);
    const IrValue *v = &g->n->out[0];
    if (g->result == v && plan_is_stored(k->plan, v))
        kb_store_value(k, v, kb_eval(k, (IrValue *)v, pos), pos);
    kb_store_members(k, STORE_ALL, pos);
    kb_new_pos(k);
}

/* The columns [col0, + width) of one row, which lie in a source of the result. */
static void epilogue_row(Kb *k, const Gemm *g, Val row, Val col0, int64_t width) {
    int one = k->vl, lanes = k->target->has & CG_ABREAST ? 2 * one : one;
    if (g->cols % lanes || width % lanes) lanes = one;
    int64_t whole_cols = g->cols / lanes * lanes;
    Val end = kb_add(k, col0, kb_i64(k, width));
    if (g->cols % width) end = kb_min(k, end, kb_i64(k, whole_cols));
    Loop c;
    kb_loop(k, &c, col0, end, lanes, NULL, 0);
    kb_set_lanes(k, lanes);
    epilogue_vector(k, g, (Pos){row, column_of(k, g, c.i), NULL});
    kb_set_lanes(k, one);
    kb_loop_end(k, &c);
    if (g->cols == whole_cols) return;
    If tail;
    Val last = kb_add(k, col0, kb_i64(k, width));
    kb_if(k, &tail, LLVMBuildICmp(k->b, LLVMIntSGT, last, kb_i64(k, whole_cols), ""));
    Val mask = kb_mask_below(k, kb_i64(k, g->cols - whole_cols));
    epilogue_vector(k, g, (Pos){row, column_of(k, g, kb_i64(k, whole_cols)), mask});
    kb_if_end(k, &tail);
}

/* Results [out_row0, + nrows) x [col0, + width) lie at `from`, rows of `width` floats. */
static void epilogue(Kb *k, const Gemm *g, Val from, Val out_row0, Val nrows, Val col0,
                     int64_t width) {
    Val shifted = column_of(k, g, col0), step = kb_i64(k, width);
    if (!g->place) kb_source(k, (Source){g->result, from, out_row0, shifted, step});
    Loop r;
    kb_loop(k, &r, kb_i64(k, 0), nrows, 1, NULL, 0);
    Val row = kb_add(k, out_row0, r.i);
    If any;
    if (g->place) { /* rows that follow each other here are anywhere there */
        row = g->place(k, g, row);
        Val at = kb_gep(k, k->f32, from, kb_mul(k, r.i, step));
        kb_if(k, &any, LLVMBuildICmp(k->b, LLVMIntSGE, row, kb_i64(k, 0), ""));
        kb_source(k, (Source){g->result, at, row, shifted, step});
    }
    epilogue_row(k, g, row, col0, width);
    if (g->place) {
        kb_if_end(k, &any);
        kb_drop_sources(k);
    }
    kb_loop_end(k, &r);
    kb_drop_sources(k);
}

/* The block's rows, whole ones, to the kernel behind. */
static void rows_behind(Kb *k, const Gemm *g, Val out_row0, Val nrows) {
    kb_source(k,
              (Source){g->result, g->acc, out_row0, kb_i64(k, 0), kb_i64(k, g->np * g->tile.nr)});
    Loop r;
    kb_loop(k, &r, kb_i64(k, 0), nrows, 1, NULL, 0);
    kb_new_pos(k);
    g->behind(k, kb_add(k, out_row0, r.i), g->ctx);
    kb_loop_end(k, &r);
    kb_drop_sources(k);
}

/* ---- asking for memory before it is needed ---- */

/* Is v a full-sized operand in memory that the epilogue reads row by row? */
static bool is_streamed(const Kb *k, const Gemm *g, IrValue *v, View *w) {
    const IrNode *root = view_root(v)->node;
    if (plan_member(k->cl, root) >= 0 || root->op == OP_const ||
        ir_ops[root->op].route == ROUTE_GATHER)
        return false;
    if (ir_ops[root->op].route == ROUTE_ELTWISE && fuse_is_inline(root)) return false;
    if (ir_cols(&v->type) != g->cols || !view_resolve(v, w) || w->type.rank < 2) return false;
    return w->stride[w->type.rank - 1] == 1 && w->stride[w->type.rank - 2] != 0;
}

/* What the epilogue of this tile will read besides the tile. */
static void prefetch_operands(Kb *k, const Block *x, Val r, Val col) {
    const Gemm *g = x->g;
    Val first = kb_add(k, x->out_row, r),
        rows = kb_min(k, kb_i64(k, g->tile.rows), kb_sub(k, x->nrows, r));
    for (int i = 0; i < k->cl->nnode; i++) {
        const IrNode *n = k->cl->node[i];
        for (int j = 0; n != g->n && j < n->nin; j++) {
            View w;
            if (!(ir_reads(n->op, j) & READ_VALUE) || n->in[j] == g->start ||
                !is_streamed(k, g, n->in[j], &w))
                continue;
            Loop l;
            kb_loop(k, &l, kb_i64(k, 0), rows, 1, NULL, 0);
            Val row = place_of(k, g, kb_add(k, first, l.i));
            Val at = kb_add(k, kb_row_offset(k, &w, row), col);
            kb_prefetch_run(k, kb_view_ptr(k, &w), at, g->tile.nr);
            kb_loop_end(k, &l);
        }
    }
}

/* The next tile's sums start from rows that are not in cache yet. */
static void prefetch_start(Kb *k, const Block *x, Val r, Val col) {
    const Gemm *g = x->g;
    View w;
    if (!g->start || !is_streamed(k, g, g->start, &w)) return;
    Val next = kb_min(k, kb_add(k, r, kb_i64(k, g->tile.rows)), kb_i64(k, g->mb - g->tile.rows));
    for (int i = 0; i < g->tile.rows; i++) {
        Val row = LLVMBuildLoad2(k->b, k->ptr,
                                 kb_gep(k, k->ptr, g->in_ptr, kb_add(k, next, kb_i64(k, i))), "");
        kb_prefetch_run(k, row, col, g->tile.nr);
    }
}

/* Which of `count` rows to ask for at tile r of panel p, so that all tiles of `panels` panels
 * together ask for all of them. */
typedef struct Share {
    Val from, to;
} Share;

static Share share_of(Kb *k, const Block *x, Val r, Val p, Val panels, Val count) {
    Val done = kb_add(k, kb_mul(k, p, x->nrows), r), all = kb_mul(k, panels, x->nrows);
    Val rows = kb_min(k, kb_i64(k, x->g->tile.rows), kb_sub(k, x->nrows, r));
    return (Share){LLVMBuildUDiv(k->b, kb_mul(k, done, count), all, ""),
                   LLVMBuildUDiv(k->b, kb_mul(k, kb_add(k, done, rows), count), all, "")};
}

/* Rows of `width` floats, `step` apart. */
static void prefetch_share(Kb *k, Share s, Val base, int64_t step, int64_t width) {
    Loop l;
    kb_loop(k, &l, s.from, s.to, 1, NULL, 0);
    kb_prefetch_run_l2(k, kb_gep(k, k->f32, base, kb_mul(k, l.i, kb_i64(k, step))), kb_i64(k, 0),
                       width);
    kb_loop_end(k, &l);
}

/* Weight gradients: rows of both operands are far apart, so the hardware does not foresee them.
 * While a panel of b is used, the next one is fetched; while a chunk is, the next one's rows of a.
 * Past the last chunk are the rows that another item begins with. */
static void prefetch_strided(Kb *k, const Block *x, Val b, Val r, Val panel, Val panel_end, Val k0,
                             Val count) {
    const Gemm *g = x->g;
    Val one = kb_i64(k, 1), later = kb_add(k, k0, count);
    if (!gemm_made_by_chunk(&g->b)) {
        Val next = kb_add(k, panel, one),
            last = LLVMBuildICmp(k->b, LLVMIntEQ, next, panel_end, "");
        Val at = LLVMBuildSelect(k->b, last, later, k0, "");
        next = LLVMBuildSelect(k->b, last, x->panel0, next, "");
        prefetch_share(k, share_of(k, x, r, kb_i64(k, 0), one, count),
                       gemm_panel_of_b(k, g, b, next, x->panel0, at), g->b.step, g->tile.nr);
    }
    if (gemm_made_by_chunk(&g->a)) return;
    Share s =
        share_of(k, x, r, kb_sub(k, panel, x->panel0), kb_sub(k, panel_end, x->panel0), count);
    prefetch_share(k, s, row_of_a(k, x, x->row0, later), g->a.step, g->mb);
}

/* Products with a packed b: the next block's rows of a, while this one's last columns are computed.
 */
static void prefetch_rows(Kb *k, const Block *x, Val r, Val panel, Val panel_end) {
    const Gemm *g = x->g;
    Val next_rows = LLVMBuildICmp(k->b, LLVMIntEQ, panel_end, kb_i64(k, g->panels), "");
    Val count = LLVMBuildSelect(k->b, next_rows, kb_i64(k, g->mb), kb_i64(k, 0), "");
    Share s =
        share_of(k, x, r, kb_sub(k, panel, x->panel0), kb_sub(k, panel_end, x->panel0), count);
    Loop l;
    kb_loop(k, &l, s.from, s.to, 1, NULL, 0);
    Val last = kb_i64(k, ir_rows(&g->n->out[0].type) - 1),
        row = kb_min(k, kb_add(k, x->row_end, l.i), last);
    kb_prefetch_run_l2(k, g->a.row(k, g, &g->a, x->matrix, row, NULL), kb_i64(k, 0), g->inner);
    kb_loop_end(k, &l);
}

/* What tile row r of a panel at bp asks for: its share of the panel behind. The last panel of a
 * matrix is followed by the first of the next one. Every inner position asks for one line, so that
 * few requests wait at a time. */
static Val panel_ahead(Kb *k, const Gemm *g, Val r, Val bp) {
    int64_t lines = ceil_div(g->tile.nr, LINE); /* of an inner position */
    Val share = kb_udiv(k, r, g->tile.rows);
    Val next =
        kb_add(k, kb_i64(k, g->inner * g->tile.nr), kb_mul(k, share, kb_i64(k, g->inner * LINE)));
    Val any = LLVMBuildICmp(k->b, LLVMIntSLT, share, kb_i64(k, lines), "");
    return LLVMBuildSelect(k->b, any, kb_gep(k, k->f32, bp, next), bp, "");
}

/* ---- tiles and chunks ---- */

/* One tile: rows r.. of the block, one panel. */
static void tile(Kb *k, const Block *x, Val r, Val panel, Val bp, Val k0, Val count) {
    const Gemm *g = x->g;
    int64_t nr = g->tile.nr;
    Val col = kb_mul(k, panel, kb_i64(k, nr)),
        within = kb_mul(k, kb_sub(k, panel, x->panel0), kb_i64(k, nr));
    Micro m = {.tile = g->tile,
               .side_by_side = g->a.side_by_side,
               .bf16 = g->bf16,
               .b = bp,
               .count = count};
    if (!g->runs)
        m.a_rows = g->a.side_by_side ? row_of_a(k, x, kb_add(k, x->row0, r), k0)
                                     : kb_gep(k, k->ptr, g->row_ptr, r);
    m.a_step = kb_i64(k, g->a.step);
    m.b_step = kb_i64(k, is_packed(g) ? nr : g->b.step);
    if (g->runs) {
        m.runs = count;
        g->runs->tile(k, g, kb_add(k, x->row0, r), r, &m);
    }
    m.c_rows = kb_gep(k, k->ptr, g->out_ptr, r);
    m.c_at = g->store == GEMM_DIRECT  ? column_of(k, g, col)
             : g->store == GEMM_BLOCK ? within
                                      : kb_i64(k, 0);
    if (has_init(g)) {
        m.init_rows = kb_gep(k, k->ptr, g->in_ptr, r);
        m.init_at = g->start ? col : kb_i64(k, 0);
    }
    if (is_chunked(g)) {
        Val more = LLVMBuildICmp(k->b, LLVMIntSGT, k0, kb_i64(k, 0), "");
        m.init_rows = LLVMBuildSelect(k->b, more, m.c_rows, m.init_rows, "");
        m.init_at = LLVMBuildSelect(k->b, more, m.c_at, m.init_at, "");
    }
    if (g->b.streams) m.ahead = panel_ahead(k, g, r, bp);
    prefetch_start(k, x, r, col);
    if (g->store == GEMM_TILE) prefetch_operands(k, x, r, col);
    gemm_micro(k, &m);
    if (g->store != GEMM_TILE) return;
    Val rows = kb_min(k, kb_i64(k, g->tile.rows), kb_sub(k, x->nrows, r));
    epilogue(k, g, g->acc, kb_add(k, x->out_row, r), rows, col, nr);
}

/* One chunk of the inner dimension for every tile of the block. */
static void chunk(Kb *k, const Block *x, Val k0, Val count) {
    const Gemm *g = x->g;
    gemm_make_chunk(k, g, k0, count);
    if (g->runs)
        g->runs->find(k, g, x->row0, x->row_end, k0, count);
    else
        operand_rows(k, x, k0);
    Val b = gemm_matrix_of_b(k, g, x->matrix);
    Val panel_end = kb_min(k, kb_add(k, x->panel0, kb_i64(k, g->np)), kb_i64(k, g->panels));
    Loop p, r;
    kb_loop(k, &p, x->panel0, panel_end, 1, NULL, 0);
    Val bp = gemm_panel_of_b(k, g, b, p.i, x->panel0, k0);
    kb_loop(k, &r, kb_i64(k, 0), x->nrows, g->tile.rows, NULL, 0);
    if (g->far && is_packed(g) && g->a.made == OPERAND_IN_PLACE)
        prefetch_rows(k, x, r.i, p.i, panel_end);
    if (g->far && !is_packed(g)) prefetch_strided(k, x, b, r.i, p.i, panel_end, k0, count);
    tile(k, x, r.i, p.i, bp, k0, count);
    kb_loop_end(k, &r);
    kb_loop_end(k, &p);
}

static void clear_zeros(Kb *k, const Gemm *g) {
    for (int64_t i = 0; i < g->tile.nr; i += k->vl)
        kb_store(k, kb_vf(k, 0), kb_gep(k, k->f32, g->zeros, kb_i64(k, i)), NULL);
}

void gemm_block(Kb *k, const Gemm *g, Val matrix, Val row0, Val row_end, Val out_row, Val cb,
                Val inner) {
    Block x = {g,
               matrix,
               row0,
               row_end,
               kb_sub(k, row_end, row0),
               out_row,
               kb_mul(k, cb, kb_i64(k, g->np))};
    gemm_make_block(k, g, row0, row_end);
    if (g->zeros) clear_zeros(k, g);
    result_rows(k, &x);
    if (!is_chunked(g)) {
        chunk(k, &x, kb_i64(k, 0), inner);
    } else {
        Loop l; /* at least one chunk, so that an empty sum gives zeros */
        kb_loop(k, &l, kb_i64(k, 0), kb_max(k, inner, kb_i64(k, 1)), g->kc, NULL, 0);
        chunk(k, &x, l.i, kb_min(k, kb_sub(k, inner, l.i), kb_i64(k, g->kc)));
        kb_loop_end(k, &l);
    }
    if (g->store != GEMM_BLOCK) return;
    if (g->behind) {
        rows_behind(k, g, out_row, x.nrows);
        return;
    }
    Val col0 = kb_mul(k, x.panel0, kb_i64(k, g->tile.nr));
    epilogue(k, g, g->acc, out_row, x.nrows, col0, g->np * g->tile.nr);
}
