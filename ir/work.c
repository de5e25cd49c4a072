/* What ops multiply: one rule work_<op> for each WORK row of ops.def, from the node's types and
 * attributes. Whoever plans, counts or rewrites products asks ir_work and knows none of them by
 * name. */
#include "ir/ir.h"

const char *const ir_product_name[IR_PRODUCT_COUNT] = {
#define PRODUCT(name, doc) #name,
#include "ir/products.def"
};

typedef void (*WorkRule)(const IrNode *n, IrWork *w);

#define RULE_NONE(name)
#define RULE_WORK(name) static void work_##name(const IrNode *n, IrWork *w);
#define OP(name, lo, hi, nout, stage, route, grad, flags, work, ...) RULE_##work(name)
#include "ir/ops.def"

static const WorkRule rules[OP_COUNT] = {
#define ENTRY_NONE(name)
#define ENTRY_WORK(name) [OP_##name] = work_##name,
#define OP(name, lo, hi, nout, stage, route, grad, flags, work, ...) ENTRY_##work(name)
#include "ir/ops.def"
};

bool ir_work(const IrNode *n, IrWork *w) {
    *w = (IrWork){0};
    if (!rules[n->op]) return false;
    w->left = 0;
    w->right = 1;
    w->bias = w->offsets = -1;
    rules[n->op](n, w);
    return true;
}

bool ir_work_product(const IrNode *n, IrWork *w) {
    return ir_work(n, w) && !w->attention && !w->depthwise;
}

static const IrType *in_type(const IrNode *n, int i) {
    return &n->in[i]->type;
}

/* ---- plain products ---- */

static void work_matmul(const IrNode *n, IrWork *w) {
    const IrType *a = in_type(n, 0), *y = &n->out[0].type;
    w->ta = ir_int(n, ATTR_matmul_ta) != 0;
    w->tb = ir_int(n, ATTR_matmul_tb) != 0;
    w->product = w->ta ? IR_PRODUCT_matmul_ta : IR_PRODUCT_matmul;
    w->shared = in_type(n, 1)->rank == 2 && !w->ta;
    w->m = w->shared ? ir_rows(y) : y->dim[y->rank - 2];
    w->n = ir_cols(y);
    w->k = a->dim[w->ta ? a->rank - 2 : a->rank - 1];
    w->count = ir_rows(y) / w->m;
    w->macs = (double)ir_elems(y) * (double)w->k;
}

static void work_linear(const IrNode *n, IrWork *w) {
    const IrType *y = &n->out[0].type;
    w->product = IR_PRODUCT_matmul;
    w->shared = true;
    w->count = 1;
    w->m = ir_rows(y);
    w->n = ir_cols(y);
    w->k = ir_cols(in_type(n, 0));
    w->macs = (double)ir_elems(y) * (double)w->k;
    if (n->nin > 2) w->bias = 2;
}

/* ---- products grouped by expert: all rows there are count, whoever has them ---- */

static void expert_product(const IrNode *n, IrWork *w) {
    const IrType *y = &n->out[0].type;
    w->product = IR_PRODUCT_expert_matmul;
    w->offsets = 2;
    w->count = w->experts = in_type(n, 1)->dim[0];
    w->m = ir_rows(y);
    w->n = ir_cols(y);
    w->k = ir_cols(in_type(n, 0));
    w->macs = (double)ir_elems(y) * (double)w->k;
}

static void work_expert_matmul(const IrNode *n, IrWork *w) {
    expert_product(n, w);
    w->tb = ir_int(n, ATTR_expert_matmul_tb) != 0;
}

static void work_expert_linear(const IrNode *n, IrWork *w) {
    expert_product(n, w);
    if (n->nin > 4) w->bias = 4;
}

/* x^T dy; parts of an expert's rows are products of their own. */
static void work_expert_matmul_dw(const IrNode *n, IrWork *w) {
    const IrType *x = in_type(n, 0), *dy = in_type(n, 1);
    w->product = IR_PRODUCT_expert_matmul_dw;
    w->offsets = 2;
    w->ta = true;
    w->experts = in_type(n, 2)->dim[0] - 1;
    w->count = w->experts * ir_int(n, ATTR_expert_matmul_dw_parts);
    w->m = ir_cols(x);
    w->n = ir_cols(dy);
    w->k = ir_rows(x);
    w->macs = (double)ir_elems(x) * (double)w->n;
}

/* ---- attention ---- */

/* `products` of all queries and all keys. */
static void attention(const IrNode *n, IrWork *w, AttrId heads_id, int products) {
    const IrType *q = in_type(n, 0), *k = in_type(n, 1);
    int64_t heads = ir_int(n, heads_id);
    w->attention = true;
    w->count = q->dim[0] * heads;
    w->m = q->dim[1];
    w->n = k->dim[1];
    w->k = q->dim[2] / heads;
    w->macs = products * (double)ir_elems(q) * (double)w->n;
}

/* Scores and the weighted sum. */
static void work_attention(const IrNode *n, IrWork *w) {
    attention(n, w, ATTR_attention_heads, 2);
}

static void work_sdpa(const IrNode *n, IrWork *w) {
    attention(n, w, ATTR_sdpa_heads, 2);
}

/* Of do, v, k and q; that the scores are computed again is not useful work. */
static void work_sdpa_grad(const IrNode *n, IrWork *w) {
    attention(n, w, ATTR_sdpa_grad_heads, 4);
}

/* ---- convolutions: one product for each group, or for each expert's group ---- */

/* macs: per pair of a result and a kernel element, `each`. */
static void count_elements(IrWork *w, const IrConv *c, double each) {
    double all = (double)(c->oh * c->ow) * (double)(c->kh * c->kw);
    w->macs = (double)c->batch * all * each;
    w->padding = (double)c->batch * (all - (double)ir_conv_meetings(c)) * each;
}

/* Sizes but m, n and k. */
static IrConv convolution(const IrNode *n, IrWork *w, IrProduct product) {
    IrConv c = ir_conv_of(n);
    w->product = product;
    w->experts = c.experts;
    w->offsets = c.offsets;
    w->count = c.groups * (c.experts ? c.experts : 1) * c.parts;
    w->shared = c.groups == 1 && !c.experts && product != IR_PRODUCT_conv_dw;
    count_elements(w, &c, (double)(c.c / c.groups) * (double)c.o);
    return c;
}

static void work_conv(const IrNode *n, IrWork *w) {
    IrConv c = convolution(n, w, IR_PRODUCT_conv);
    w->m = c.batch * c.oh * c.ow;
    w->n = c.o / c.groups;
    w->run = c.c / c.groups;
    w->k = c.kh * c.kw * w->run;
}

/* Kernel elements that meet a result: those of one phase of the stride, on average. */
static void work_conv_dx(const IrNode *n, IrWork *w) {
    IrConv c = convolution(n, w, IR_PRODUCT_conv_dx);
    w->tb = true;
    w->m = c.batch * c.h * c.w;
    w->n = c.c / c.groups;
    w->run = c.o / c.groups;
    w->k = c.kh * c.kw * w->run;
}

static void work_conv_dw(const IrNode *n, IrWork *w) {
    IrConv c = convolution(n, w, IR_PRODUCT_conv_dw);
    w->ta = true;
    w->m = c.kh * c.kw * (c.c / c.groups);
    w->n = c.o / c.groups;
    w->k = c.batch * c.oh * c.ow;
}

static void depthwise(const IrNode *n, IrWork *w) {
    IrConv c = ir_conv_of(n);
    w->depthwise = true;
    w->experts = c.experts;
    w->offsets = c.offsets;
    count_elements(w, &c, (double)c.c);
}

static void work_depthwise(const IrNode *n, IrWork *w) {
    depthwise(n, w);
}

static void work_depthwise_dx(const IrNode *n, IrWork *w) {
    depthwise(n, w);
}

static void work_depthwise_dw(const IrNode *n, IrWork *w) {
    depthwise(n, w);
}
