/* Building nodes: attributes are checked against the op, result types come from the shape rules.
 * The caller vouches for what it builds; ir_try is for the front end, where the operands are the
 * user's. A pass cannot vouch for sizes, which are the user's: while one runs, the graph has a
 * guard, and a refusal ends the pass with a message. */
#include "ir/internal.h"

#include <string.h>

IrBuilder ir_builder(IrGraph *g) {
    return (IrBuilder){.g = g};
}

/* The node that stands for `error` cannot be built. */
static _Noreturn void refuse(const IrBuilder *b, const char *error) {
    IrGuard *guard = b->g->guard;
    if (!guard) VM_BUG("%s", error);
    guard->message = error;
    guard->where = b->loc;
    longjmp(guard->env, 1);
}

static void set_attr(IrGraph *g, IrNode *n, const AttrArg *arg) {
    VM_CHECK((unsigned)arg->id < ATTR_COUNT && ir_attrs[arg->id].op == n->op,
             "attribute %d given to %s", (int)arg->id, ir_ops[n->op].name);
    switch (ir_attrs[arg->id].kind) {
    case ATTR_KIND_INT: ir_set_int(n, arg->id, arg->v.i); break;
    case ATTR_KIND_FLOAT: ir_set_float(n, arg->id, arg->v.f); break;
    case ATTR_KIND_STR:
        VM_CHECK(arg->v.s, "attribute %s of %s is no string", ir_attrs[arg->id].name,
                 ir_ops[n->op].name);
        ir_set_str(g, n, arg->id, arg->v.s);
        break;
    case ATTR_KIND_INTS: ir_set_ints(g, n, arg->id, arg->v.v, arg->v.n); break;
    }
}

static IrNode *make_node(IrBuilder *b, OpCode op, IrValue *const *in, int nin, const AttrArg *attr,
                         int nattr) {
    IrNode *n = ir_node_new(b->g, op, nin);
    for (int i = 0; i < nin; i++) n->in[i] = in[i];
    for (int i = 0; i < nattr; i++) set_attr(b->g, n, &attr[i]);
    n->loc = b->loc;
    return n;
}

IrValue *ir_try(IrBuilder *b, OpCode op, IrValue *const *in, int nin, const AttrArg *attr,
                int nattr) {
    VM_CHECK(ir_ops[op].route != ROUTE_LEAF, "%s is a leaf: its type must be given",
             ir_ops[op].name);
    IrNode *n = make_node(b, op, in, nin, attr, nattr);
    b->error = ir_infer(b->g->arena, n);
    if (b->error) return NULL;
    ir_node_insert(b->g, n, b->at);
    return &n->out[0];
}

IrValue *ir_op(IrBuilder *b, OpCode op, IrValue *const *in, int nin, const AttrArg *attr,
               int nattr) {
    const char *before = b->error;
    IrValue *v = ir_try(b, op, in, nin, attr, nattr);
    if (!v) refuse(b, b->error);
    b->error = before;
    return v;
}

/* ---- leaves ---------------------------------------------------------------------------------- */

static IrValue *leaf(IrBuilder *b, OpCode op, IrType t, const AttrArg *attr, int nattr) {
    IrNode *n = make_node(b, op, NULL, 0, attr, nattr);
    n->out[0].type = t;
    const char *error = ir_infer(b->g->arena, n);
    if (error) refuse(b, error);
    ir_node_insert(b->g, n, b->at);
    return &n->out[0];
}

IrValue *ir_input(IrBuilder *b, const char *name, IrType t) {
    return leaf(b, OP_input, t, ATTRS(A_STR(input_name, name)));
}

IrValue *ir_param(IrBuilder *b, const char *name, IrType t, const char *init,
                  const char *init_stream, bool decay) {
    IrNode *old = ir_find_leaf(b->g, OP_param, name);
    if (old) {
        if (!ir_type_equal(&old->out[0].type, &t))
            refuse(b, arena_printf(b->g->arena, "weight %s is %s and %s", name,
                                   ir_type_text(b->g->arena, &old->out[0].type),
                                   ir_type_text(b->g->arena, &t)));
        return &old->out[0];
    }
    return leaf(b, OP_param, t,
                ATTRS(A_STR(param_name, name), A_STR(param_init, init), A_INT(param_decay, decay),
                      A_STR(param_stream, init_stream ? init_stream : "")));
}

IrValue *ir_state(IrBuilder *b, const char *name, IrType t) {
    return leaf(b, OP_state, t, ATTRS(A_STR(state_name, name)));
}

IrValue *ir_rng_key(IrBuilder *b, const char *stream) {
    return leaf(b, OP_rng_key, IR_TYPE(DT_i32, 2), ATTRS(A_STR(rng_key_stream, stream)));
}

IrValue *ir_table(IrBuilder *b, const char *values) {
    IrNode *old = ir_find_leaf(b->g, OP_table, values);
    int64_t rows, cols, dim;
    VM_CHECK(ir_table_sincos_2d(values, &rows, &cols, &dim), "there is no table %s", values);
    return old ? &old->out[0]
               : leaf(b, OP_table, IR_TYPE(DT_f32, rows * cols, dim),
                      ATTRS(A_STR(table_values, values)));
}

IrValue *ir_const(IrBuilder *b, double value, IrType t) {
    return leaf(b, OP_const, t, ATTRS(A_FLOAT(const_value, value)));
}

/* ---- shorthands ------------------------------------------------------------------------------ */

IrValue *ir_unary(IrBuilder *b, OpCode op, IrValue *x) {
    return ir_op(b, op, &x, 1, NO_ATTRS);
}

IrValue *ir_binary(IrBuilder *b, OpCode op, IrValue *x, IrValue *y) {
    return ir_op(b, op, VALS(x, y), NO_ATTRS);
}

IrValue *ir_scale(IrBuilder *b, IrValue *x, double c) {
    return ir_binary(b, OP_mul, x, ir_const(b, c, x->type));
}

IrValue *ir_reshape(IrBuilder *b, IrValue *x, const IrType *like) {
    if (ir_shape_equal(&x->type, like)) return x;
    return IR_OP(b, reshape, VALS(x), ATTRS(A_INTS(reshape_shape, like->dim, like->rank)));
}

IrValue *ir_broadcast(IrBuilder *b, IrValue *x, const IrType *like) {
    if (ir_shape_equal(&x->type, like)) return x;
    return IR_OP(b, broadcast, VALS(x), ATTRS(A_INTS(broadcast_shape, like->dim, like->rank)));
}

IrValue *ir_sum_axes(IrBuilder *b, IrValue *x, const int64_t *axes, int n) {
    if (n == 0) return x;
    return IR_OP(b, sum, VALS(x), ATTRS(A_INTS(sum_axes, axes, n)));
}

IrValue *ir_slice(IrBuilder *b, IrValue *x, int axis, int64_t start, int64_t size) {
    return IR_OP(
        b, slice, VALS(x),
        ATTRS(A_INT(slice_axis, axis), A_INT(slice_start, start), A_INT(slice_size, size)));
}

IrValue *ir_unbroadcast(IrBuilder *b, IrValue *x, const IrType *to) {
    const IrType *t = &x->type;
    if (to->rank > t->rank)
        refuse(b, arena_printf(b->g->arena, "%s was never broadcast to %s",
                               ir_type_text(b->g->arena, to), ir_type_text(b->g->arena, t)));
    int64_t axes[IR_MAX_RANK];
    int n = 0, extra = t->rank - to->rank;
    for (int i = 0; i < t->rank; i++)
        if (i < extra || (to->dim[i - extra] == 1 && t->dim[i] != 1)) axes[n++] = i;
    return ir_reshape(b, ir_sum_axes(b, x, axes, n), to);
}
