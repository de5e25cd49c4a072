/* ranges: how small and how large every number of a step is, as outputs.
 *
 * requires  a graph that verifies, CORE ops only, before fuse; no updates
 * ensures   for every result of f32 that an op computes (neither a leaf nor a view, nor rows that
 *           are picked in the load) two outputs of rank 0: "range.N.least" and "range.N.most",
 * where N is the result's number in the graph's text. NaN in the result makes both NaN, and an
 *           infinity is one of them, so a result is finite if both are. Outputs grad.<param> are
 *           gone: what they were is computed all the same. c->ranges says whose ranges these are.
 *
 * Rows of experts that are nobody's (ops.def: expert_matmul, conv) hold anything and do not count:
 * without any other row, the least is larger than the most.
 *
 * Results are looked at through `kept`: nothing of this joins the kernels that make them, whose
 * code stays that of a program without ranges, and which leave rows out that are nobody's.
 *
 * Only numbers outlive the step and no tensor does, so a program with ranges takes about the memory
 * of one without. It is made when a run has failed (driver/session/finite.c).
 *
 * before  %1 = log %0 : f32[2,3]
 * after   %2 = kept %1 : f32[2,3]
 *         %3 = max %2 : f32[2]
 *         %4 = max %3 : f32[]
 *         output "range.1.most" %4                  ; and the same of -%2, negated */
#include "passes/passes.h"
#include "passes/view.h"

#include <float.h>
#include <string.h>

/* The leading dimension of a value is rows of experts: of every `rows` entries of it those before
 * the last offset count. */
typedef struct Owned {
    IrValue *offsets; /* NULL: all rows count */
    int64_t rows;
} Owned;

typedef struct Ranger {
    IrBuilder b;
    Owned *owned; /* by node id */
    PassRanges *out;
} Ranger;

/* ---- rows that are nobody's ---- */

/* Some pairs may have no row, so that rows stay free. */
static bool leaves_rows_free(IrValue *offsets) {
    const IrNode *n = view_root(offsets)->node;
    return n->op != OP_route || ir_int(n, ATTR_route_rows) > 0;
}

/* The operand with the offsets of the rows that n makes; NULL: it makes none. */
static IrValue *offsets_of(const IrNode *n) {
    IrWork w;
    if (!ir_work(n, &w)) return NULL;
    if (w.depthwise) w.offsets = ir_conv_of(n).offsets;
    if (w.ta || (!w.depthwise && !w.experts) || w.offsets < 0) return NULL;
    return n->in[w.offsets];
}

/* Rows go back to their tokens, or are summed for each expert. */
static bool gathers(const IrNode *n) {
    return n->op == OP_combine || n->op == OP_combine_rows || n->op == OP_combine_dw ||
           n->op == OP_expert_sum;
}

static bool leads(const IrType *t, int64_t rows) {
    return t->rank > 0 && rows > 0 && t->dim[0] % rows == 0;
}

static void find_owner(Ranger *r, const IrNode *n) {
    Owned *o = &r->owned[n->id];
    IrValue *offsets = offsets_of(n);
    if (offsets && leads(&n->out[0].type, 1) && leaves_rows_free(offsets))
        *o = (Owned){offsets, n->out[0].type.dim[0]};
    for (int i = 0; i < n->nin && !o->offsets && !gathers(n); i++) {
        const Owned *from = &r->owned[n->in[i]->node->id];
        if (from->offsets && leads(&n->out[0].type, from->rows)) *o = *from;
    }
}

/* v with another number in the rows that are nobody's. */
static IrValue *masked(IrBuilder *b, IrValue *v, const Owned *o, double instead) {
    if (!o->offsets || !leads(&v->type, o->rows)) return v;
    IrType grid = IR_TYPE(DT_f32, o->rows, ir_elems(&v->type) / o->rows);
    IrType number = IR_TYPE(DT_i32, o->rows, grid.dim[1]), column = IR_TYPE(DT_i32, o->rows, 1);
    int64_t last = o->offsets->type.dim[0] - 1;
    IrValue *end = ir_broadcast(b, ir_slice(b, o->offsets, 0, last, 1), &number);
    IrValue *row = IR_OP(b, iota, NO_VALS, ATTRS(A_INTS(iota_shape, &o->rows, 1)));
    row = ir_broadcast(b, ir_reshape(b, row, &column), &number);
    IrValue *mine = ir_binary(b, OP_less, row, end);
    return IR_OP(b, select, VALS(mine, ir_reshape(b, v, &grid), ir_const(b, instead, grid)),
                 NO_ATTRS);
}

/* ---- ranges ---- */

static IrValue *largest(IrBuilder *b, IrValue *v) {
    IrValue *m = ir_unary(b, OP_max, v);
    IrType all = IR_TYPE(DT_f32, ir_elems(&m->type));
    if (m->type.rank == 0) return m;
    return ir_unary(b, OP_max, m->type.rank == 1 ? m : ir_reshape(b, m, &all));
}

static void add_range(Ranger *r, IrValue *v, int number) {
    IrBuilder *b = &r->b;
    const Owned *o = &r->owned[v->node->id];
    PassRange *x = &r->out->value[r->out->nvalue++];
    x->value = v;
    x->least = arena_printf(b->g->arena, "range.%d.least", number);
    x->most = arena_printf(b->g->arena, "range.%d.most", number);
    b->loc = v->node->loc;
    if (v->type.rank == 0) {
        ir_add_out(b->g, OUT_output, x->least, v, 1, b->loc);
        ir_add_out(b->g, OUT_output, x->most, v, 1, b->loc);
        return;
    }
    IrValue *kept = IR_OP(b, kept, VALS(v), NO_ATTRS);
    IrValue *most = largest(b, masked(b, kept, o, -FLT_MAX));
    IrValue *least = largest(b, ir_unary(b, OP_neg, masked(b, kept, o, FLT_MAX)));
    ir_add_out(b->g, OUT_output, x->least, ir_unary(b, OP_neg, least), 1, b->loc);
    ir_add_out(b->g, OUT_output, x->most, most, 1, b->loc);
}

static bool is_computed(const IrNode *n) {
    OpRoute route = ir_ops[n->op].route;
    return (route == ROUTE_ELTWISE || route == ROUTE_KERNEL) && !(ir_ops[n->op].flags & OPF_EFFECT);
}

/* Gradients are computed for their ranges, and not kept. */
static void take_gradients(Ranger *r) {
    IrGraph *g = r->b.g;
    int kept = 0;
    for (int i = 0; i < g->nout; i++) {
        const IrOut o = g->out[i];
        if (o.kind != OUT_grad)
            g->out[kept++] = o;
        else
            r->out->gradient[r->out->ngradient++] = (PassGradient){o.name, o.value};
    }
    g->nout = kept;
}

static int count_values(const IrGraph *g) {
    int values = 0;
    IR_FOR (n, g) values += n->nout;
    return values;
}

bool pass_ranges(PassCtx *c, IrGraph *g) {
    IrNode *last = g->last;
    int number = 0;
    ir_renumber(g);
    PassRanges *out = ARENA_NEW(g->arena, PassRanges);
    *out = (PassRanges){.value = ARENA_ARRAY(g->arena, PassRange, count_values(g) + 1),
                        .gradient = ARENA_ARRAY(g->arena, PassGradient, g->nout + 1)};
    Ranger r = {ir_builder(g), ARENA_ARRAY(c->scratch, Owned, g->nnodes + 1), out};
    IR_FOR (n, g) find_owner(&r, n);
    take_gradients(&r);
    for (IrNode *n = g->first; n; n = n == last ? NULL : n->next)
        for (int i = 0; i < n->nout; i++, number++)
            if (is_computed(n) && n->out[i].type.dtype == DT_f32) add_range(&r, &n->out[i], number);
    c->ranges = out;
    return out->nvalue > 0 || out->ngradient > 0;
}
