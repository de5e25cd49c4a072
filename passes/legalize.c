/* What fusion needs before it groups nodes: every operand in a form its consumer's code can read.
 *
 * requires CORE ops; ensures: every VIEW resolves to strides; a GATHER is read only where a load
 * hook exists; operands that kernels address directly are materialised; graph outputs are
 * materialised and dense; what is stored over a leaf reads the leaf only where it writes it. All by
 * inserting `copy`: %2 = transpose %1; %3 = reshape %2          =>
 * %2 = transpose %1; %c = copy %2; %3 = reshape %c %2 = dispatch %x, %p {k = 2}; %3 = sdpa %2  =>
 * ... %c = copy %2; %3 = sdpa %c */
#include "passes/fuse.h"
#include "passes/view.h"

/* By operand, not by shape: [T,1] may be rows or one number for each row. */
bool fuse_evaluates(const IrNode *n, int i) {
    return (ir_ops[n->op].flags & OPF_PRO) && (ir_reads(n->op, i) & READ_VALUE);
}

static bool is_gather(const IrValue *v) {
    return ir_ops[v->node->op].route == ROUTE_GATHER;
}

/* Not in memory: made in its reader's load. */
static bool is_deferred(const IrValue *v) {
    return is_gather(v) || fuse_wants_inline(v->node);
}

static bool dense(IrValue *v) {
    View w;
    return view_resolve(v, &w) && view_is_dense(&w) && w.root->node->op != OP_const &&
           !is_deferred(w.root);
}

static bool row_scalar(IrValue *v) {
    View w;
    if (!view_resolve(v, &w) || is_gather(w.root)) return false;
    return v->type.rank > 1 && w.stride[v->type.rank - 1] == 0;
}

bool fuse_wants_inline(const IrNode *n) {
    if (n->op != OP_mul || n->out[0].type.rank < 2) return false;
    for (int i = 0; i < 2; i++)
        if (n->in[i]->node->op == OP_dispatch && row_scalar(n->in[1 - i])) return true;
    return false;
}

/* Can v be read as the column `reads` of its reader says? */
static bool satisfies(IrValue *v, unsigned reads) {
    View w;
    if (!view_resolve(v, &w)) return false;
    bool plain = w.root->node->op != OP_const && !is_deferred(w.root);
    if (reads & READ_VALUE) return true;
    if (reads & READ_STRIDED) return plain;
    if (reads & READ_LINES)
        return plain && (w.stride[w.type.rank - 1] == 1 || w.type.dim[w.type.rank - 1] == 1);
    if (dense(v)) return true;
    if (!(reads & READ_ROWS)) return false;
    return fuse_wants_inline(v->node) || (v->node->op == OP_dispatch && dense(v->node->in[0]));
}

static bool touches(IrValue *v, const IrValue *x) {
    const IrValue *root = view_root(v);
    if (root == x) return true;
    for (int i = 0; is_deferred(root) && i < root->node->nin; i++)
        if (touches(root->node->in[i], x)) return true;
    return false;
}

bool fuse_reads_elsewhere(IrValue *v, const IrValue *x) {
    return view_same_position(v) != x && touches(v, x);
}

/* Is operand i read at other positions than where n is stored over it? */
static bool reads_own_update(const IrNode *n, int i) {
    for (int r = 0; ir_ops[n->op].route == ROUTE_ELTWISE && r < n->nout && ir_written(n, r); r++)
        if (fuse_reads_elsewhere(n->in[i], ir_written(n, r))) return true;
    return false;
}

typedef struct Legalizer {
    PassCtx *c;
    IrGraph *g;
    bool changed;
} Legalizer;

/* The copy of v, made once: right after the node that makes v. */
static IrValue *copy_of(Legalizer *L, IrValue *v) {
    IrValue **memo = v->node->aux;
    if (!memo) memo = v->node->aux = ARENA_ARRAY(L->c->scratch, IrValue *, v->node->nout);
    if (!memo[v->index]) {
        IrBuilder b = ir_builder(L->g);
        b.at = v->node->next;
        b.loc = v->node->loc;
        memo[v->index] = ir_unary(&b, OP_copy, v);
        L->changed = true;
    }
    return memo[v->index];
}

static void legalize_view(Legalizer *L, IrNode *n) {
    View w;
    IrValue *src = view_same_position(n->in[0]);
    bool keeps_position = view_same_position(&n->out[0]) != &n->out[0];
    if ((is_deferred(src) && !keeps_position) || !view_resolve(&n->out[0], &w))
        n->in[0] = copy_of(L, n->in[0]);
    VM_CHECK(view_resolve(&n->out[0], &w), "legalize: %s cannot be a view", ir_ops[n->op].name);
}

bool fuse_legalize(PassCtx *c, IrGraph *g) {
    Legalizer L = {c, g, false};
    IR_FOR (n, g) n->aux = NULL;
    IR_FOR (n, g) {
        OpRoute route = ir_ops[n->op].route;
        if (route == ROUTE_VIEW) legalize_view(&L, n);
        if (route == ROUTE_VIEW || route == ROUTE_LEAF) continue;
        for (int i = 0; i < n->nin; i++)
            if (!satisfies(n->in[i], ir_reads(n->op, i)) || reads_own_update(n, i))
                n->in[i] = copy_of(&L, n->in[i]);
    }
    for (int i = 0; i < g->nout; i++) {
        IrNode *n = g->out[i].value->node;
        OpRoute route = ir_ops[n->op].route;
        bool stored = route == ROUTE_KERNEL || (route == ROUTE_ELTWISE && !fuse_wants_inline(n)) ||
                      (route == ROUTE_LEAF && n->op != OP_const);
        if (!stored) g->out[i].value = copy_of(&L, g->out[i].value);
    }
    return L.changed;
}
