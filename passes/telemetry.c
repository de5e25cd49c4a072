/* telemetry: what is looked at of routes, beside what the model says of itself, becomes outputs.
 *
 * requires  a graph with its MODEL ops
 * ensures   c->routes ROUTES_MEASURED: every route that is named (`routed`) and used has outputs
 *           that are called as it is and live to the end of the step:
 *             offsets  i32[E+1]   where each expert's rows begin
 *             choices  i32[T,K]   the choices that are served; only where a route may drop pairs
 *             logits   f32[..,E]  what the gate is the softmax of, or values whose softmax is
 *                                 meant; only where there is a gate
 *           ROUTES_CHOSEN: the experts chosen by every route are outputs "route.N.experts", in the
 *           order of the model's text, -1 where the pair is left out; of a route that may leave
 *           pairs out, "route.N.kept", 1 or 0 for each of them; ROUTES_UNSEEN: nothing
 *
 * Nothing is computed for what is measured: runtime/log/routes.c looks at them when a step is
 * logged. Weights get the same bits with and without.
 *
 * before  %3 = routed %2, %1 {name = "1.moe.route"}           (%1 = softmax %0)
 *         %4, %5, %6, %7 = route %3 {experts = 4} : ..
 * after   .. and  offsets "1.moe.route" %4, logits "1.moe.route" %0 */
#include "passes/passes.h"

/* The same rows of numbers before they were given other leading dimensions. */
static IrValue *behind_rows(IrValue *v) {
    for (;;) {
        const IrNode *n = v->node;
        bool same_rows = n->op == OP_reshape || n->op == OP_stop_gradient;
        if (!same_rows || n->in[0]->type.rank < 2 || ir_cols(&n->in[0]->type) != ir_cols(&v->type))
            return v;
        v = n->in[0];
    }
}

/* What the gate is the softmax of; the gate itself where it is none; NULL: a constant has chosen.
 */
static IrValue *logits_of(IrValue *gate) {
    IrValue *p = behind_rows(gate), *from = p;
    while (ir_ops[from->node->op].route == ROUTE_VIEW) from = from->node->in[0];
    if (from->node->op == OP_const) return NULL;
    return p->node->op == OP_softmax ? p->node->in[0] : p;
}

/* A route that nothing is dispatched by is one that `capacity` has replaced. */
static bool is_used(const IrGraph *g, const IrNode *route) {
    IR_FOR (n, g)
        for (int i = 0; i < n->nin; i++)
            if (n->in[i]->node == route) return true;
    return false;
}

static void measure(IrGraph *g, const IrNode *route, const IrNode *routed) {
    const char *name = ir_str(routed, ATTR_routed_name);
    IrValue *logits = routed->nin > 1 ? logits_of(routed->in[1]) : NULL;
    ir_add_out(g, OUT_offsets, name, &route->out[0], 1, route->loc);
    if (ir_int(route, ATTR_route_rows))
        ir_add_out(g, OUT_choices, name, routed->in[0], 1, route->loc);
    if (logits) ir_add_out(g, OUT_logits, name, logits, 1, route->loc);
}

static void show_choices(IrGraph *g, IrNode *route, int number) {
    IrValue *chosen = route->in[0];
    ir_add_out(g, OUT_output, arena_printf(g->arena, "route.%d.experts", number), chosen, 1,
               route->loc);
    if (!ir_int(route, ATTR_route_rows)) return;
    IrBuilder b = ir_builder(g);
    b.loc = route->loc;
    IrValue *kept = ir_binary(&b, OP_less, ir_const(&b, -1, chosen->type), chosen);
    ir_add_out(g, OUT_output, arena_printf(g->arena, "route.%d.kept", number), kept, 1, route->loc);
}

bool pass_telemetry(PassCtx *c, IrGraph *g) {
    int before = g->nout, routes = 0;
    IR_FOR (n, g) {
        if (c->routes == ROUTES_UNSEEN || n->op != OP_route) continue;
        const IrNode *from = n->in[0]->node;
        if (c->routes == ROUTES_CHOSEN)
            show_choices(g, n, routes++);
        else if (from->op == OP_routed && ir_str(from, ATTR_routed_name)[0] && is_used(g, n))
            measure(g, n, from);
    }
    return g->nout != before;
}
