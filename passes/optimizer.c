/* optimizer: turn the outputs grad.<param> into AdamW updates.
 *
 * requires  a graph that verifies, CORE ops only; every grad output named grad.<param> with the
 * type of that param; settings in c->adamw ensures   no grad outputs; for each of them, in their
 * order at the end of the graph, an adamw node with state leaves adam.m.<param> and adam.v.<param>
 * and the shared input step.adamw f32[4]. Weight decay is c->adamw.decay where the param's decay is
 * 1, else 0. A gradient that is the constant 0 (the objective does not depend on the weight) makes
 * no update: the weight stays as it is, weight decay included.
 *
 * before  grad "grad.w" %9
 * after   %10 = input {name = "step.adamw"} : f32[4]
 *         %11 = state {name = "adam.m.w"} : f32[8]
 *         %12 = state {name = "adam.v.w"} : f32[8]
 *         %13, %14, %15 = adamw %1, %9, %11, %12, %10 {decay = 0.05} : f32[8], f32[8], f32[8]
 *
 * All updates stand at the end, after every reader of the weights they write. */
#include "passes/passes.h"

#include <string.h>

#include "runtime/exec/abi.h"

/* The leaf of that name, made when it is missing; NULL when there is one of another type. */
static IrValue *leaf(IrBuilder *b, OpCode op, const char *name, IrType t) {
    IrNode *n = ir_find_leaf(b->g, op, name);
    if (n) return ir_type_equal(&n->out[0].type, &t) ? &n->out[0] : NULL;
    return op == OP_input ? ir_input(b, name, t) : ir_state(b, name, t);
}

/* The weight a grad output is for, or NULL. */
static IrNode *param_of(const IrGraph *g, const IrOut *o) {
    if (strncmp(o->name, "grad.", 5) != 0) return NULL;
    IrNode *p = ir_find_leaf(g, OP_param, o->name + 5);
    return p && ir_type_equal(&p->out[0].type, &o->value->type) ? p : NULL;
}

static bool is_zero(const IrValue *v) {
    return v->node->op == OP_const && ir_float(v->node, ATTR_const_value) == 0.0;
}

/* Appends the update; false when a leaf it needs exists with another type. */
static bool update(const PassCtx *c, IrBuilder *b, IrNode *param, IrValue *grad) {
    const char *name = ir_str(param, ATTR_param_name);
    b->loc = param->loc;
    IrValue *step = leaf(b, OP_input, VM_INPUT_STEP, IR_TYPE(DT_f32, 4));
    IrValue *m = leaf(b, OP_state, arena_printf(c->scratch, "adam.m.%s", name), grad->type);
    IrValue *v = leaf(b, OP_state, arena_printf(c->scratch, "adam.v.%s", name), grad->type);
    if (!step || !m || !v) return false;
    double decay = ir_int(param, ATTR_param_decay) != 0 ? c->adamw.decay : 0.0;
    IR_OP(b, adamw, VALS(&param->out[0], grad, m, v, step),
          ATTRS(A_FLOAT(adamw_beta1, c->adamw.beta1), A_FLOAT(adamw_beta2, c->adamw.beta2),
                A_FLOAT(adamw_eps, c->adamw.eps), A_FLOAT(adamw_decay, decay)));
    return true;
}

bool pass_optimizer(PassCtx *c, IrGraph *g) {
    IrBuilder b = ir_builder(g);
    int kept = 0, before = g->nout;
    for (int i = 0; i < before; i++) {
        const IrOut o = g->out[i];
        if (o.kind != OUT_grad) {
            g->out[kept++] = o;
            continue;
        }
        IrNode *param = param_of(g, &o);
        if (!param) {
            c->error =
                arena_printf(c->scratch, "output %s does not name a weight of its type", o.name);
            return true;
        }
        if (!is_zero(o.value) && !update(c, &b, param, o.value)) {
            c->error =
                arena_printf(c->scratch, "the leaves of %s exist with other types", o.name + 5);
            return true;
        }
    }
    g->nout = kept;
    if (kept != before) ir_dce(g, false);
    return kept != before;
}
