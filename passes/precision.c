/* precision: mark the matrix products and the attention that may round their operands to bf16.
 *
 * requires  CORE ops, before autodiff: gradients are computed in the precision of their product
 * ensures   bf16 = 1 on every product of an activation and a weight, but for
 *           - the router's: products whose result reaches a topk without passing an attention or
 * another product with a weight. Which experts a token meets, and with what weight, is decided in
 * f32;
 *           - small ones: an odd number of inputs or outputs, or fewer than 16. Both are inner
 * dimensions, of the product and of its gradient, and are read in pairs; nor convolutions in groups
 * or of every channel by itself. bf16 = 1 on attention
 * whose heads have an even size of at least 16 (the size is an inner dimension), but not where its
 * result reaches a topk as the router's would. Losses, norms, softmax (attention's too) and the
 * optimizer stay as they are.
 *
 * before  %2 = matmul %0, %1 : f32[8,32]
 * after   %2 = matmul %0, %1 {bf16 = 1} : f32[8,32] */
#include "passes/passes.h"
#include "passes/view.h"

enum { SMALLEST = 16 };

/* What stands between a router and the products before it: attention, and every product with a
 * weight. The cosines of a gate are a product of two computed values, and what it makes them of is
 * the gate's, too. */
static bool ends_search(const IrNode *n) {
    IrWork w;
    if (!ir_work(n, &w)) return false;
    return w.attention || w.experts || view_root(n->in[w.right])->node->op == OP_param;
}

/* mark = 1: the node's results reach a topk on a path that nothing interrupts. */
static void find_routers(IrGraph *g) {
    IR_FOR (n, g) n->mark = 0;
    for (IrNode *n = g->last; n; n = n->prev) {
        bool source = n->op == OP_topk || (n->mark && !ends_search(n));
        for (int i = 0; source && i < n->nin; i++) n->in[i]->node->mark = 1;
    }
}

static bool pairs(int64_t n) {
    return n >= SMALLEST && n % 2 == 0;
}

static bool qualifies(const IrNode *n) {
    IrWork w;
    if (n->mark || ir_ops[n->op].grad == GRAD_END || !ir_work(n, &w)) return false;
    if (w.attention) return pairs(w.k);
    if (w.run && w.count > (w.experts ? w.experts : 1)) return false; /* groups of channels */
    if ((!w.shared && !w.experts) || view_root(n->in[w.right])->node->op != OP_param) return false;
    return pairs(w.n) && pairs(w.run ? w.run : w.k);
}

bool pass_precision(PassCtx *c, IrGraph *g) {
    (void)c;
    bool changed = false;
    find_routers(g);
    IR_FOR (n, g) {
        if (!qualifies(n)) continue;
        changed |= !ir_rounds_operands(n);
        ir_set_int(n, ir_bf16_attr(n->op), 1);
    }
    return changed;
}
