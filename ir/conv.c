/* Sizes of convolutions and poolings: one description for all ops of the family, so that shape
 * rules, counting, passes and kernels read their attributes in one place. */
#include "ir/ir.h"

int64_t ir_conv_results(int64_t size, int64_t pad, int64_t kernel, int64_t stride) {
    int64_t room = size + pad - kernel;
    return room < 0 ? 0 : room / stride + 1;
}

static int64_t number(const IrNode *n, const char *name, int64_t otherwise) {
    AttrId id = ir_attr_by_name(n->op, name);
    return id == ATTR_COUNT ? otherwise : ir_int(n, id);
}

/* What a gradient for images makes says its attributes; what one for weights makes, or a pooling
 * has instead of weights, says `kernel`. */
IrConv ir_conv_of(const IrNode *n) {
    AttrId window = ir_attr_by_name(n->op, "kernel");
    bool makes_image = ir_attr_by_name(n->op, "height") != ATTR_COUNT;
    bool makes_weights = window != ATTR_COUNT && !makes_image && n->nin > 1;
    const IrType *x = makes_image ? &n->out[0].type : &n->in[0]->type;
    const IrType *y = makes_image     ? &n->in[0]->type
                      : makes_weights ? &n->in[1]->type
                                      : &n->out[0].type;
    const int64_t *pad, *kernel;
    ir_ints(n, ir_attr_by_name(n->op, "pad"), &pad);
    IrConv c = {.batch = x->dim[0],
                .h = x->dim[1],
                .w = x->dim[2],
                .c = x->dim[3],
                .oh = y->dim[1],
                .ow = y->dim[2],
                .o = y->dim[3],
                .stride = number(n, "stride", 1),
                .top = pad[0],
                .left = pad[1],
                .bottom = pad[2],
                .right = pad[3],
                .groups = number(n, "groups", 1),
                .parts = number(n, "parts", 1),
                .offsets = -1};
    if (n->nin > 2) {
        c.offsets = 2;
        c.experts = n->in[2]->type.dim[0] - 1;
    }
    if (window != ATTR_COUNT)
        ir_ints(n, window, &kernel);
    else /* of weights, behind the dimensions of experts and groups */
        kernel = &n->in[1]->type.dim[(c.experts > 0) + (c.groups > 1)];
    c.kh = kernel[0];
    c.kw = kernel[1];
    return c;
}

static int64_t meetings(int64_t size, int64_t before, int64_t kernel, int64_t stride,
                        int64_t results) {
    int64_t n = 0;
    for (int64_t i = 0; i < kernel; i++)
        for (int64_t j = 0; j < results; j++) {
            int64_t at = j * stride + i - before;
            n += at >= 0 && at < size;
        }
    return n;
}

int64_t ir_conv_meetings(const IrConv *c) {
    return meetings(c->h, c->top, c->kh, c->stride, c->oh) *
           meetings(c->w, c->left, c->kw, c->stride, c->ow);
}
