/* optimizer: turn the outputs grad.<param> into updates of the weights, and the outputs
 * state.<param> into those of the states.
 *
 * requires  a graph that verifies, CORE ops only; every grad output named grad.<param> with the
 * type of that param; every update output named state.<param> with the type of that state;
 * c->optimizer
 * ensures   no grad and no update outputs. At the end of the graph stands for each update, in their
 * order, an `assign` of a value that is complete before the first of them: every update sees all
 * states as they were. Then, for each gradient in their order, what the rule of c->optimizer.kind
 * builds (optim.c): nodes that are stored over the weight and its state.
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
 * before  update "state.m" %4
 * after   %5 = kept %4 : f32[8]
 *         %6 = assign %2, %5 : f32[8]             ; %2 = param {name = "m", state = 1}
 *
 * All updates stand at the end, after every reader of the weights they write. */
#include "passes/optim.h"
#include "passes/passes.h"
#include "passes/view.h"

#include <string.h>

typedef void OptimRule(Optim *o, IrValue *weight, IrValue *gradient);

static OptimRule *const rules[VM_optimizer_KINDS] = {
#define CHOICE(field, name, doc) [VM_optimizer_##name] = optim_##name,
#include "recipe/optimizers.def"
};

/* The weight or state that an output of that kind is for, or NULL. */
static IrNode *param_of(const IrGraph *g, const IrOut *o) {
    const char *dot = strchr(o->name, '.');
    size_t prefix = dot ? (size_t)(dot - o->name) : 0;
    bool state = o->kind == OUT_update;
    const char *expected = state ? "state" : "grad";
    if (prefix != strlen(expected) || memcmp(o->name, expected, prefix) != 0) return NULL;
    IrNode *p = ir_find_leaf(g, OP_param, dot + 1);
    if (!p || ir_is_state(p) != state) return NULL;
    return ir_type_equal(&p->out[0].type, &o->value->type) ? p : NULL;
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

static bool checked(PassCtx *c, const IrGraph *g) {
    for (int i = 0; i < g->nout; i++) {
        const IrOut *o = &g->out[i];
        bool update = o->kind == OUT_update;
        if ((!update && o->kind != OUT_grad) || param_of(g, o)) continue;
        c->error = arena_printf(c->scratch, "output %s does not name a %s of its type", o->name,
                                update ? "state" : "weight");
        return false;
    }
    return true;
}

/* What a state becomes, in memory of its own: what is a weight, another state or a view of one may
 * be written before this is read. */
static IrValue *complete(IrBuilder *b, IrValue *v) {
    const IrNode *root = view_root(v)->node;
    if (root->op == OP_const) return v;
    if (ir_ops[root->op].route == ROUTE_LEAF || ir_ops[root->op].route == ROUTE_GATHER)
        v = ir_unary(b, OP_copy, v);
    return IR_OP(b, kept, VALS(v), NO_ATTRS);
}

/* Values first: none of them may stand behind an assign to what it reads. */
static void update_states(IrBuilder *b, Arena *scratch) {
    const IrGraph *g = b->g;
    IrValue **value = ARENA_ARRAY(scratch, IrValue *, g->nout + 1);
    for (int i = 0; i < g->nout; i++) {
        if (g->out[i].kind != OUT_update) continue;
        b->loc = g->out[i].loc;
        value[i] = complete(b, g->out[i].value);
    }
    for (int i = 0; i < g->nout; i++) {
        if (g->out[i].kind != OUT_update) continue;
        b->loc = g->out[i].loc;
        IR_OP(b, assign, VALS(&param_of(g, &g->out[i])->out[0], value[i]), NO_ATTRS);
    }
}

/* A gradient that is a weight or a state itself, or a view of one, would be read after that was
 * written. */
static void keep_leaves(IrBuilder *b) {
    IrGraph *g = b->g;
    for (int i = 0; i < g->nout; i++) {
        IrOut *o = &g->out[i];
        if (o->kind != OUT_grad || view_root(o->value)->node->op != OP_param) continue;
        b->loc = o->loc;
        o->value = complete(b, o->value);
    }
}

bool pass_optimizer(PassCtx *c, IrGraph *g) {
    IrBuilder b = ir_builder(g);
    int kept = 0, before = g->nout;
    if (!checked(c, g)) return true;
    keep_leaves(&b);
    update_states(&b, c->scratch);
    for (int i = 0; i < before; i++) {
        const IrOut o = g->out[i];
        if (o.kind == OUT_update) continue;
        if (o.kind != OUT_grad) {
            g->out[kept++] = o;
            continue;
        }
        if (!is_zero(o.value) && !update(c, &b, param_of(g, &o), o.value)) {
            c->error =
                arena_printf(c->scratch, "the leaves of %s exist with other types", o.name + 5);
            return true;
        }
    }
    g->nout = kept;
    if (kept != before) ir_dce(g, false);
    return kept != before;
}
