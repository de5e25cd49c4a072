/* Pooling: the largest of each window and where it was, and the gradient of that. Vectors lie along
 * channels; the pixels of a window ("taps", kh*KW+kw) are numbers of the pixel alone, found once
 * for all its channels.
 *
 * No code branches on edges. A tap outside the image reads the nearest pixel inside, which is in
 * the window as well (pad is less than the kernel): it is met with its own number, and never larger
 * than itself. The gradient asks every window that a pixel could be in; one that does not contain
 * it, or does not exist, is asked for a tap that no index is. */
#include "codegen/kernels/rules.h"

enum {
    WRITTEN_OUT = 16, /* taps and windows; more are a loop */
    NO_TAP = -2       /* an index is -1 or a tap */
};

typedef struct Pool {
    IrNode *n;
    IrConv s;
    int64_t windows_h, windows_w; /* that a pixel may be in, each way */
    Val image, h, w;              /* of the pixel whose channels are computed */
} Pool;

static int64_t windows(int64_t kernel, int64_t stride) {
    return (kernel + stride - 1) / stride;
}

static Pool describe(IrNode *n) {
    IrConv s = ir_conv_of(n);
    return (Pool){
        .n = n, .s = s, .windows_h = windows(s.kh, s.stride), .windows_w = windows(s.kw, s.stride)};
}

/* Sets image, h and w to flattened row `row` of images height x width. */
static void find_pixel(Kb *k, Pool *p, Val row, int64_t height, int64_t width) {
    p->w = kb_urem(k, row, width);
    p->h = kb_urem(k, kb_udiv(k, row, width), height);
    p->image = kb_udiv(k, row, height * width);
}

static Val clamp(Kb *k, Val v, int64_t size) {
    return kb_max(k, kb_min(k, v, kb_i64(k, size - 1)), kb_i64(k, 0));
}

static Val splat_i32(Kb *k, Val v) {
    return kb_splat(k, LLVMBuildTrunc(k->b, v, k->i32, ""));
}

/* Calls body for taps or windows (i,j) of rows x cols in order, with values carried through. */
typedef void (*TapBody)(Kb *k, const Pool *p, Val i, Val j, Pos pos, Val *carry);

static void each_tap(Kb *k, const Pool *p, int64_t rows, int64_t cols, TapBody body, Pos pos,
                     Val *carry, int ncarry) {
    if (rows * cols <= WRITTEN_OUT) {
        for (int64_t t = 0; t < rows * cols; t++)
            body(k, p, kb_i64(k, t / cols), kb_i64(k, t % cols), pos, carry);
        return;
    }
    Loop l;
    kb_loop(k, &l, kb_i64(k, 0), kb_i64(k, rows * cols), 1, carry, ncarry);
    for (int c = 0; c < ncarry; c++) carry[c] = l.carry[c];
    body(k, p, kb_udiv(k, l.i, cols), kb_urem(k, l.i, cols), pos, carry);
    for (int c = 0; c < ncarry; c++) l.next[c] = carry[c];
    kb_loop_end(k, &l);
    for (int c = 0; c < ncarry; c++) carry[c] = l.carry[c];
}

/* ---- max_pool ---- */

/* One coordinate of tap i of window `at`: the pixel, brought inside, and the tap that this one is.
 */
static Val tap_pixel(Kb *k, Val at, Val i, int64_t stride, int64_t pad, int64_t size, bool inside,
                     Val *tap) {
    Val start = kb_sub(k, kb_mul(k, at, kb_i64(k, stride)), kb_i64(k, pad));
    Val pixel = kb_add(k, start, i);
    *tap = i;
    if (inside) return pixel;
    pixel = clamp(k, pixel, size);
    *tap = kb_sub(k, pixel, start);
    return pixel;
}

/* carry: the largest so far and its tap; tap 0 sets both. */
static void take_larger(Kb *k, const Pool *p, Val i, Val j, Pos pos, Val *carry) {
    const IrConv *s = &p->s;
    Val kh, kw;
    bool inside_h = s->top == 0 && (s->oh - 1) * s->stride + s->kh <= s->h;
    bool inside_w = s->left == 0 && (s->ow - 1) * s->stride + s->kw <= s->w;
    Val h = tap_pixel(k, p->h, i, s->stride, s->top, s->h, inside_h, &kh);
    Val w = tap_pixel(k, p->w, j, s->stride, s->left, s->w, inside_w, &kw);
    Val row = kb_add(k, kb_mul(k, p->image, kb_i64(k, s->h)), h);
    row = kb_add(k, kb_mul(k, row, kb_i64(k, s->w)), w);
    kb_new_pos(k);
    Val x = kb_eval(k, p->n->in[0], (Pos){row, pos.col, pos.mask});
    Val tap = splat_i32(k, kb_add(k, kb_mul(k, kh, kb_i64(k, s->kw)), kw));
    if (!carry[0]) {
        carry[0] = x;
        carry[1] = tap;
        return;
    }
    Val more = LLVMBuildFCmp(k->b, LLVMRealOGT, x, carry[0], ""); /* than a NaN, nothing is */
    more = LLVMBuildOr(k->b, more, LLVMBuildFCmp(k->b, LLVMRealUNO, x, x, ""), "");
    carry[0] = LLVMBuildSelect(k->b, more, x, carry[0], "");
    carry[1] = LLVMBuildSelect(k->b, more, tap, carry[1], "");
}

static void pool_vector(Kb *k, Pos pos, Val *carry, void *ctx) {
    const Pool *p = ctx;
    (void)carry;
    Val best[2] = {NULL, NULL}, zero = kb_i64(k, 0);
    if (p->s.kh * p->s.kw > WRITTEN_OUT) take_larger(k, p, zero, zero, pos, best);
    each_tap(k, p, p->s.kh, p->s.kw, take_larger, pos, best, 2);
    Val bad = LLVMBuildFCmp(k->b, LLVMRealUNO, best[0], best[0], "");
    Val index = LLVMBuildSelect(k->b, bad, kb_vi(k, -1), best[1], "");
    kb_store_value(k, &p->n->out[0], best[0], pos);
    kb_store_value(k, &p->n->out[1], index, pos);
}

static void pool_row(Kb *k, Val row, void *ctx) {
    Pool *p = ctx;
    find_pixel(k, p, row, p->s.oh, p->s.ow);
    kb_cols(k, row, p->s.c, NULL, 0, pool_vector, p);
}

void cg_lower_max_pool(Kb *k, IrNode *n) {
    Pool p = describe(n);
    kb_rows(k, p.s.batch * p.s.oh * p.s.ow, p.s.c, pool_row, &p);
}

/* ---- max_pool_grad ---- */

/* Window i of those that the coordinate `at` may be in, the last one first: its number, brought
 * inside, the tap that `at` is of it, and whether there is such a window and tap. */
static Val window_of(Kb *k, Val at, Val i, int64_t stride, int64_t pad, int64_t kernel,
                     int64_t count, Val *tap, Val *there) {
    Val from_pad = kb_add(k, at, kb_i64(k, pad));
    Val window = kb_sub(k, kb_udiv(k, from_pad, stride), i), inside = clamp(k, window, count);
    *tap = kb_sub(k, from_pad, kb_mul(k, window, kb_i64(k, stride)));
    Val exists = LLVMBuildICmp(k->b, LLVMIntEQ, window, inside, "");
    Val contains = LLVMBuildICmp(k->b, LLVMIntSLT, *tap, kb_i64(k, kernel), "");
    *there = LLVMBuildAnd(k->b, exists, contains, "");
    return inside;
}

/* carry: the sum so far. */
static void add_window(Kb *k, const Pool *p, Val i, Val j, Pos pos, Val *carry) {
    const IrConv *s = &p->s;
    Val kh, kw, there_h, there_w;
    Val oh = window_of(k, p->h, i, s->stride, s->top, s->kh, s->oh, &kh, &there_h);
    Val ow = window_of(k, p->w, j, s->stride, s->left, s->kw, s->ow, &kw, &there_w);
    Val tap = kb_add(k, kb_mul(k, kh, kb_i64(k, s->kw)), kw);
    tap =
        LLVMBuildSelect(k->b, LLVMBuildAnd(k->b, there_h, there_w, ""), tap, kb_i64(k, NO_TAP), "");
    Val row = kb_add(k, kb_mul(k, p->image, kb_i64(k, s->oh)), oh);
    row = kb_add(k, kb_mul(k, row, kb_i64(k, s->ow)), ow);
    kb_new_pos(k);
    Pos from = {row, pos.col, pos.mask};
    Val index = kb_eval(k, p->n->in[0], from), dy = kb_eval(k, p->n->in[1], from);
    Val mine = LLVMBuildICmp(k->b, LLVMIntEQ, index, splat_i32(k, tap), "");
    Val part = LLVMBuildSelect(k->b, mine, dy, kb_vf(k, 0), "");
    carry[0] = carry[0] ? kb_fadd(k, carry[0], part) : part;
}

static void grad_vector(Kb *k, Pos pos, Val *carry, void *ctx) {
    const Pool *p = ctx;
    (void)carry;
    const IrValue *dx = &p->n->out[0];
    Val sum = p->windows_h * p->windows_w > WRITTEN_OUT ? kb_vf(k, 0) : NULL;
    each_tap(k, p, p->windows_h, p->windows_w, add_window, pos, &sum, 1);
    kb_new_pos(k);
    kb_bind(k, dx, sum);
    kb_store_value(k, dx, sum, pos);
    kb_store_members(k, STORE_ALL, pos);
}

static void grad_row(Kb *k, Val row, void *ctx) {
    Pool *p = ctx;
    find_pixel(k, p, row, p->s.h, p->s.w);
    kb_cols(k, row, p->s.c, NULL, 0, grad_vector, p);
}

void cg_lower_max_pool_grad(Kb *k, IrNode *n) {
    Pool p = describe(n);
    kb_rows(k, p.s.batch * p.s.h * p.s.w, p.s.c, grad_row, &p);
}
