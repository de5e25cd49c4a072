/* narrow: what marked products read of activations becomes bf16 in memory.
 *
 * requires  CORE ops; products marked by `precision` (and, through autodiff, their gradients)
 * ensures   operand 0 of every marked product, and operand 1 of every weight gradient, is a `narrow`, or rows
 *           a `dispatch` picks of one; a value is narrowed once for all its readers. Marks of products that
 *           the code generator has no bf16 code for are gone (none that autodiff makes). Weights stay as they
 *           are: products read packed copies of them, which are bf16. Dead nodes are removed.
 *
 * before  %3 = matmul %1, %2 {bf16 = 1} : f32[8,32]
 * after   %3 = narrow %1 : bf16[8,16]
 *         %4 = matmul %3, %2 {bf16 = 1} : f32[8,32]
 *
 * Rounding what is rounded already changes nothing: the pass is about memory, the result has the same bits.
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
        r = IR_OP(&b, dispatch, VALS(x, n->in[1]), ATTRS(A_INT(dispatch_k, ir_int(n, ATTR_dispatch_k))));
    } else {
        b.at = n->next;
        r = ir_unary(&b, OP_narrow, v);
    }
    memo[v->index] = r;
    return r;
}

/* Is b a weight that can be packed, or (weight gradients) are both operands rows of activations? */
static bool has_code(const IrNode *n, bool *both) {
    *both = n->op == OP_expert_matmul_dw || (n->op == OP_matmul && ir_int(n, ATTR_matmul_ta));
    if (n->op == OP_expert_matmul_dw) return true;
    const IrType *b = &n->in[1]->type;
    if (*both) return !ir_int(n, ATTR_matmul_tb);
    if (n->op == OP_matmul && b->rank != 2) return false;
    return ir_cols(&n->in[0]->type) % 2 == 0 && view_root(n->in[1])->node->op == OP_param;
}

bool pass_narrow(PassCtx *c, IrGraph *g) {
    Narrower N = {c, g};
    bool changed = false;
    IR_FOR (n, g) n->aux = NULL;
    IR_FOR (n, g) {
        bool both;
        if (!ir_rounds_operands(n)) continue;
        changed = true;
        if (!has_code(n, &both)) {
            ir_set_int(n, ir_bf16_attr(n->op), 0);
            continue;
        }
        for (int i = 0; i < 1 + both; i++) n->in[i] = narrowed(&N, n->in[i]);
    }
    if (changed) ir_dce(g, false);
    return changed;
}
