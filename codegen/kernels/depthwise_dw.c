/* Gradients of depthwise convolutions for their weights. An item is a block of channels and one
 * part of an expert's images; it adds image after image, a few rows at a time, to its kernel in
 * scratch.
 *
 *   void dwg_..(ptr x, i64 x_row0, i64 x_row, ptr dy, i64 dy_row0, i64 dy_row, i64 rows, i64 cols,
 *               ptr sums)
 *
 * adds to some taps the products of `rows` rows of dy and the pixels that they meet: sums stay in
 * registers, a pixel of dy is loaded once for all of them, and every product takes its pixel of x
 * from memory. Sums of a call start from zero, so that no sum is as long as there are results. The
 * taps are shared out evenly, whatever their rows, so that every call has sums
 * enough to hide the latency of an FMA. */
#include "codegen/kernels/depthwise.h"
#include "codegen/kernels/rules.h"

typedef struct Weights {
    IrNode *n;
    IrConv c;
    int64_t taps, calls; /* of the kernel; they are shared out among calls */
    int64_t step;        /* rows of dy at a time */
    DwRing x, dy;
    Val sums;
} Weights;

/* Some taps of the kernel. */
typedef struct Taps {
    int64_t first, end, kw, stride;
    int64_t x_ring, dy_ring; /* rows of the rings */
} Taps;

static Taps taps_of_call(const Weights *w, int64_t call) {
    return (Taps){.first = call * w->taps / w->calls,
                  .end = (call + 1) * w->taps / w->calls,
                  .kw = w->c.kw,
                  .stride = w->c.stride,
                  .x_ring = w->x.rows,
                  .dy_ring = w->dy.rows};
}

/* ---- the micro-kernel ---- */

static Val vector_at(Kb *k, Val base, Val number) {
    return kb_gep(k, k->f32, base, kb_mul(k, number, kb_i64(k, k->vl)));
}

/* A pixel of dy with all taps. x: the pixel that kernel column 0 of each kernel row meets. */
static void add_pixel(Kb *k, const Taps *t, const Val *x, Val dy, Val col, Val *sum) {
    int64_t first_row = t->first / t->kw;
    Val y = kb_load(k, k->vf, vector_at(k, dy, col), NULL);
    Val meets = kb_mul(k, col, kb_i64(k, t->stride));
    for (int64_t i = t->first; i < t->end; i++) {
        Val at = vector_at(k, vector_at(k, x[i / t->kw - first_row], meets), kb_i64(k, i % t->kw));
        sum[i - t->first] = kb_fma(k, kb_load(k, k->vf, at, NULL), y, sum[i - t->first]);
    }
}

/* Row `number` of a plane of a ring. */
static Val ring_row(Kb *k, Val plane, Val number, Val row, int64_t rows) {
    Val r = LLVMBuildAnd(k->b, number, kb_i64(k, rows - 1), "");
    return kb_gep(k, k->f32, plane, kb_mul(k, r, row));
}

static void rows_body(Kb *k, const void *ctx) {
    const Taps *t = ctx;
    int n = (int)(t->end - t->first);
    int64_t first = t->first / t->kw, kernel_rows = (t->end - 1) / t->kw - first + 1;
    Val p[9], sum[MAX_CARRY], x[MAX_CARRY];
    LLVMGetParams(k->fn, p);
    for (int i = 0; i < n; i++) sum[i] = kb_vf(k, 0);
    Loop row, col;
    kb_loop(k, &row, kb_i64(k, 0), p[6], 1, sum, n);
    Val x_row = kb_add(k, p[1], kb_mul(k, row.i, kb_i64(k, t->stride)));
    for (int i = 0; i < kernel_rows; i++)
        x[i] = ring_row(k, p[0], kb_add(k, x_row, kb_i64(k, i)), p[2], t->x_ring);
    Val dy = ring_row(k, p[3], kb_add(k, p[4], row.i), p[5], t->dy_ring);
    kb_loop(k, &col, kb_i64(k, 0), p[7], 1, row.carry, n);
    for (int i = 0; i < n; i++) sum[i] = col.carry[i];
    add_pixel(k, t, x, dy, col.i, sum);
    for (int i = 0; i < n; i++) col.next[i] = sum[i];
    kb_loop_end(k, &col);
    for (int i = 0; i < n; i++) row.next[i] = col.carry[i];
    kb_loop_end(k, &row);
    for (int i = 0; i < n; i++) {
        Val at = vector_at(k, p[8], kb_i64(k, i));
        kb_store(k, kb_fadd(k, kb_load(k, k->vf, at, NULL), row.carry[i]), at, NULL);
    }
    LLVMBuildRetVoid(k->b);
}

static void add_rows(Kb *k, Taps t, Val *arg) {
    LLVMTypeRef param[] = {k->ptr, k->i64, k->i64, k->ptr, k->i64, k->i64, k->i64, k->i64, k->ptr};
    LLVMTypeRef type = LLVMFunctionType(LLVMVoidTypeInContext(k->ctx), param, 9, 0);
    t.end -= t.first / t.kw * t.kw;
    t.first %= t.kw;
    const char *name =
        arena_printf(k->arena, "dwg_%lld_%lld_%lld_%lld_%lld_%lld", (long long)t.first,
                     (long long)(t.end - t.first), (long long)t.kw, (long long)t.stride,
                     (long long)t.x_ring, (long long)t.dy_ring);
    LLVMBuildCall2(k->b, type, kb_helper(k, name, type, rows_body, &t), arg, 9, "");
}

/* ---- some rows of one image ---- */

/* Rows of dy that meet the image with any of the call's kernel rows, among [row0, end). */
static void call_taps(Kb *k, const Weights *w, int v, int64_t call, Val row0, Val end) {
    const IrConv *c = &w->c;
    Taps t = taps_of_call(w, call);
    int64_t first_row = t.first / c->kw, last_row = (t.end - 1) / c->kw;
    int64_t above = c->top > last_row ? (c->top - last_row + c->stride - 1) / c->stride : 0;
    int64_t room = c->h + c->top - first_row;
    int64_t below = room <= 0 ? 0 : (room + c->stride - 1) / c->stride;
    Val from = kb_max(k, row0, kb_i64(k, above)), to = kb_min(k, end, kb_i64(k, below));
    Val x_row = kb_add(k, kb_mul(k, from, kb_i64(k, c->stride)), kb_i64(k, first_row - c->top));
    Val arg[] = {dw_ring_plane(k, &w->x, v, kb_i64(k, 0)),
                 x_row,
                 kb_i64(k, dw_ring_row(k, &w->x)),
                 dw_ring_plane(k, &w->dy, v, kb_i64(k, 0)),
                 from,
                 kb_i64(k, dw_ring_row(k, &w->dy)),
                 kb_sub(k, to, from),
                 kb_i64(k, c->ow),
                 vector_at(k, w->sums, kb_i64(k, v * w->taps + t.first))};
    add_rows(k, t, arg);
}

/* Asks for `rows` rows of an image from `from` on; after its last one stands the next image. */
static void ask_ahead(Kb *k, const DwRing *r, const DwBlock *b, Val images, Val image, Val from,
                      int64_t rows) {
    Val row = kb_add(k, kb_mul(k, image, kb_i64(k, r->height)), from);
    int64_t size = r->width * r->channels;
    Val at = kb_add(k, kb_mul(k, row, kb_i64(k, size)), b->col0);
    Loop l;
    kb_loop(k, &l, at, kb_add(k, at, kb_i64(k, rows * size)), size, NULL, 0);
    dw_ring_ask(k, r, images, l.i);
    kb_loop_end(k, &l);
}

/* Rows [row0, end) of dy; *have: the first row of the image that is not in the ring yet. */
static void add_step(Kb *k, const Weights *w, const DwBlock *b, Val image, Val row0, Val *have) {
    const IrConv *c = &w->c;
    Val end = kb_min(k, kb_add(k, row0, kb_i64(k, w->step)), kb_i64(k, c->oh));
    Val last = kb_sub(k, end, kb_i64(k, 1));
    Val to = kb_add(k, kb_mul(k, last, kb_i64(k, c->stride)), kb_i64(k, c->kh - c->top));
    Val from = kb_max(k, *have, kb_sub(k, to, kb_i64(k, (w->step - 1) * c->stride + c->kh)));
    dw_ring_copy(k, &w->x, b, kb_ptr(k, w->n->in[0]), image, from, to);
    dw_ring_copy(k, &w->dy, b, kb_ptr(k, w->n->in[1]), image, row0, end);
    ask_ahead(k, &w->x, b, kb_ptr(k, w->n->in[0]), image, to, w->step * c->stride);
    ask_ahead(k, &w->dy, b, kb_ptr(k, w->n->in[1]), image, end, w->step);
    for (int v = 0; v < b->vectors; v++)
        for (int64_t call = 0; call < w->calls; call++) call_taps(k, w, v, call, row0, end);
    *have = to;
}

static void add_image(Kb *k, const Weights *w, const DwBlock *b, Val image) {
    Val have = kb_i64(k, -w->c.top - w->c.kh); /* before all that is read */
    Loop l;
    kb_loop(k, &l, kb_i64(k, 0), kb_i64(k, w->c.oh), w->step, &have, 1);
    have = l.carry[0];
    add_step(k, w, b, image, l.i, &have);
    l.next[0] = have;
    kb_loop_end(k, &l);
}

/* ---- items ---- */

/* The images of part `part` of an expert, all images if there are none. */
static void images_of(Kb *k, const Weights *w, Val expert, Val part, Val *from, Val *to) {
    const IrConv *c = &w->c;
    Val first = kb_i64(k, 0), last = kb_i64(k, c->batch);
    if (c->offsets >= 0) {
        Val at = kb_ptr(k, w->n->in[c->offsets]);
        first = kb_load_i32(k, at, expert);
        last = kb_load_i32(k, at, kb_add(k, expert, kb_i64(k, 1)));
    }
    Val n = kb_sub(k, last, first);
    *from = kb_add(k, first, kb_udiv(k, kb_mul(k, part, n), c->parts));
    *to = kb_add(k, first, kb_udiv(k, kb_mul(k, kb_add(k, part, kb_i64(k, 1)), n), c->parts));
}

static void clear_sums(Kb *k, const Weights *w, int vectors) {
    Loop l;
    kb_loop(k, &l, kb_i64(k, 0), kb_i64(k, vectors * w->taps), 1, NULL, 0);
    kb_store(k, kb_vf(k, 0), vector_at(k, w->sums, l.i), NULL);
    kb_loop_end(k, &l);
}

/* set: part * experts + expert. */
static void item(Kb *k, const Weights *w, const DwBlock *b, Val set) {
    const IrConv *c = &w->c;
    int64_t experts = c->experts ? c->experts : 1;
    Val from, to;
    Loop image;
    images_of(k, w, kb_urem(k, set, experts), kb_udiv(k, set, experts), &from, &to);
    clear_sums(k, w, b->vectors);
    kb_loop(k, &image, from, to, 1, NULL, 0);
    add_image(k, w, b, image.i);
    kb_loop_end(k, &image);
    Val at = kb_mul(k, set, kb_i64(k, w->taps * c->c));
    dw_store_taps(k, b, kb_gep(k, k->f32, kb_ptr(k, &w->n->out[0]), at), c->c, w->taps, w->sums);
}

static void run(Kb *k, const Weights *w, bool whole, int64_t blocks) {
    if (!blocks) return;
    Val begin, end;
    Loop l;
    kb_share(k, (w->c.experts ? w->c.experts : 1) * w->c.parts * blocks, &begin, &end);
    kb_loop(k, &l, begin, end, 1, NULL, 0);
    DwBlock b = dw_block(k, w->c.c, whole, kb_urem(k, l.i, blocks));
    item(k, w, &b, kb_udiv(k, l.i, blocks));
    kb_loop_end(k, &l);
}

/* As many rows at a time as leave both rings in the first level cache, in equal steps. */
static void choose(Kb *k, Weights *w) {
    enum { RING_BYTES = 24 << 10 };
    const IrConv *c = &w->c;
    int64_t most = k->target->vector_registers - 3,
            pixel = (int64_t)dw_vectors(k, c->c) * k->vl * 4;
    w->taps = c->kh * c->kw;
    w->calls = (w->taps + most - 1) / most;
    w->x = (DwRing){.cols = (c->ow - 1) * c->stride + c->kw,
                    .col0 = -c->left,
                    .height = c->h,
                    .width = c->w,
                    .channels = c->c,
                    .outside = true};
    w->dy = (DwRing){.cols = c->ow, .height = c->oh, .width = c->ow, .channels = c->c};
    int64_t rows = 1;
    while (rows < c->kh) rows *= 2;
    while (2 * rows * w->x.cols * pixel <= RING_BYTES) rows *= 2;
    int64_t together = (rows - c->kh) / c->stride + 1, steps = (c->oh + together - 1) / together;
    w->step = (c->oh + steps - 1) / steps;
}

void cg_lower_depthwise_dw(Kb *k, IrNode *n) {
    Weights w = {.n = n, .c = ir_conv_of(n)};
    choose(k, &w);
    int vectors = dw_vectors(k, w.c.c);
    dw_ring_scratch(k, &w.x, (w.step - 1) * w.c.stride + w.c.kh, vectors);
    dw_ring_scratch(k, &w.dy, w.step, vectors);
    w.sums = kb_scratch(k, w.taps * vectors * k->vl * 4);
    dw_ring_clear(k, &w.x, vectors);
    run(k, &w, true, dw_whole_blocks(k, w.c.c));
    run(k, &w, false, w.c.c % (vectors * k->vl) != 0);
}
