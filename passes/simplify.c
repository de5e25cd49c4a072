/* simplify: algebraic rewrites, view merging, dead code. This file is the engine; the rules are in
 * simplify_arith.c and simplify_view.c.
 *
 * requires  a graph that verifies
 * ensures   no rule applies any more (a second run changes nothing); dead nodes are gone
 * Rules are exact: infinities and NaNs included, the result has the same bits, with three
 * documented exceptions: the sign of a zero result, products of two constants that scale one value,
 * and constants folded in double precision, which lose fewer bits than the ops they replace. A
 * value that is read after an update stays apart from the weight that the update writes.
 *
 * before  %1 = const {value = 1} : f32[2,3]
 *         %2 = mul %0, %1 : f32[2,3]
 *         %3 = transpose %2 {perm = [1,0]} : f32[3,2]
 *         %4 = transpose %3 {perm = [1,0]} : f32[2,3]
 *         output "y" %4
 * after   output "y" %0 */
#include "passes/simplify.h"

#include <limits.h>

#include "passes/passes.h"

bool simplify_const(const IrValue *v, double *c) {
    if (v->node->op != OP_const) return false;
    *c = ir_float(v->node, ATTR_const_value);
    return true;
}

static IrValue *apply(const SimplifyRow *rows, IrBuilder *b, const IrNode *n) {
    for (; rows->rule; rows++) {
        IrValue *v = rows->op == n->op ? rows->rule(b, n) : NULL;
        if (v) return v;
    }
    return NULL;
}

/* Only ops with one result have rules. */
static IrValue *simplified(IrBuilder *b, const IrNode *n) {
    if (n->nout != 1) return NULL;
    IrValue *v = simplify_fold(b, n);
    if (!v) v = apply(simplify_arith, b, n);
    return v ? v : apply(simplify_view, b, n);
}

/* What stands for v now; chains arise when the stand-in itself was replaced earlier in the round.
 */
static IrValue *current(IrValue *v) {
    while (v->node->aux) v = v->node->aux;
    return v;
}

/* ---- what is written in place ---- */

/* When leaves are written and values read last, as places in the list. */
typedef struct Times {
    int *written;  /* [nodes]: of a leaf; NEVER */
    int *last_use; /* [nodes]: of what a node computes, also through views and gathers */
} Times;
enum { NEVER = INT_MAX };

static bool passes_through(const IrNode *n) {
    return ir_ops[n->op].route == ROUTE_VIEW || ir_ops[n->op].route == ROUTE_GATHER;
}

static Times times_of(Arena *a, IrGraph *g) {
    ir_renumber(g);
    int n = g->last ? g->last->id + 1 : 0;
    Times t = {ARENA_ARRAY(a, int, n + 1), ARENA_ARRAY(a, int, n + 1)};
    for (int i = 0; i < n; i++) t.written[i] = NEVER;
    for (int i = 0; i < g->nout; i++) t.last_use[g->out[i].value->node->id] = NEVER;
    for (const IrNode *m = g->last; m; m = m->prev) {
        int at = passes_through(m) ? t.last_use[m->id] : m->id;
        for (int i = 0; i < m->nin; i++) {
            int *last = &t.last_use[m->in[i]->node->id];
            if (at > *last) *last = at;
        }
        for (int r = 0; r < m->nout && ir_written(m, r); r++)
            t.written[ir_written(m, r)->node->id] = m->id;
    }
    return t;
}

/* Would v, in place of a value read last at `last`, be a leaf that was written before? */
static bool too_late(const Times *t, const IrValue *v, int last) {
    const IrNode *n = v->node;
    if (n->op == OP_param || n->op == OP_state) return last > t->written[n->id];
    for (int i = 0; i < n->nin && passes_through(n); i++)
        if (too_late(t, n->in[i], last)) return true;
    return false;
}

/* One sweep in list order: operands are looked at before their users. */
static bool sweep(Arena *scratch, IrGraph *g) {
    bool changed = false;
    Times times = times_of(scratch, g);
    IR_FOR (n, g) {
        n->aux = NULL;
        n->mark = 0;
    }
    IR_FOR (n, g) {
        for (int i = 0; i < n->nin; i++) n->in[i]->node->mark++;
    }
    for (int i = 0; i < g->nout; i++) g->out[i].value->node->mark++;
    IR_FOR (n, g) {
        for (int i = 0; i < n->nin; i++) n->in[i] = current(n->in[i]);
        IrBuilder b = ir_builder(g);
        b.at = n;
        b.loc = n->loc;
        IrValue *v = simplified(&b, n);
        if (!v || too_late(&times, v, times.last_use[n->id])) continue;
        VM_CHECK(ir_type_equal(&v->type, &n->out[0].type), "simplify: %s became %s",
                 ir_ops[n->op].name, ir_ops[v->node->op].name);
        n->aux = v;
        changed = true;
    }
    for (int i = 0; i < g->nout; i++) g->out[i].value = current(g->out[i].value);
    return changed;
}

/* Every rule removes an op, moves a constant or view towards a normal form, or shortens a chain, so
 * a graph needs a handful of rounds. It is right after any number of them. */
enum { MAX_ROUNDS = 1000 };

bool pass_simplify(PassCtx *c, IrGraph *g) {
    bool changed = ir_dce(g, false);
    for (int round = 0; round < MAX_ROUNDS && sweep(c->scratch, g); round++) {
        ir_dce(g, false);
        changed = true;
    }
    return changed;
}
