/* Optimizers: one rule for every row of recipe/optimizers.def. Numbers that change from step to
 * step come from the step's input (runtime/exec/abi.h), all others are constants of the graph. */
#include "passes/optim.h"

/* ---- what rules are written with ------------------------------------------------------------ */

/* The leaf of that name, made when it is missing. */
static IrValue *leaf(Optim *o, OpCode op, const char *name, IrType t) {
    IrNode *n = ir_find_leaf(o->b->g, op, name);
    if (!n) return op == OP_input ? ir_input(o->b, name, t) : ir_state(o->b, name, t);
    if (ir_type_equal(&n->out[0].type, &t)) return &n->out[0];
    o->clash = true;
    return ir_const(o->b, 0, t); /* something to go on with */
}

IrValue *optim_step(Optim *o) {
    return leaf(o, OP_input, VM_INPUT_STEP, IR_TYPE(DT_f32, VM_STEP_SCALARS));
}

IrValue *optim_scalar(Optim *o, VmStepScalar which) {
    IrType number = ir_scalar(DT_f32);
    IrValue *x = ir_reshape(o->b, ir_slice(o->b, optim_step(o), 0, which, 1), &number);
    return ir_broadcast(o->b, x, &o->param->out[0].type);
}

IrValue *optim_state(Optim *o, const char *name) {
    const char *weight = ir_str(o->param, ATTR_param_name);
    return leaf(o, OP_state, arena_printf(o->scratch, "%s.%s", name, weight),
                o->param->out[0].type);
}

double optim_decay(const Optim *o) {
    return ir_int(o->param, ATTR_param_decay) ? o->spec->weight_decay : 0;
}

void optim_assign(Optim *o, IrValue *x, IrValue *v) {
    if (!o->clash) IR_OP(o->b, assign, VALS(x, v), NO_ATTRS);
}

/* ---- rules ---------------------------------------------------------------------------------- */

/* One op: its kernel reads and writes everything once and divides by step scalars once, not once
 * for every element. */
void optim_adamw(Optim *o, IrValue *weight, IrValue *gradient) {
    IrValue *m = optim_state(o, "adam.m"), *v = optim_state(o, "adam.v");
    IR_OP(o->b, adamw, VALS(weight, gradient, m, v, optim_step(o)),
          ATTRS(A_FLOAT(adamw_beta1, o->spec->beta1), A_FLOAT(adamw_beta2, o->spec->beta2),
                A_FLOAT(adamw_eps, o->spec->eps), A_FLOAT(adamw_decay, optim_decay(o))));
}

/* Without the option, weight_decay is 0. */
void optim_adam(Optim *o, IrValue *weight, IrValue *gradient) {
    optim_adamw(o, weight, gradient);
}

/* The sum is zero at first, so the first step's is the gradient. */
void optim_sgd(Optim *o, IrValue *weight, IrValue *gradient) {
    IrBuilder *b = o->b;
    IrValue *d = gradient;
    if (optim_decay(o) != 0) d = ir_binary(b, OP_add, d, ir_scale(b, weight, optim_decay(o)));
    if (o->spec->momentum != 0) {
        IrValue *sum = optim_state(o, "sgd.momentum"), *g = d;
        d = ir_binary(b, OP_add, ir_scale(b, sum, o->spec->momentum), d);
        optim_assign(o, sum, d);
        if (o->spec->nesterov) d = ir_binary(b, OP_add, g, ir_scale(b, d, o->spec->momentum));
    }
    d = ir_binary(b, OP_mul, d, optim_scalar(o, VM_STEP_RATE));
    optim_assign(o, weight, ir_binary(b, OP_sub, weight, d));
}
