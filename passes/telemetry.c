/* telemetry: measures of every route, as outputs of kind `router`.
 *
 * requires  a graph of one batch of images; MODEL ops allowed
 * ensures   every route whose choices are the output "P.route" has outputs, f32, that no loss reads:
 *             P.load       [E] share of the served pairs (token, choice) that each expert has
 *             P.unserved   []  share of the tokens that no expert serves; only where a route may drop pairs
 *           and, where the choices come from a gate p [T,E] (a softmax, or values whose softmax is meant):
 *             P.entropy    []  mean entropy of a token's gate, nats
 *             P.largest    []  largest logit
 *             P.variation  []  mean over experts of var_b(s_be) / (mean_b(s_be) + 1e-6), s_be the sum of p_te
 * over the tokens of image b (Teo et al. 2024); where images have several tokens Weights get the same bits
 * with and without: nothing is computed differently, only read once more.
 *
 * before  %3, %4, %5, %6 = route %2 {experts = 4} : ..        (%2 of topk %1, %1 = softmax %0)
 *         output "1.moe.route" %2
 * after   .. and  router "1.moe.load" %9, router "1.moe.entropy" %14, .. */
#include "passes/passes.h"

#include <string.h>

typedef struct Measure {
    IrGraph *g;
    IrBuilder b;
    const IrNode *route;
    const char *path; /* "1.moe" */
    int64_t images, tokens, experts;
} Measure;

static void add(Measure *m, const char *what, IrValue *v) {
    ir_add_out(m->g, OUT_router, arena_printf(m->g->arena, "%s.%s", m->path, what), v, 1, m->route->loc);
}

static IrValue *sum_all(IrBuilder *b, IrValue *x) {
    int64_t axis[IR_MAX_RANK];
    for (int i = 0; i < x->type.rank; i++) axis[i] = i;
    return ir_sum_axes(b, x, axis, x->type.rank);
}

static IrValue *mean_first(IrBuilder *b, IrValue *x) {
    int64_t axis = 0;
    return ir_scale(b, ir_sum_axes(b, x, &axis, 1), 1.0 / (double)x->type.dim[0]);
}

/* Rows of expert e: offset e + 1 less offset e. f32 holds them exactly: they are fewer than 2^24, or nearly
 * so. */
static void add_load(Measure *m) {
    IrBuilder *b = &m->b;
    IrValue *offset = ir_unary(b, OP_cast, (IrValue *)&m->route->out[0]);
    IrValue *rows =
        ir_binary(b, OP_sub, ir_slice(b, offset, 0, 1, m->experts), ir_slice(b, offset, 0, 0, m->experts));
    IrType one = IR_TYPE(DT_f32, 1);
    IrValue *served = ir_binary(b, OP_maximum, ir_slice(b, offset, 0, m->experts, 1), ir_const(b, 1, one));
    add(m, "load", ir_binary(b, OP_div, rows, ir_broadcast(b, served, &rows->type)));
}

/* A token that nobody serves has no choice above -1. */
static void add_unserved(Measure *m) {
    IrBuilder *b = &m->b;
    if (!ir_int(m->route, ATTR_route_rows)) return;
    IrValue *best = ir_unary(b, OP_max, ir_unary(b, OP_cast, m->route->in[0]));
    IrValue *none = ir_binary(b, OP_less, best, ir_const(b, 0, best->type));
    add(m, "unserved", ir_scale(b, sum_all(b, none), 1.0 / (double)m->tokens));
}

/* ---- the gate ---- */

/* What v looks at, through views. */
static IrValue *behind_views(IrValue *v) {
    while (ir_ops[v->node->op].route == ROUTE_VIEW) v = v->node->in[0];
    return v;
}

/* The values that choices were made by; NULL: there are none. */
static IrValue *chosen_by(IrValue *index) {
    IrNode *n = behind_views(index)->node;
    while (n->op == OP_expert_capacity || n->op == OP_capacity) n = behind_views(n->in[0])->node;
    if (n->op == OP_select && n->in[0]->node->op == OP_less) n = behind_views(n->in[0]->node->in[0])->node;
    if (n->op == OP_fall_through) n = behind_views(n->in[0])->node;
    return n->op == OP_topk || n->op == OP_rank ? behind_views(n->in[0]) : NULL;
}

static void add_entropy(Measure *m, IrValue *p) {
    IrBuilder *b = &m->b;
    IrValue *some = ir_binary(b, OP_maximum, p, ir_const(b, 1e-30, p->type));
    IrValue *terms = ir_binary(b, OP_mul, p, ir_unary(b, OP_log, some));
    add(m, "entropy", ir_scale(b, sum_all(b, terms), -1.0 / (double)m->tokens));
}

static void add_largest(Measure *m, IrValue *logits) {
    IrBuilder *b = &m->b;
    IrType row = IR_TYPE(DT_f32, m->tokens);
    add(m, "largest", ir_unary(b, OP_max, ir_reshape(b, ir_unary(b, OP_max, logits), &row)));
}

static void add_variation(Measure *m, IrValue *p) {
    IrBuilder *b = &m->b;
    int64_t axis = 1;
    if (m->images < 2 || m->tokens % m->images || m->tokens == m->images) return;
    IrType by_image = IR_TYPE(DT_f32, m->images, m->tokens / m->images, m->experts);
    IrValue *s = ir_sum_axes(b, ir_reshape(b, p, &by_image), &axis, 1); /* [B,E] */
    IrValue *mean = mean_first(b, s), *d = ir_binary(b, OP_sub, s, ir_broadcast(b, mean, &s->type));
    IrValue *ratio = ir_binary(b, OP_div, mean_first(b, ir_binary(b, OP_mul, d, d)),
                               ir_binary(b, OP_add, mean, ir_const(b, 1e-6, mean->type)));
    add(m, "variation", mean_first(b, ratio));
}

static void add_gate(Measure *m) {
    IrValue *p = chosen_by(m->route->in[0]), *logits = p;
    if (!p || p->type.dtype != DT_f32 || p->type.rank < 2 || ir_cols(&p->type) != m->experts ||
        ir_rows(&p->type) != m->tokens)
        return;
    if (p->node->op == OP_softmax)
        logits = p->node->in[0];
    else
        p = ir_unary(&m->b, OP_softmax, p);
    add_entropy(m, p);
    add_largest(m, logits);
    add_variation(m, p);
}

/* ---- the pass ---- */

static int64_t images_of(const IrGraph *g) {
    IR_FOR (n, g)
        if (n->op == OP_input && n->out[0].type.rank == 4 && n->out[0].type.dtype == DT_f32)
            return n->out[0].type.dim[0];
    return 0;
}

/* "1.moe" where the choices of the route are an output "1.moe.route" or "1.moe.route_2"; NULL: they are none.
 * Of several routes with the same choices the last one counts, as its capacity holds. */
static const char *path_of(const IrGraph *g, const IrNode *route) {
    static const char tail[] = ".route";
    for (int i = 0; i < g->nout; i++) {
        const IrOut *o = &g->out[i];
        const char *end = strstr(o->name, tail);
        if (o->kind != OUT_output || o->value != route->in[0]) continue;
        if (!end) return strncmp(o->name, "route", 5) ? NULL : arena_strdup(g->arena, "model");
        for (const char *next; (next = strstr(end + 1, tail)); end = next) {
        }
        return arena_printf(g->arena, "%.*s%s", (int)(end - o->name), o->name, end + strlen(tail));
    }
    return NULL;
}

/* A route that nothing is dispatched by is one that `capacity` has replaced. */
static bool is_used(const IrGraph *g, const IrNode *route) {
    IR_FOR (n, g)
        for (int i = 0; i < n->nin; i++)
            if (n->in[i]->node == route) return true;
    return false;
}

bool pass_telemetry(PassCtx *c, IrGraph *g) {
    (void)c;
    int64_t images = images_of(g);
    int before = g->nout;
    for (IrNode *n = g->first, *next; n; n = next) {
        next = n->next;
        const char *path = n->op == OP_route ? path_of(g, n) : NULL;
        if (!path || !is_used(g, n)) continue;
        Measure m = {.g = g, .b = ir_builder(g), .route = n, .path = path, .images = images};
        m.b.loc = n->loc;
        m.tokens = n->in[0]->type.dim[0];
        m.experts = ir_int(n, ATTR_route_experts);
        add_load(&m);
        add_unserved(&m);
        add_gate(&m);
    }
    return g->nout != before;
}
