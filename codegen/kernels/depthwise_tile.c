/* The tile of depthwise convolutions: R rows x T columns of sums in registers, one loop over the
 * kernel's rows.
 *
 *   void dw_RxT_..(ptr x, i64 row, i64 x_row, ptr w, i64 w_row, i64 count, ptr out, i64 out_step,
 *                  i64 out_next, i64 n)
 *
 * A pixel is loaded once for all taps of a kernel row. Taps stay in registers as far as there are
 * any beside the sums; the others are read by the multiplications themselves. A core that loads
 * twice and multiplies twice a cycle has loads to spare that way, while fewer sums would not hide
 * the latency of an FMA. A row of n results is cut into tiles of two widths, T and T - 1, so that
 * nothing is computed that is not needed. */
#include "codegen/kernels/depthwise.h"

/* ---- how wide tiles are ---- */

/* Sixteenths of a cycle for a kernel row of one tile: multiplications or loads, whichever takes
 * longer, but no less than the sums' latency. Of what multiplies as fast, that is best which loads
 * least. */
static int64_t tile_cost(const CgTarget *t, const DwTile *tile, int64_t rows, int64_t cols) {
    enum { LATENCY = 9 /* half cycles, with what scheduling leaves */, LOOP = 4, HALF = 8 };
    int64_t sums = rows * cols, held = dw_held_taps(t, tile, sums);
    int64_t fmas = sums * tile->taps, pixels = rows * ((cols - 1) * tile->x_step + tile->taps);
    int64_t loads = pixels + held + sums * (tile->taps - held), least = LATENCY * tile->taps;
    int64_t cost = fmas > loads ? fmas : loads;
    return HALF * (LOOP + (cost > least ? cost : least)) + loads;
}

/* The same for `rows` rows of n results in tiles of `cols` columns and one less. */
static int64_t rows_cost(const CgTarget *t, const DwTile *tile, int64_t rows, int64_t n,
                         int64_t cols) {
    int64_t tiles = (n + cols - 1) / cols, wider = n - tiles * (cols - 1);
    int64_t cost = wider * tile_cost(t, tile, rows, cols);
    return cols > 1 ? cost + (tiles - wider) * tile_cost(t, tile, rows, cols - 1) : cost;
}

int64_t dw_held_taps(const CgTarget *t, const DwTile *tile, int64_t sums) {
    int64_t room = t->vector_registers - 2 - sums;
    return room < tile->taps ? room : tile->taps;
}

/* Rows that are computed together share taps, but all kernel rows that one of them needs: at the
 * image's edges more than its own. */
void dw_tile_choose(const CgTarget *t, DwTile *tile, int64_t n, int64_t rows) {
    enum { CODE = 1024 /* multiplications written out */, EDGE = 32 };
    int64_t most = t->vector_registers - 2, best = INT64_MAX;
    if (most > CODE / tile->taps) most = CODE / tile->taps > 0 ? CODE / tile->taps : 1;
    if (rows < 1) rows = 1;
    for (int64_t r = 1; r <= DW_MOST_ROWS && r <= rows; r++)
        for (int64_t cols = most / r; cols > 0; cols--) {
            int64_t tiles = (n + cols - 1) / cols;
            if ((n + tiles - 1) / tiles != cols) continue; /* as narrow would do */
            int64_t cost = rows / r * rows_cost(t, tile, r, n, cols);
            cost += cost * (r - 1) / EDGE + rows % r * rows_cost(t, tile, 1, n, cols);
            if (cost >= best) continue;
            best = cost;
            tile->rows = (int)r;
            tile->cols = (int)cols;
            tile->tiles = (int)tiles;
        }
}

/* ---- code ---- */

static Val at(Kb *k, Val base, Val floats) {
    return kb_gep(k, k->f32, base, floats);
}

/* Tap m; one that is not held is loaded for every multiplication. */
static Val tap(Kb *k, const DwTile *t, Val w, const Val *held, int64_t nheld, int m) {
    if (m < nheld && held[m]) return held[m];
    Val v = kb_load(k, k->vf, at(k, w, kb_i64(k, (int64_t)m * t->w_step * k->vl)), NULL);
    if (m >= nheld) LLVMSetVolatile(v, 1);
    return v;
}

/* Adds a kernel row to the sums of one tile. */
static void add_row(Kb *k, const DwTile *t, const Val *row, Val w, Val *sum) {
    int64_t nheld = dw_held_taps(k->target, t, t->rows * t->cols);
    Val *held = ARENA_ARRAY(k->arena, Val, t->taps + 1);
    for (int m = 0; m < nheld; m++) held[m] = tap(k, t, w, held, nheld, m);
    for (int j = 0; j < (t->cols - 1) * t->x_step + t->taps; j++)
        for (int r = 0; r < t->rows; r++) {
            Val x = NULL;
            for (int i = 0; i < t->cols; i++) {
                int m = j - i * t->x_step;
                if (m < 0 || m >= t->taps) continue;
                if (!x) x = kb_load(k, k->vf, at(k, row[r], kb_i64(k, (int64_t)j * k->vl)), NULL);
                Val *to = &sum[r * t->cols + i];
                *to = kb_fma(k, x, tap(k, t, w, held, nheld, m), *to);
            }
        }
}

/* The tile from column `first` on. */
static void one_tile(Kb *k, const DwRows *r, Val first) {
    const DwTile *t = &r->tile;
    int n = t->rows * t->cols;
    Val sum[MAX_CARRY], row[DW_MOST_ROWS];
    for (int i = 0; i < n; i++) sum[i] = kb_vf(k, 0);
    Val x = at(k, r->x, kb_mul(k, first, kb_i64(k, (int64_t)t->x_step * k->vl)));
    Loop l;
    kb_loop(k, &l, kb_i64(k, 0), r->count, 1, sum, n);
    Val first_row = kb_add(k, r->row, kb_mul(k, l.i, kb_i64(k, t->row_step)));
    Val w = at(k, r->w, kb_mul(k, l.i, r->w_row));
    for (int i = 0; i < t->rows; i++) {
        Val number = kb_add(k, first_row, kb_i64(k, (int64_t)i * t->row_next));
        number = LLVMBuildAnd(k->b, number, kb_i64(k, t->ring - 1), "");
        row[i] = at(k, x, kb_mul(k, number, r->x_row));
    }
    for (int i = 0; i < n; i++) sum[i] = l.carry[i];
    add_row(k, t, row, w, sum);
    for (int i = 0; i < n; i++) l.next[i] = sum[i];
    kb_loop_end(k, &l);
    for (int i = 0; i < n; i++) {
        Val col = kb_add(k, first, kb_i64(k, i % t->cols));
        Val to =
            kb_add(k, kb_mul(k, col, r->out_step), kb_mul(k, kb_i64(k, i / t->cols), r->out_next));
        kb_store(k, l.carry[i], at(k, r->out, to), NULL);
    }
}

/* Tiles of T columns as long as the rest is no multiple of T - 1, or all are T wide. */
static void rows_body(Kb *k, const void *ctx) {
    Val p[10];
    LLVMGetParams(k->fn, p);
    DwRows r = {.tile = *(const DwTile *)ctx,
                .x = p[0],
                .row = p[1],
                .x_row = p[2],
                .w = p[3],
                .w_row = p[4],
                .count = p[5],
                .out = p[6],
                .out_step = p[7],
                .out_next = p[8],
                .n = p[9]};
    DwTile t = r.tile;
    Val wider = kb_sub(k, r.n, kb_i64(k, (int64_t)t.tiles * (t.cols - 1)));
    Val done = kb_mul(k, wider, kb_i64(k, t.cols));
    Loop l;
    kb_loop(k, &l, kb_i64(k, 0), done, t.cols, NULL, 0);
    one_tile(k, &r, l.i);
    kb_loop_end(k, &l);
    if (t.cols > 1) {
        r.tile.cols--;
        kb_loop(k, &l, done, r.n, t.cols - 1, NULL, 0);
        one_tile(k, &r, l.i);
        kb_loop_end(k, &l);
    }
    LLVMBuildRetVoid(k->b);
}

void dw_rows(Kb *k, const DwRows *r) {
    const DwTile *t = &r->tile;
    LLVMTypeRef param[] = {k->ptr, k->i64, k->i64, k->ptr, k->i64,
                           k->i64, k->ptr, k->i64, k->i64, k->i64};
    LLVMTypeRef type = LLVMFunctionType(LLVMVoidTypeInContext(k->ctx), param, 10, 0);
    const char *name =
        arena_printf(k->arena, "dw_%dx%d_%d_%d_%d_%d_%d_%d_%d", t->rows, t->cols, t->tiles, t->taps,
                     t->x_step, t->w_step, t->row_step, t->row_next, t->ring);
    Val fn = kb_helper(k, name, type, rows_body, t);
    Val arg[] = {r->x,     r->row, r->x_row,    r->w,        r->w_row,
                 r->count, r->out, r->out_step, r->out_next, r->n};
    LLVMBuildCall2(k->b, type, fn, arg, 10, "");
}
