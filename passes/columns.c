/* columns: sums over all pixels of images, of which batch norms and biases make many.
 *
 * requires  CORE ops
 * ensures   what multiplies a whole channel (a broadcast of one number each, a constant) stands
 * behind the sum, so that sums of one thing with different factors become one (cse). Sums over many
 * pixels are sums over parts of them, and a sum of the parts: each fits into a cache, and there are
 * items enough however few the channels are. Parts follow from shapes only. Sums of differences
 * stay what they are: a pixel minus its channel's mean keeps digits that the sums of both have
 * lost.
 *
 * All this rounds otherwise than before, in the same way on every machine. Only sums of [B,H,W,C]
 * over B, H and W are looked at.
 *
 * before  %3 = broadcast %2 {shape = [4,8,8,16]} : f32[4,8,8,16]               (%2 f32[16])
 *         %4 = mul %0, %3 : f32[4,8,8,16]
 *         %5 = sum %4 {axes = [0,1,2]} : f32[16]
 * after   %5 = sum %0 {axes = [0,1,2]} : f32[16]
 *         %6 = mul %5, %2 : f32[16] */
#include "passes/passes.h"

enum {
    FEWEST_ROWS = 512,    /* pixels of a sum that is cut */
    PART_ELEMS = 1 << 15, /* at most, in each part */
    MAX_FACTORS = 16
};

/* A product: numbers of pixels, of channels, and a constant. */
typedef struct Term {
    double scale;
    IrValue *pixel[MAX_FACTORS], *channel[MAX_FACTORS];
    int npixel, nchannel;
} Term;

/* v repeats one number, or one for each channel; gives what it repeats. */
static IrValue *channel_value(const IrValue *v) {
    if (v->node->op != OP_broadcast) return NULL;
    IrValue *u = v->node->in[0];
    int64_t n = ir_elems(&u->type);
    return n == 1 || (n == ir_cols(&v->type) && ir_cols(&u->type) == n) ? u : NULL;
}

static void collect(IrValue *v, Term *t) {
    IrNode *n = v->node;
    IrValue *u = channel_value(v);
    bool room = t->npixel + t->nchannel + 2 <= MAX_FACTORS;
    if (n->op == OP_const) {
        t->scale *= ir_float(n, ATTR_const_value);
    } else if (u) {
        t->channel[t->nchannel++] = u;
    } else if (n->op == OP_neg) {
        t->scale = -t->scale;
        collect(n->in[0], t);
    } else if (n->op == OP_mul && room) {
        for (int i = 0; i < 2; i++) collect(n->in[i], t);
    } else {
        t->pixel[t->npixel++] = v;
    }
}

static Term term_of(IrValue *v) {
    Term t = {.scale = 1};
    collect(v, &t);
    return t;
}

static bool has_factors(const Term *t) {
    return t->nchannel > 0 || t->scale != 1;
}

/* The number of parts of `rows` pixels of `cols` channels; 1: they stay together. */
static int64_t parts_of(int64_t rows, int64_t cols) {
    int64_t most = PART_ELEMS / cols < 64 ? 64 : PART_ELEMS / cols;
    if (rows < FEWEST_ROWS) return 1;
    for (int64_t each = most < rows ? most : rows; each >= most / 4; each--)
        if (rows % each == 0) return rows / each;
    return 1;
}

static IrValue *sum_pixels(IrBuilder *b, IrValue *v) {
    static const int64_t all[] = {0, 1, 2};
    int64_t cols = ir_cols(&v->type), rows = ir_rows(&v->type), parts = parts_of(rows, cols);
    if (parts == 1) return ir_sum_axes(b, v, all, 3);
    IrType t = IR_TYPE(v->type.dtype, parts, rows / parts, cols);
    v = ir_sum_axes(b, ir_reshape(b, v, &t), &all[1], 1);
    return ir_sum_axes(b, v, all, 1);
}

/* Equal products have equal operands, in whatever order they were multiplied. */
static IrValue *product_of_pixels(IrBuilder *b, Term *t) {
    for (int i = 1; i < t->npixel; i++)
        for (int j = i; j > 0 && t->pixel[j]->node->id < t->pixel[j - 1]->node->id; j--) {
            IrValue *x = t->pixel[j];
            t->pixel[j] = t->pixel[j - 1];
            t->pixel[j - 1] = x;
        }
    IrValue *v = t->pixel[0];
    for (int i = 1; i < t->npixel; i++) v = ir_binary(b, OP_mul, v, t->pixel[i]);
    return v;
}

/* What a broadcast repeats, as numbers of channels, [C]: one number may be of any rank, such as the
 * mask of a batch of one image. */
static IrValue *as_column(IrBuilder *b, IrValue *f, const IrType *column) {
    if (ir_elems(&f->type) != 1) return ir_reshape(b, f, column);
    IrType one = IR_TYPE(DT_f32, 1);
    return ir_broadcast(b, f->type.rank > 1 ? ir_reshape(b, f, &one) : f, column);
}

/* The sum of v over all pixels, [C]. */
static IrValue *column_sum(IrBuilder *b, IrValue *v) {
    Term t = term_of(v);
    const IrType column = IR_TYPE(DT_f32, ir_cols(&v->type));
    IrValue *sum;
    if (t.npixel == 0) {
        sum = ir_const(b, (double)ir_rows(&v->type) * t.scale, column);
        t.scale = 1;
    } else {
        sum = sum_pixels(b, product_of_pixels(b, &t));
    }
    for (int i = 0; i < t.nchannel; i++)
        sum = ir_binary(b, OP_mul, sum, as_column(b, t.channel[i], &column));
    if (t.scale == -1) return ir_unary(b, OP_neg, sum);
    return t.scale == 1 ? sum : ir_scale(b, sum, t.scale);
}

static bool sums_pixels(const IrNode *n) {
    const int64_t *axes;
    if (n->op != OP_sum || n->in[0]->type.rank != 4) return false;
    int naxes = ir_ints(n, ATTR_sum_axes, &axes);
    return naxes == 3 && axes[2] == 2; /* ascending */
}

/* Would the sum come out otherwise than it stands? */
static bool changes(const IrNode *n) {
    Term t = term_of(n->in[0]);
    const IrType *x = &n->in[0]->type;
    if (has_factors(&t) || t.npixel == 0) return true;
    return parts_of(ir_rows(x), ir_cols(x)) > 1;
}

bool pass_columns(PassCtx *c, IrGraph *g) {
    (void)c;
    bool changed = false;
    ir_renumber(g);
    IR_FOR (n, g) {
        if (!sums_pixels(n) || !changes(n)) continue;
        IrBuilder b = ir_builder(g);
        b.at = n;
        b.loc = n->loc;
        ir_replace_uses(g, &n->out[0], column_sum(&b, n->in[0]));
        changed = true;
    }
    if (changed) ir_dce(g, false);
    return changed;
}
