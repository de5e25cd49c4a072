/* Depthwise convolutions: results, and gradients for images. An item is a band of rows of one image
 * and one block of channels; the rows that it reads are copied to a ring as it comes to them
 * (depthwise_ring.c), and rows of results are made of tiles (depthwise_tile.c).
 *
 * A gradient for an image is a convolution of dy with the kernel turned by a half. With a stride,
 * a pixel met only the taps of one phase, each `stride` after the other, so pixels are made phase
 * by phase, both ways: no inserted zeros are multiplied, and a pixel that no tap met is a sum of
 * nothing. Kernel rows outside the image are skipped; columns there are zeros of the ring. */
#include "codegen/kernels/depthwise.h"
#include "codegen/kernels/rules.h"

/* Both directions: rows of `to` from rows of `from`. */
typedef struct Sweep {
    IrNode *n;
    IrConv c;
    bool back;
    IrValue *from;
    int64_t height, width; /* of the result */
    int64_t phases;        /* rows and columns that are `phases` apart meet the same taps */
    DwTile tile;
    int64_t band, bands; /* rows of a band, and how many there are */
    int64_t live;        /* rows of the ring that a tile reads */
    DwRing ring;
    Val w, out; /* in scratch: the block's taps, and rows of results; out NULL: there is no need */
} Sweep;

static int64_t floor_div(int64_t a, int64_t b) {
    return a >= 0 ? a / b : -((b - 1 - a) / b);
}

static int64_t ceil_to(int64_t a, int64_t unit) {
    return (a + unit - 1) / unit * unit;
}

/* ---- sizes ---- */

static void choose_ring(Sweep *s) {
    const IrConv *c = &s->c;
    int64_t p = s->phases;
    s->ring.height = s->back ? c->oh : c->h;
    s->ring.width = s->back ? c->ow : c->w;
    s->ring.channels = c->c;
    s->ring.outside = s->tile.rows > 1;
    s->ring.col0 = s->back ? floor_div(c->left - c->kw + 1, p) : -c->left;
    s->ring.cols = s->back ? floor_div(s->width - 1 + c->left, p) - s->ring.col0 + 1
                           : (s->width - 1) * c->stride + c->kw;
    s->live = s->back ? s->tile.rows + (c->kh + p - 1) / p : (s->tile.rows - 1) * c->stride + c->kh;
}

/* Bands of whole images, smaller ones where items would be too few. */
static void choose_bands(const Kb *k, Sweep *s) {
    int64_t width = (int64_t)dw_vectors(k, s->c.c) * k->vl;
    int64_t others = s->c.batch * ((s->c.c + width - 1) / width), unit = s->phases * s->tile.rows;
    int64_t want = (DW_WANT_ITEMS + others - 1) / others;
    s->band = ceil_to((s->height + want - 1) / want, unit);
    s->bands = (s->height + s->band - 1) / s->band;
}

static Sweep describe(Kb *k, IrNode *n, bool back) {
    IrConv c = ir_conv_of(n);
    Sweep s = {.n = n, .c = c, .back = back, .from = n->in[0]};
    s.height = back ? c.h : c.oh;
    s.width = back ? c.w : c.ow;
    s.phases = back ? c.stride : 1;
    s.tile.taps = (int)((c.kw + s.phases - 1) / s.phases);
    s.tile.x_step = s.tile.row_next = back ? 1 : (int)c.stride;
    s.tile.w_step = back ? -(int)c.stride : 1;
    s.tile.row_step = back ? -1 : 1;
    dw_tile_choose(k->target, &s.tile, (s.width + s.phases - 1) / s.phases, s.height / s.phases);
    choose_ring(&s);
    choose_bands(k, &s);
    return s;
}

/* ---- rows of one band ---- */

typedef struct Band {
    const Sweep *s;
    DwBlock block;
    Val image, row0; /* its first row */
    Val next;        /* the first pixel that the next item copies */
} Band;

/* Rows y, y + phases, .. of the result, `rows` of them. */
typedef struct Group {
    Val y;
    int rows;
    Val count, x_row, w_row; /* kernel rows that meet the image: the first one's row, and taps */
} Group;

static Group forward_rows(Kb *k, const Sweep *s, Val y, int rows) {
    const IrConv *c = &s->c;
    Group g = {.y = y, .rows = rows};
    Val base = kb_add(k, kb_mul(k, y, kb_i64(k, c->stride)), kb_i64(k, -c->top));
    Val last = kb_add(k, base, kb_i64(k, (rows - 1) * c->stride));
    Val lo = kb_max(k, kb_i64(k, 0), kb_sub(k, kb_i64(k, 0), last));
    Val hi = kb_min(k, kb_i64(k, c->kh), kb_sub(k, kb_i64(k, c->h), base));
    g.count = kb_sub(k, hi, lo);
    g.x_row = kb_add(k, base, lo);
    g.w_row = lo;
    return g;
}

/* Tap rows phase, phase + stride, .. meet rows q, q - 1, .. of dy. */
static Group backward_rows(Kb *k, const Sweep *s, Val y, int rows) {
    const IrConv *c = &s->c;
    Group g = {.y = y, .rows = rows};
    Val at = kb_add(k, y, kb_i64(k, c->top));
    Val q = kb_udiv(k, at, s->phases), phase = kb_urem(k, at, s->phases);
    Val taps = kb_udiv(k, kb_sub(k, kb_i64(k, c->kh + s->phases - 1), phase), s->phases);
    Val lo = kb_max(k, kb_i64(k, 0), kb_sub(k, q, kb_i64(k, c->oh - 1)));
    Val hi = kb_min(k, taps, kb_add(k, q, kb_i64(k, rows)));
    g.count = kb_sub(k, hi, lo);
    g.x_row = kb_sub(k, q, lo);
    g.w_row = kb_add(k, phase, kb_mul(k, lo, kb_i64(k, s->phases)));
    return g;
}

/* Where results of a group go: the tensor itself, or scratch. */
typedef struct Out {
    Val ptr;
    int64_t pixel, row; /* distances in floats */
} Out;

static Out out_of(Kb *k, const Band *b, const Group *g) {
    const Sweep *s = b->s;
    int64_t pixel = (int64_t)b->block.vectors * k->vl;
    if (s->out && (b->block.mask || k->cl->nnode > 1))
        return (Out){s->out, pixel, s->width * pixel};
    const IrValue *y = &s->n->out[0];
    pixel = plan_place_of(k->plan, y).ld;
    Val row = kb_add(k, kb_mul(k, b->image, kb_i64(k, s->height)), g->y);
    Val at = kb_add(k, kb_mul(k, row, kb_i64(k, s->width * pixel)), b->block.col0);
    return (Out){kb_gep(k, k->f32, kb_ptr(k, y), at), pixel, s->phases * s->width * pixel};
}

/* Plane v of columns first, first + phases, ..: `n` of them, whose leftmost pixels begin at column
 * `col` of the ring, and whose leftmost taps are number `tap` of a kernel row. */
static void columns(Kb *k, const Band *b, const Group *g, const Out *o, int v, DwTile tile,
                    Val first, Val n, Val col, Val tap) {
    const Sweep *s = b->s;
    int64_t taps = s->c.kh * s->c.kw;
    Val w = kb_add(k, kb_mul(k, g->w_row, kb_i64(k, s->c.kw)), tap);
    w = kb_mul(k, kb_add(k, w, kb_i64(k, v * taps)), kb_i64(k, k->vl));
    Val to = kb_add(k, kb_mul(k, first, kb_i64(k, o->pixel)), kb_i64(k, (int64_t)v * k->vl));
    DwRows r = {.tile = tile, .count = g->count, .n = n};
    r.tile.rows = g->rows;
    r.tile.ring = (int)s->ring.rows;
    r.x = dw_ring_plane(k, &s->ring, v, col);
    r.row = g->x_row;
    r.x_row = kb_i64(k, dw_ring_row(k, &s->ring));
    r.w = kb_gep(k, k->f32, s->w, w);
    r.w_row = kb_i64(k, s->phases * s->c.kw * k->vl);
    r.out = kb_gep(k, k->f32, o->ptr, to);
    r.out_step = kb_i64(k, s->phases * o->pixel);
    r.out_next = kb_i64(k, o->row);
    dw_rows(k, &r);
}

/* Phases [from, end), whose columns met `taps` taps each. */
static void phases(Kb *k, const Band *b, const Group *g, const Out *o, int64_t from, int64_t end,
                   int64_t taps) {
    const Sweep *s = b->s;
    if (from >= end) return;
    int64_t p = s->phases, left = ceil_to(s->c.left, p) - s->c.left;
    DwTile tile = s->tile;
    tile.taps = (int)taps;
    Loop l;
    kb_loop(k, &l, kb_i64(k, from), kb_i64(k, end), 1, NULL, 0);
    Val first = kb_urem(k, kb_add(k, l.i, kb_i64(k, left)), p);
    Val n = kb_udiv(k, kb_sub(k, kb_i64(k, s->width + p - 1), first), p);
    Val q = kb_udiv(k, kb_sub(k, kb_add(k, first, kb_i64(k, s->c.left)), l.i), p);
    Val col = kb_sub(k, q, kb_i64(k, taps - 1 + s->ring.col0));
    Val tap = kb_add(k, l.i, kb_i64(k, p * (taps - 1)));
    for (int v = 0; v < b->block.vectors; v++) columns(k, b, g, o, v, tile, first, n, col, tap);
    kb_loop_end(k, &l);
}

/* The fused consumers, and the stores, of a row that lies in scratch. */
static void store_row(Kb *k, const Band *b, const Out *o, Val local, Val y) {
    const Sweep *s = b->s;
    IrValue *result = &s->n->out[0];
    Val row = kb_add(k, kb_mul(k, b->image, kb_i64(k, s->height)), y);
    Val first = kb_mul(k, row, kb_i64(k, s->width));
    Val ptr = kb_gep(k, k->f32, o->ptr, kb_mul(k, local, kb_i64(k, o->row)));
    kb_source(k, (Source){result, ptr, first, b->block.col0, kb_i64(k, o->pixel)});
    Loop l;
    kb_loop(k, &l, first, kb_add(k, first, kb_i64(k, s->width)), 1, NULL, 0);
    for (int v = 0; v < b->block.vectors; v++) {
        Pos pos = {l.i, kb_add(k, b->block.col0, kb_i64(k, (int64_t)v * k->vl)),
                   dw_mask(&b->block, v)};
        kb_new_pos(k);
        kb_store_value(k, result, kb_eval(k, result, pos), pos);
        kb_store_members(k, STORE_ALL, pos);
    }
    kb_new_pos(k);
    kb_loop_end(k, &l);
    kb_drop_sources(k);
}

static void group(Kb *k, const Band *b, Val y, int rows) {
    const Sweep *s = b->s;
    Group g = (s->back ? backward_rows : forward_rows)(k, s, y, rows);
    Out o = out_of(k, b, &g);
    int64_t kw = s->c.kw, p = s->phases, longer = kw % p;
    if (s->back) { /* phases of one tap more come first */
        phases(k, b, &g, &o, 0, longer, kw / p + 1);
        phases(k, b, &g, &o, longer, p, kw / p);
    } else {
        Val zero = kb_i64(k, 0), n = kb_i64(k, s->width);
        for (int v = 0; v < b->block.vectors; v++)
            columns(k, b, &g, &o, v, s->tile, zero, n, zero, zero);
    }
    if (o.ptr != s->out) return;
    for (int i = 0; i < rows; i++)
        store_row(k, b, &o, kb_i64(k, i), kb_add(k, y, kb_i64(k, i * p)));
}

/* Asks for the row of the image that will be copied `row`th: the one after the last is the next
 * item's first. */
static void ask_for_row(Kb *k, const Band *b, Val row) {
    const DwRing *r = &b->s->ring;
    Val beyond = kb_sub(k, row, kb_i64(k, r->height)), size = kb_i64(k, r->width * r->channels);
    Val here = kb_add(k, kb_mul(k, b->image, kb_i64(k, r->height)), row);
    Val at = kb_add(k, kb_mul(k, here, size), b->block.col0);
    Val mine = LLVMBuildICmp(k->b, LLVMIntSLT, beyond, kb_i64(k, 0), "");
    at = LLVMBuildSelect(k->b, mine, at, kb_add(k, b->next, kb_mul(k, beyond, size)), "");
    dw_ring_ask(k, r, kb_ptr(k, b->s->from), at);
}

/* Fills the ring for `rows` rows from y on; what is there already ends before row *have. */
static void fill(Kb *k, const Band *b, Val y, int64_t rows, Val *have) {
    const Sweep *s = b->s;
    const IrConv *c = &s->c;
    Val last = kb_add(k, y, kb_i64(k, rows - 1)), to;
    if (s->back)
        to = kb_udiv(k, kb_add(k, last, kb_i64(k, c->top + s->phases)), s->phases);
    else
        to = kb_add(k, kb_mul(k, last, kb_i64(k, c->stride)), kb_i64(k, c->kh - c->top));
    Val from = kb_max(k, *have, kb_sub(k, to, kb_i64(k, s->live)));
    dw_ring_copy(k, &s->ring, &b->block, kb_ptr(k, s->from), b->image, from, to);
    *have = to;
    int64_t ahead = s->back ? (rows + s->phases - 1) / s->phases : rows * c->stride;
    Loop l;
    kb_loop(k, &l, to, kb_add(k, to, kb_i64(k, ahead)), 1, NULL, 0);
    ask_for_row(k, b, l.i);
    kb_loop_end(k, &l);
}

/* `rows` rows of each phase from y on. */
static void groups(Kb *k, const Band *b, Val y, int rows, Val *have) {
    const Sweep *s = b->s;
    Loop p;
    fill(k, b, y, rows * s->phases, have);
    kb_loop(k, &p, kb_i64(k, 0), kb_i64(k, s->phases), 1, NULL, 0);
    group(k, b, kb_add(k, y, p.i), rows);
    kb_loop_end(k, &p);
}

/* As many rows together as a tile has, then the rest one by one. */
static void band(Kb *k, const Band *b) {
    const Sweep *s = b->s;
    Val end = kb_min(k, kb_add(k, b->row0, kb_i64(k, s->band)), kb_i64(k, s->height));
    int64_t step = s->phases * s->tile.rows;
    Val have = kb_i64(k, -s->c.top - s->c.kh); /* before all that is read */
    Loop l;
    kb_loop(k, &l, b->row0, kb_sub(k, end, kb_i64(k, step - 1)), step, &have, 1);
    have = l.carry[0];
    groups(k, b, l.i, s->tile.rows, &have);
    l.next[0] = have;
    kb_loop_end(k, &l);
    if (step == 1) return;
    have = l.carry[0];
    kb_loop(k, &l, l.i, end, 1, &have, 1);
    have = l.carry[0];
    fill(k, b, l.i, 1, &have);
    group(k, b, l.i, 1);
    l.next[0] = have;
    kb_loop_end(k, &l);
}

/* ---- items ---- */

static void item(Kb *k, const Sweep *s, const DwBlock *block, Val image, Val number, Val next) {
    If mine;
    int64_t taps = s->c.kh * s->c.kw;
    IrValue *offsets = s->c.offsets < 0 ? NULL : s->n->in[s->c.offsets];
    Val someones, expert = dw_expert(k, offsets, s->c.experts, image, &someones);
    if (someones) kb_if(k, &mine, someones);
    Band b = {.s = s, .block = *block, .image = image, .next = next};
    b.row0 = kb_mul(k, number, kb_i64(k, s->band));
    Val set = kb_mul(k, expert, kb_i64(k, taps * s->c.c));
    dw_load_taps(k, block, kb_gep(k, k->f32, kb_ptr(k, s->n->in[1]), set), s->c.c, taps, s->w);
    band(k, &b);
    if (someones) kb_if_end(k, &mine);
}

/* A run of items with as wide blocks; blocks of a band follow each other. */
static void run(Kb *k, const Sweep *s, bool whole, int64_t blocks) {
    if (!blocks) return;
    Val begin, end;
    Loop l;
    kb_share(k, s->c.batch * s->bands * blocks, &begin, &end);
    kb_loop(k, &l, begin, end, 1, NULL, 0);
    DwBlock b = dw_block(k, s->c.c, whole, kb_urem(k, l.i, blocks));
    Val rest = kb_udiv(k, l.i, blocks);
    Val ni = kb_add(k, l.i, kb_i64(k, 1)), nrest = kb_udiv(k, ni, blocks);
    DwBlock nb = dw_block(k, s->c.c, whole, kb_urem(k, ni, blocks));
    Val next = kb_add(
        k, nb.col0,
        kb_mul(k, kb_udiv(k, nrest, s->bands), kb_i64(k, s->ring.height * s->ring.width * s->c.c)));
    item(k, s, &b, kb_udiv(k, rest, s->bands), kb_urem(k, rest, s->bands), next);
    kb_loop_end(k, &l);
}

static void lower(Kb *k, IrNode *n, bool back) {
    Sweep s = describe(k, n, back);
    int vectors = dw_vectors(k, s.c.c);
    int64_t pixel = (int64_t)vectors * k->vl * 4, blocks = dw_whole_blocks(k, s.c.c);
    bool rest = s.c.c % (vectors * k->vl) != 0;
    dw_ring_scratch(k, &s.ring, s.live, vectors);
    s.w = kb_scratch(k, s.c.kh * s.c.kw * pixel);
    if (rest || k->cl->nnode > 1) s.out = kb_scratch(k, s.tile.rows * s.width * pixel);
    dw_ring_clear(k, &s.ring, vectors);
    run(k, &s, true, blocks);
    run(k, &s, false, rest);
}

void cg_lower_depthwise(Kb *k, IrNode *n) {
    lower(k, n, false);
}

void cg_lower_depthwise_dx(Kb *k, IrNode *n) {
    lower(k, n, true);
}
