/* telemetry: what the runtime measures routes by, as outputs of kind `router`.
 *
 * requires  a graph of one batch of images; MODEL ops allowed
 * ensures   every route whose choices are an output R has outputs that live to the end of the step:
 *             R.offsets  i32[E+1]  where each expert's rows begin
 *             R.choices  i32[T,K]  the choices that are served; only where a route may drop pairs
 *             R.logits   f32[T,E]  what the gate is the softmax of, or values whose softmax is
 * meant; only where there is a gate
 *
 * Nothing is computed for them: runtime/log/routes.c looks at them when a step is logged.
 * Weights get the same bits with and without.
 *
 * before  %3, %4, %5, %6 = route %2 {experts = 4} : ..        (%2 of topk %1, %1 = softmax %0)
 *         output "1.moe.route" %2
 * after   .. and  router "1.moe.route.offsets" %3, router "1.moe.route.logits" %0 */
#include "passes/passes.h"

/* What v looks at, through views. */
static IrValue *behind_views(IrValue *v) {
    while (ir_ops[v->node->op].route == ROUTE_VIEW) v = v->node->in[0];
    return v;
}

/* The values that choices were made by; NULL: there are none. */
static IrValue *chosen_by(IrValue *index) {
    IrNode *n = behind_views(index)->node;
    while (n->op == OP_expert_capacity || n->op == OP_by_mode || n->op == OP_select) {
        bool by_rank = n->op == OP_select && n->in[0]->node->op == OP_less &&
                       behind_views(n->in[0]->node->in[0])->node->op == OP_rank;
        if (by_rank) return behind_views(behind_views(n->in[0]->node->in[0])->node->in[0]);
        n = behind_views(n->in[n->op == OP_select ? 1 : 0])
                ->node; /* training, and what keep_pairs keeps */
    }
    if (n->op == OP_fall_through) n = behind_views(n->in[0])->node;
    return n->op == OP_topk || n->op == OP_rank ? behind_views(n->in[0]) : NULL;
}

/* The weights that rows come back with when every expert has them all; NULL: nothing of the kind.
 */
static IrValue *weighed_by(const IrGraph *g, const IrNode *route) {
    if (ir_cols(&route->in[0]->type) != ir_int(route, ATTR_route_experts)) return NULL;
    IR_FOR (n, g)
        if (n->op == OP_combine && n->in[1] == &route->out[2]) return behind_views(n->in[2]);
    return NULL;
}

/* The gate's logits as values of T rows and E columns; NULL: there is no gate, or it has another
 * form. */
static IrValue *logits_of(const IrGraph *g, const IrNode *route) {
    IrValue *p = chosen_by(route->in[0]);
    if (!p && behind_views(route->in[0])->node->op == OP_iota) p = weighed_by(g, route);
    if (!p || p->node->op == OP_const || p->type.dtype != DT_f32 || p->type.rank < 2) return NULL;
    if (ir_cols(&p->type) != ir_int(route, ATTR_route_experts) ||
        ir_rows(&p->type) != route->in[0]->type.dim[0])
        return NULL;
    return p->node->op == OP_softmax ? p->node->in[0] : p;
}

/* The output that the choices of the route are, whose name is the route's; NULL: they are none. */
static const char *name_of(const IrGraph *g, const IrNode *route) {
    for (int i = 0; i < g->nout; i++)
        if (g->out[i].kind == OUT_output && g->out[i].value == route->in[0]) return g->out[i].name;
    return NULL;
}

/* A route that nothing is dispatched by is one that `capacity` has replaced. */
static bool is_used(const IrGraph *g, const IrNode *route) {
    IR_FOR (n, g)
        for (int i = 0; i < n->nin; i++)
            if (n->in[i]->node == route) return true;
    return false;
}

static void add(IrGraph *g, const IrNode *route, const char *name, const char *what, IrValue *v) {
    ir_add_out(g, OUT_router, arena_printf(g->arena, "%s.%s", name, what), v, 1, route->loc);
}

bool pass_telemetry(PassCtx *c, IrGraph *g) {
    (void)c;
    int before = g->nout;
    IR_FOR (n, g) {
        const char *name = n->op == OP_route ? name_of(g, n) : NULL;
        if (!name || !is_used(g, n)) continue;
        add(g, n, name, "offsets", &n->out[0]);
        if (ir_int(n, ATTR_route_rows)) add(g, n, name, "choices", n->in[0]);
        IrValue *logits = logits_of(g, n);
        if (logits) add(g, n, name, "logits", logits);
    }
    return g->nout != before;
}
