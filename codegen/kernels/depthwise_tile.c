/* The tile of depthwise convolutions: R rows x T columns of sums in registers, one loop over the
 * kernel's rows and one over the taps of a row.
 *
 *   void dw_RxT_..(ptr x, i64 row, i64 x_row, ptr w, i64 w_row, i64 count, ptr out, i64 out_step,
 *                  i64 out_next, i64 n)
 *
 * A tap is one register; every sum takes its pixel from memory, in the multiplication itself. So
 * there is a load for each FMA and one more per tap, which is what a core can issue, and all
 * registers but two are sums: enough to hide their latency. Holding the taps of a kernel row in
 * registers and loading every pixel once needs fewer loads, but leaves too few sums where registers
 * are 16. */
#include "codegen/kernels/depthwise.h"

void dw_tile_choose(const CgTarget *t, DwTile *tile, int64_t n, int64_t rows) {
    enum { FEW = 8 /* sums that hide the latency of an FMA */ };
    int64_t most = t->vector_registers - 2, tiles = (n + most - 1) / most;
    tile->rows = 1;
    tile->cols = n > 0 ? (int)((n + tiles - 1) / tiles) : 1;
    while (tile->rows * tile->cols < FEW && (tile->rows + 1) * tile->cols <= most &&
           tile->rows < DW_MOST_ROWS && tile->rows < rows)
        tile->rows++;
}

static Val at(Kb *k, Val base, Val floats) {
    return kb_gep(k, k->f32, base, floats);
}

/* Adds a kernel row to the sums of one tile: a loop over its taps. */
static void add_row(Kb *k, const DwTile *t, const Val *x, Val w, Val *sum) {
    int n = t->rows * t->cols;
    Loop l;
    kb_loop(k, &l, kb_i64(k, 0), kb_i64(k, t->taps), 1, sum, n);
    Val tap =
        kb_load(k, k->vf, at(k, w, kb_mul(k, l.i, kb_i64(k, (int64_t)t->w_step * k->vl))), NULL);
    Val ahead = kb_mul(k, l.i, kb_i64(k, k->vl));
    for (int i = 0; i < n; i++) {
        Val from = at(k, at(k, x[i / t->cols], ahead),
                      kb_i64(k, (int64_t)(i % t->cols) * t->x_step * k->vl));
        Val arg[] = {kb_load(k, k->vf, from, NULL), tap, l.carry[i]};
        l.next[i] = kb_call(k, "llvm.fma", k->vf, arg, 3);
    }
    kb_loop_end(k, &l);
    for (int i = 0; i < n; i++) sum[i] = l.carry[i];
}

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

/* The last tile ends with the row and may compute again what the one before it did. */
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
    Val last = kb_sub(k, r.n, kb_i64(k, r.tile.cols));
    Loop l;
    kb_loop(k, &l, kb_i64(k, 0), r.n, r.tile.cols, NULL, 0);
    one_tile(k, &r, kb_min(k, l.i, last));
    kb_loop_end(k, &l);
    LLVMBuildRetVoid(k->b);
}

void dw_rows(Kb *k, const DwRows *r) {
    const DwTile *t = &r->tile;
    LLVMTypeRef param[] = {k->ptr, k->i64, k->i64, k->ptr, k->i64,
                           k->i64, k->ptr, k->i64, k->i64, k->i64};
    LLVMTypeRef type = LLVMFunctionType(LLVMVoidTypeInContext(k->ctx), param, 10, 0);
    const char *name =
        arena_printf(k->arena, "dw_%dx%d_%d_%d_%d_%d_%d_%d", t->rows, t->cols, t->taps, t->x_step,
                     t->w_step, t->row_step, t->row_next, t->ring);
    Val fn = kb_helper(k, name, type, rows_body, t);
    Val arg[] = {r->x,     r->row, r->x_row,    r->w,        r->w_row,
                 r->count, r->out, r->out_step, r->out_next, r->n};
    LLVMBuildCall2(k->b, type, fn, arg, 10, "");
}
