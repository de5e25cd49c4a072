/* optimizer: turn the outputs grad.<param> into updates of the weights.
 *
 * requires  a graph that verifies, CORE ops only; every grad output named grad.<param> with the
 * type of that param; c->optimizer
 * ensures   no grad outputs; for each of them, in their order at the end of the graph, what the
 * rule of c->optimizer.kind builds (optim.c): nodes that are stored over the weight and its state.
 * A gradient that is the constant 0 (the objective does not depend on the weight) makes no update:
 * the weight stays as it is, weight decay included.
 *
 * before  grad "grad.w" %9
 * after   %10 = kept %9 : f32[8]
 *         %11 = state {name = "adam.m.w"} : f32[8]
 *         %12 = state {name = "adam.v.w"} : f32[8]
 *         %13 = input {name = "step.scalars"} : f32[4]
 *         %14, %15, %16 = adamw %1, %10, %11, %12, %13 {decay = 0.05} : f32[8], f32[8], f32[8]
 *
 * All updates stand at the end, after every reader of the weights they write. */
#include "passes/optim.h"
#include "passes/passes.h"

#include <string.h>

typedef void OptimRule(Optim *o, IrValue *weight, IrValue *gradient);

static OptimRule *const rules[VM_optimizer_KINDS] = {
#define CHOICE(field, name, doc) [VM_optimizer_##name] = optim_##name,
#include "recipe/optimizers.def"
};

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
    Optim o = {.b = b, .scratch = c->scratch, .spec = &c->optimizer, .param = param};
    b->loc = param->loc;
    rules[c->optimizer.kind](&o, &param->out[0], IR_OP(b, kept, VALS(grad), NO_ATTRS));
    return !o.clash;
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
