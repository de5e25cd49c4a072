/* narrow: what marked products and attention read of activations becomes bf16 in memory.
 *
 * requires  CORE ops; products and attention marked by `precision` (and, through autodiff, their
 * gradients) ensures   operand 0 of every marked product, and operand 1 of every weight gradient,
 * is a `narrow`, or rows a `dispatch` picks of one, or columns of one; so are q, k, v and do of
 * marked attention. A value is narrowed once for all its readers. Marks that the code generator has
 * no bf16 code for are gone (none that `precision` and autodiff make). Weights stay as they are:
 * products read packed copies of them, which are bf16. Dead nodes are removed.
 *
 * before  %3 = matmul %1, %2 {bf16 = 1} : f32[8,32]
 * after   %3 = narrow %1 : bf16[8,16]
 *         %4 = matmul %3, %2 {bf16 = 1} : f32[8,32]
 *
 * Rounding what is rounded already changes nothing: the pass is about memory, the result has the
 * same bits.
 */
#include "passes/passes.h"
#include "passes/view.h"

typedef struct Narrower {
    PassCtx *c;
    IrGraph *g;
} Narrower;

static IrValue *narrowed(Narrower *N, IrValue *v) {
    if (v->type.dtype == DT_bf16) return v;
    IrNode *n = v->node;
    IrValue **memo = n->aux;
    if (!memo) memo = n->aux = ARENA_ARRAY(N->c->scratch, IrValue *, n->nout);
    if (memo[v->index]) return memo[v->index];
    IrBuilder b = ir_builder(N->g);
    IrValue *r;
    b.loc = n->loc;
    if (n->op == OP_reshape) {
        IrValue *x = narrowed(N, n->in[0]);
        b.at = n->next;
        r = ir_reshape(&b, x, &v->type);
    } else if (n->op == OP_dispatch) {
        IrValue *x = narrowed(N, n->in[0]);
        b.at = n->next;
        r = IR_OP(&b, dispatch, VALS(x, n->in[1]),
                  ATTRS(A_INT(dispatch_k, ir_int(n, ATTR_dispatch_k))));
    } else if (n->op == OP_slice &&
               ir_int(n, ATTR_slice_axis) == v->type.rank - 1) { /* q of q, k and v */
        IrValue *x = narrowed(N, n->in[0]);
        b.at = n->next;
        r = ir_slice(&b, x, v->type.rank - 1, ir_int(n, ATTR_slice_start), ir_cols(&v->type));
    } else {
        b.at = n->next;
        r = ir_unary(&b, OP_narrow, v);
    }
    memo[v->index] = r;
    return r;
}

/* Is the right operand a weight that can be packed, or are all operands that are rounded
 * activations (*all)? */
static bool has_code(const IrNode *n, const IrWork *w, bool *all) {
    *all = w->attention || w->ta;
    if (w->attention) return w->k % 2 == 0;
    if (w->ta) return !w->tb;
    if (!w->shared && !w->experts) return false;
    return (w->run ? w->run : w->k) % 2 == 0 && view_root(n->in[w->right])->node->op == OP_param;
}

bool pass_narrow(PassCtx *c, IrGraph *g) {
    Narrower N = {c, g};
    bool changed = false;
    IR_FOR (n, g) n->aux = NULL;
    IR_FOR (n, g) {
        bool all;
        IrWork w;
        if (!ir_rounds_operands(n) || !ir_work(n, &w)) continue;
        changed = true;
        if (!has_code(n, &w, &all)) {
            for (int i = 0; i < n->nin; i++) /* only in text written by hand */
                if (n->in[i]->type.dtype == DT_bf16 && !c->error)
                    c->error =
                        arena_printf(c->scratch, "%s of operands that are bf16 already has no code",
                                     ir_ops[n->op].name);
            if (c->error) return true;
            ir_set_int(n, ir_bf16_attr(n->op), 0);
            continue;
        }
        for (int i = 0; i < n->nin; i++)
            if (ir_rounds_operand(n, i) && (all || i == w.left)) n->in[i] = narrowed(&N, n->in[i]);
    }
    if (changed) ir_dce(g, false);
    return changed;
}
