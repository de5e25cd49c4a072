/* Clusters without an anchor: elementwise work over every position, updates of weights included.
 * When everything that is read or written is dense, the tensors are walked as one long row; copies
 * that change the order of very short rows gather whole vectors. */
#include "codegen/kernels/rules.h"
#include "codegen/kernels/update.h"
#include "passes/passes.h"

static bool one_element(const View *w) {
    for (int d = 0; d < w->type.rank; d++)
        if (w->stride[d] != 0 && w->type.dim[d] != 1) return false;
    return true;
}

static bool operand_is_flat(const Kb *k, IrValue *v) {
    IrValue *root = view_root(v);
    if (plan_member(k->cl, root->node) >= 0) return true; /* read at the same position */
    if (root->node->op == OP_const) return true;
    if (ir_ops[root->node->op].route == ROUTE_GATHER || fuse_is_inline(root->node)) return false;
    View w;
    view_resolve(v, &w);
    return view_is_dense(&w) || one_element(&w);
}

static bool cluster_is_flat(const Kb *k) {
    for (int i = 0; i < k->cl->nstore; i++)
        if (plan_place_of(k->plan, k->cl->store[i]).ld != ir_cols(&k->cl->store[i]->type))
            return false;
    for (int i = 0; i < k->cl->nnode; i++) {
        const IrNode *n = k->cl->node[i];
        if (n->op == OP_iota) return false;
        for (int j = 0; j < n->nin; j++)
            if ((ir_reads(n->op, j) & READ_VALUE) && !operand_is_flat(k, n->in[j])) return false;
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

/* ---- copies with short rows ---- */

enum { MAX_JOINED = 256 };

/* A copy, rounded or not, whose last dimension is shorter than a vector (patches of an image:
 * colour by colour): trailing dimensions are joined to rows of `cols` elements, and every vector of
 * a row is one gather with constant offsets. */
typedef struct Joined {
    View rows; /* what is read, with rows of one element */
    int tail;  /* first joined dimension */
    int64_t cols;
    const View *from;
    const IrValue *to;
} Joined;

static bool join_dims(Kb *k, View *from, Joined *j) {
    const IrNode *n = k->cl->node[0];
    const IrType *t = &n->out[0].type;
    if (k->cl->nnode != 1 || (n->op != OP_copy && n->op != OP_narrow) || ir_cols(t) >= k->vl)
        return false;
    if (n->in[0]->type.dtype != DT_f32) return false;
    const IrValue *root = view_root(n->in[0]);
    if (ir_ops[root->node->op].route == ROUTE_GATHER || fuse_is_inline(root->node) ||
        root->node->op == OP_const)
        return false;
    if (!view_resolve(n->in[0], from) || plan_place_of(k->plan, &n->out[0]).ld != ir_cols(t))
        return false;
    *j = (Joined){.tail = t->rank, .cols = 1, .from = from, .to = &n->out[0]};
    while (j->tail > 0 && j->cols * t->dim[j->tail - 1] <= MAX_JOINED) j->cols *= t->dim[--j->tail];
    if (j->cols < k->vl) return false;
    j->rows = *from;
    j->rows.type.rank = j->tail + 1;
    j->rows.type.dim[j->tail] = 1;
    return ir_elems(&root->type) < INT32_MAX; /* offsets are i32 */
}

/* Elements from the row's start to its element `col`. */
static int64_t joined_offset(const Joined *j, int64_t col) {
    int64_t at = 0;
    for (int d = j->from->type.rank - 1; d >= j->tail; d--) {
        at += col % j->from->type.dim[d] * j->from->stride[d];
        col /= j->from->type.dim[d];
    }
    return at;
}

static void copy_joined(Kb *k, Val row, void *ctx) {
    const Joined *j = ctx;
    Val from = kb_gep(k, k->f32, kb_view_ptr(k, j->from), kb_row_offset(k, &j->rows, row));
    LLVMTypeRef elem = kb_elem(k, j->to->type.dtype);
    Val to = kb_gep(k, elem, kb_ptr(k, j->to), kb_mul(k, row, kb_i64(k, j->cols)));
    for (int64_t col = 0; col < j->cols; col += k->vl) {
        Val lane[64], mask = NULL;
        for (int i = 0; i < k->vl; i++)
            lane[i] = kb_i32(k, (int32_t)(col + i < j->cols ? joined_offset(j, col + i) : 0));
        if (col + k->vl > j->cols) mask = kb_mask_below(k, kb_i64(k, j->cols - col));
        Val x =
            kb_load_indexed(k, k->vf, k->f32, from, LLVMConstVector(lane, (unsigned)k->vl), mask);
        Val at = kb_gep(k, elem, to, kb_i64(k, col));
        if (j->to->type.dtype == DT_bf16)
            kb_store_bf16(k, x, at, mask);
        else
            kb_store(k, x, at, mask);
    }
}

void cg_lower_map(Kb *k) {
    const IrType *t = &k->cl->node[0]->out[0].type;
    int64_t cols = ir_cols(t);
    View from;
    Joined joined;
    if (k->cl->nkeep) {
        cg_update(k, t, store_all, NULL);
    } else if (!cluster_is_flat(k) && join_dims(k, &from, &joined)) {
        kb_rows(k, ir_elems(t) / joined.cols, joined.cols, copy_joined, &joined);
    } else if (cluster_is_flat(k)) {
        k->flat = true;
        kb_flat(k, ir_elems(t), store_all, NULL);
    } else {
        kb_rows(k, ir_rows(t), cols, map_row, &cols);
    }
}
