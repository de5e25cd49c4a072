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

int64_t dw_slab_plane(const Kb *k, const DwSlab *s) {
    return s->rows * s->cols * k->vl;
}

void dw_slab_scratch(Kb *k, DwSlab *s, int vectors) {
    s->ptr = kb_scratch(k, dw_slab_plane(k, s) * vectors * 4);
}

Val dw_slab_at(Kb *k, const DwSlab *s, int v, Val row, Val col) {
    Val pixel = kb_add(k, kb_mul(k, row, kb_i64(k, s->cols)), col);
    Val at = kb_add(k, kb_mul(k, pixel, kb_i64(k, k->vl)), kb_i64(k, v * dw_slab_plane(k, s)));
    return kb_gep(k, k->f32, s->ptr, at);
}

/* The image's columns [from, end) lie in the slab from column `at` on. */
typedef struct Columns {
    int64_t from, end, at;
} Columns;

static Columns columns(const DwSlab *s) {
    Columns c = {.from = s->col0 > 0 ? s->col0 : 0, .end = s->col0 + s->cols};
    if (c.end > s->width) c.end = s->width;
    if (c.end < c.from) c.end = c.from;
    c.at = c.from - s->col0;
    if (c.at > s->cols) c.at = s->cols;
    return c;
}

/* Columns [from, end) of a row of every plane. */
static void clear_columns(Kb *k, const DwSlab *s, int vectors, Val row, int64_t from, int64_t end) {
    if (from >= end) return;
    Loop l;
    kb_loop(k, &l, kb_i64(k, from), kb_i64(k, end), 1, NULL, 0);
    for (int v = 0; v < vectors; v++) kb_store(k, kb_vf(k, 0), dw_slab_at(k, s, v, row, l.i), NULL);
    kb_loop_end(k, &l);
}

void dw_slab_clear(Kb *k, const DwSlab *s, int vectors) {
    Columns c = columns(s);
    Loop l;
    kb_loop(k, &l, kb_i64(k, 0), kb_i64(k, s->rows), 1, NULL, 0);
    clear_columns(k, s, vectors, l.i, 0, c.at);
    clear_columns(k, s, vectors, l.i, c.at + c.end - c.from, s->cols);
    kb_loop_end(k, &l);
}

static void clear_rows(Kb *k, const DwSlab *s, int vectors, Val from, Val end) {
    Loop l;
    Columns c = columns(s);
    kb_loop(k, &l, from, end, 1, NULL, 0);
    clear_columns(k, s, vectors, l.i, c.at, c.at + c.end - c.from);
    kb_loop_end(k, &l);
}

/* A row of the image to row `row` of the slab; `from` is its first pixel. */
static void copy_row(Kb *k, const DwSlab *s, const DwBlock *b, Val from, Val row) {
    Columns c = columns(s);
    Loop l;
    kb_loop(k, &l, kb_i64(k, c.from), kb_i64(k, c.end), 1, NULL, 0);
    Val at = kb_gep(k, k->f32, from, kb_mul(k, l.i, kb_i64(k, s->channels)));
    Val col = kb_add(k, l.i, kb_i64(k, -s->col0));
    for (int v = 0; v < b->vectors; v++) {
        Val x =
            kb_load(k, k->vf, kb_gep(k, k->f32, at, kb_i64(k, (int64_t)v * k->vl)), dw_mask(b, v));
        kb_store(k, x, dw_slab_at(k, s, v, row, col), NULL);
    }
    kb_loop_end(k, &l);
}

void dw_slab_copy(Kb *k, const DwSlab *s, const DwBlock *b, Val images, Val number, Val row0) {
    Val zero = kb_i64(k, 0), rows = kb_i64(k, s->rows);
    Val above = kb_min(k, kb_max(k, kb_sub(k, zero, row0), zero), rows);
    Val below = kb_min(k, kb_sub(k, kb_i64(k, s->height), row0), rows);
    Loop l;
    kb_loop(k, &l, above, below, 1, NULL, 0);
    Val row = kb_add(k, kb_mul(k, number, kb_i64(k, s->height)), kb_add(k, row0, l.i));
    Val at = kb_add(k, kb_mul(k, row, kb_i64(k, s->width * s->channels)), b->col0);
    copy_row(k, s, b, kb_gep(k, k->f32, images, at), l.i);
    kb_loop_end(k, &l);
    if (!s->outside) return;
    clear_rows(k, s, b->vectors, zero, above);
    clear_rows(k, s, b->vectors, kb_max(k, below, above), rows);
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
