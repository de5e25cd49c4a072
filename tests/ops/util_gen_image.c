/* Random windows over random images: convolutions in groups, of every channel by itself and by
 * expert, and poolings, of any kernel, stride and padding. */
#include <math.h>

#include "tests/ops/util_gen.h"

/* A value as images [B,H,W,C]; what has fewer dimensions is one image, or one row of one. */
static IrValue *image(Gen *g) {
    IrValue *x = gen_pick(g);
    IrType t = x->type;
    if (t.rank < 2) return NULL;
    for (; t.rank < 4; t.rank++) {
        for (int d = t.rank; d > 0; d--) t.dim[d] = t.dim[d - 1];
        t.dim[0] = 1;
    }
    return ir_reshape(&g->b, x, &t);
}

/* A kernel that fits, stride and padding: pad[i] is below the kernel's size along its side. */
typedef struct Window {
    int64_t kernel[2], pad[4], stride;
} Window;

static Window window(Gen *g, const IrValue *x) {
    Window w = {.stride = 1 + case_below(&g->r, 3)};
    for (int side = 0; side < 2; side++) {
        int64_t size = x->type.dim[1 + side];
        int64_t kernel = w.kernel[side] = 1 + case_below(&g->r, size < 5 ? size : 5);
        if (gen_chance(g, 50)) continue;
        w.pad[side] = case_below(&g->r, kernel);
        w.pad[side + 2] = case_below(&g->r, kernel);
    }
    return w;
}

/* Weights [E][G][KH,KW,..] of one kind of convolution; no experts: 0, one group: 1. */
static IrValue *conv_weights(Gen *g, const Window *w, int64_t experts, int64_t groups,
                             const int64_t *last, int nlast) {
    IrType t = {.dtype = DT_f32};
    if (experts) t.dim[t.rank++] = experts;
    if (groups > 1) t.dim[t.rank++] = groups;
    for (int i = 0; i < 2; i++) t.dim[t.rank++] = w->kernel[i];
    for (int i = 0; i < nlast; i++) t.dim[t.rank++] = last[i];
    return gen_weight(g, t, 3);
}

/* Any convolution of x; off NULL: one set of weights for all images. */
static IrValue *convolve(Gen *g, IrValue *x, int64_t experts, IrValue *off) {
    Window w = window(g, x);
    int64_t C = ir_cols(&x->type), groups = 1 + case_below(&g->r, 3);
    int nin = off ? 3 : 2;
    if (gen_chance(g, 40)) {
        IrValue *in[] = {x, conv_weights(g, &w, experts, 1, &C, 1), off};
        return ir_op(&g->b, OP_depthwise, in, nin,
                     ATTRS(A_INTS(depthwise_pad, w.pad, 4), A_INT(depthwise_stride, w.stride)));
    }
    if (C % groups) groups = gen_chance(g, 30) ? C : 1;
    const int64_t last[] = {C / groups, 1 + case_below(&g->r, groups == 1 ? 19 : 5)};
    IrValue *in[] = {x, conv_weights(g, &w, experts, groups, last, 2), off};
    return ir_op(&g->b, OP_conv, in, nin,
                 ATTRS(A_INTS(conv_pad, w.pad, 4), A_INT(conv_stride, w.stride),
                       A_INT(conv_groups, groups)));
}

IrValue *gen_grow_conv(Gen *g) {
    IrValue *x = image(g);
    return x ? gen_damp(g, convolve(g, x, 0, NULL)) : NULL;
}

/* Whole images go to experts of their own convolutions, chosen by their mean pixel. */
IrValue *gen_grow_conv_experts(Gen *g) {
    IrBuilder *b = &g->b;
    IrValue *x = image(g);
    if (!x) return NULL;
    int64_t C = ir_cols(&x->type), E = 1 + case_below(&g->r, 4), K = 1 + case_below(&g->r, E);
    const int64_t axes[] = {1, 2};
    IrValue *seen = IR_OP(b, mean, VALS(x), ATTRS(A_INTS(mean_axes, axes, 2)));
    IrValue *w = gen_weight(g, IR_TYPE(DT_f32, C, E), 10);
    IrValue *logits = ir_scale(b, IR_OP(b, linear, VALS(seen, w), NO_ATTRS), 2);
    IrNode *top = IR_OP(b, topk, VALS(logits), ATTRS(A_INT(topk_k, K)))->node;
    IrNode *route = IR_OP(b, route, VALS(&top->out[1]), ATTRS(A_INT(route_experts, E)))->node;
    IrValue *rows = IR_OP(b, dispatch, VALS(x, &route->out[1]), ATTRS(A_INT(dispatch_k, K)));
    if (ir_elems(&rows->type) > GEN_MAX_ELEMS) return NULL;
    IrValue *y = gen_damp(g, convolve(g, rows, E, &route->out[0]));
    IrValue *share = ir_unary(b, OP_softmax, &top->out[0]);
    return IR_OP(b, combine, VALS(y, &route->out[2], share), NO_ATTRS);
}

IrValue *gen_grow_max_pool(Gen *g) {
    IrValue *x = image(g);
    if (!x) return NULL;
    Window w = window(g, x);
    return IR_OP(&g->b, max_pool, VALS(x),
                 ATTRS(A_INTS(max_pool_kernel, w.kernel, 2), A_INTS(max_pool_pad, w.pad, 4),
                       A_INT(max_pool_stride, w.stride)));
}

/* ---- stability ------------------------------------------------------------------------------- */

/* Element c of the pixel that tap t of window `at` (of image, row and column) meets; NULL: none. */
static const double *tap(const RefTensor *x, const IrConv *s, const int64_t *at, int64_t t,
                         int64_t c) {
    int64_t h = at[1] * s->stride + t / s->kw - s->top;
    int64_t w = at[2] * s->stride + t % s->kw - s->left;
    if (h < 0 || h >= s->h || w < 0 || w >= s->w) return NULL;
    return &x->data[((at[0] * s->h + h) * s->w + w) * s->c + c];
}

static bool close_window(const RefTensor *x, const IrConv *s, const int64_t *at, int64_t c) {
    const double *best = NULL;
    for (int64_t t = 0; t < s->kh * s->kw; t++) {
        const double *v = tap(x, s, at, t, c);
        if (v && (!best || *v > *best)) best = v;
    }
    for (int64_t t = 0; t < s->kh * s->kw; t++) {
        const double *v = tap(x, s, at, t, c);
        if (v && v != best && gen_close(*best, *v)) return true;
    }
    return false;
}

bool gen_close_windows(const RefTensor *x, const IrNode *n) {
    IrConv s = ir_conv_of(n);
    for (int64_t i = 0; i < s.batch * s.oh * s.ow; i++) {
        const int64_t at[] = {i / (s.oh * s.ow), i / s.ow % s.oh, i % s.ow};
        for (int64_t c = 0; c < s.c; c++)
            if (close_window(x, &s, at, c)) return true;
    }
    return false;
}
