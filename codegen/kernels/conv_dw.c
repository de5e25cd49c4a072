/* Weight gradients of dense convolutions, as matrix products: a row is a kernel element's channel
 * of x, a column a channel of dy, and the inner dimension is all results. A row of results is a
 * run: the pixels of x that a kernel element met there lie as far apart as the stride, those of dy
 * side by side, and results whose pixel was padding are left out at the run's ends. So both are
 * read where they lie.
 *
 * Images of few channels are unfolded chunk by chunk instead. In bf16 results are paired, and every
 * kernel element is a product of its own, since it pairs other pixels. */
#include "codegen/kernels/conv.h"
#include "codegen/kernels/rules.h"
#include "codegen/plan/blocks.h"

/* dy of result 0 of this item's group. */
static Val first_result(Kb *k, const Gemm *g) {
    const Conv *v = conv_of(g);
    Val at = kb_ptr(k, g->n->in[1]);
    if (v->c.groups == 1) return at;
    return kb_gep(k, k->f32, at, kb_mul(k, v->group, kb_i64(k, v->out)));
}

/* ---- in runs ---- */

/* Result rows, taken by kernel element: each has whole tiles of channels. */
static Val place_of_channel(Kb *k, const Gemm *g, Val row) {
    const Conv *v = conv_of(g);
    Val tap = kb_udiv(k, row, v->padded), channel = kb_urem(k, row, v->padded);
    Val at = kb_add(k, v->first_matrix, kb_add(k, kb_mul(k, tap, kb_i64(k, v->in)), channel));
    Val inside = LLVMBuildICmp(k->b, LLVMIntSLT, channel, kb_i64(k, v->in), "");
    return LLVMBuildSelect(k->b, inside, at, kb_i64(k, -1), "");
}

static Val entry(Kb *k, const Gemm *g, Val table, Val kernel_row, Val i) {
    return kb_gep(k, k->i64, table, kb_add(k, kb_mul(k, kernel_row, kb_i64(k, g->kc)), i));
}

/* Rows of results [first, + count) whose pixels of a kernel row exist: where they lie in x and dy.
 */
static void find_rows(Kb *k, const Gemm *g, Val kernel_row, Val first, Val count) {
    const Conv *v = conv_of(g);
    const IrConv *c = &v->c;
    Val zero = kb_i64(k, 0);
    Loop l;
    If any;
    kb_loop(k, &l, zero, count, 1, &zero, 1);
    Val row = kb_add(k, kb_mul(k, v->image0, kb_i64(k, c->oh)), kb_add(k, first, l.i));
    Val image = kb_udiv(k, row, c->oh), oh = kb_urem(k, row, c->oh);
    Val y =
        kb_add(k, kb_mul(k, oh, kb_i64(k, c->stride)), kb_sub(k, kernel_row, kb_i64(k, c->top)));
    Val inside = LLVMBuildICmp(k->b, LLVMIntULT, y, kb_i64(k, c->h), "");
    l.next[0] = LLVMBuildSelect(k->b, inside, kb_add(k, l.carry[0], kb_i64(k, 1)), l.carry[0], "");
    kb_if(k, &any, inside);
    LLVMBuildStore(k->b, conv_address(k, v, image, y, zero),
                   entry(k, g, v->a_table, kernel_row, l.carry[0]));
    LLVMBuildStore(k->b, kb_mul(k, row, kb_i64(k, c->ow * c->o)),
                   entry(k, g, v->b_table, kernel_row, l.carry[0]));
    kb_if_end(k, &any);
    kb_loop_end(k, &l);
    LLVMBuildStore(k->b, l.carry[0], kb_gep(k, k->i64, v->n_table, kernel_row));
}

static void find_runs(Kb *k, const Gemm *g, Val row0, Val row_end, Val first, Val count) {
    (void)row0, (void)row_end;
    Loop l;
    kb_loop(k, &l, kb_i64(k, 0), kb_i64(k, conv_of(g)->c.kh), 1, NULL, 0);
    find_rows(k, g, l.i, first, count);
    kb_loop_end(k, &l);
}

/* Results of a row whose pixels of kernel column `col` exist: from *lo on, and how many. */
static Val results_inside(Kb *k, const IrConv *c, Val col, Val *lo) {
    int64_t s = c->stride;
    Val before = kb_sub(k, kb_i64(k, c->left + s - 1), col); /* (left - col) / s, rounded up */
    *lo = kb_udiv(k, kb_max(k, before, kb_i64(k, 0)), s);
    Val last = kb_sub(k, kb_i64(k, c->w - 1 + c->left), col); /* the last pixel's result, at most */
    Val end = kb_udiv(k, kb_add(k, kb_max(k, last, kb_i64(k, -s)), kb_i64(k, s)), s);
    return kb_max(k, kb_sub(k, kb_min(k, end, kb_i64(k, c->ow)), *lo), kb_i64(k, 0));
}

static void tile_runs(Kb *k, const Gemm *g, Val row, Val local, Micro *m) {
    (void)local;
    const Conv *v = conv_of(g);
    const IrConv *c = &v->c;
    Val tap = kb_udiv(k, row, v->padded), channel = kb_urem(k, row, v->padded), lo;
    Val kernel_row = kb_udiv(k, tap, c->kw), col = kb_urem(k, tap, c->kw);
    m->count = results_inside(k, c, col, &lo);
    m->runs = LLVMBuildLoad2(k->b, k->i64, kb_gep(k, k->i64, v->n_table, kernel_row), "");
    m->a_rows = entry(k, g, v->a_table, kernel_row, kb_i64(k, 0));
    m->run_rows = kb_i64(k, 1);
    m->b_runs = entry(k, g, v->b_table, kernel_row, kb_i64(k, 0));
    Val x = kb_add(k, kb_mul(k, lo, kb_i64(k, c->stride)), kb_sub(k, col, kb_i64(k, c->left)));
    m->a_at = kb_add(k, kb_mul(k, x, kb_i64(k, v->image.stride[2])), channel);
    m->b = kb_gep(k, k->f32, m->b, kb_mul(k, lo, kb_i64(k, c->o)));
}

static Val all_results(Kb *k, const Gemm *g, const Operand *o, Val matrix, Val row, Val k0) {
    (void)o, (void)matrix, (void)row, (void)k0;
    return first_result(k, g);
}

/* ---- unfolded ---- */

static void copy_unfolded(Kb *k, const Gemm *g, const Operand *o, Val first, Val count) {
    const Conv *v = conv_of(g);
    Val end = kb_min(k, kb_add(k, o->col0, kb_i64(k, o->step)), kb_i64(k, g->rows));
    Loop l;
    kb_loop(k, &l, kb_i64(k, 0), count, 1, NULL, 0);
    Val to = kb_gep(k, k->f32, o->at, kb_mul(k, l.i, kb_i64(k, o->step)));
    conv_unfold(k, v, kb_add(k, first, l.i), o->col0, end, to);
    kb_loop_end(k, &l);
}

static Val item_results(Kb *k, const Gemm *g, const Operand *o, Val matrix, Val row, Val k0) {
    (void)o, (void)matrix, (void)row, (void)k0;
    Val skip = kb_mul(k, g->first_row, kb_i64(k, conv_of(g)->c.o));
    return kb_gep(k, k->f32, first_result(k, g), skip);
}

/* ---- in pairs of bf16 ---- */

static Val pixel_address(Kb *k, const Gemm *g, const Operand *o, Val row) {
    (void)o;
    const Conv *v = conv_of(g);
    const IrConv *c = &v->c;
    Pixel p = conv_pixel(k, row, kb_i64(k, c->oh), kb_i64(k, c->ow));
    Val s = kb_i64(k, c->stride);
    Val y = kb_add(k, kb_mul(k, p.y, s), kb_sub(k, kb_udiv(k, v->tap, c->kw), kb_i64(k, c->top)));
    Val x = kb_add(k, kb_mul(k, p.x, s), kb_sub(k, kb_urem(k, v->tap, c->kw), kb_i64(k, c->left)));
    return LLVMBuildSelect(k->b, conv_inside(k, v, y, x), conv_address(k, v, p.image, y, x),
                           v->zeros, "");
}

static Val result_address(Kb *k, const Gemm *g, const Operand *o, Val row) {
    Val at = kb_ptr(k, g->n->in[1]);
    return kb_gep(k, kb_elem(k, o->value->type.dtype), at,
                  kb_mul(k, row, kb_i64(k, conv_of(g)->c.o)));
}

/* ---- the product ---- */

/* Where the images of part `part` of expert `expert` begin, and how many they are. */
static void set_images(Kb *k, Conv *v, const IrNode *n, Val part, Val expert) {
    const IrConv *c = &v->c;
    Val first = kb_i64(k, 0), last = kb_i64(k, c->batch);
    if (c->experts) {
        Val offsets = kb_ptr(k, n->in[c->offsets]);
        first = kb_load_i32(k, offsets, expert);
        last = kb_load_i32(k, offsets, kb_add(k, expert, kb_i64(k, 1)));
    }
    Val images = kb_sub(k, last, first);
    Val begin = kb_udiv(k, kb_mul(k, part, images), c->parts);
    Val end = kb_udiv(k, kb_mul(k, kb_add(k, part, kb_i64(k, 1)), images), c->parts);
    v->image0 = kb_add(k, first, begin);
    v->images = kb_sub(k, end, begin);
}

typedef enum Way { IN_RUNS, UNFOLDED, IN_PAIRS } Way;

static void set_operands(Gemm *g, const Conv *v, Way way) {
    IrNode *n = g->n;
    g->a = (Operand){.value = n->in[0], .view = v->image};
    g->b = (Operand){.value = n->in[1], .step = v->c.o};
    g->a.side_by_side = way != IN_PAIRS;
    switch (way) {
    case IN_RUNS:
        g->a.step = v->c.stride * v->image.stride[2];
        g->b.row = all_results;
        g->place = place_of_channel;
        break;
    case UNFOLDED:
        g->a.made = OPERAND_BY_CHUNK;
        g->a.copy = copy_unfolded;
        g->b.row = item_results;
        break;
    case IN_PAIRS:
        g->a.made = g->b.made = OPERAND_IN_PAIRS;
        g->a.address = pixel_address;
        g->b.address = result_address;
        break;
    }
}

static void take_scratch(Kb *k, Gemm *g, Conv *v, Way way) {
    int64_t tables = v->c.kh * g->kc * 8;
    gemm_scratch(k, g);
    if (way == UNFOLDED) conv_unfold_begin(k, v);
    if (way == IN_PAIRS) conv_zeros(k, v, v->in);
    if (way != IN_RUNS) return;
    v->a_table = kb_scratch(k, tables);
    v->b_table = kb_scratch(k, tables);
    v->n_table = kb_scratch(k, v->c.kh * 8);
}

/* One block of matrix `matrix` of the result. */
static void lower_block(Kb *k, Gemm *g, Conv *v, Way way, Val matrix, Val item) {
    const IrConv *c = &v->c;
    int64_t taps = way == IN_PAIRS ? c->kh * c->kw : 1, experts = c->experts ? c->experts : 1;
    Val set = kb_udiv(k, matrix, taps), expert = kb_urem(k, kb_udiv(k, set, c->groups), experts);
    v->tap = kb_urem(k, matrix, taps);
    v->group = kb_urem(k, set, c->groups);
    set_images(k, v, g->n, kb_udiv(k, set, c->groups * experts), expert);
    Val results = kb_i64(k, c->oh * c->ow), inner;
    g->first_row = kb_mul(k, v->image0, results);
    g->sum_rows = kb_mul(k, v->images, results);
    inner = way == IN_RUNS ? kb_mul(k, v->images, kb_i64(k, c->oh)) : g->sum_rows;
    if (way == IN_PAIRS) inner = kb_udiv(k, kb_add(k, inner, kb_i64(k, 1)), 2);
    v->first_matrix = kb_mul(k, matrix, kb_i64(k, c->kh * c->kw * v->in));
    Val row0 = kb_mul(k, kb_udiv(k, item, g->col_blocks), kb_i64(k, g->mb));
    Val row_end = kb_min(k, kb_add(k, row0, kb_i64(k, g->mb)), kb_i64(k, g->rows));
    Val cb = kb_urem(k, item, g->col_blocks), out_row = row0;
    if (way != IN_RUNS) out_row = kb_add(k, kb_mul(k, matrix, kb_i64(k, g->rows)), row0);
    g->a.col0 = row0;
    g->b.col0 = kb_mul(k, cb, kb_i64(k, g->np * g->tile.nr));
    gemm_block(k, g, matrix, row0, row_end, out_row, cb, inner);
}

void cg_lower_conv_dw(Kb *k, IrNode *n) {
    Conv v = {.c = ir_conv_of(n)};
    const IrConv *c = &v.c;
    Way way = ir_rounds_operands(n) ? IN_PAIRS : block_is_unfolded(n) ? UNFOLDED : IN_RUNS;
    v.in = c->c / c->groups;
    v.out = c->o / c->groups;
    v.ih = c->h;
    v.iw = c->w;
    view_resolve(n->in[0], &v.image);
    Runs runs = {.length = c->ow, .find = find_runs, .tile = tile_runs};
    Gemm g = {.n = n, .bf16 = way == IN_PAIRS, .product = &v, .cols = v.out};
    int64_t taps = c->kh * c->kw, tile_rows = block_tile(k->target, k->cl).rows;
    v.padded = ceil_div(v.in, tile_rows) * tile_rows;
    g.rows = way == IN_RUNS ? taps * v.padded : way == UNFOLDED ? taps * v.in : v.in;
    if (way == IN_RUNS) g.runs = &runs;
    set_operands(&g, &v, way);
    gemm_choose(k, &g);
    take_scratch(k, &g, &v, way);
    int64_t matrices = c->parts * (c->experts ? c->experts : 1) * c->groups;
    int64_t of_matrix = ceil_div(g.rows, g.mb) * g.col_blocks;
    if (way == IN_PAIRS) matrices *= taps;
    Val begin, end;
    Loop l;
    kb_share(k, matrices * of_matrix, &begin, &end);
    kb_loop(k, &l, begin, end, 1, NULL, 0);
    lower_block(k, &g, &v, way, kb_udiv(k, l.i, of_matrix), kb_urem(k, l.i, of_matrix));
    kb_loop_end(k, &l);
}
