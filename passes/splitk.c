/* splitk: sum long weight gradients in parts.
 *
 * requires  CORE ops
 * ensures   a product over the rows of two activations (matmul with ta, expert_matmul_dw) that has
 * many more rows than its result has columns is several products, each over a part of the rows, and
 * their sum. Products with few rows stay as they are. So is the weights' gradient of a depthwise
 * convolution of few channels, which are its only other work items: parts of the images.
 *
 * A weight gradient that is computed block by block reads each operand once per block of the other
 * one's columns, and rows that are longer than the caches come from memory every time. A part fits,
 * all of its blocks find it in the cache, and there are as many work items as parts without making
 * blocks small. The parts follow from shapes only, so that results have the same bits on every
 * machine of an instruction set.
 *
 * before  %2 = matmul %0, %1 {ta = 1} : f32[64,96]                   (%0 f32[16384,64], %1
 * f32[16384,96]) after   %2 = reshape %0 : f32[16,1024,64] %3 = reshape %1 : f32[16,1024,96] %4 =
 * matmul %2, %3 {ta = 1} : f32[16,64,96] %5 = sum %4 {axes = [0]} : f32[64,96] */
#include "passes/passes.h"

enum {
    FEWEST_ROWS = 8192, /* of a product that is split; fewer gain nothing (docs/lessons.md) */
    PART_ROWS = 1024,   /* and more in each part */
    MOST_PARTS = 16,
    RESULT_SHARE = 8, /* partial results have at most one element for so many of the operands */
    WANT_ITEMS = 12,  /* of a depthwise convolution's gradient */
    LINE = 16         /* floats of a cache line */
};

static int64_t most_parts(int64_t rows, int64_t operand_cols, int64_t result_elems) {
    int64_t most = rows / PART_ROWS, cheap = rows * operand_cols / RESULT_SHARE / result_elems;
    if (rows < FEWEST_ROWS) return 1;
    if (most > MOST_PARTS) most = MOST_PARTS;
    return cheap < most ? cheap : most;
}

/* The first operand's rows, all leading dimensions of it. */
static IrValue *in_parts(IrBuilder *b, IrValue *v, int64_t parts) {
    int64_t cols = ir_cols(&v->type);
    IrType t = IR_TYPE(v->type.dtype, parts, ir_elems(&v->type) / cols / parts, cols);
    return ir_reshape(b, v, &t);
}

static IrValue *sum_parts(IrBuilder *b, IrValue *y) {
    int64_t axis = 0;
    return ir_sum_axes(b, y, &axis, 1);
}

static IrValue *split_matmul(IrBuilder *b, IrNode *n, const IrWork *w) {
    if (w->tb || n->in[0]->type.rank != 2) return NULL;
    int64_t parts = most_parts(w->k, w->m + w->n, ir_elems(&n->out[0].type));
    while (parts > 1 && w->k % parts) parts--;
    if (parts <= 1) return NULL;
    IrValue *y = IR_OP(b, matmul, VALS(in_parts(b, n->in[0], parts), in_parts(b, n->in[1], parts)),
                       ATTRS(A_INT(matmul_ta, 1), A_INT(matmul_bf16, ir_int(n, ATTR_matmul_bf16))));
    return sum_parts(b, y);
}

/* Each expert's rows, however many, are cut into as many parts. */
static IrValue *split_expert(IrBuilder *b, IrNode *n, const IrWork *w) {
    if (w->count > w->experts) return NULL; /* it is in parts already */
    int64_t parts = most_parts(w->k, w->m + w->n, ir_elems(&n->out[0].type));
    int64_t most = w->k / w->experts / PART_ROWS;
    if (most < parts) parts = most;
    if (parts <= 1) return NULL;
    return sum_parts(
        b, IR_OP(b, expert_matmul_dw, VALS(n->in[0], n->in[1], n->in[2]),
                 ATTRS(A_INT(expert_matmul_dw_bf16, ir_int(n, ATTR_expert_matmul_dw_bf16)),
                       A_INT(expert_matmul_dw_parts, parts))));
}

/* n again, with another number in its attribute `id`. */
static IrValue *with_parts(IrBuilder *b, const IrNode *n, AttrId id, int64_t parts) {
    AttrArg attr[16];
    int count = 0;
    for (int i = 0; i < ir_ops[n->op].nattr; i++) {
        AttrArg a = {ir_ops[n->op].first_attr + (AttrId)i, n->attr[i]};
        if (a.id != id && a.v.set) attr[count++] = a;
    }
    attr[count++] = (AttrArg){id, {.set = true, .i = parts}};
    return ir_op(b, n->op, n->in, n->nin, attr, count);
}

/* Parts of images. Blocks of one part's result read its images again and again, so these should fit
 * a cache, and parts are items. */
static IrValue *split_conv(IrBuilder *b, IrNode *n) {
    IrConv v = ir_conv_of(n);
    int64_t results = v.oh * v.ow, cheap, parts = v.batch < MOST_PARTS ? v.batch : MOST_PARTS;
    cheap = v.batch * (v.h * v.w * v.c + results * v.o) / RESULT_SHARE / ir_elems(&n->out[0].type);
    if (v.experts) parts = v.batch / v.experts < parts ? v.batch / v.experts : parts;
    if (cheap < parts) parts = cheap;
    if (v.parts > 1 || parts <= 1 || n->out[0].type.rank == IR_MAX_RANK) return NULL;
    if (v.batch * results < FEWEST_ROWS) return NULL;
    return sum_parts(b, with_parts(b, n, ATTR_conv_dw_parts, parts));
}

/* Images, until there are items enough: one is a line of cache of an expert's channels. */
static IrValue *split_depthwise(IrBuilder *b, IrNode *n) {
    IrConv c = ir_conv_of(n);
    int64_t experts = c.experts ? c.experts : 1, images = c.batch / experts;
    int64_t items = experts * ((c.c + LINE - 1) / LINE), parts = (WANT_ITEMS + items - 1) / items;
    if (parts > images) parts = images;
    if (c.parts > 1 || parts <= 1) return NULL;
    return sum_parts(b, with_parts(b, n, ATTR_depthwise_dw_parts, parts));
}

/* The sum of n's parts; NULL: it stays whole. */
static IrValue *split(IrBuilder *b, IrNode *n) {
    IrWork w;
    if (n->op == OP_depthwise_dw) return split_depthwise(b, n);
    if (!ir_work_product(n, &w)) return NULL;
    switch (w.product) {
    case IR_PRODUCT_matmul_ta: return split_matmul(b, n, &w);
    case IR_PRODUCT_expert_matmul_dw: return split_expert(b, n, &w);
    case IR_PRODUCT_conv_dw: return split_conv(b, n);
    default: return NULL;
    }
}

bool pass_splitk(PassCtx *c, IrGraph *g) {
    (void)c;
    bool changed = false;
    IR_FOR (n, g) {
        IrBuilder b = ir_builder(g);
        b.at = n;
        b.loc = n->loc;
        IrValue *y = split(&b, n);
        if (!y) continue;
        ir_replace_uses(g, &n->out[0], y);
        changed = true;
    }
    if (changed) ir_dce(g, false);
    return changed;
}
