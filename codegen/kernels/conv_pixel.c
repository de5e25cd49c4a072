/* Pixels of images that convolutions read: which one a row is, where it lies, and whether it is
 * inside. */
#include "codegen/kernels/conv.h"

Pixel conv_pixel(Kb *k, Val row, Val h, Val w) {
    Val of_image = kb_mul(k, h, w);
    Val image = LLVMBuildUDiv(k->b, row, of_image, "");
    Val rest = kb_sub(k, row, kb_mul(k, image, of_image));
    Val y = LLVMBuildUDiv(k->b, rest, w, "");
    return (Pixel){image, y, kb_sub(k, rest, kb_mul(k, y, w))};
}

Val conv_address(Kb *k, const Conv *v, Val image, Val y, Val x) {
    const View *w = &v->image;
    Val at[] = {image, y, x}, offset = kb_i64(k, 0);
    for (int d = 0; d < 3; d++)
        offset = kb_add(k, offset, kb_mul(k, at[d], kb_i64(k, w->stride[d])));
    int64_t channels = v->turned ? v->out : v->in;
    if (v->c.groups > 1)
        offset = kb_add(k, offset, kb_mul(k, v->group, kb_i64(k, channels * w->stride[3])));
    return LLVMBuildGEP2(k->b, kb_elem(k, w->type.dtype), kb_view_ptr(k, w), &offset, 1, "");
}

Val conv_inside(Kb *k, const Conv *v, Val y, Val x) {
    Val in_y = LLVMBuildICmp(k->b, LLVMIntULT, y, kb_i64(k, v->ih), "");
    Val in_x = LLVMBuildICmp(k->b, LLVMIntULT, x, kb_i64(k, v->iw), "");
    return LLVMBuildAnd(k->b, in_y, in_x, "");
}

void conv_zeros(Kb *k, Conv *v, int64_t channels) {
    int64_t floats = ceil_div(channels, k->vl) * k->vl;
    v->zeros = kb_scratch(k, floats * 4);
    Loop l;
    kb_loop(k, &l, kb_i64(k, 0), kb_i64(k, floats), k->vl, NULL, 0);
    kb_store(k, kb_vf(k, 0), kb_gep(k, k->f32, v->zeros, l.i), NULL);
    kb_loop_end(k, &l);
}
