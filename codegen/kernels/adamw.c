/* The optimizer step of one weight: one pass over p, g, m and v (Loshchilov and Hutter's AdamW as
 * PyTorch computes it: decay first, then the bias-corrected step).
 *
 * A weight that products read packed is updated in tiles of a few rows and some hundred columns,
 * and the tile is copied to its packed places while it is in the cache: as it is, or turned by
 * squares in registers. Padding of a packed copy is left as it was (zero), except lanes of rows
 * past the weight's last, which get zero again. */
#include "codegen/kernels/rules.h"

enum { TILE_ROWS = 16, TILE_COLS = 256 }; /* multiples of every vector length */

typedef struct Adam {
    IrNode *n;
    Val p, g, m, v;              /* pointers */
    Val lr, inv_c1, inv_sqrt_c2; /* splats */
    int64_t rows, cols;          /* of one matrix of the weight */
} Adam;

/* A vector in the weight: matrix, row and column, and whether it is the masked last one of its row.
 */
typedef struct At {
    Val matrix, row, col, mask;
} At;

static Val splat_step(Kb *k, const IrNode *n, int i) {
    return kb_splat(
        k, LLVMBuildLoad2(k->b, k->f32, kb_gep(k, k->f32, kb_ptr(k, n->in[4]), kb_i64(k, i)), ""));
}

/* Updates the elements from i on; the weight's new values. */
static Val update(Kb *k, const Adam *a, Val i, Val mask) {
    const IrNode *n = a->n;
    double b1 = ir_float(n, ATTR_adamw_beta1), b2 = ir_float(n, ATTR_adamw_beta2);
    Val at[4] = {kb_gep(k, k->f32, a->p, i), kb_gep(k, k->f32, a->g, i), kb_gep(k, k->f32, a->m, i),
                 kb_gep(k, k->f32, a->v, i)};
    Val p = kb_load(k, k->vf, at[0], mask), g = kb_load(k, k->vf, at[1], mask);
    Val m = kb_load(k, k->vf, at[2], mask), v = kb_load(k, k->vf, at[3], mask);
    m = kb_fadd(k, kb_fmul(k, m, kb_vf(k, b1)), kb_fmul(k, g, kb_vf(k, 1 - b1)));
    v = kb_fadd(k, kb_fmul(k, v, kb_vf(k, b2)), kb_fmul(k, kb_fmul(k, g, g), kb_vf(k, 1 - b2)));
    Val root = kb_fmul(k, kb_call(k, "llvm.sqrt", k->vf, &v, 1), a->inv_sqrt_c2);
    Val denom = kb_fadd(k, root, kb_vf(k, ir_float(n, ATTR_adamw_eps)));
    Val step = kb_fdiv(k, kb_fmul(k, m, a->inv_c1), denom);
    step = kb_fadd(k, step, kb_fmul(k, p, kb_vf(k, ir_float(n, ATTR_adamw_decay))));
    p = kb_fsub(k, p, kb_fmul(k, a->lr, step));
    kb_store(k, p, at[0], mask);
    kb_store(k, m, at[2], mask);
    kb_store(k, v, at[3], mask);
    return p;
}

static void update_flat(Kb *k, Pos pos, Val *carry, void *ctx) {
    (void)carry;
    update(k, ctx, pos.col, pos.mask);
}

/* ---- packed copies ---- */

static Val packed_ptr(Kb *k, const PlanKept *keep) {
    for (int i = 0; i < k->cl->narg; i++)
        if (k->cl->arg[i].buffer == keep->buffer) return k->arg_ptr[i];
    VM_BUG("codegen: adamw keeps a packed copy that is not an argument");
}

/* Is from <= x < from + size? NULL: always, as the range is all of `whole`. */
static Val in_range(Kb *k, Val x, int64_t from, int64_t size, int64_t whole) {
    if (size == whole) return NULL;
    Val at = kb_sub(k, x, kb_i64(k, from));
    return LLVMBuildICmp(k->b, LLVMIntULT, at, kb_i64(k, size), "");
}

/* Opens an if when the copy is of a part of the weight only. */
static bool begin_inside(Kb *k, If *f, const Adam *a, const PlanKept *keep, const At *at) {
    Val row = in_range(k, at->row, keep->row0, keep->rows, a->rows);
    Val col = in_range(k, at->col, keep->col0, keep->cols, a->cols);
    if (!row && !col) return false;
    kb_if(k, f, !row ? col : !col ? row : LLVMBuildAnd(k->b, row, col, ""));
    return true;
}

/* Address of packed column `n`, inner position `kk`. */
static Val packed_at(Kb *k, const PlanKept *keep, Val matrix, Val kk, Val n) {
    const Pack *p = keep->pack;
    int64_t panels = (p->n + p->nr - 1) / p->nr;
    Val panel = kb_add(k, kb_mul(k, matrix, kb_i64(k, panels)), kb_udiv(k, n, p->nr));
    int64_t step = p->bf16 ? 2 : 1; /* kk is even then */
    Val row = kb_add(k, kb_mul(k, panel, kb_i64(k, p->k / step)), kb_udiv(k, kk, step));
    Val at = kb_add(k, kb_mul(k, row, kb_i64(k, p->nr)), kb_urem(k, n, p->nr));
    return kb_gep(k, k->f32, packed_ptr(k, keep), at);
}

static void store_straight(Kb *k, const Adam *a, Val x, const At *at) {
    for (int i = 0; i < k->cl->nkeep; i++) {
        const PlanKept *keep = k->cl->keep[i];
        If part;
        if (keep->turned || keep->pack->bf16) continue;
        bool opened = begin_inside(k, &part, a, keep, at);
        Val kk = kb_sub(k, at->row, kb_i64(k, keep->row0)),
            n = kb_sub(k, at->col, kb_i64(k, keep->col0));
        kb_store(k, x, packed_at(k, keep, at->matrix, kk, n), at->mask);
        if (opened) kb_if_end(k, &part);
    }
}

/* The weight's new values at `at`, `row` rows further down. */
static Val weight_at(Kb *k, const Adam *a, const At *at, Val row) {
    Val from = kb_add(k, kb_mul(k, at->matrix, kb_i64(k, a->rows)), row);
    from = kb_add(k, kb_mul(k, from, kb_i64(k, a->cols)), at->col);
    return kb_load(k, k->vf, kb_gep(k, k->f32, a->p, from), at->mask);
}

/* Two rows as pairs; called for every other row. A copy begins at an even row and has an even
 * number. */
static void store_pairs(Kb *k, const Adam *a, const At *at, int64_t cols) {
    (void)cols;
    Val next = kb_min(k, kb_add(k, at->row, kb_i64(k, 1)), kb_i64(k, a->rows - 1));
    Val x = kb_pair(k, weight_at(k, a, at, at->row), weight_at(k, a, at, next));
    for (int i = 0; i < k->cl->nkeep; i++) {
        const PlanKept *keep = k->cl->keep[i];
        If part;
        if (keep->turned || !keep->pack->bf16) continue;
        bool opened = begin_inside(k, &part, a, keep, at);
        Val kk = kb_sub(k, at->row, kb_i64(k, keep->row0)),
            n = kb_sub(k, at->col, kb_i64(k, keep->col0));
        kb_store(k, x, packed_at(k, keep, at->matrix, kk, n), at->mask);
        if (opened) kb_if_end(k, &part);
    }
}

/* Turns the square of the weight that begins at `at` and stores its `cols` columns: as they are, or
 * two by two as pairs. */
static void store_turned_as(Kb *k, const Adam *a, const At *at, int64_t cols, bool bf16) {
    Val x[64], last = kb_i64(k, a->rows - 1);
    for (int j = 0; j < k->vl; j++) {
        Val row = kb_add(k, at->row, kb_i64(k, j)), read = kb_min(k, row, last);
        x[j] = weight_at(k, a, at, read);
        if (bf16) x[j] = kb_round_row(k, x[j]);
        if (a->rows % k->vl == 0) continue;
        Val past = LLVMBuildICmp(k->b, LLVMIntSGT, row, last, "");
        x[j] = LLVMBuildSelect(k->b, past, kb_vf(k, 0), x[j], "");
    }
    kb_transpose(k, x);
    for (int i = 0; i < k->cl->nkeep; i++) {
        const PlanKept *keep = k->cl->keep[i];
        If part;
        if (!keep->turned || keep->pack->bf16 != bf16) continue;
        bool opened = begin_inside(k, &part, a, keep, at);
        Val kk = kb_sub(k, at->col, kb_i64(k, keep->col0)),
            n = kb_sub(k, at->row, kb_i64(k, keep->row0));
        Val to = packed_at(k, keep, at->matrix, kk, n);
        for (int64_t j = 0; j < cols / (bf16 ? 2 : 1); j++)
            kb_store(k, x[j], kb_gep(k, k->f32, to, kb_i64(k, j * keep->pack->nr)), NULL);
        if (opened) kb_if_end(k, &part);
    }
}

static void store_turned(Kb *k, const Adam *a, const At *at, int64_t cols) {
    store_turned_as(k, a, at, cols, false);
}

static void store_turned_pairs(Kb *k, const Adam *a, const At *at, int64_t cols) {
    store_turned_as(k, a, at, cols, true);
}

/* ---- tiles ---- */

typedef void (*AtBody)(Kb *k, const Adam *a, const At *at, int64_t cols);

static void update_at(Kb *k, const Adam *a, const At *at, int64_t cols) {
    (void)cols;
    Val row = kb_add(k, kb_mul(k, at->matrix, kb_i64(k, a->rows)), at->row);
    Val x = update(k, a, kb_add(k, kb_mul(k, row, kb_i64(k, a->cols)), at->col), at->mask);
    store_straight(k, a, x, at);
}

/* Calls body for the vectors of a tile, every `row_step` rows; `at` holds the tile's first row and
 * column. */
static void walk_tile(Kb *k, const Adam *a, const At *at, int row_step, AtBody body) {
    int64_t whole = a->cols / k->vl * k->vl;
    Val row_end = kb_min(k, kb_add(k, at->row, kb_i64(k, TILE_ROWS)), kb_i64(k, a->rows));
    Val tile_end = kb_add(k, at->col, kb_i64(k, TILE_COLS));
    Loop r, c;
    kb_loop(k, &r, at->row, row_end, row_step, NULL, 0);
    kb_loop(k, &c, at->col, kb_min(k, tile_end, kb_i64(k, whole)), k->vl, NULL, 0);
    body(k, a, &(At){at->matrix, r.i, c.i, NULL}, k->vl);
    kb_loop_end(k, &c);
    if (a->cols > whole) {
        If rest;
        kb_if(k, &rest, LLVMBuildICmp(k->b, LLVMIntSGT, tile_end, kb_i64(k, whole), ""));
        Val mask = kb_mask_below(k, kb_i64(k, a->cols - whole));
        body(k, a, &(At){at->matrix, r.i, kb_i64(k, whole), mask}, a->cols - whole);
        kb_if_end(k, &rest);
    }
    kb_loop_end(k, &r);
}

static void update_tiles(Kb *k, Adam *a) {
    const IrType *t = &a->n->in[0]->type;
    a->rows = t->dim[t->rank - 2];
    a->cols = t->dim[t->rank - 1];
    int64_t down = (a->rows + TILE_ROWS - 1) / TILE_ROWS,
            across = (a->cols + TILE_COLS - 1) / TILE_COLS;
    bool wants[2][2] = {{false}}; /* [turned][bf16] */
    for (int i = 0; i < k->cl->nkeep; i++)
        wants[k->cl->keep[i]->turned][k->cl->keep[i]->pack->bf16] = true;
    Val begin, end;
    kb_share(k, ir_elems(t) / (a->rows * a->cols) * down * across, &begin, &end);
    Loop item;
    kb_loop(k, &item, begin, end, 1, NULL, 0);
    Val rest = kb_udiv(k, item.i, across);
    At at = {.matrix = kb_udiv(k, rest, down),
             .row = kb_mul(k, kb_urem(k, rest, down), kb_i64(k, TILE_ROWS)),
             .col = kb_mul(k, kb_urem(k, item.i, across), kb_i64(k, TILE_COLS))};
    walk_tile(k, a, &at, 1, update_at);
    if (wants[false][true]) walk_tile(k, a, &at, 2, store_pairs);
    if (wants[true][false]) walk_tile(k, a, &at, k->vl, store_turned);
    if (wants[true][true]) walk_tile(k, a, &at, k->vl, store_turned_pairs);
    kb_loop_end(k, &item);
}

void cg_lower_adamw(Kb *k, IrNode *n) {
    Adam a = {.n = n, .p = kb_ptr(k, n->in[0]), .g = kb_ptr(k, n->in[1]), .m = kb_ptr(k, n->in[2])};
    a.v = kb_ptr(k, n->in[3]);
    Val one = kb_vf(k, 1), c2 = splat_step(k, n, 2);
    a.lr = splat_step(k, n, 0);
    a.inv_c1 = kb_fdiv(k, one, splat_step(k, n, 1));
    a.inv_sqrt_c2 = kb_fdiv(k, one, kb_call(k, "llvm.sqrt", k->vf, &c2, 1));
    if (k->cl->nkeep)
        update_tiles(k, &a);
    else
        kb_flat(k, ir_elems(&n->in[0]->type), update_flat, &a);
}
