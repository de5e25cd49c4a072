/* Gradient rules of convolutions and poolings; see grad.h for the contract. The gradient of a
 * convolution for its image is one with turned weights, whose taps are those that met a pixel; for
 * its weights it is a product over all results. */
#include "passes/grad.h"

typedef struct Ints {
    const int64_t *v;
    int n;
} Ints;

static Ints ints(const IrNode *n, AttrId id) {
    Ints x;
    x.n = ir_ints(n, id, &x.v);
    return x;
}

/* The weight's gradient first: both read dy, and the image's is what the next one back reads. */
void grad_conv(IrBuilder *b, const IrNode *n, IrValue *const *dy, IrValue **dx) {
    IrConv c = ir_conv_of(n);
    Ints pad = ints(n, ATTR_conv_pad);
    int64_t bf16 = ir_int(n, ATTR_conv_bf16), kernel[] = {c.kh, c.kw};
    IrValue *for_w[] = {n->in[0], dy[0], c.offsets < 0 ? NULL : n->in[c.offsets]};
    IrValue *for_x[] = {dy[0], n->in[1], for_w[2]};
    AttrArg w_attr[] = {A_INTS(conv_dw_kernel, kernel, 2), A_INTS(conv_dw_pad, pad.v, pad.n),
                        A_INT(conv_dw_stride, c.stride), A_INT(conv_dw_groups, c.groups),
                        A_INT(conv_dw_bf16, bf16)};
    AttrArg x_attr[] = {A_INT(conv_dx_height, c.h),        A_INT(conv_dx_width, c.w),
                        A_INTS(conv_dx_pad, pad.v, pad.n), A_INT(conv_dx_stride, c.stride),
                        A_INT(conv_dx_groups, c.groups),   A_INT(conv_dx_bf16, bf16)};
    dx[1] = ir_op(b, OP_conv_dw, for_w, n->nin, w_attr, 5);
    dx[0] = ir_op(b, OP_conv_dx, for_x, n->nin, x_attr, 6);
}

void grad_depthwise(IrBuilder *b, const IrNode *n, IrValue *const *dy, IrValue **dx) {
    IrConv c = ir_conv_of(n);
    Ints pad = ints(n, ATTR_depthwise_pad);
    int64_t kernel[] = {c.kh, c.kw};
    IrValue *for_w[] = {n->in[0], dy[0], c.offsets < 0 ? NULL : n->in[c.offsets]};
    IrValue *for_x[] = {dy[0], n->in[1], for_w[2]};
    AttrArg w_attr[] = {A_INTS(depthwise_dw_kernel, kernel, 2),
                        A_INTS(depthwise_dw_pad, pad.v, pad.n),
                        A_INT(depthwise_dw_stride, c.stride)};
    AttrArg x_attr[] = {A_INT(depthwise_dx_height, c.h), A_INT(depthwise_dx_width, c.w),
                        A_INTS(depthwise_dx_pad, pad.v, pad.n),
                        A_INT(depthwise_dx_stride, c.stride)};
    dx[1] = ir_op(b, OP_depthwise_dw, for_w, n->nin, w_attr, 3);
    dx[0] = ir_op(b, OP_depthwise_dx, for_x, n->nin, x_attr, 4);
}

void grad_max_pool(IrBuilder *b, const IrNode *n, IrValue *const *dy, IrValue **dx) {
    IrConv c = ir_conv_of(n);
    Ints pad = ints(n, ATTR_max_pool_pad), kernel = ints(n, ATTR_max_pool_kernel);
    dx[0] = IR_OP(b, max_pool_grad, VALS(&n->out[1], dy[0]),
                  ATTRS(A_INTS(max_pool_grad_kernel, kernel.v, kernel.n),
                        A_INT(max_pool_grad_height, c.h), A_INT(max_pool_grad_width, c.w),
                        A_INTS(max_pool_grad_pad, pad.v, pad.n),
                        A_INT(max_pool_grad_stride, c.stride)));
}
