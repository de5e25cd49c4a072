/* Dense convolutions and their gradients for images, as matrix products: a row is a result, the
 * inner dimension is the kernel's elements, each a run of channels that is read where it lies in
 * the image. No unfolded copy exists; a pixel outside the image is a row of zeros.
 *
 * The gradient for images turns the roles round: a row is a pixel, and the kernel elements that met
 * it are runs of dy. With a stride only some of them did, the same for all pixels whose place is
 * equal modulo the stride: each such phase is a product of its own.
 *
 * Weights are packed as one matrix for each kernel element, [KH*KW][panels][C][nr], forward, and
 * turned for images, so that updates write both copies. */
#include "codegen/kernels/conv.h"
#include "codegen/kernels/rules.h"
#include "codegen/plan/blocks.h"

/* ---- phases ---- */

/* Kernel elements and results of one side of this item's phase. Forward there is one phase, with
 * all of them. */
static void set_side(Kb *k, Conv *v, int i, Val phase) {
    const IrConv *c = &v->c;
    int64_t kernel = i ? c->kw : c->kh, pad = i ? c->left : c->top, s = c->stride;
    if (!v->turned) {
        v->side[i].phase = v->side[i].first = kb_i64(k, 0);
        v->side[i].count = kb_i64(k, kernel);
        v->side[i].size = kb_i64(k, i ? c->ow : c->oh);
        v->side[i].shift = kb_i64(k, -pad);
        return;
    }
    Val from = kb_add(k, phase, kb_i64(k, pad)); /* where the kernel's element 0 would lie */
    Val first = kb_urem(k, from, s);
    v->side[i].phase = phase;
    v->side[i].first = first;
    v->side[i].count = kb_udiv(k, kb_sub(k, kb_i64(k, kernel + s - 1), first), s);
    v->side[i].size = kb_udiv(k, kb_sub(k, kb_i64(k, (i ? c->w : c->h) + s - 1), phase), s);
    v->side[i].shift = kb_udiv(k, kb_sub(k, from, first), s);
}

static void set_phase(Kb *k, Conv *v, Val phase) {
    int64_t s = v->turned ? v->c.stride : 1;
    set_side(k, v, 0, kb_udiv(k, phase, s));
    set_side(k, v, 1, kb_urem(k, phase, s));
}

/* The image's pixel that the first kernel element of row `row` meets. */
static Pixel first_pixel(Kb *k, const Conv *v, Val row) {
    Pixel p = conv_pixel(k, row, v->side[0].size, v->side[1].size);
    int64_t s = v->turned ? 1 : v->c.stride;
    p.y = kb_add(k, kb_mul(k, p.y, kb_i64(k, s)), v->side[0].shift);
    p.x = kb_add(k, kb_mul(k, p.x, kb_i64(k, s)), v->side[1].shift);
    return p;
}

/* Pixels of a phase are a stride apart. */
static Val place_of_phase(Kb *k, const Gemm *g, Val row) {
    const Conv *v = conv_of(g);
    Pixel p = conv_pixel(k, row, v->side[0].size, v->side[1].size);
    Val s = kb_i64(k, v->c.stride);
    Val y = kb_add(k, kb_mul(k, p.y, s), v->side[0].phase);
    Val x = kb_add(k, kb_mul(k, p.x, s), v->side[1].phase);
    Val line = kb_add(k, kb_mul(k, p.image, kb_i64(k, v->c.h)), y);
    return kb_add(k, kb_mul(k, line, kb_i64(k, v->c.w)), x);
}

/* ---- runs: kernel elements ---- */

/* Calls body for the kernel elements [first, + count) of the phase: the i-th of its rows, the j-th
 * of its columns. */
typedef void (*ElementBody)(Kb *k, const Gemm *g, Val local, Val i, Val j, void *ctx);
static void each_element(Kb *k, const Gemm *g, Val first, Val count, ElementBody body, void *ctx) {
    const Conv *v = conv_of(g);
    Val columns = kb_max(k, v->side[1].count, kb_i64(k, 1));
    Val at[2] = {LLVMBuildUDiv(k->b, first, columns, ""), LLVMBuildURem(k->b, first, columns, "")};
    Loop l;
    kb_loop(k, &l, kb_i64(k, 0), count, 1, at, 2);
    body(k, g, l.i, l.carry[0], l.carry[1], ctx);
    Val next = kb_add(k, l.carry[1], kb_i64(k, 1));
    Val wraps = LLVMBuildICmp(k->b, LLVMIntEQ, next, columns, "");
    l.next[1] = LLVMBuildSelect(k->b, wraps, kb_i64(k, 0), next, "");
    l.next[0] = LLVMBuildSelect(k->b, wraps, kb_add(k, l.carry[0], kb_i64(k, 1)), l.carry[0], "");
    kb_loop_end(k, &l);
}

/* A row of the block: its first pixel, and which of the block's rows it is. */
typedef struct Row {
    Pixel from;
    Val local;
} Row;

static void find_element(Kb *k, const Gemm *g, Val local, Val i, Val j, void *ctx) {
    const Conv *v = conv_of(g);
    const Row *row = ctx;
    Val y = v->turned ? kb_sub(k, row->from.y, i) : kb_add(k, row->from.y, i);
    Val x = v->turned ? kb_sub(k, row->from.x, j) : kb_add(k, row->from.x, j);
    Val at = conv_address(k, v, row->from.image, y, x);
    at = LLVMBuildSelect(k->b, conv_inside(k, v, y, x), at, v->zeros, "");
    Val entry = kb_add(k, kb_mul(k, local, kb_i64(k, g->mb)), row->local);
    LLVMBuildStore(k->b, at, kb_gep(k, k->ptr, g->row_ptr, entry));
}

static void find_weights(Kb *k, const Gemm *g, Val local, Val i, Val j, void *ctx) {
    const Conv *v = conv_of(g);
    int64_t step = v->turned ? v->c.stride : 1;
    Val row = kb_add(k, v->side[0].first, kb_mul(k, i, kb_i64(k, step)));
    Val col = kb_add(k, v->side[1].first, kb_mul(k, j, kb_i64(k, step)));
    Val element = kb_add(k, kb_mul(k, row, kb_i64(k, v->c.kw)), col);
    int64_t apart = g->panels * g->runs->length * g->tile.nr;
    LLVMBuildStore(k->b, kb_mul(k, element, kb_i64(k, apart)), kb_gep(k, k->i64, v->b_at, local));
    (void)ctx;
}

static void find_runs(Kb *k, const Gemm *g, Val row0, Val row_end, Val first, Val count) {
    const Conv *v = conv_of(g);
    each_element(k, g, first, count, find_weights, NULL);
    Val last = kb_sub(k, row_end, kb_i64(k, 1));
    Loop l;
    kb_loop(k, &l, kb_i64(k, 0), kb_i64(k, g->mb), 1, NULL, 0);
    Row row = {first_pixel(k, v, kb_min(k, kb_add(k, row0, l.i), last)), l.i};
    each_element(k, g, first, count, find_element, &row);
    kb_loop_end(k, &l);
}

static void tile_runs(Kb *k, const Gemm *g, Val row, Val local, Micro *m) {
    (void)row;
    m->a_rows = kb_gep(k, k->ptr, g->row_ptr, local);
    m->run_rows = kb_i64(k, g->mb);
    m->b_runs = conv_of(g)->b_at;
    m->count = kb_i64(k, g->runs->length);
}

/* ---- unfolded rows ---- */

static void unfold_row(Kb *k, Val row, Val to, void *ctx) {
    const Conv *v = ctx;
    conv_unfold(k, v, row, kb_i64(k, 0), kb_i64(k, v->c.kh * v->c.kw * v->in), to);
}

/* ---- the product ---- */

static Conv describe(IrNode *n, bool turned) {
    Conv v = {.c = ir_conv_of(n), .turned = turned};
    v.in = v.c.c / v.c.groups;
    v.out = v.c.o / v.c.groups;
    v.ih = turned ? v.c.oh : v.c.h;
    v.iw = turned ? v.c.ow : v.c.w;
    view_resolve(n->in[0], &v.image);
    return v;
}

/* An item's rows, of one phase, group and expert. */
static void lower_rows(Kb *k, const Gemm *g, const Conv *v, Val item) {
    const IrConv *c = &v->c;
    Val inner = g->runs ? kb_mul(k, v->side[0].count, v->side[1].count) : kb_i64(k, g->inner);
    Val per_image = kb_mul(k, v->side[0].size, v->side[1].size);
    Val block = kb_udiv(k, item, g->col_blocks), cb = kb_urem(k, item, g->col_blocks);
    Val matrix = v->group, row0, last;
    if (c->experts) {
        ExpertBlock x = gemm_expert_block(k, g, block, c->experts, per_image);
        matrix = kb_add(k, kb_mul(k, x.expert, kb_i64(k, c->groups)), v->group);
        row0 = x.row0;
        last = x.last;
    } else {
        row0 = kb_mul(k, block, kb_i64(k, g->mb));
        last = kb_mul(k, per_image, kb_i64(k, c->batch));
    }
    If any;
    kb_if(k, &any, LLVMBuildICmp(k->b, LLVMIntSLT, row0, last, ""));
    Val row_end = kb_min(k, kb_add(k, row0, kb_i64(k, g->mb)), last);
    gemm_block(k, g, matrix, row0, row_end, row0, cb, inner);
    kb_if_end(k, &any);
}

static void lower(Kb *k, IrNode *n, bool turned) {
    Conv v = describe(n, turned);
    const IrConv *c = &v.c;
    bool bf16 = ir_rounds_operands(n), unfolded = block_is_unfolded(n);
    int64_t s = turned ? c->stride : 1, channels = turned ? v.out : v.in;
    Runs runs = {.length = channels / (bf16 ? 2 : 1),
                 .of_b = c->kh * c->kw,
                 .find = find_runs,
                 .tile = tile_runs};
    Gemm g = {.n = n, .bf16 = bf16, .product = &v, .ctx = &v};
    g.a = (Operand){.value = n->in[0], .view = v.image, .step = v.image.stride[3]};
    g.b = (Operand){.value = n->in[1], .made = OPERAND_PACKED};
    g.cols = turned ? v.in : v.out;
    g.inner = ceil_div(c->kh, s) * ceil_div(c->kw, s);
    if (unfolded) {
        g.a.made = OPERAND_BY_BLOCK;
        g.a.make = unfold_row;
        g.a.step = 1;
        g.inner = g.a.cols = c->kh * c->kw * v.in;
    } else {
        g.runs = &runs;
    }
    if (s > 1) g.place = place_of_phase;
    gemm_choose(k, &g);
    gemm_scratch(k, &g);
    if (unfolded) {
        conv_unfold_begin(k, &v);
    } else {
        conv_zeros(k, &v, runs.length);
        v.b_at = kb_scratch(k, g.kc * 8);
    }
    int64_t rows = c->batch * (turned ? ceil_div(c->h, s) * ceil_div(c->w, s) : c->oh * c->ow);
    int64_t blocks = c->experts ? gemm_expert_blocks(&g, rows, c->experts) : ceil_div(rows, g.mb);
    int64_t of_set = blocks * g.col_blocks;
    Val begin, end;
    Loop l;
    kb_share(k, s * s * c->groups * of_set, &begin, &end);
    kb_loop(k, &l, begin, end, 1, NULL, 0);
    Val set = kb_udiv(k, l.i, of_set);
    v.group = kb_urem(k, set, c->groups);
    if (c->groups > 1) g.col_shift = kb_mul(k, v.group, kb_i64(k, g.cols));
    set_phase(k, &v, kb_udiv(k, set, c->groups));
    lower_rows(k, &g, &v, kb_urem(k, l.i, of_set));
    kb_loop_end(k, &l);
}

void cg_lower_conv(Kb *k, IrNode *n) {
    lower(k, n, false);
}

void cg_lower_conv_dx(Kb *k, IrNode *n) {
    lower(k, n, true);
}
