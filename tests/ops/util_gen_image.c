/* Random windows over random images: poolings of any kernel, stride and padding. */
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
