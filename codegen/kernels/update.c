/* The walk over a weight that an update changes and that products read packed.
 *
 * The weight is updated in tiles of a few rows and some hundred columns, and the tile is copied to
 * its packed places while it is in the cache: as it is, or turned by squares in registers. Padding
 * of a packed copy is left as it was (zero), except lanes of rows past the weight's last, which get
 * zero again. A cluster may update several weights of one type. */
#include "codegen/kernels/update.h"

enum { TILE_ROWS = 16, TILE_COLS = 256 }; /* multiples of every vector length */

typedef struct Update {
    ColsBody body;
    void *ctx;
    int64_t rows, cols; /* of one matrix of the weight */
    IrNode *node;       /* its result 0 is the weight whose copies are written */
} Update;

/* A vector in the weight: matrix, row and column, and whether it is the masked last one of its row.
 */
typedef struct At {
    Val matrix, row, col, mask;
} At;

/* ---- packed copies -------------------------------------------------------------------------- */

static Val packed_ptr(Kb *k, const PlanKept *keep) {
    for (int i = 0; i < k->cl->narg; i++)
        if (k->cl->arg[i].buffer == keep->buffer) return k->arg_ptr[i];
    VM_BUG("codegen: an update keeps a packed copy that is not an argument");
}

/* Copy i of the cluster if it is of this weight and kind, or NULL. */
static const PlanKept *copy_of(const Kb *k, const Update *u, int i, bool turned, bool bf16) {
    const PlanKept *keep = k->cl->keep[i];
    bool is_weight = keep->pack->src.root == ir_written(u->node, 0);
    return is_weight && keep->turned == turned && keep->pack->bf16 == bf16 ? keep : NULL;
}

/* Is from <= x < from + size? NULL: always, as the range is all of `whole`. */
static Val in_range(Kb *k, Val x, int64_t from, int64_t size, int64_t whole) {
    if (size == whole) return NULL;
    Val at = kb_sub(k, x, kb_i64(k, from));
    return LLVMBuildICmp(k->b, LLVMIntULT, at, kb_i64(k, size), "");
}

/* Opens an if when the copy is of a part of the weight only. */
static bool begin_inside(Kb *k, If *f, const Update *u, const PlanKept *keep, const At *at) {
    Val row = in_range(k, at->row, keep->row0, keep->rows, u->rows);
    Val col = in_range(k, at->col, keep->col0, keep->cols, u->cols);
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

/* To all copies that have the weight's own orientation, of floats or of pairs. */
static void store_copies(Kb *k, const Update *u, Val x, const At *at, bool pairs) {
    for (int i = 0; i < k->cl->nkeep; i++) {
        const PlanKept *keep = copy_of(k, u, i, false, pairs);
        If part;
        if (!keep) continue;
        bool opened = begin_inside(k, &part, u, keep, at);
        Val kk = kb_sub(k, at->row, kb_i64(k, keep->row0)),
            n = kb_sub(k, at->col, kb_i64(k, keep->col0));
        kb_store(k, x, packed_at(k, keep, at->matrix, kk, n), at->mask);
        if (opened) kb_if_end(k, &part);
    }
}

/* The weight's new values at `at`, `row` rows further down. */
static Val weight_at(Kb *k, const Update *u, const At *at, Val row) {
    Val from = kb_add(k, kb_mul(k, at->matrix, kb_i64(k, u->rows)), row);
    from = kb_add(k, kb_mul(k, from, kb_i64(k, u->cols)), at->col);
    return kb_load(k, k->vf, kb_gep(k, k->f32, kb_ptr(k, &u->node->out[0]), from), at->mask);
}

/* Two rows as pairs; called for every other row. A copy begins at an even row and has an even
 * number. */
static void store_pairs(Kb *k, const Update *u, const At *at, int64_t cols) {
    (void)cols;
    Val next = kb_min(k, kb_add(k, at->row, kb_i64(k, 1)), kb_i64(k, u->rows - 1));
    Val x = kb_pair(k, weight_at(k, u, at, at->row), weight_at(k, u, at, next));
    store_copies(k, u, x, at, true);
}

/* Turns the square of the weight that begins at `at` and stores its `cols` columns: as they are, or
 * two by two as pairs. */
static void store_turned_as(Kb *k, const Update *u, const At *at, int64_t cols, bool bf16) {
    Val x[64], last = kb_i64(k, u->rows - 1);
    for (int j = 0; j < k->vl; j++) {
        Val row = kb_add(k, at->row, kb_i64(k, j)), read = kb_min(k, row, last);
        x[j] = weight_at(k, u, at, read);
        if (bf16) x[j] = kb_round_row(k, x[j]);
        if (u->rows % k->vl == 0) continue;
        Val past = LLVMBuildICmp(k->b, LLVMIntSGT, row, last, "");
        x[j] = LLVMBuildSelect(k->b, past, kb_vf(k, 0), x[j], "");
    }
    kb_transpose(k, x);
    for (int i = 0; i < k->cl->nkeep; i++) {
        const PlanKept *keep = copy_of(k, u, i, true, bf16);
        If part;
        if (!keep) continue;
        bool opened = begin_inside(k, &part, u, keep, at);
        Val kk = kb_sub(k, at->col, kb_i64(k, keep->col0)),
            n = kb_sub(k, at->row, kb_i64(k, keep->row0));
        Val to = packed_at(k, keep, at->matrix, kk, n);
        for (int64_t j = 0; j < cols / (bf16 ? 2 : 1); j++)
            kb_store(k, x[j], kb_gep(k, k->f32, to, kb_i64(k, j * keep->pack->nr)), NULL);
        if (opened) kb_if_end(k, &part);
    }
}

static void store_turned(Kb *k, const Update *u, const At *at, int64_t cols) {
    store_turned_as(k, u, at, cols, false);
}

static void store_turned_pairs(Kb *k, const Update *u, const At *at, int64_t cols) {
    store_turned_as(k, u, at, cols, true);
}

/* ---- tiles ---------------------------------------------------------------------------------- */

typedef void (*AtBody)(Kb *k, const Update *u, const At *at, int64_t cols);

static void update_at(Kb *k, const Update *u, const At *at, int64_t cols) {
    (void)cols;
    Update weight = *u;
    Pos pos = {kb_add(k, kb_mul(k, at->matrix, kb_i64(k, u->rows)), at->row), at->col, at->mask};
    kb_new_pos(k);
    u->body(k, pos, NULL, u->ctx);
    for (int i = 0; i < k->cl->nnode; i++) {
        weight.node = k->cl->node[i];
        if (!ir_written(weight.node, 0)) continue;
        store_copies(k, &weight, kb_eval(k, &weight.node->out[0], pos), at, false);
    }
    kb_new_pos(k);
}

/* Calls body for the vectors of a tile, every `row_step` rows; `at` holds the tile's first row and
 * column. */
static void walk_tile(Kb *k, const Update *u, const At *at, int row_step, AtBody body) {
    int64_t whole = u->cols / k->vl * k->vl;
    Val row_end = kb_min(k, kb_add(k, at->row, kb_i64(k, TILE_ROWS)), kb_i64(k, u->rows));
    Val tile_end = kb_add(k, at->col, kb_i64(k, TILE_COLS));
    Loop r, c;
    kb_loop(k, &r, at->row, row_end, row_step, NULL, 0);
    kb_loop(k, &c, at->col, kb_min(k, tile_end, kb_i64(k, whole)), k->vl, NULL, 0);
    body(k, u, &(At){at->matrix, r.i, c.i, NULL}, k->vl);
    kb_loop_end(k, &c);
    if (u->cols > whole) {
        If rest;
        kb_if(k, &rest, LLVMBuildICmp(k->b, LLVMIntSGT, tile_end, kb_i64(k, whole), ""));
        Val mask = kb_mask_below(k, kb_i64(k, u->cols - whole));
        body(k, u, &(At){at->matrix, r.i, kb_i64(k, whole), mask}, u->cols - whole);
        kb_if_end(k, &rest);
    }
    kb_loop_end(k, &r);
}

static bool has_copy(const Kb *k, const Update *u, bool turned, bool bf16) {
    for (int i = 0; i < k->cl->nkeep; i++)
        if (copy_of(k, u, i, turned, bf16)) return true;
    return false;
}

/* The copies that are made of more than one row, once the tile is updated. */
static void copy_tile(Kb *k, const Update *u, const At *at) {
    if (has_copy(k, u, false, true)) walk_tile(k, u, at, 2, store_pairs);
    if (has_copy(k, u, true, false)) walk_tile(k, u, at, k->vl, store_turned);
    if (has_copy(k, u, true, true)) walk_tile(k, u, at, k->vl, store_turned_pairs);
}

void cg_update(Kb *k, const IrType *t, ColsBody body, void *ctx) {
    Update u = {body, ctx, t->dim[t->rank - 2], t->dim[t->rank - 1], NULL};
    int64_t down = (u.rows + TILE_ROWS - 1) / TILE_ROWS,
            across = (u.cols + TILE_COLS - 1) / TILE_COLS;
    Val begin, end;
    kb_share(k, ir_elems(t) / (u.rows * u.cols) * down * across, &begin, &end);
    Loop item;
    kb_loop(k, &item, begin, end, 1, NULL, 0);
    Val rest = kb_udiv(k, item.i, across);
    At at = {.matrix = kb_udiv(k, rest, down),
             .row = kb_mul(k, kb_urem(k, rest, down), kb_i64(k, TILE_ROWS)),
             .col = kb_mul(k, kb_urem(k, item.i, across), kb_i64(k, TILE_COLS))};
    walk_tile(k, &u, &at, 1, update_at);
    for (int i = 0; i < k->cl->nnode; i++) {
        u.node = k->cl->node[i];
        if (ir_written(u.node, 0)) copy_tile(k, &u, &at);
    }
    kb_loop_end(k, &item);
}
