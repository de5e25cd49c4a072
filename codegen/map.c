/* Clusters without an anchor: elementwise work over every position. When everything that is read or
 * written is dense, the tensors are walked as one long row. */
#include "codegen/emit.h"
#include "passes/passes.h"

static bool one_element(const View *w) {
    for (int d = 0; d < w->type.rank; d++)
        if (w->stride[d] != 0 && w->type.dim[d] != 1) return false;
    return true;
}

static bool operand_is_flat(const Kb *k, IrValue *v) {
    IrValue *root = view_root(v);
    for (int i = 0; i < k->cl->nnode; i++)
        if (k->cl->node[i] == root->node) return true; /* a member: read at the same position */
    if (root->node->op == OP_const) return true;
    if (ir_ops[root->node->op].route == ROUTE_GATHER || fuse_is_inline(root->node)) return false;
    View w;
    view_resolve(v, &w);
    return view_is_dense(&w) || one_element(&w);
}

static bool cluster_is_flat(const Kb *k) {
    for (int i = 0; i < k->cl->nstore; i++)
        if (plan_place_of(k->plan, k->cl->store[i]).ld != ir_cols(&k->cl->store[i]->type)) return false;
    for (int i = 0; i < k->cl->nnode; i++) {
        const IrNode *n = k->cl->node[i];
        if (n->op == OP_iota) return false;
        if (n->op == OP_uniform) continue;
        for (int j = 0; j < n->nin; j++)
            if (!operand_is_flat(k, n->in[j])) return false;
    }
    return true;
}

static void store_all(Kb *k, Pos pos, Val *carry, void *ctx) {
    (void)carry, (void)ctx;
    kb_store_members(k, STORE_ALL, pos);
}

static void map_row(Kb *k, Val row, void *ctx) {
    int64_t cols = *(int64_t *)ctx;
    kb_cols(k, row, cols, NULL, 0, store_all, NULL);
}

void cg_lower_map(Kb *k) {
    const IrType *t = &k->cl->node[0]->out[0].type;
    int64_t cols = ir_cols(t);
    if (cluster_is_flat(k)) {
        k->flat = true;
        kb_flat(k, ir_elems(t), store_all, NULL);
    } else {
        kb_rows(k, ir_rows(t), cols, map_row, &cols);
    }
}
