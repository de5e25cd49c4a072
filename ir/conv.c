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

/* What an operand or a result is, by op. */
typedef struct Roles {
    int image, result, weights; /* operand number; -1: result 0 is it; -2: nothing is */
} Roles;

static Roles roles(OpCode op) {
    switch (op) {
    case OP_conv:
    case OP_depthwise: return (Roles){0, -1, 1};
    case OP_conv_dx:
    case OP_depthwise_dx: return (Roles){-1, 0, 1};
    case OP_conv_dw:
    case OP_depthwise_dw: return (Roles){0, 1, -1};
    case OP_max_pool: return (Roles){0, -1, -2};
    case OP_max_pool_grad: return (Roles){-1, 1, -2};
    default: VM_BUG("%s is no convolution", ir_ops[op].name);
    }
}

static const IrType *type_of(const IrNode *n, int role) {
    return role < 0 ? &n->out[0].type : &n->in[role]->type;
}

IrConv ir_conv_of(const IrNode *n) {
    Roles r = roles(n->op);
    const IrType *x = type_of(n, r.image), *y = type_of(n, r.result);
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
    if (r.weights != -2 && n->nin > 2) {
        c.offsets = 2;
        c.experts = n->in[2]->type.dim[0] - 1;
    }
    AttrId id = ir_attr_by_name(n->op, "kernel");
    if (id != ATTR_COUNT) {
        ir_ints(n, id, &kernel);
        c.kh = kernel[0];
        c.kw = kernel[1];
    } else {
        const IrType *w = type_of(n, r.weights);
        int last = w->rank - (n->op == OP_depthwise || n->op == OP_depthwise_dx ? 3 : 4);
        c.kh = w->dim[last];
        c.kw = w->dim[last + 1];
    }
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
