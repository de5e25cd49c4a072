/* Result types of convolutions and poolings. Conventions as in shape.c; images are [B,H,W,C], an
 * image of results [B,OH,OW,O], kernels [KH,KW,..]. */
#include "ir/internal.h"

/* What shape rules find out step by step. */
typedef struct Window {
    int64_t kernel[2], pad[4], stride; /* pad: top, left, bottom, right */
    int64_t groups;
    int64_t experts; /* 0: no operand says whose images are */
} Window;

static const char *want_images(Arena *a, const IrNode *n, int i) {
    TRY(ir_want_rank(a, n, i, 4, 4));
    return NULL;
}

/* Attributes that every op of the family has; `kernel` and `groups` where it has them. */
static const char *read_window(Arena *a, const IrNode *n, Window *w) {
    AttrId kernel = ir_attr_by_name(n->op, "kernel"), groups = ir_attr_by_name(n->op, "groups");
    AttrId stride = ir_attr_by_name(n->op, "stride");
    const int64_t *v;
    *w = (Window){.groups = 1};
    int count = ir_ints(n, ir_attr_by_name(n->op, "pad"), &v);
    if (count != 4)
        return ir_shape_fail(a, n, "pad has %d number%s, expected top,left,bottom,right", count,
                             count == 1 ? "" : "s");
    for (int i = 0; i < 4; i++) {
        w->pad[i] = v[i];
        if (v[i] < 0 || v[i] > INT32_MAX)
            return ir_shape_fail(a, n, "pad is %lld, expected 0 or more", (long long)v[i]);
    }
    TRY(ir_want_int(a, n, stride, 1, INT32_MAX));
    w->stride = ir_int(n, stride);
    if (groups != ATTR_COUNT) {
        TRY(ir_want_int(a, n, groups, 1, INT32_MAX));
        w->groups = ir_int(n, groups);
    }
    if (kernel == ATTR_COUNT) return NULL;
    count = ir_ints(n, kernel, &v);
    if (count != 2 || v[0] < 1 || v[1] < 1)
        return ir_shape_fail(a, n, "expected a kernel of two sizes of at least 1");
    w->kernel[0] = v[0];
    w->kernel[1] = v[1];
    return NULL;
}

/* The last operand, if it is there, says how many experts have images. */
static const char *read_experts(Arena *a, const IrNode *n, Window *w) {
    if (n->nin < 3) return NULL;
    TRY(ir_want_dtype(a, n, 2, DT_i32));
    TRY(ir_want_rank(a, n, 2, 1, 1));
    w->experts = n->in[2]->type.dim[0] - 1;
    if (w->experts < 1)
        return ir_shape_fail(a, n, "expected offsets of at least one expert, found %s",
                             ir_shape_in(a, n, 2));
    return NULL;
}

/* Results along one side of an image. */
static const char *results_of(Arena *a, const IrNode *n, const Window *w, int side, int64_t size,
                              int64_t *out) {
    int64_t pad = w->pad[side] + w->pad[side + 2];
    *out = ir_conv_results(size, pad, w->kernel[side], w->stride);
    if (*out >= 1) return NULL;
    return ir_shape_fail(
        a, n, "a kernel of %s %lld does not fit into %lld%s (%lld and %lld of padding)",
        side ? "width" : "height", (long long)w->kernel[side], (long long)(size + pad),
        pad ? " padded rows or columns" : "", (long long)size, (long long)pad);
}

/* Operand i or result image is y of an image h x width; y is given. */
static const char *want_results(Arena *a, const IrNode *n, const Window *w, int i, int64_t h,
                                int64_t width) {
    const IrType *y = &n->in[i]->type;
    int64_t oh, ow;
    TRY(results_of(a, n, w, 0, h, &oh));
    TRY(results_of(a, n, w, 1, width, &ow));
    if (y->dim[1] == oh && y->dim[2] == ow) return NULL;
    return ir_shape_fail(a, n, "expected %lld x %lld results of images %lld x %lld, found %s",
                         (long long)oh, (long long)ow, (long long)h, (long long)width,
                         ir_shape_in(a, n, i));
}

/* Weights of `in` channels (or of any, when 0): reads kernel, and both channel counts. */
static const char *read_weights(Arena *a, const IrNode *n, Window *w, int64_t *in, int64_t *out) {
    const IrType *t = &n->in[1]->type;
    int lead = (w->experts > 0) + (w->groups > 1), at = w->experts > 0;
    TRY(ir_want_rank(a, n, 1, 4 + lead, 4 + lead));
    if (w->experts && t->dim[0] != w->experts)
        return ir_shape_fail(a, n, "expected weights of %lld experts, found %s",
                             (long long)w->experts, ir_shape_in(a, n, 1));
    if (w->groups > 1 && t->dim[at] != w->groups)
        return ir_shape_fail(a, n, "expected weights of %lld groups, found %s",
                             (long long)w->groups, ir_shape_in(a, n, 1));
    w->kernel[0] = t->dim[lead];
    w->kernel[1] = t->dim[lead + 1];
    *in = t->dim[lead + 2] * w->groups;
    *out = t->dim[lead + 3] * w->groups;
    return NULL;
}

static const char *want_channels(Arena *a, const IrNode *n, int i, int64_t channels) {
    if (n->in[i]->type.dim[3] == channels) return NULL;
    return ir_shape_fail(a, n, "expected %lld channels, as %s has, found %s", (long long)channels,
                         ir_shape_in(a, n, 1 - i), ir_shape_in(a, n, i));
}

const char *shape_conv(Arena *a, IrNode *n) {
    Window w;
    int64_t in, out, oh, ow;
    bool bf16 = ir_int(n, ATTR_conv_bf16) != 0;
    for (int i = 0; i < 2; i++) TRY(ir_want_factor(a, n, i, bf16));
    TRY(want_images(a, n, 0));
    TRY(read_window(a, n, &w));
    TRY(read_experts(a, n, &w));
    TRY(read_weights(a, n, &w, &in, &out));
    TRY(want_channels(a, n, 0, in));
    const IrType *x = &n->in[0]->type;
    TRY(results_of(a, n, &w, 0, x->dim[1], &oh));
    TRY(results_of(a, n, &w, 1, x->dim[2], &ow));
    return ir_set_result(a, n, 0, IR_TYPE(DT_f32, x->dim[0], oh, ow, out));
}

/* height and width, which the results alone do not tell. */
static const char *read_sides(Arena *a, const IrNode *n, int64_t side[2]) {
    AttrId id[] = {ir_attr_by_name(n->op, "height"), ir_attr_by_name(n->op, "width")};
    for (int i = 0; i < 2; i++) {
        TRY(ir_want_int(a, n, id[i], 1, INT32_MAX));
        side[i] = ir_int(n, id[i]);
    }
    return NULL;
}

const char *shape_conv_dx(Arena *a, IrNode *n) {
    Window w;
    int64_t in, out, side[2];
    bool bf16 = ir_int(n, ATTR_conv_dx_bf16) != 0;
    for (int i = 0; i < 2; i++) TRY(ir_want_factor(a, n, i, bf16));
    TRY(want_images(a, n, 0));
    TRY(read_window(a, n, &w));
    TRY(read_experts(a, n, &w));
    TRY(read_weights(a, n, &w, &in, &out));
    TRY(want_channels(a, n, 0, out));
    TRY(read_sides(a, n, side));
    TRY(want_results(a, n, &w, 0, side[0], side[1]));
    return ir_set_result(a, n, 0, IR_TYPE(DT_f32, n->in[0]->type.dim[0], side[0], side[1], in));
}

/* Both images of a weight gradient. */
static const char *want_pair(Arena *a, const IrNode *n, Window *w) {
    const IrType *x = &n->in[0]->type, *dy = &n->in[1]->type;
    for (int i = 0; i < 2; i++) TRY(want_images(a, n, i));
    TRY(read_window(a, n, w));
    TRY(read_experts(a, n, w));
    TRY(want_results(a, n, w, 1, x->dim[1], x->dim[2]));
    if (x->dim[0] == dy->dim[0]) return NULL;
    return ir_shape_fail(a, n, "expected as many images, found %s and %s", ir_shape_in(a, n, 0),
                         ir_shape_in(a, n, 1));
}

/* [parts][experts][groups][KH,KW] and what follows. */
static IrType weight_type(const Window *w, int64_t parts, int64_t groups) {
    IrType t = {.dtype = DT_f32};
    if (parts > 1) t.dim[t.rank++] = parts;
    if (w->experts) t.dim[t.rank++] = w->experts;
    if (groups > 1) t.dim[t.rank++] = groups;
    for (int i = 0; i < 2; i++) t.dim[t.rank++] = w->kernel[i];
    return t;
}

static const char *want_group_channels(Arena *a, const IrNode *n, int64_t groups) {
    for (int i = 0; i < 2; i++)
        if (n->in[i]->type.dim[3] % groups)
            return ir_shape_fail(a, n, "%lld groups do not divide the channels of %s",
                                 (long long)groups, ir_shape_in(a, n, i));
    return NULL;
}

const char *shape_conv_dw(Arena *a, IrNode *n) {
    Window w;
    bool bf16 = ir_int(n, ATTR_conv_dw_bf16) != 0;
    for (int i = 0; i < 2; i++) TRY(ir_want_factor(a, n, i, bf16));
    TRY(want_pair(a, n, &w));
    TRY(want_group_channels(a, n, w.groups));
    TRY(ir_want_int(a, n, ATTR_conv_dw_parts, 1, INT32_MAX));
    IrType t = weight_type(&w, ir_int(n, ATTR_conv_dw_parts), w.groups);
    if (t.rank + 2 > IR_MAX_RANK)
        return ir_shape_fail(a, n, "expected no parts of grouped weights of experts");
    for (int i = 0; i < 2; i++) t.dim[t.rank++] = n->in[i]->type.dim[3] / w.groups;
    return ir_set_result(a, n, 0, t);
}

/* Weights [KH,KW,C] of every channel. */
static const char *read_depthwise(Arena *a, const IrNode *n, Window *w) {
    const IrType *t = &n->in[1]->type;
    int lead = w->experts > 0;
    TRY(ir_want_rank(a, n, 1, 3 + lead, 3 + lead));
    if (w->experts && t->dim[0] != w->experts)
        return ir_shape_fail(a, n, "expected weights of %lld experts, found %s",
                             (long long)w->experts, ir_shape_in(a, n, 1));
    w->kernel[0] = t->dim[lead];
    w->kernel[1] = t->dim[lead + 1];
    return want_channels(a, n, 0, t->dim[lead + 2]);
}

const char *shape_depthwise(Arena *a, IrNode *n) {
    Window w;
    int64_t oh, ow;
    for (int i = 0; i < 2; i++) TRY(ir_want_dtype(a, n, i, DT_f32));
    TRY(want_images(a, n, 0));
    TRY(read_window(a, n, &w));
    TRY(read_experts(a, n, &w));
    TRY(read_depthwise(a, n, &w));
    const IrType *x = &n->in[0]->type;
    TRY(results_of(a, n, &w, 0, x->dim[1], &oh));
    TRY(results_of(a, n, &w, 1, x->dim[2], &ow));
    return ir_set_result(a, n, 0, IR_TYPE(DT_f32, x->dim[0], oh, ow, x->dim[3]));
}

const char *shape_depthwise_dx(Arena *a, IrNode *n) {
    Window w;
    int64_t side[2];
    for (int i = 0; i < 2; i++) TRY(ir_want_dtype(a, n, i, DT_f32));
    TRY(want_images(a, n, 0));
    TRY(read_window(a, n, &w));
    TRY(read_experts(a, n, &w));
    TRY(read_depthwise(a, n, &w));
    TRY(read_sides(a, n, side));
    TRY(want_results(a, n, &w, 0, side[0], side[1]));
    const IrType *dy = &n->in[0]->type;
    return ir_set_result(a, n, 0, IR_TYPE(DT_f32, dy->dim[0], side[0], side[1], dy->dim[3]));
}

const char *shape_depthwise_dw(Arena *a, IrNode *n) {
    Window w;
    for (int i = 0; i < 2; i++) TRY(ir_want_dtype(a, n, i, DT_f32));
    TRY(want_pair(a, n, &w));
    TRY(want_channels(a, n, 0, n->in[1]->type.dim[3]));
    TRY(ir_want_int(a, n, ATTR_depthwise_dw_parts, 1, INT32_MAX));
    IrType t = weight_type(&w, ir_int(n, ATTR_depthwise_dw_parts), 1);
    t.dim[t.rank++] = n->in[0]->type.dim[3];
    return ir_set_result(a, n, 0, t);
}

/* A window that lies in the padding alone would have no largest. */
static const char *want_small_pad(Arena *a, const IrNode *n, const Window *w) {
    for (int i = 0; i < 4; i++)
        if (w->pad[i] >= w->kernel[i % 2])
            return ir_shape_fail(a, n, "pad is %lld, expected less than the kernel's %lld",
                                 (long long)w->pad[i], (long long)w->kernel[i % 2]);
    return NULL;
}

const char *shape_max_pool(Arena *a, IrNode *n) {
    Window w;
    int64_t oh, ow;
    TRY(ir_want_f32(a, n));
    TRY(want_images(a, n, 0));
    TRY(read_window(a, n, &w));
    TRY(want_small_pad(a, n, &w));
    const IrType *x = &n->in[0]->type;
    TRY(results_of(a, n, &w, 0, x->dim[1], &oh));
    TRY(results_of(a, n, &w, 1, x->dim[2], &ow));
    TRY(ir_set_result(a, n, 0, IR_TYPE(DT_f32, x->dim[0], oh, ow, x->dim[3])));
    return ir_set_result(a, n, 1, IR_TYPE(DT_i32, x->dim[0], oh, ow, x->dim[3]));
}

const char *shape_max_pool_grad(Arena *a, IrNode *n) {
    Window w;
    int64_t side[2];
    TRY(ir_want_dtype(a, n, 0, DT_i32));
    TRY(ir_want_dtype(a, n, 1, DT_f32));
    TRY(want_images(a, n, 0));
    TRY(read_window(a, n, &w));
    TRY(want_small_pad(a, n, &w));
    TRY(read_sides(a, n, side));
    TRY(want_results(a, n, &w, 0, side[0], side[1]));
    IrType dy = n->in[0]->type;
    dy.dtype = DT_f32;
    TRY(ir_want_like(a, n, 1, &dy));
    return ir_set_result(a, n, 0, IR_TYPE(DT_f32, dy.dim[0], side[0], side[1], dy.dim[3]));
}
