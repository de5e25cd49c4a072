/* dense: the same model without routing, to measure what routing costs. Every mixture of E experts,
 * K per token, becomes K plain layers that each see all T tokens, their results added up: as many
 * rows, T * K, through as many multiplications, but no gate, no choice, no order, and no loss about
 * any of these.
 *
 * requires  a graph before autodiff whose grouped values (made by dispatch) have the R = T * K
 * routed rows as dimension 0, as all that comes from the language ensures   no route, dispatch,
 * expert_expand, expert_linear, expert_matmul, combine, nor a convolution with offsets; a weight
 * with one set of values per expert, [E,..], became K weights "<name>.<j>" of type [1,..]; outputs
 * that no loss needs and that tell about routing (made from a choice of experts, or from a weight
 * that no loss needs) are gone, and so are unused leaves, and updates of states that are gone or
 * that every expert had one of.
 *
 * A graph where rows and experts cannot be followed is refused with a message.
 *
 * before  %5, %6, %7, %8 = route %4 {experts = 8}        with %4 : i32[64,1]
 *         %9 = dispatch %0, %6 {k = 1}
 *         %11 = expert_linear %9, %10, %5, %8            with %10 = param "w" : f32[8,32,16]
 *         %12 = combine %11, %7, %3
 * after   %2 = param "w.0" : f32[1,32,16]
 *         %3 = reshape %2 {shape = [32,16]}
 *         %4 = linear %0, %3 */
#include "passes/passes.h"

#include <string.h>

/* What stands for a grouped or per-expert value: one value for each of the K layers. */
typedef struct Copies {
    int k;
    IrValue *(*of)[8]; /* [copy][result] */
} Copies;

typedef struct Dense {
    PassCtx *c;
    IrGraph *g;
    IrBuilder b;
} Dense;

static void refuse(Dense *d, const IrNode *n, const char *why) {
    if (!d->c->error)
        d->c->error =
            arena_printf(d->c->scratch, "%s has no dense twin: %s", ir_ops[n->op].name, why);
}

/* The route behind an operand that is result `index` of one; NULL after refusing. */
static const IrNode *route_of(Dense *d, const IrNode *n, int operand, int index) {
    const IrValue *v = n->in[operand];
    while (ir_ops[v->node->op].route == ROUTE_VIEW) v = v->node->in[0];
    if (v->node->op == OP_route && v->index == index) return v->node;
    refuse(d, n, "its rows come from no route");
    return NULL;
}

static int chosen(const IrNode *route) {
    return (int)ir_cols(&route->in[0]->type);
}

/* ---- values per expert ----------------------------------------------------------------------- */

/* node->mark: how many copies of a value [E,..] are needed; 0: it is no such value. */
static void mark_per_expert(IrValue *v, int64_t experts, int k) {
    IrNode *n = v->node;
    if (v->type.rank < 1 || v->type.dim[0] != experts || v->type.dtype != DT_f32 || n->mark >= k)
        return;
    n->mark = k;
    for (int i = 0; i < n->nin; i++) mark_per_expert(n->in[i], experts, k);
}

/* A product of grouped rows and one matrix per expert. */
static bool is_grouped(const IrNode *n, IrWork *w) {
    return ir_work(n, w) && w->experts && !w->ta;
}

static void find_per_expert(Dense *d) {
    IR_FOR (n, d->g) n->mark = 0;
    IR_FOR (n, d->g) {
        IrWork w;
        bool expand = n->op == OP_expert_expand;
        if (!expand && !is_grouped(n, &w)) continue;
        const IrNode *route = expand ? route_of(d, n, 1, 3) : route_of(d, n, w.offsets, 0);
        if (!route) return;
        int64_t experts = ir_int(route, ATTR_route_experts);
        mark_per_expert(n->in[expand ? 0 : w.right], experts, chosen(route));
        if (!expand && w.bias >= 0) mark_per_expert(n->in[w.bias], experts, chosen(route));
    }
}

/* ---- copies ---------------------------------------------------------------------------------- */

static Copies *new_copies(Dense *d, IrNode *n, int k) {
    Copies *c = ARENA_NEW(d->c->scratch, Copies);
    c->k = k;
    c->of = arena_alloc(d->c->scratch, (size_t)k * sizeof *c->of);
    n->aux = c;
    return c;
}

static IrValue *copy_of(const IrValue *v, int j) {
    const Copies *c = v->node->aux;
    return c && j < c->k ? c->of[j][v->index] : NULL;
}

static IrType with_rows(IrType t, int64_t from, int64_t to) {
    if (t.rank > 0 && t.dim[0] == from) t.dim[0] = to;
    return t;
}

static bool is_shape(AttrId id) {
    return id == ATTR_reshape_shape || id == ATTR_broadcast_shape || id == ATTR_uniform_shape;
}

/* The attributes of n for copy j. */
static int attributes(Dense *d, const IrNode *n, int j, int64_t from, int64_t to, AttrArg *out) {
    int count = 0;
    for (int i = 0; i < ir_ops[n->op].nattr; i++) {
        AttrArg a = {ir_ops[n->op].first_attr + (AttrId)i, n->attr[i]};
        if (!a.v.set) continue;
        if (is_shape(a.id) && a.v.n > 0 && a.v.v[0] == from) {
            int64_t *dim = ARENA_ARRAY(d->c->scratch, int64_t, a.v.n);
            memcpy(dim, a.v.v, (size_t)a.v.n * sizeof *dim);
            dim[0] = to;
            a.v.v = dim;
        }
        if (j > 0 && *n->attr[i].s &&
            (a.id == ATTR_dropout_stream || a.id == ATTR_attention_stream))
            a.v.s = arena_printf(d->c->scratch, "%s.%d", a.v.s, j);
        out[count++] = a;
    }
    return count;
}

/* Made of constants alone, such as the ones that drop_path drops. */
static bool of_constants(const IrValue *v) {
    const IrNode *n = v->node;
    for (int i = 0; i < n->nin; i++)
        if (!of_constants(n->in[i])) return false;
    return n->nin > 0 || n->op == OP_const;
}

static IrValue *remade(Dense *d, IrValue *v, int j, int64_t from, int64_t to);

/* Operand v for copy j of a node whose `from` rows are now `to`. Constants, what is made of them,
 * and what is broadcast to the rows, are made again; other values are the same for every row. */
static IrValue *operand(Dense *d, IrValue *v, int j, int64_t from, int64_t to) {
    IrValue *copy = copy_of(v, j);
    IrType t = with_rows(v->type, from, to);
    if (copy || ir_type_equal(&t, &v->type)) return copy ? copy : v;
    if (v->node->op == OP_const) return ir_const(&d->b, ir_float(v->node, ATTR_const_value), t);
    if (v->node->op != OP_broadcast) return of_constants(v) ? remade(d, v, j, from, to) : v;
    IrValue *x = v->node->in[0];
    if (x->type.rank == t.rank) x = operand(d, x, j, from, to);
    return ir_broadcast(&d->b, x, &t);
}

static IrValue *remade(Dense *d, IrValue *v, int j, int64_t from, int64_t to) {
    const IrNode *n = v->node;
    IrValue **in = ARENA_ARRAY(d->c->scratch, IrValue *, n->nin);
    AttrArg attr[16];
    for (int i = 0; i < n->nin; i++) in[i] = operand(d, n->in[i], j, from, to);
    IrValue *y = ir_try(&d->b, n->op, in, n->nin, attr, attributes(d, n, j, from, to, attr));
    return y ? &y->node->out[v->index] : v;
}

/* The same op on `to` rows instead of `from`, k times. */
static void rebuild(Dense *d, IrNode *n, int k, int64_t from, int64_t to) {
    Copies *c = new_copies(d, n, k);
    IrValue **in = ARENA_ARRAY(d->c->scratch, IrValue *, n->nin + 1);
    AttrArg attr[16];
    for (int j = 0; j < k; j++) {
        for (int i = 0; i < n->nin; i++) in[i] = operand(d, n->in[i], j, from, to);
        int nattr = attributes(d, n, j, from, to, attr);
        IrValue *y = ir_try(&d->b, n->op, in, n->nin, attr, nattr);
        if (!y) {
            refuse(d, n, d->b.error);
            return;
        }
        for (int r = 0; r < n->nout; r++) c->of[j][r] = &y->node->out[r];
    }
}

/* Every expert's weights [E,..] become those of K layers [1,..], which start equal if the experts
 * do. */
static void split_weight(Dense *d, IrNode *n) {
    IrType t = n->out[0].type;
    const char *stream = ir_str(n, ATTR_param_stream);
    bool same = strncmp(ir_str(n, ATTR_param_init), "same(", 5) == 0;
    if (!*stream && same) stream = ir_str(n, ATTR_param_name);
    t.dim[0] = 1;
    Copies *c = new_copies(d, n, n->mark);
    for (int j = 0; j < n->mark; j++) {
        const char *name = arena_printf(d->c->scratch, "%s.%d", ir_str(n, ATTR_param_name), j);
        c->of[j][0] = ir_param(&d->b, name, t, ir_str(n, ATTR_param_init), *stream ? stream : NULL,
                               ir_int(n, ATTR_param_decay));
        ir_set_int(c->of[j][0]->node, ATTR_param_frozen, ir_int(n, ATTR_param_frozen));
        ir_set_int(c->of[j][0]->node, ATTR_param_state, ir_int(n, ATTR_param_state));
    }
}

/* ---- grouped values -------------------------------------------------------------------------- */

/* Copy j of a per-expert operand [1,..] without its first dimension. */
static IrValue *one_expert(Dense *d, const IrNode *n, int i, int j) {
    IrValue *v = copy_of(n->in[i], j);
    if (!v) {
        refuse(d, n, "its weights belong to no expert");
        return NULL;
    }
    IrType t = v->type;
    memmove(t.dim, t.dim + 1, (size_t)--t.rank * sizeof t.dim[0]);
    return ir_reshape(&d->b, v, &t);
}

/* Product n of the rows x with one expert's matrix or kernel. */
static IrValue *one_product(Dense *d, const IrNode *n, const IrWork *w, int j, IrValue *x,
                            IrValue *one, IrValue *bias) {
    AttrArg attr[16];
    if (ir_ops[n->op].stage == STAGE_MODEL)
        return IR_OP(&d->b, linear, ((IrValue *const[]){x, one, bias}), bias ? 3 : 2, NO_ATTRS);
    if (n->op == OP_expert_matmul)
        return IR_OP(&d->b, matmul, VALS(x, one), ATTRS(A_INT(matmul_tb, w->tb)));
    return ir_op(&d->b, n->op, (IrValue *const[]){x, one}, 2, attr,
                 attributes(d, n, j, 0, 0, attr));
}

static void plain_product(Dense *d, IrNode *n, const IrWork *w) {
    const IrNode *route = route_of(d, n, w->offsets, 0);
    if (!route) return;
    Copies *c = new_copies(d, n, chosen(route));
    for (int j = 0; j < c->k; j++) {
        IrValue *x = copy_of(n->in[w->left], j), *bias = NULL;
        IrValue *one = one_expert(d, n, w->right, j);
        if (!x) refuse(d, n, "its rows were not dispatched");
        if (w->bias >= 0) bias = one_expert(d, n, w->bias, j);
        if (d->c->error) return;
        c->of[j][0] = one_product(d, n, w, j, x, one, bias);
    }
}

static void repeat_expert(Dense *d, IrNode *n) {
    const IrNode *route = route_of(d, n, 1, 3);
    if (!route) return;
    Copies *c = new_copies(d, n, chosen(route));
    IrType t = n->out[0].type;
    t.dim[0] = route->in[0]->type.dim[0];
    for (int j = 0; j < c->k; j++) {
        IrValue *v = copy_of(n->in[0], j);
        if (!v) {
            refuse(d, n, "its operand belongs to no expert");
            return;
        }
        c->of[j][0] = ir_broadcast(&d->b, v, &t);
    }
}

static void all_rows(Dense *d, IrNode *n) {
    const IrNode *route = route_of(d, n, 1, 1);
    if (!route || chosen(route) != ir_int(n, ATTR_dispatch_k)) {
        refuse(d, n, "its k is not that of the route");
        return;
    }
    Copies *c = new_copies(d, n, chosen(route));
    for (int j = 0; j < c->k; j++) c->of[j][0] = n->in[0];
}

static void add_up(Dense *d, IrNode *n) {
    const Copies *c = n->in[0]->node->aux;
    if (!c) {
        refuse(d, n, "its rows were not dispatched");
        return;
    }
    IrValue *sum = c->of[0][n->in[0]->index];
    for (int j = 1; j < c->k; j++) sum = ir_binary(&d->b, OP_add, sum, c->of[j][n->in[0]->index]);
    ir_replace_uses(d->g, &n->out[0], sum);
}

/* How many copies the operands of n have: those of grouped rows. */
static int grouped_copies(const IrNode *n, int64_t *rows, int64_t *tokens) {
    for (int i = 0; i < n->nin; i++) {
        const Copies *c = n->in[i]->node->aux;
        if (!c || n->in[i]->node->mark) continue;
        *rows = n->in[i]->type.dim[0];
        *tokens = c->of[0][n->in[i]->index]->type.dim[0];
        return c->k;
    }
    return 0;
}

static void visit(Dense *d, IrNode *n) {
    int64_t rows, tokens;
    IrWork w;
    d->b.at = n;
    d->b.loc = n->loc;
    int k = n->mark || n->op == OP_combine ? 0 : grouped_copies(n, &rows, &tokens);
    if (n->op == OP_param && n->mark)
        split_weight(d, n);
    else if (n->mark && n->nin > 0)
        rebuild(d, n, n->mark, n->out[0].type.dim[0], 1);
    else if (n->op == OP_dispatch && k == 0)
        all_rows(d, n);
    else if (n->op == OP_expert_expand)
        repeat_expert(d, n);
    else if (is_grouped(n, &w))
        plain_product(d, n, &w);
    else if (n->op == OP_combine)
        add_up(d, n);
    else if (k > 0)
        rebuild(d, n, k, rows, tokens);
}

/* ---- results --------------------------------------------------------------------------------- */

/* node->mark below */
enum { UNKNOWN, LIVE /* losses need it */, PLAIN, ROUTING };

static void mark_live(IrNode *n) {
    if (n->mark == LIVE) return;
    n->mark = LIVE;
    for (int i = 0; i < n->nin; i++) mark_live(n->in[i]->node);
}

/* Does it need a choice of experts, or a weight that no loss needs? */
static bool about_routing(IrNode *n) {
    if (n->mark != UNKNOWN) return n->mark == ROUTING;
    bool weight = n->op == OP_param && !ir_is_state(n);
    bool yes = n->op == OP_topk || n->op == OP_route || weight || n->aux;
    for (int i = 0; i < n->nin && !yes; i++) yes = about_routing(n->in[i]->node);
    n->mark = yes ? ROUTING : PLAIN;
    return yes;
}

/* Is it the update of a state that is gone, or that every expert had one of? */
static bool updates_nothing(const IrGraph *g, const IrOut *o) {
    if (o->kind != OUT_update) return false;
    const IrNode *state = ir_find_leaf(g, OP_param, o->name + strlen("state."));
    return !state || state->aux;
}

static bool drop_updates(IrGraph *g) {
    int kept = 0, before = g->nout;
    for (int i = 0; i < before; i++)
        if (!updates_nothing(g, &g->out[i])) g->out[kept++] = g->out[i];
    g->nout = kept;
    return kept != before;
}

static void drop_results(IrGraph *g) {
    bool has_loss = false;
    for (int i = 0; i < g->nout; i++) has_loss |= g->out[i].kind == OUT_loss;
    IR_FOR (n, g) n->mark = UNKNOWN;
    for (int i = 0; i < g->nout; i++) {
        const IrOut *o = &g->out[i];
        bool result = o->kind == OUT_loss || (!has_loss && o->value->type.dtype == DT_f32);
        if (result) mark_live(o->value->node);
    }
    int kept = 0;
    for (int i = 0; i < g->nout; i++)
        if (!about_routing(g->out[i].value->node)) g->out[kept++] = g->out[i];
    g->nout = kept;
    drop_updates(g);
}

bool pass_dense(PassCtx *c, IrGraph *g) {
    bool routed = false;
    IR_FOR (n, g) {
        n->aux = NULL;
        routed |= n->op == OP_route;
    }
    if (!routed) return false;
    Dense d = {.c = c, .g = g, .b = ir_builder(g)};
    find_per_expert(&d);
    for (IrNode *n = g->first; n && !c->error; n = n->next) visit(&d, n);
    if (c->error) return true;
    drop_results(g);
    do ir_dce(g, true);
    while (drop_updates(g)); /* each may have been the last reader of another state */
    return true;
}
