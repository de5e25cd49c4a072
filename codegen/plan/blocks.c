/* The model of blocks: how much of a matrix product one work item computes, from the target's
 * registers and caches. The only place that decides it; tile.c decides the register tile,
 * gemm_block.c makes the code.
 *
 * A block is `rows` x `cols` of the result. Panels of b are outside and register tiles inside: a
 * panel of b, kc x nr floats, meets all of the block's tiles, and the block's rows of a are read
 * once per panel. Shares of the caches, first where b is packed:
 *
 * - half of L2: one panel of b. It comes in order and streams, so it may be long: kc = L2 / 2 over
 * 256 bytes, the widest panel of any target, so that kc does not depend on the tile.
 * - 3/8 of L2: the block's rows of a, 1024 inner positions of each (models rarely have longer
 * ones).
 * - 1/8 of L2: the block's results, and what is added to them.
 *
 * Where b is not packed (weight gradients), its rows are a page or more apart:
 *
 * - 2/3 of L1: a chunk of a panel of b, kc x 128 bytes, which has to be met again before it goes.
 * The rest is for the columns of a that pass by.
 * - 3/16 of L2: the block's rows of a, 256 inner positions of each, up to whole tiles of 14 rows.
 * Blocks are taller here because both operands are read anew for every chunk; results go to memory
 * between chunks.
 *
 * With 48 KiB and 1 MiB: kc 2048 and 256, 96 and 196 rows, 256 columns. Bounds on all of them keep
 * odd reports of a virtual machine harmless and stay where the model was measured. The third level
 * is shared by cores and its share is unknown, so nothing is made to fit it.
 *
 * Within these limits every operand is read about once per block: the fewer rows and columns a
 * block has, the more is read. Among the blocks that leave `items` items or more (several for each
 * core of a small machine), the one that reads least; then rows are evened out over the blocks.
 *
 * Rows and columns of blocks never change a result's bits: each element is one sum in order of its
 * inner dimension, whoever computes it. That is why they alone can be tuned. */
#include "codegen/plan/blocks.h"

#include <string.h>

#include "codegen/plan/backend.h"

enum { DEFAULT_L1D = 32 << 10, DEFAULT_L2 = 1 << 20, WANT_ITEMS = 12, TALLEST = 14 };

static int64_t ceil_to(int64_t a, int64_t unit) {
    return (a + unit - 1) / unit * unit;
}

/* x as whole units, between lo and hi. */
static int64_t bounded(int64_t x, int64_t unit, int64_t lo, int64_t hi) {
    x = x / unit * unit;
    return x < lo ? lo : x > hi ? hi : x;
}

BlockLimits block_limits(const CgTarget *t) {
    int64_t l1 = t->l1d > 0 ? t->l1d : DEFAULT_L1D, l2 = t->l2 > 0 ? t->l2 : DEFAULT_L2;
    BlockLimits l = {.packed_kc = bounded(l2 / 2 / 256, 64, 256, 4096),
                     .strided_kc = bounded(l1 * 2 / 3 / 128, 16, 64, 1024),
                     .rows = bounded(l2 * 3 / 8 / (1024 * 4), 8, 24, 192),
                     .strided_rows = ceil_to(bounded(l2 * 3 / 16 / (256 * 4), 8, 48, 384), TALLEST),
                     .cols = 64,
                     .items = WANT_ITEMS};
    while (l.cols < 512 && 2 * l.cols * l.rows * 4 <= l2 / 8) l.cols *= 2;
    return l;
}

Blocks block_choose(const BlockLimits *l, const Tile *tile, bool packed, int64_t matrices,
                    int64_t rows, int64_t panels) {
    int64_t tr = tile->rows, most_rows = packed ? l->rows : l->strided_rows;
    int64_t most_panels = l->cols / tile->nr > 0 ? l->cols / tile->nr : 1, best_items = 0;
    Blocks out = {tr, 1};
    double best = 0;
    for (int64_t np = 1; np <= most_panels && np <= panels; np++)
        for (int64_t mb = tr; mb <= most_rows / tr * tr; mb += tr) {
            int64_t items = matrices * ((rows + mb - 1) / mb) * ((panels + np - 1) / np);
            double reads = 1.0 / (double)mb + 1.0 / (double)(np * tile->nr);
            if (items > l->items) items = l->items;
            if (items < best_items || (items == best_items && reads >= best)) continue;
            best_items = items;
            best = reads;
            out = (Blocks){mb, np};
        }
    int64_t blocks = (rows + out.rows - 1) / out.rows; /* of equal size */
    out.rows = ceil_to((rows + blocks - 1) / blocks, tr);
    return out;
}

Blocks block_whole_rows(const BlockLimits *l, const Tile *tile, int64_t rows, int64_t panels) {
    int64_t most =
        bounded(rows / (4 * l->items), tile->rows, tile->rows, l->rows / tile->rows * tile->rows);
    int64_t blocks = (rows + most - 1) / most;
    return (Blocks){ceil_to((rows + blocks - 1) / blocks, tile->rows), panels};
}

Blocks block_fit(const Tile *tile, int64_t rows, int64_t panels, int64_t want_rows,
                 int64_t want_cols) {
    return (Blocks){bounded(want_rows, tile->rows, tile->rows, ceil_to(rows, tile->rows)),
                    bounded(want_cols / tile->nr, 1, 1, panels)};
}

/* ---- products ---- */

bool block_product(const PlanCluster *c, CgProduct *out) {
    IrWork w;
    if (!c->anchor || !ir_work_product(c->anchor, &w)) return false;
    *out = (CgProduct){ir_product_name[w.product], w.count, w.m, w.n, w.k};
    return true;
}

/* An expert's share of rows is known at run time only; the mean stands for it. */
static int64_t typical_rows(const IrWork *w) {
    return w->experts && !w->ta ? (w->m + w->count - 1) / w->count : w->m;
}

int64_t block_typical_rows(const PlanCluster *c) {
    IrWork w;
    VM_CHECK(ir_work_product(c->anchor, &w), "codegen: rows of what is no product");
    return typical_rows(&w);
}

bool block_side_by_side(const PlanCluster *c) {
    const IrNode *n = c->anchor;
    IrWork w;
    View a;
    if (!ir_work_product(n, &w) || !w.ta) return false;
    if (w.product == IR_PRODUCT_conv_dw) return !ir_rounds_operands(n);
    if (w.experts) return true;
    if (ir_rounds_operands(n)) return false; /* pairs of bf16 are read through row pointers */
    if (c->pack_buffer >= 0) return false;   /* packs have tile_choose's tile */
    return view_resolve(n->in[w.left], &a) && a.stride[a.type.rank - 1] == 1;
}

bool block_is_narrow(const CgTarget *t, const IrNode *n) {
    IrWork w;
    View a, b;
    if (!ir_work_product(n, &w) || w.experts || w.tb || ir_rounds_operands(n)) return false;
    if (w.product != IR_PRODUCT_matmul && w.product != IR_PRODUCT_matmul_ta) return false;
    if (t->vector_registers < 32 || 4 * w.n > 3 * t->vector_floats) return false;
    if (!view_resolve(n->in[w.left], &a) || !view_resolve(n->in[w.right], &b)) return false;
    if (a.stride[a.type.rank - 1] != 1 || b.stride[b.type.rank - 1] != 1) return false;
    return w.ta ? w.m % t->vector_floats == 0 : w.shared;
}

/* Channels that lie side by side are read in runs, unless these are so short that gathering all
 * pixels under the kernel costs less than the runs' bookkeeping. */
bool block_is_unfolded(const IrNode *n) {
    enum { SHORT = 8 };
    IrWork w;
    View x;
    if (!ir_work_product(n, &w)) return false;
    if (w.product != IR_PRODUCT_conv && w.product != IR_PRODUCT_conv_dw) return false;
    if (ir_rounds_operands(n) || !view_resolve(n->in[0], &x)) return false;
    return x.stride[3] != 1 || x.type.dim[3] / ir_conv_of(n).groups < SHORT;
}

/* Rows of a that lie side by side: of a convolution's weight gradient those of one kernel element.
 */
static int64_t rows_side_by_side(const PlanCluster *c, const IrWork *w) {
    if (w->product != IR_PRODUCT_conv_dw || block_is_unfolded(c->anchor)) return w->m;
    IrConv v = ir_conv_of(c->anchor);
    return v.c / v.groups;
}

Tile block_tile(const CgTarget *t, const PlanCluster *c) {
    IrWork w;
    VM_CHECK(ir_work_product(c->anchor, &w), "codegen: a tile of what is no product");
    if (block_is_narrow(t, c->anchor)) return tile_choose_narrow(t, (int)w.n, w.m, w.ta);
    if (block_side_by_side(c)) return tile_choose_side_by_side(t, rows_side_by_side(c, &w), w.n);
    return tile_choose(t, w.n);
}

Blocks block_of(const CgTarget *t, const PlanCluster *c, const Tile *tile) {
    IrWork p;
    VM_CHECK(ir_work_product(c->anchor, &p), "codegen: blocks of what is no product");
    int64_t panels = (p.n + tile->nr - 1) / tile->nr;
    bool whole = c->ntail || c->front;
    if (c->block_rows)
        return block_fit(tile, p.m, panels, c->block_rows, whole ? p.n : c->block_cols);
    BlockLimits l = block_limits(t);
    if (whole) return block_whole_rows(&l, tile, typical_rows(&p), panels);
    return block_choose(&l, tile, c->pack_buffer >= 0, p.count, typical_rows(&p), panels);
}

/* ---- tuning ---- */

bool cg_product_equal(const CgProduct *a, const CgProduct *b) {
    return !strcmp(a->kind, b->kind) && a->count == b->count && a->m == b->m && a->n == b->n &&
           a->k == b->k;
}

CgBlocks cg_blocks_near(const CgChosen *c, int64_t rows, int64_t cols) {
    Tile tile = {.rows = (int)c->tile_rows, .nr = (int)c->tile_cols};
    int64_t most = CG_BLOCK_MAX, panels = (c->blocks.product.n + tile.nr - 1) / tile.nr;
    Blocks b = block_fit(&tile, c->typical_rows, panels, rows < most ? rows : most,
                         cols < most ? cols : most);
    int64_t blocks = (c->typical_rows + b.rows - 1) / b.rows;
    if (blocks) b.rows = ceil_to((c->typical_rows + blocks - 1) / blocks, tile.rows);
    return (CgBlocks){c->blocks.product, b.rows, b.panels * tile.nr};
}

const char *cg_compiler(void) {
    return cg_compiler_id;
}

void block_tune(PlanCluster *c, const CgTuning *t) {
    CgProduct p;
    if (!t || !block_product(c, &p)) return;
    for (int i = 0; i < t->n; i++) {
        if (!cg_product_equal(&t->list[i].product, &p)) continue;
        c->block_rows = t->list[i].rows;
        c->block_cols = t->list[i].cols;
    }
}
