/* Blocks of channels, and their copies in scratch: pixels with the padding around them, and
 * weights. */
#include "codegen/kernels/depthwise.h"

enum { LINE = 16 /* floats of a cache line */ };

/* ---- blocks ---- */

static int64_t vectors_of(const Kb *k, int64_t channels) {
    return (channels + k->vl - 1) / k->vl;
}

int dw_vectors(const Kb *k, int64_t channels) {
    int64_t need = vectors_of(k, channels), line = LINE / k->vl;
    return (int)(need < line ? need : line);
}

int64_t dw_whole_blocks(const Kb *k, int64_t channels) {
    return channels / ((int64_t)dw_vectors(k, channels) * k->vl);
}

DwBlock dw_block(Kb *k, int64_t channels, bool whole, Val number) {
    int64_t width = (int64_t)dw_vectors(k, channels) * k->vl;
    DwBlock b = {.vectors = dw_vectors(k, channels)};
    if (whole) {
        b.col0 = kb_mul(k, number, kb_i64(k, width));
        return b;
    }
    int64_t done = channels / width * width, rest = channels - done;
    b.vectors = (int)vectors_of(k, rest);
    b.col0 = kb_i64(k, done);
    if (rest % k->vl) b.mask = kb_mask_below(k, kb_i64(k, rest % k->vl));
    return b;
}

Val dw_mask(const DwBlock *b, int v) {
    return v + 1 == b->vectors ? b->mask : NULL;
}

/* ---- pixels ---- */

int64_t dw_ring_row(const Kb *k, const DwRing *r) {
    return r->cols * k->vl;
}

void dw_ring_scratch(Kb *k, DwRing *r, int64_t live, int vectors) {
    for (r->rows = 1; r->rows < live;) r->rows *= 2;
    r->ptr = kb_scratch(k, r->rows * dw_ring_row(k, r) * vectors * 4);
}

Val dw_ring_plane(Kb *k, const DwRing *r, int v, Val col) {
    Val at =
        kb_add(k, kb_mul(k, col, kb_i64(k, k->vl)), kb_i64(k, v * r->rows * dw_ring_row(k, r)));
    return kb_gep(k, k->f32, r->ptr, at);
}

/* A pixel; `row` is the ring's. */
static Val pixel(Kb *k, const DwRing *r, int v, Val row, Val col) {
    return kb_gep(k, k->f32, dw_ring_plane(k, r, v, col),
                  kb_mul(k, row, kb_i64(k, dw_ring_row(k, r))));
}

/* The image's columns [from, end) lie in the ring from column `at` on. */
typedef struct Columns {
    int64_t from, end, at;
} Columns;

static Columns columns(const DwRing *r) {
    Columns c = {.from = r->col0 > 0 ? r->col0 : 0, .end = r->col0 + r->cols};
    if (c.end > r->width) c.end = r->width;
    if (c.end < c.from) c.end = c.from;
    c.at = c.from - r->col0;
    if (c.at > r->cols) c.at = r->cols;
    return c;
}

/* Columns [from, end) of a row of every plane. */
static void clear_columns(Kb *k, const DwRing *r, int vectors, Val row, int64_t from, int64_t end) {
    if (from >= end) return;
    Loop l;
    kb_loop(k, &l, kb_i64(k, from), kb_i64(k, end), 1, NULL, 0);
    for (int v = 0; v < vectors; v++) kb_store(k, kb_vf(k, 0), pixel(k, r, v, row, l.i), NULL);
    kb_loop_end(k, &l);
}

void dw_ring_clear(Kb *k, const DwRing *r, int vectors) {
    Columns c = columns(r);
    Loop l;
    kb_loop(k, &l, kb_i64(k, 0), kb_i64(k, r->rows), 1, NULL, 0);
    clear_columns(k, r, vectors, l.i, 0, c.at);
    clear_columns(k, r, vectors, l.i, c.at + c.end - c.from, r->cols);
    kb_loop_end(k, &l);
}

static Val ring_row(Kb *k, const DwRing *r, Val row) {
    return LLVMBuildAnd(k->b, row, kb_i64(k, r->rows - 1), "");
}

static void clear_rows(Kb *k, const DwRing *r, int vectors, Val from, Val to) {
    Loop l;
    Columns c = columns(r);
    kb_loop(k, &l, from, to, 1, NULL, 0);
    clear_columns(k, r, vectors, ring_row(k, r, l.i), c.at, c.at + c.end - c.from);
    kb_loop_end(k, &l);
}

/* A row of the image to row `row` of the ring; `from` is its first pixel. */
static void copy_row(Kb *k, const DwRing *r, const DwBlock *b, Val from, Val row) {
    Columns c = columns(r);
    Loop l;
    kb_loop(k, &l, kb_i64(k, c.from), kb_i64(k, c.end), 1, NULL, 0);
    Val at = kb_gep(k, k->f32, from, kb_mul(k, l.i, kb_i64(k, r->channels)));
    Val col = kb_add(k, l.i, kb_i64(k, -r->col0));
    for (int v = 0; v < b->vectors; v++) {
        Val x =
            kb_load(k, k->vf, kb_gep(k, k->f32, at, kb_i64(k, (int64_t)v * k->vl)), dw_mask(b, v));
        kb_store(k, x, pixel(k, r, v, row, col), NULL);
    }
    kb_loop_end(k, &l);
}

void dw_ring_copy(Kb *k, const DwRing *r, const DwBlock *b, Val images, Val number, Val from,
                  Val to) {
    Val first = kb_max(k, from, kb_i64(k, 0)), last = kb_min(k, to, kb_i64(k, r->height));
    Val image = kb_mul(k, number, kb_i64(k, r->height));
    Loop l;
    kb_loop(k, &l, first, last, 1, NULL, 0);
    Val at = kb_mul(k, kb_add(k, image, l.i), kb_i64(k, r->width * r->channels));
    at = kb_gep(k, k->f32, images, kb_add(k, at, b->col0));
    copy_row(k, r, b, at, ring_row(k, r, l.i));
    kb_loop_end(k, &l);
    if (!r->outside) return;
    clear_rows(k, r, b->vectors, from, kb_min(k, to, kb_i64(k, 0)));
    clear_rows(k, r, b->vectors, kb_max(k, from, kb_i64(k, r->height)), to);
}

void dw_ring_ask(Kb *k, const DwRing *r, Val images, Val at) {
    Loop l;
    kb_loop(k, &l, kb_i64(k, 0), kb_i64(k, r->width * r->channels), r->channels, NULL, 0);
    kb_prefetch_l2(k, images, kb_add(k, at, l.i));
    kb_loop_end(k, &l);
}

/* ---- weights ---- */

/* Where tap `tap` of vector v lies in the tensor, and in scratch. */
static Val in_tensor(Kb *k, const DwBlock *b, Val tensor, int64_t channels, Val tap, int v) {
    Val col = kb_add(k, b->col0, kb_i64(k, (int64_t)v * k->vl));
    return kb_gep(k, k->f32, tensor, kb_add(k, kb_mul(k, tap, kb_i64(k, channels)), col));
}

static Val in_scratch(Kb *k, Val scratch, int64_t taps, Val tap, int v) {
    Val at = kb_add(k, tap, kb_i64(k, v * taps));
    return kb_gep(k, k->f32, scratch, kb_mul(k, at, kb_i64(k, k->vl)));
}

void dw_load_taps(Kb *k, const DwBlock *b, Val tensor, int64_t channels, int64_t taps,
                  Val scratch) {
    Loop l;
    kb_loop(k, &l, kb_i64(k, 0), kb_i64(k, taps), 1, NULL, 0);
    for (int v = 0; v < b->vectors; v++) {
        Val from = in_tensor(k, b, tensor, channels, l.i, v);
        kb_store(k, kb_load(k, k->vf, from, dw_mask(b, v)), in_scratch(k, scratch, taps, l.i, v),
                 NULL);
    }
    kb_loop_end(k, &l);
}

void dw_store_taps(Kb *k, const DwBlock *b, Val tensor, int64_t channels, int64_t taps,
                   Val scratch) {
    Loop l;
    kb_loop(k, &l, kb_i64(k, 0), kb_i64(k, taps), 1, NULL, 0);
    for (int v = 0; v < b->vectors; v++) {
        Val x = kb_load(k, k->vf, in_scratch(k, scratch, taps, l.i, v), NULL);
        kb_store(k, x, in_tensor(k, b, tensor, channels, l.i, v), dw_mask(b, v));
    }
    kb_loop_end(k, &l);
}

/* ---- experts ---- */

Val dw_expert(Kb *k, IrValue *offsets, int64_t experts, Val number, Val *someones) {
    Val e = kb_i64(k, 0);
    *someones = NULL;
    if (!offsets) return e;
    Val at = kb_ptr(k, offsets);
    for (int64_t n = experts, half; n > 1; n -= half) { /* one of the n experts from e */
        half = n / 2;
        Val mid = kb_add(k, e, kb_i64(k, half));
        Val begun = LLVMBuildICmp(k->b, LLVMIntSLE, kb_load_i32(k, at, mid), number, "");
        e = LLVMBuildSelect(k->b, begun, mid, e, "");
    }
    Val end = kb_load_i32(k, at, kb_i64(k, experts));
    *someones = LLVMBuildICmp(k->b, LLVMIntSLT, number, end, "");
    return e;
}
