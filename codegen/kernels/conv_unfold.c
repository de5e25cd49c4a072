/* Pixels under the kernel, unfolded into a row of scratch: for images of few channels, and for
 * those whose channels do not lie side by side (images as they arrive, [B,C,H,W]). Every lane
 * gathers its own pixel; where that lies comes from tables, one entry for each unfolded column. */
#include "codegen/kernels/conv.h"

static Val entry(Kb *k, Val table, Val i) {
    return kb_gep(k, k->i32, table, i);
}

void conv_unfold_begin(Kb *k, Conv *v) {
    int64_t cols = v->c.kh * v->c.kw * v->in, bytes = ceil_div(cols, k->vl) * k->vl * 4;
    int r = v->image.type.rank;
    const int64_t *stride = &v->image.stride[r - 3];
    v->offset = kb_scratch(k, bytes);
    v->row = kb_scratch(k, bytes);
    v->col = kb_scratch(k, bytes);
    Loop l;
    kb_loop(k, &l, kb_i64(k, 0), kb_i64(k, cols), 1, NULL, 0);
    Val tap = kb_udiv(k, l.i, v->in), channel = kb_urem(k, l.i, v->in);
    Val row = kb_udiv(k, tap, v->c.kw), col = kb_urem(k, tap, v->c.kw);
    Val at = kb_add(k, kb_mul(k, row, kb_i64(k, stride[0])), kb_mul(k, col, kb_i64(k, stride[1])));
    at = kb_add(k, at, kb_mul(k, channel, kb_i64(k, stride[2])));
    kb_store_i32(k, at, v->offset, l.i);
    kb_store_i32(k, row, v->row, l.i);
    kb_store_i32(k, col, v->col, l.i);
    kb_loop_end(k, &l);
}

/* Lanes of a table from `at` on, plus one number. */
static Val shifted(Kb *k, Val table, Val at, Val by) {
    Val x = kb_load(k, k->vi, entry(k, table, at), NULL);
    return LLVMBuildAdd(k->b, x, kb_splat(k, LLVMBuildTrunc(k->b, by, k->i32, "")), "");
}

static Val below(Kb *k, Val x, int64_t size) {
    return LLVMBuildICmp(k->b, LLVMIntULT, x, kb_vi(k, (int32_t)size), "");
}

void conv_unfold(Kb *k, const Conv *v, Val row, Val col0, Val end, Val to) {
    const IrConv *c = &v->c;
    Pixel p = conv_pixel(k, row, kb_i64(k, c->oh), kb_i64(k, c->ow));
    Val y = kb_sub(k, kb_mul(k, p.y, kb_i64(k, c->stride)), kb_i64(k, c->top));
    Val x = kb_sub(k, kb_mul(k, p.x, kb_i64(k, c->stride)), kb_i64(k, c->left));
    Val base = conv_address(k, v, p.image, y, x); /* may lie before the image */
    Loop l;
    kb_loop(k, &l, col0, end, k->vl, NULL, 0);
    Val mask = kb_mask_below(k, kb_sub(k, end, l.i));
    mask = LLVMBuildAnd(k->b, mask, below(k, shifted(k, v->row, l.i, y), v->ih), "");
    mask = LLVMBuildAnd(k->b, mask, below(k, shifted(k, v->col, l.i, x), v->iw), "");
    Val offset = kb_load(k, k->vi, entry(k, v->offset, l.i), NULL);
    Val pixels = kb_load_indexed(k, k->vf, k->f32, base, offset, mask);
    kb_store(k, pixels, kb_gep(k, k->f32, to, kb_sub(k, l.i, col0)), NULL);
    kb_loop_end(k, &l);
}
