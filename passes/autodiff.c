/* autodiff: append the gradient of the objective for every weight. The engine knows no op: it walks
 * the graph backwards, adds up what the rules of grad.h return, and decides what needs a gradient
 * at all.
 *
 * requires  a graph that verifies, CORE ops only
 * ensures   with at least one loss or aux output: an output grad.<name> for every param that is not
 *           frozen and no state, of its type, in the order of the params, and with
 *           c->input_grads one for every input of f32, in the order of all of them; nothing for a
 *           graph without. The objective is the sum of weight * value over loss and aux. Dead nodes
 * are gone. stop_gradient has done its work: its readers read its operand. A weight that the
 * objective does not depend on gets the constant 0. Contributions to one value are added in the
 * reverse order of its uses, so the result is the same in every run. Only values on a
 * differentiable path from a param to the objective get gradients; STOP ops end the path.
 *
 * before  %2 = mul %0, %1 : f32[4]                ; %1 a param
 *         %3 = sum %2 {axes = [0]} : f32[]
 *         loss "l" %3 {weight = 1}
 * after   %4 = const {value = 1} : f32[]          ; and the above
 *         %5 = reshape %4 {shape = [1]} : f32[1]
 *         %6 = broadcast %5 {shape = [4]} : f32[4]
 *         %7 = mul %6, %0 : f32[4]
 *         grad "grad.w" %7
 *
 * It does not save or recompute: rules refer to forward values, fuse and the memory plan decide. */
#include "passes/grad.h"
#include "passes/passes.h"

#undef GRAD_RULE_YES
#define GRAD_RULE_YES(name) [OP_##name] = grad_##name,
static GradFn *const rules[OP_COUNT] = {
#define OP(name, lo, hi, nout, stage, route, grad, ...) GRAD_RULE_##grad(name)
#include "ir/ops.def"
};

typedef struct Diff {
    IrGraph *g;
    IrBuilder b;
    Arena *scratch;
    bool inputs;     /* have gradients, too */
    bool *needs;     /* by node id: its f32 results depend on a param (or input) */
    IrValue ***sums; /* by node id, result: gradient so far, NULL for none */
    int max_in;
} Diff;

/* A leaf whose gradient is asked for. */
static bool is_asked(const Diff *d, const IrNode *n) {
    return ir_learns(n) || (d->inputs && n->op == OP_input && n->out[0].type.dtype == DT_f32);
}

static void find_needs(Diff *d) {
    IR_FOR (n, d->g) {
        if (n->nin > d->max_in) d->max_in = n->nin;
        d->sums[n->id] = ARENA_ARRAY(d->scratch, IrValue *, n->nout);
        if (ir_ops[n->op].grad == GRAD_STOP) {
            d->needs[n->id] = is_asked(d, n);
            continue;
        }
        for (int i = 0; i < n->nin; i++) {
            const IrValue *x = n->in[i];
            if (x->type.dtype == DT_f32 && d->needs[x->node->id]) d->needs[n->id] = true;
        }
    }
}

static void add_gradient(Diff *d, const IrValue *to, IrValue *g) {
    if (to->type.dtype != DT_f32 || !d->needs[to->node->id]) return;
    IrValue **sum = &d->sums[to->node->id][to->index];
    *sum = *sum ? ir_binary(&d->b, OP_add, *sum, g) : g;
}

static void seed_objective(Diff *d) {
    for (int i = 0; i < d->g->nout; i++) {
        const IrOut *o = &d->g->out[i];
        if (o->kind != OUT_loss && o->kind != OUT_aux) continue;
        if (!d->needs[o->value->node->id]) continue;
        d->b.loc = o->loc;
        add_gradient(d, o->value, ir_const(&d->b, o->weight, o->value->type));
    }
}

static bool has_gradient(const Diff *d, const IrNode *n) {
    for (int k = 0; k < n->nout; k++) {
        if (d->sums[n->id][k]) return true;
    }
    return false;
}

/* Hands the gradients of n's results to its operands. */
static void differentiate(Diff *d, const IrNode *n, IrValue **dx) {
    if (!rules[n->op]) {
        d->b.error = arena_printf(d->scratch, "the op %s on the way to a weight has no gradient",
                                  ir_ops[n->op].name);
        return;
    }
    d->b.loc = n->loc;
    for (int i = 0; i < n->nin; i++) dx[i] = NULL;
    rules[n->op](&d->b, n, d->sums[n->id], dx);
    if (d->b.error) return;
    for (int i = 0; i < n->nin; i++) {
        if (!dx[i]) continue;
        /* Operands that were narrowed to bf16, or rows of which only some are routed, have
         * gradients of another type: graphs before narrow, from the language, have neither. */
        if (!ir_type_equal(&dx[i]->type, &n->in[i]->type)) {
            d->b.error =
                arena_printf(d->scratch, "operand %d of %s is %s, its gradient would be %s", i + 1,
                             ir_ops[n->op].name, ir_type_text(d->scratch, &n->in[i]->type),
                             ir_type_text(d->scratch, &dx[i]->type));
            return;
        }
        add_gradient(d, n->in[i], dx[i]);
    }
}

/* Values that were constants to the rules are ordinary ones from here on. */
static void drop_stops(IrGraph *g) {
    IR_FOR (n, g) {
        for (int i = 0; i < n->nin; i++)
            while (n->in[i]->node->op == OP_stop_gradient) n->in[i] = n->in[i]->node->in[0];
    }
    for (int i = 0; i < g->nout; i++)
        while (g->out[i].value->node->op == OP_stop_gradient)
            g->out[i].value = g->out[i].value->node->in[0];
}

static bool has_objective(const IrGraph *g) {
    for (int i = 0; i < g->nout; i++) {
        if (g->out[i].kind == OUT_loss || g->out[i].kind == OUT_aux) return true;
    }
    return false;
}

/* A weight that is updated already: its gradient would be of values that are there no more. */
static const IrNode *updated_weight(const IrGraph *g) {
    IR_FOR (n, g)
        for (int r = 0; r < n->nout && ir_written(n, r); r++)
            if (ir_written(n, r)->node->op == OP_param) return ir_written(n, r)->node;
    return NULL;
}

bool pass_autodiff(PassCtx *c, IrGraph *g) {
    if (!has_objective(g)) return false;
    const IrNode *updated = updated_weight(g);
    if (updated) {
        c->error = arena_printf(c->scratch, "the weight %s is updated before its gradient is there",
                                ir_str(updated, ATTR_param_name));
        return true;
    }
    ir_renumber(g);
    Diff d = {.g = g,
              .b = ir_builder(g),
              .scratch = c->scratch,
              .inputs = c->input_grads,
              .needs = ARENA_ARRAY(c->scratch, bool, g->nnodes),
              .sums = ARENA_ARRAY(c->scratch, IrValue **, g->nnodes)};
    IrNode *last_forward = g->last;
    find_needs(&d);
    seed_objective(&d);
    IrValue **dx = ARENA_ARRAY(c->scratch, IrValue *, d.max_in);
    for (const IrNode *n = last_forward; n && !d.b.error; n = n->prev) {
        if (n->nin > 0 && has_gradient(&d, n)) differentiate(&d, n, dx);
    }
    if (d.b.error) {
        c->error = d.b.error;
        return true;
    }
    for (IrNode *n = g->first; n != last_forward->next; n = n->next) {
        if (!is_asked(&d, n)) continue;
        const char *name = ir_str(n, n->op == OP_input ? ATTR_input_name : ATTR_param_name);
        IrValue *grad = d.sums[n->id][0];
        d.b.loc = n->loc;
        if (!grad) grad = ir_const(&d.b, 0.0, n->out[0].type);
        ir_add_out(g, OUT_grad, arena_printf(g->arena, "grad.%s", name), grad, 1.0, n->loc);
    }
    drop_stops(g);
    ir_dce(g, false);
    return true;
}
